// The updates of the outbox as a page sees them: its own from the moment they are made, and those of other pages and
// earlier days from the moment the worker tells of them.

import type { Settled } from "../src/effects.ts";
import type { Check, Json, JsonValue } from "../src/kv.ts";
import { nameOf, writesOf } from "../src/protocol.ts";
import type { Ack, OperationAck, OperationName, Update } from "../src/protocol.ts";
import type { BatchOperation } from "./door.ts";
import { OperationFailedError, OutcomeUnknownError } from "./errors.ts";
import { QUEUED_FIRST_ID } from "./feed.ts";
import type { FromPage, QueuedUpdate, ToPage } from "./feed.ts";
import { callSafely } from "./mirror.ts";
import type { Request } from "./operations.ts";

/** What the worker's disk has not taken for so long is given up: nobody knows whether it did. */
const KEEP_PATIENCE_MS = 20_000;

const DISMISSED = { code: "dismissed", applied: false, detail: "it was taken out of the outbox" } as const;

/** An update in the outbox. */
export interface PendingUpdate {
  /** Its name, for `dismiss`. */
  readonly id: string;
  /** What it does, in the order in which it was given. */
  readonly operations: readonly BatchOperation[];
  /** What must hold for it. */
  readonly checks: readonly Check[];
  /** Who must have it on disk. */
  readonly ack: Ack;
  /** Whether pages show it already. */
  readonly optimistic: boolean;
  /** When it was made, in milliseconds since 1970. */
  readonly queuedAt: number;
  /** `"storing"`: not on this browser's disk yet; `"queued"`: on it; `"failed"`: refused, and kept until it is dismissed. */
  readonly state: "storing" | "queued" | "failed";
  /** Why it failed. */
  readonly error?: OperationFailedError;
}

/**
 * What has happened to an update of the outbox. `queued`: it is on this browser's disk. `acked`: it is done. `failed`: it
 * was refused; it stays in `pending()` unless it took effect all the same (`error.applied`) or never got in. `dismissed`:
 * it was taken out. `unknown`: it has left the outbox while this page was away, and its end was told to others; or nobody
 * has said that it is in the outbox for too long.
 */
export type PendingEvent =
  | { readonly type: "queued" | "dismissed" | "unknown"; readonly update: PendingUpdate }
  | { readonly type: "acked"; readonly update: PendingUpdate; readonly seq: number; readonly replicas: number }
  | { readonly type: "failed"; readonly update: PendingUpdate; readonly error: OperationFailedError };

export interface PendingUpdatesEvents {
  send(message: FromPage): void;
  /** An update that is to be visible at once has come, */
  shown(name: string, update: Update): void;
  /** and is no longer pending. */
  hidden(name: string): void;
  changed(): void;
}

interface Item {
  queued: QueuedUpdate;
  isKept: boolean;
  /** Whoever has made it, on this page. */
  waiting?: { resolve(ack: OperationAck): void; reject(error: Error): void; timer: ReturnType<typeof setTimeout> };
}

export class PendingUpdates {
  readonly #clientId: string;
  readonly #events: PendingUpdatesEvents;
  readonly #items = new Map<string, Item>();
  readonly #subscribers = new Set<(event: PendingEvent) => void>();
  readonly #dismissing = new Map<string, ((isOut: boolean) => void)[]>();
  readonly #idlers: (() => void)[] = [];
  #nextId = QUEUED_FIRST_ID;
  #fresh: QueuedUpdate[] = [];
  #isClosed = false;

  constructor(clientId: string, events: PendingUpdatesEvents) {
    this.#clientId = clientId;
    this.#events = events;
  }

