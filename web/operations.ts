// A page's operations from the moment they are asked for until they are answered. Each is named by the page's own
// client id and a rising number, so that it can be asked again, through another worker too, without happening twice.
//
// The worker may be away: it has died, or cannot be started. Then what it was never given fails as `offline`, and what it
// may have sent is unknown, each after a while.

import type { Settled } from "../src/effects.ts";
import { CLIENT_LEASE_MS, OUTCOME_PATIENCE_MS, UNSENT_LIMIT_MS } from "../src/limits.ts";
import type { GetResult, Operation, OperationAck } from "../src/protocol.ts";
import { OperationFailedError, OutcomeUnknownError } from "./errors.ts";

/** A worker that has operations and answers none of them for so long is given up: it would have settled some by then. */
const SILENCE_LIMIT_MS = OUTCOME_PATIENCE_MS + UNSENT_LIMIT_MS + 1000;
/** A page that was busy or asleep itself gets this long to read what has come meanwhile. */
const SECOND_CHANCE_MS = 250;

const NO_WORKER = { code: "offline", applied: false, detail: "the replica's worker is not there" } as const;

type Answer = OperationAck | GetResult;

/** An operation without its name, which is given when it is submitted. */
export type Request = Operation extends infer Kind
  ? Kind extends Operation
    ? Omit<Kind, "clientId" | "id" | "settled" | "repeat">
    : never
  : never;

