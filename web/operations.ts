// A page's operations from the moment they are asked for until they are answered. Each is named by the page's own
// client id and a rising number, so that it can be asked again, through another worker too, without happening twice.

import type { Settled } from "../src/effects.ts";
import { OUTCOME_PATIENCE_MS, UNSENT_LIMIT_MS } from "../src/limits.ts";
import type { GetResult, Operation, OperationAck } from "../src/protocol.ts";
import { OperationFailedError, OutcomeUnknownError } from "./errors.ts";

/** A worker that has operations and answers none of them for so long is given up: it would have settled some by then. */
const SILENCE_LIMIT_MS = OUTCOME_PATIENCE_MS + UNSENT_LIMIT_MS + 1000;
/** A page that was busy or asleep itself gets this long to read what has come meanwhile. */
const SECOND_CHANCE_MS = 250;

type Answer = OperationAck | GetResult;

/** An operation without its name, which is given when it is submitted. */
export type Request = Operation extends infer Kind
  ? Kind extends Operation
    ? Omit<Kind, "clientId" | "id" | "settled" | "repeat">
    : never
  : never;

interface Pending {
  operation: Operation;
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
  /** The primary keeps a record of this client: it has answered one of its updates. */
  #isKnown = false;
  #fresh: Operation[] = [];
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
      this.#pending.set(id, { operation, resolve, reject });
      if (this.#fresh.push(operation) === 1) queueMicrotask(() => this.#flush());
      if (this.#timer === undefined) this.#timer = setTimeout(() => this.#watch(), SILENCE_LIMIT_MS);
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
    this.#isKnown ||= isFromRecord(settled);
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

  /** The worker does its work. */
  #heard(): void {
    this.#heardAt = performance.now();
    this.#isSecondChance = false;
  }

  /** Sends everything that is unanswered again, in its order. */
  askAgain(): void {
    this.#fresh = [];
    this.#heard();
    const operations = [...this.#pending.values()].map(({ operation }) => operation);
    for (const operation of operations) if (operation.type !== "get") operation.repeat = true;
    this.#sendAll(operations);
  }

  #endIdle(): void {
    for (const resolve of this.#idlers.splice(0)) resolve();
  }

  #flush(): void {
    this.#sendAll(this.#fresh.splice(0));
  }

  #sendAll(operations: Operation[]): void {
    if (operations.length === 0) return;
    const [oldest = this.#nextId] = this.#pending.keys();
    // I4: to have settled something is to say that there is a record.
    const answered = this.#isKnown ? oldest - 1 : 0;
    for (const operation of operations) if (operation.type !== "get") operation.settled = answered;
    this.#send(operations);
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
      const pending = [...this.#pending.values()];
      this.#pending.clear();
      for (const one of pending) one.reject(new OutcomeUnknownError());
      this.#endIdle();
      this.#silent();
    }
  }
}

/** Whether an answer is one that the primary has written down; reads, and what never reached it, leave no trace there. */
export function isFromRecord(settled: Settled): boolean {
  if (settled.type === "operation-failed") return settled.code === "conflict" || settled.code === "unconfirmed";
  return settled.type === "operation-ack";
}