  /** Those whose end is not known. */
  get size(): number {
    let size = 0;
    for (const { queued } of this.#items.values()) if (!queued.failure) size += 1;
    return size;
  }

  list(): PendingUpdate[] {
    const items = [...this.#items.values()];
    return [...items.filter(({ isKept }) => isKept), ...items.filter(({ isKept }) => !isKept)].map(toPending);
  }

  /** Resolves when the update is acked, however long that takes; rejects when it has failed. */
  submit(request: Exclude<Request, { type: "get" }>, isOptimistic: boolean): Promise<OperationAck> {
    const name = { clientId: this.#clientId, id: this.#nextId };
    this.#nextId += 1;
    const update: Update = { ...request, ...name, settled: 0, repeat: false };
    const queued: QueuedUpdate = { update, isOptimistic, queuedAt: Date.now() };
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#giveUp(nameOf(name)), KEEP_PATIENCE_MS);
      this.#items.set(nameOf(name), { queued, isKept: false, waiting: { resolve, reject, timer } });
      if (isOptimistic) this.#events.shown(nameOf(name), update);
      if (this.#fresh.push(queued) === 1) queueMicrotask(() => this.#flush());
      this.#events.changed();
    });
  }

  /** Whether it is out of the outbox: false if it is on its way, so that nobody can stop it. */
  dismiss(id: string): Promise<boolean> {
    const item = this.#items.get(id);
    if (!item?.isKept || this.#isClosed) return Promise.resolve(false);
    const { clientId, id: number } = item.queued.update;
    return new Promise((resolve) => {
      this.#dismissing.set(id, [...(this.#dismissing.get(id) ?? []), resolve]);
      this.#events.send({ type: "dismiss", name: { clientId, id: number } });
    });
  }

  subscribe(subscriber: (event: PendingEvent) => void): () => void {
    const own = (event: PendingEvent): void => subscriber(event);
    this.#subscribers.add(own);
    return () => void this.#subscribers.delete(own);
  }

  /** Resolves when everything is on disk, or is known not to be. */
  kept(): Promise<void> {
    if (this.#isKept()) return Promise.resolve();
    return new Promise((resolve) => this.#idlers.push(resolve));
  }

  /** Another worker: what the one before may not have kept is given to it again, and so is what was asked of it. */
  askAgain(): void {
    this.#fresh = [...this.#items.values()].filter(({ isKept }) => !isKept).map(({ queued }) => queued);
    // The one before may have kept it, and sent it.
    for (const { update } of this.#fresh) update.repeat = true;
    this.#flush();
    for (const id of this.#dismissing.keys()) {
      const { update } = this.#items.get(id)!.queued;
      this.#events.send({ type: "dismiss", name: { clientId: update.clientId, id: update.id } });
    }
  }

  received(item: Extract<ToPage, { type: "outbox" | "queued" | "unqueued" }>): void {
    if (item.type === "outbox") this.#replace(item.queued);
    else if (item.type === "queued") for (const queued of item.queued) this.#heard(queued);
    else this.#remove(item.name, item.settled);
    this.#changed();
  }

  /** Nobody waits any more; what is in the outbox stays there. */
  close(): void {
    this.#isClosed = true;
    for (const { waiting } of this.#items.values()) {
      clearTimeout(waiting?.timer);
      waiting?.reject(new OutcomeUnknownError());
    }
    for (const id of this.#dismissing.keys()) this.#endDismissal(id, false);
  }

  #changed(): void {
    if (this.#isKept()) for (const resolve of this.#idlers.splice(0)) resolve();
    this.#events.changed();
  }

  #isKept(): boolean {
    for (const { isKept } of this.#items.values()) if (!isKept) return false;
    return true;
  }

  #flush(): void {
    const updates = this.#fresh.splice(0);
    if (updates.length > 0) this.#events.send({ type: "queue", updates });
  }

  /** To be told once more of what is there is to be told that it stays. */
  #heard(queued: QueuedUpdate): void {
    const id = nameOf(queued.update);
    if (this.#items.get(id)?.isKept) this.#endDismissal(id, false);
    this.#put(queued);
  }

  #put(queued: QueuedUpdate): void {
    const id = nameOf(queued.update);
    const old = this.#items.get(id);
    const item: Item = { ...old, queued, isKept: true };
    // What is kept stands in the order in which it was.
    if (!old?.isKept) this.#items.delete(id);
    this.#items.set(id, item);
    if (!old?.isKept) {
      clearTimeout(item.waiting?.timer);
      if (!old && queued.isOptimistic && !queued.failure) this.#events.shown(id, queued.update);
      this.#tell({ type: "queued", update: toPending(item) });
    }
    if (queued.failure && !old?.queued.failure) this.#fail(id, item, new OperationFailedError(queued.failure));
  }

  #remove(name: OperationName, settled: Settled | null): void {
    const id = nameOf(name);
    const item = this.#items.get(id);
    if (!item) return;
    this.#items.delete(id);
    this.#endDismissal(id, settled === null);
    const update = toPending(item);
    // That one worker could not keep it, says nothing about another that was asked, too.
    const isSure = item.isKept || !item.queued.update.repeat;
    if (settled?.type === "operation-failed" && isSure) {
      return this.#fail(id, item, new OperationFailedError(settled));
    }
    this.#events.hidden(id);
    if (settled?.type === "operation-ack") {
      this.#settle(item, (waiting) => waiting.resolve(settled));
      const { seq, replicas } = settled;
      return this.#tell({ type: "acked", update, seq, replicas });
    }
    // Only what was refused or never sent is let out.
    const error = settled ? new OutcomeUnknownError() : new OperationFailedError(DISMISSED);
    this.#settle(item, (waiting) => waiting.reject(error));
    this.#tell({ type: settled ? "unknown" : "dismissed", update });
  }

  #fail(id: string, item: Item, error: OperationFailedError): void {
    this.#events.hidden(id);
    this.#settle(item, (waiting) => waiting.reject(error));
    this.#tell({ type: "failed", update: toPending(item), error });
  }

  /** The whole outbox, after this page was away. */
  #replace(all: readonly QueuedUpdate[]): void {
    const names = new Set(all.map(({ update }) => nameOf(update)));
    for (const [id, { isKept, queued }] of this.#items) {
      if (isKept && !names.has(id)) this.#remove(queued.update, { ...queued.update, type: "outcome-unknown" });
    }
    for (const queued of all) this.#put(queued);
    const inOrder = [...names].map((id): [string, Item] => [id, this.#items.get(id)!]);
    for (const [id] of inOrder) this.#items.delete(id);
    for (const [id, item] of inOrder) this.#items.set(id, item);
  }

  #giveUp(id: string): void {
    const item = this.#items.get(id)!;
    this.#items.delete(id);
    this.#events.hidden(id);
    this.#settle(item, (waiting) => waiting.reject(new OutcomeUnknownError()));
    this.#tell({ type: "unknown", update: toPending(item) });
    this.#changed();
  }

  #settle(item: Item, settle: (waiting: NonNullable<Item["waiting"]>) => void): void {
    const { waiting } = item;
    if (!waiting) return;
    delete item.waiting;
    clearTimeout(waiting.timer);
    settle(waiting);
  }

  #endDismissal(id: string, isOut: boolean): void {
    for (const resolve of this.#dismissing.get(id) ?? []) resolve(isOut);
    this.#dismissing.delete(id);
  }

  #tell(event: PendingEvent): void {
    for (const subscriber of this.#subscribers) callSafely(() => subscriber(event));
  }
}

function toPending({ queued, isKept }: Item): PendingUpdate {
  const { update, isOptimistic, queuedAt, failure } = queued;
  const operations = writesOf(update).map((write): BatchOperation => {
    if ("removed" in write) return { remove: { key: write.key } };
    return { insert: { key: write.key, value: parse(write.json) } };
  });
  return {
    id: nameOf(update),
    operations,
    checks: update.type === "batch" ? update.checks : [],
    ack: update.ack,
    optimistic: isOptimistic,
    queuedAt,
    state: failure ? "failed" : isKept ? "queued" : "storing",
    ...(failure && { error: new OperationFailedError(failure) }),
  };
}

const parse = (json: Json): JsonValue => JSON.parse(json) as JsonValue;