interface Pending {
  operation: Operation;
  /** It was given to a worker, which may have sent it. */
  isGiven: boolean;
  submittedAt: number;
  /** Since when it could not be given, or waits for another worker. */
  since: number;
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

export class Operations {
  readonly #clientId: string;
  readonly #send: (operations: Operation[]) => void;
  readonly #silent: () => void;
  /** By id; ids rise, so the first is the oldest. */
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  /** When the primary answered one of its updates last: it keeps a record of this client for a while. */
  #knownAt = -Infinity;
  /** Whether there is a worker to give them to; a page that is put away has none, and waits for none. */
  #worker: "there" | "away" | "put away" = "away";
  #fresh: Pending[] = [];
  readonly #idlers: (() => void)[] = [];
  #heardAt = 0;
  #isSecondChance = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `send` gets all operations of one turn at once; `silent` is called when the worker was given up. */
  constructor(clientId: string, send: (operations: Operation[]) => void, silent: () => void) {
    this.#clientId = clientId;
    this.#send = send;
    this.#silent = silent;
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Rejects with OperationFailedError or OutcomeUnknownError. */
  submit(request: Request): Promise<Answer> {
    const id = this.#nextId;
    this.#nextId += 1;
    const name = { clientId: this.#clientId, id };
    const operation: Operation =
      request.type === "get" ? { ...request, ...name } : { ...request, ...name, settled: 0, repeat: false };
    return new Promise((resolve, reject) => {
      if (this.#pending.size === 0) this.#heard();
      const now = performance.now();
      const pending: Pending = { operation, isGiven: false, submittedAt: now, since: now, resolve, reject };
      this.#pending.set(id, pending);
      if (this.#fresh.push(pending) === 1) queueMicrotask(() => this.#flush());
      if (this.#timer === undefined) this.#setTimer();
    });
  }

  /** Resolves when everything is answered or given up. */
  idle(): Promise<void> {
    if (this.#pending.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idlers.push(resolve));
  }

  settle(settled: Settled): void {
    const pending = this.#pending.get(settled.id);
    if (!pending) return; // Asked twice, through two workers, and answered twice.
    this.#pending.delete(settled.id);
    this.#heard();
    if (isFromRecord(settled)) this.#knownAt = Date.now();
    if (this.#pending.size === 0) this.#endIdle();
    switch (settled.type) {
      case "operation-ack":
      case "get-result":
        return pending.resolve(settled);
      case "operation-failed":
        return pending.reject(new OperationFailedError(settled));
      case "outcome-unknown":
        return pending.reject(new OutcomeUnknownError());
    }
  }

  /** A worker is there: everything that is unanswered is given to it, in its order, and what is new from here on. */
  begin(): void {
    this.#worker = "there";
    this.askAgain();
  }

  /** The worker has gone, and another one is to come. */
  suspend(): void {
    const now = performance.now();
    // What was meant for a moment that is long past must not be done now.
    if (this.#worker === "put away") this.#giveUpBefore(now - OUTCOME_PATIENCE_MS);
    this.#worker = "away";
    for (const pending of this.#pending.values()) pending.since = now;
    this.#setTimer();
  }

  /** The page is put away: time does not count until another worker is to come. */
  pause(): void {
    this.#worker = "put away";
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Sends everything that is unanswered again, in its order. */
  askAgain(): void {
    this.#fresh = [];
    this.#heard();
    this.#sendAll([...this.#pending.values()]);
    this.#setTimer();
  }

  /** The worker does its work. */
  #heard(): void {
    this.#heardAt = performance.now();
    this.#isSecondChance = false;
  }

  #endIdle(): void {
    for (const resolve of this.#idlers.splice(0)) resolve();
  }

  #flush(): void {
    const fresh = this.#fresh.splice(0);
    if (this.#worker === "there") this.#sendAll(fresh);
  }

  #sendAll(all: readonly Pending[]): void {
    if (all.length === 0) return;
    const [oldest = this.#nextId] = this.#pending.keys();
    // I4: to have settled something is to say that there is a record.
    const settled = Date.now() - this.#knownAt < CLIENT_LEASE_MS / 2 ? oldest - 1 : 0;
    for (const pending of all) {
      if (pending.operation.type !== "get") Object.assign(pending.operation, { settled, repeat: pending.isGiven });
      pending.isGiven = true;
    }
    this.#send(all.map(({ operation }) => operation));
  }

  // --- what is given up

  #setTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending.size === 0 || this.#worker === "put away") return;
    const isThere = this.#worker === "there";
    const delayMs = isThere ? SILENCE_LIMIT_MS : this.#nextExpiry() - performance.now();
    this.#timer = setTimeout(() => (this.#worker === "there" ? this.#watch() : this.#expire()), Math.max(0, delayMs));
  }

  #watch(): void {
    this.#timer = undefined;
    if (this.#pending.size === 0) return;
    const silentMs = performance.now() - this.#heardAt;
    if (silentMs < SILENCE_LIMIT_MS) {
      this.#timer = setTimeout(() => this.#watch(), SILENCE_LIMIT_MS - silentMs);
    } else if (!this.#isSecondChance) {
      this.#isSecondChance = true;
      this.#timer = setTimeout(() => this.#watch(), SECOND_CHANCE_MS);
    } else {
      for (const id of this.#pending.keys()) this.#giveUp(id);
      this.#silent();
    }
  }

  #nextExpiry(): number {
    let next = Infinity;
    for (const pending of this.#pending.values()) next = Math.min(next, expiryOf(pending));
    return next;
  }

  /** There was no worker for too long. */
  #expire(): void {
    const now = performance.now();
    for (const [id, pending] of this.#pending) if (expiryOf(pending) <= now) this.#giveUp(id);
    this.#setTimer();
  }

  #giveUpBefore(time: number): void {
    for (const [id, { submittedAt }] of this.#pending) if (submittedAt < time) this.#giveUp(id);
  }

  #giveUp(id: number): void {
    const pending = this.#pending.get(id)!;
    this.#pending.delete(id);
    const isOffline = !pending.isGiven || pending.operation.type === "get";
    pending.reject(isOffline ? new OperationFailedError(NO_WORKER) : new OutcomeUnknownError());
    if (this.#pending.size === 0) this.#endIdle();
  }
}

const expiryOf = ({ since, isGiven }: Pending): number => since + (isGiven ? OUTCOME_PATIENCE_MS : UNSENT_LIMIT_MS);

/** Whether an answer is one that the primary has written down; reads, and what never reached it, leave no trace there. */
export function isFromRecord(settled: Settled): boolean {
  if (settled.type === "operation-failed") return settled.code === "conflict" || settled.code === "unconfirmed";
  return settled.type === "operation-ack";
}
