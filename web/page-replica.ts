// The handle that a page holds on its replica: reads from the mirror, sends operations to the worker, and survives the
// worker's end, the page's freezing and its return from the back-forward cache.

import type { SecondaryStatus } from "../src/effects.ts";
import { isCovered } from "../src/kv.ts";
import type { Change, Write } from "../src/kv.ts";
import { writesOf } from "../src/protocol.ts";
import type { OperationAck } from "../src/protocol.ts";
import type { StoreSchema } from "../src/schema.ts";
import { OrderedMap } from "../src/store.ts";
import { demandRight, toAck, toBatch, toJson, toKey } from "./door.ts";
import type { BatchOperation, ReplicaBatchOptions, ReplicaUpdateOptions, TokenSource } from "./door.ts";
import { OperationFailedError } from "./errors.ts";
import { parseChanges, takeInSlices, unpackPage } from "./feed.ts";
import type { Fault, ReplicaSettings, StepLines, ToPage, WholeState } from "./feed.ts";
import { Link } from "./link.ts";
import type { WorkerFactory } from "./link.ts";
import { Mirror, callSafely, gather } from "./mirror.ts";
import type { Interest, ListOptions, ReadonlyEntry, ReadonlyJson, Subscriber } from "./mirror.ts";
import { Operations } from "./operations.ts";
import type { Request } from "./operations.ts";
import type { PendingWrite } from "./overlay.ts";
import { PendingUpdates } from "./pending-updates.ts";
import type { PendingEvent, PendingUpdate } from "./pending-updates.ts";
import { randomId } from "./random-id.ts";
import { openReplicas } from "./registry.ts";
import type { OpenReplica, OperationObserver } from "./registry.ts";

/** An update is done: at which seq, and how many in-sync secondaries had it on disk when it was acknowledged. */
export interface Acknowledged {
  /** The store's revision with the update; where it changed nothing, that which it found. */
  seq: number;
  /** Secondaries, the writer's own among them, if it is in sync. */
  replicas: number;
}

/**
 * Where the replica stands. `pending` counts this page's operations and what is in the outbox, everything else is the
 * replica's. `persisted` is null while it is kept in memory only, and `lastError` then says why, if it should not be.
 */
export type ReplicaStatus = Readonly<SecondaryStatus>;

/** How far a replica is to have come, and until when that is waited for. */
export interface CaughtUpOptions {
  /** Wait for this seq; left out, for everything that the primary is known to have. */
  atLeast?: number;
  /** Ends the wait; the promise then rejects with the signal's reason. */
  signal?: AbortSignal;
}

/**
 * A page's handle on its replica of one store. Reads are local and synchronous and show the store as it was at one seq,
 * never a batch in part and never an older state than before. What they return is shared: do not change it.
 *
 * Updates reject with OperationFailedError, whose `applied` says whether they took effect, or OutcomeUnknownError.
 */
export interface Replica {
  /** The value of a key; undefined if there is none. */
  get(key: string): ReadonlyJson | undefined;
  /** The entry of a key, with the seq of its last write; undefined if there is none. */
  entry(key: string): ReadonlyEntry | undefined;
  /** The entries of a range in the order of their keys (by UTF-8 bytes). */
  list(options?: ListOptions): ReadonlyEntry[];
  /** Sets a key's value. Resolves when everyone whom `ack` names has it on disk, and this page shows it. */
  insert(key: string, value: ReadonlyJson, options?: ReplicaUpdateOptions): Promise<Acknowledged>;
  /** Removes a key; one that is absent is acknowledged too. */
  remove(key: string, options?: ReplicaUpdateOptions): Promise<Acknowledged>;
  /** Applies operations at once and whole, at one seq, if all checks hold; else it fails as `conflict`. */
  batch(operations: readonly BatchOperation[], options?: ReplicaBatchOptions): Promise<Acknowledged>;
  /** The value of a key as the primary has it now (linearizable); undefined if there is none. */
  getFromPrimary(key: string): Promise<ReadonlyJson | undefined>;
  /**
   * Calls back once for each step of the visible state that concerns the key or range, with all its changes, after it
   * has become readable. Returns what ends the subscription.
   */
  subscribe(interest: Interest, subscriber: Subscriber): () => void;
  /** Where the replica stands: the same object until something changes. */
  readonly status: ReplicaStatus;
  /** Calls back after `status` has changed. Returns what ends the subscription. */
  subscribeStatus(subscriber: (status: ReplicaStatus) => void): () => void;
  /** Resolves when the visible state has come as far as is asked for; rejects if the replica is closed first. */
  caughtUp(options?: CaughtUpOptions): Promise<void>;
  /** The updates in this browser's outbox, in their order: those made with `queue`, on whichever page and day. */
  pending(): PendingUpdate[];
  /** Calls back when an update of the outbox has come, has found its end, or has failed. Returns what ends the subscription. */
  subscribePending(subscriber: (event: PendingEvent) => void): () => void;
  /** Takes an update that has failed or was never sent out of the outbox; false if it is on its way. */
  dismiss(id: string): Promise<boolean>;
  /**
   * Asks the browser not to evict what it stores for this origin when space runs short; some ask the person. False if
   * it does not promise that.
   */
  requestPersistence(): Promise<boolean>;
  /**
   * Waits for the answers to what was asked, then lets the replica go. Reading goes on, from where it stands. What is
   * in the outbox stays there.
   */
  close(): Promise<void>;
}

/** A worker that was lost again and again is started after a wait that doubles up to this. */
const RELINK_CAP_MS = 10_000;

/** How often a replica of some prefixes asks on behalf of those who wait for a seq. */
const REFRESH_MS = 500;

interface Waiter {
  isDue(): boolean;
  resolve(): void;
  reject(reason: unknown): void;
}

/** What a page brings for its replica. */
export interface PageMeans {
  tokens: TokenSource | undefined;
  makeWorker: WorkerFactory;
  schema: StoreSchema | undefined;
}

export class PageReplica implements Replica {
  readonly #settings: ReplicaSettings;
  readonly #tokens: TokenSource | undefined;
  readonly #makeWorker: WorkerFactory;
  readonly #schema: StoreSchema | undefined;
  readonly #clientId = randomId();
  readonly #mirror = new Mirror();
  readonly #operations: Operations;
  readonly #pending: PendingUpdates;
  readonly #statusSubscribers = new Set<(status: ReplicaStatus) => void>();
  readonly #waiters = new Set<Waiter>();
  readonly #observers = new Set<OperationObserver>();
  readonly #listening = new AbortController();
  /** Who wants which. */
  readonly #faults = new Map<object, readonly Fault[]>();
  #link: Link | undefined;
  /** What has come over the link and is not taken yet. */
  #inbox: ToPage[] = [];
  #isReading = false;
  /** The entries of a state that is to come. */
  #ahead: Promise<Entries> | undefined;
  #relinkTimer: ReturnType<typeof setTimeout> | undefined;
  #refreshTimer: ReturnType<typeof setTimeout> | undefined;
  #losses = 0;
  /** Rises when a worker hangs: asking for it by its name would give the same one again. */
  #generation = 0;
  #shows = 0;
  #isHidden = false;
  #isClosed = false;
  #reported: SecondaryStatus = STATUS_BEFORE;
  #status: ReplicaStatus = STATUS_BEFORE;
  #opening: { resolve(): void; reject(reason: Error): void } | undefined;

  private constructor(settings: ReplicaSettings, { tokens, makeWorker, schema }: PageMeans) {
    this.#settings = settings;
    this.#tokens = tokens;
    this.#makeWorker = makeWorker;
    this.#schema = schema;
    this.#operations = new Operations(
      this.#clientId,
      (operations) => {
        this.#link?.send({ type: "operate", operations });
        this.#updateStatus();
      },
      () => {
        this.#link?.close();
        this.#lost(new Error("the replica's worker does not answer"), true);
      },
    );
    this.#pending = new PendingUpdates(randomId(), {
      send: (message) => this.#link?.send(message),
      shown: (name, update) => this.#show(name, update),
      hidden: (name) => this.#mirror.removePending(name),
      changed: () => this.#updateStatus(),
    });
  }

  /** Resolves when there is a state to read. */
  static async open(settings: ReplicaSettings, means: PageMeans): Promise<PageReplica> {
    const replica = new PageReplica(settings, means);
    await new Promise<void>((resolve, reject) => {
      replica.#opening = { resolve, reject };
      replica.#connect();
    });
    replica.#followLifecycle();
    replica.#register();
    return replica;
  }

  /** Tools that look at a page from outside find its open replicas, and what can be done to them. */
  #register(): void {
    const { url } = this.#settings;
    const open: OpenReplica = {
      url,
      replica: this,
      setFaults: (owner, faults) => {
        this.#faults.set(owner, faults);
        this.#link?.send({ type: "faults", faults: this.#wantedFaults });
      },
      drop: () => this.#link?.send({ type: "drop" }),
      wipe: () => this.#link?.send({ type: "wipe" }),
      observe: (observer) => {
        this.#observers.add(observer);
        return () => void this.#observers.delete(observer);
      },
    };
    openReplicas().add(open);
    this.#listening.signal.addEventListener("abort", () => openReplicas().delete(open));
  }

  get #wantedFaults(): Fault[] {
    return [...new Set([...this.#faults.values()].flat())];
  }

  get(key: string): ReadonlyJson | undefined {
    return this.#mirror.entry(key)?.value;
  }

  entry(key: string): ReadonlyEntry | undefined {
    return this.#mirror.entry(key);
  }

  list(options?: ListOptions): ReadonlyEntry[] {
    return this.#mirror.list(options);
  }

  async insert(key: string, value: ReadonlyJson, options: ReplicaUpdateOptions = {}): Promise<Acknowledged> {
    this.#mustBeOpen();
    demandRight(this.#schema, [{ insert: { key, value } }]);
    return this.#update({ type: "insert", key: toKey(key), json: toJson(value), ack: toAck(options.ack) }, options);
  }

  async remove(key: string, options: ReplicaUpdateOptions = {}): Promise<Acknowledged> {
    this.#mustBeOpen();
    return this.#update({ type: "remove", key: toKey(key), ack: toAck(options.ack) }, options);
  }

  async batch(operations: readonly BatchOperation[], options: ReplicaBatchOptions = {}): Promise<Acknowledged> {
    this.#mustBeOpen();
    demandRight(this.#schema, operations);
    const { ack, checks } = options;
    return this.#update({ type: "batch", ...toBatch(operations, checks), ack: toAck(ack) }, options);
  }

  async getFromPrimary(key: string): Promise<ReadonlyJson | undefined> {
    this.#mustBeOpen();
    const answer = await this.#operations.submit({ type: "get", key: toKey(key) });
    if (answer.type !== "get-result" || !answer.entry) return undefined;
    return JSON.parse(answer.entry.value) as ReadonlyJson;
  }

  subscribe(interest: Interest, subscriber: Subscriber): () => void {
    return this.#mirror.subscribe(interest, subscriber);
  }

  get status(): ReplicaStatus {
    return this.#status;
  }

  subscribeStatus(subscriber: (status: ReplicaStatus) => void): () => void {
    // Each subscription is its own, even if the same function subscribes twice.
    const own = (status: ReplicaStatus): void => subscriber(status);
    this.#statusSubscribers.add(own);
    return () => void this.#statusSubscribers.delete(own);
  }

  caughtUp({ atLeast, signal }: CaughtUpOptions = {}): Promise<void> {
    const isDue = (): boolean => {
      if (atLeast !== undefined) return this.#mirror.seq >= atLeast;
      const { state, head } = this.#reported;
      return state === "following" && this.#mirror.seq >= head;
    };
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      if (isDue()) return resolve();
      if (this.#isClosed) return reject(closedError());
      const waiter: Waiter = { isDue, resolve, reject };
      this.#waiters.add(waiter);
      if (atLeast !== undefined && this.#settings.prefixes) this.#refresh();
      signal?.addEventListener("abort", () => {
        this.#waiters.delete(waiter);
        reject(signal.reason as Error);
      });
    });
  }

  /** A replica of some prefixes is not told of other writes, so its seq stands still until it asks (R2). */
  #refresh(): void {
    clearTimeout(this.#refreshTimer);
    if (this.#waiters.size === 0) return;
    this.#link?.send({ type: "refresh" });
    this.#refreshTimer = setTimeout(() => this.#refresh(), REFRESH_MS);
  }

  pending(): PendingUpdate[] {
    return this.#pending.list();
  }

  subscribePending(subscriber: (event: PendingEvent) => void): () => void {
    return this.#pending.subscribe(subscriber);
  }

  dismiss(id: string): Promise<boolean> {
    return this.#pending.dismiss(id);
  }

  async requestPersistence(): Promise<boolean> {
    // Undefined on pages without a secure context, whatever the types say.
    const storage = navigator.storage as StorageManager | undefined;
    return (await storage?.persist?.()) ?? false;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await Promise.all([this.#operations.idle(), this.#pending.kept()]);
    this.#pending.close();
    this.#listening.abort();
    clearTimeout(this.#relinkTimer);
    clearTimeout(this.#refreshTimer);
    this.#letGo("offline");
    for (const waiter of this.#waiters) waiter.reject(closedError());
    this.#waiters.clear();
  }

  async #update(
    request: UpdateRequest,
    { optimistic = false, queue = false }: ReplicaUpdateOptions,
  ): Promise<Acknowledged> {
    if (queue && this.#settings.durability === "memory") throw new OperationFailedError(NOTHING_KEPT);
    const ended = queue ? this.#pending.submit(request, optimistic) : this.#submit(request, optimistic);
    for (const observer of this.#observers) callSafely(() => observer(ended));
    const { seq, replicas } = await ended;
    return { seq, replicas };
  }

  async #submit(request: UpdateRequest, isOptimistic: boolean): Promise<OperationAck> {
    this.#shows += 1;
    const name = `shown ${this.#shows}`;
    if (isOptimistic) this.#show(name, request);
    try {
      return (await this.#operations.submit(request)) as OperationAck;
    } finally {
      if (isOptimistic) this.#mirror.removePending(name);
    }
  }

  /** Lays an update over the mirror, as far as this replica holds such keys. */
  #show(name: string, update: UpdateRequest): void {
    const { prefixes } = this.#settings;
    const isHeld = ({ key }: { key: string }): boolean => isCovered(key, prefixes);
    // Of other keys nothing is known here; the primary knows whether their checks hold.
    const checks = update.type === "batch" ? update.checks.filter(isHeld) : [];
    this.#mirror.addPending(name, writesOf(update).filter(isHeld).map(toPendingWrite), checks);
  }

  #mustBeOpen(): void {
    if (this.#isClosed) throw closedError();
  }

  // --- the link to the worker

  #connect(): void {
    const hasTokens = typeof this.#tokens === "function";
    const opening = {
      settings: this.#settings,
      clientId: this.#clientId,
      hasTokens,
      faults: this.#wantedFaults,
      ...(typeof this.#tokens === "string" && { token: this.#tokens }),
    };
    this.#link = new Link(this.#makeWorker, opening, this.#generation, {
      started: () => this.#operations.begin(),
      received: (items) => this.#received(items),
      lost: (reason, isHung) => this.#lost(reason, isHung),
    });
  }

  /** Another worker, or the same once more: what is unanswered is asked again there. */
  #relink(): void {
    clearTimeout(this.#relinkTimer);
    this.#link?.close();
    this.#operations.suspend();
    this.#connect();
    this.#pending.askAgain();
  }

  #lost(reason: Error, isHung: boolean): void {
    this.#link = undefined;
    this.#inbox = [];
    if (isHung) this.#generation += 1;
    // The first one may have been hung before this page came; there is no third attempt.
    if (this.#opening && (!isHung || this.#losses > 0)) return this.#opening.reject(reason);
    if (this.#isHidden) return;
    this.#operations.suspend();
    this.#reported = { ...this.#reported, state: "offline", inSync: false, lastError: reason.message };
    this.#updateStatus();
    const delayMs = this.#losses === 0 ? 0 : Math.min(RELINK_CAP_MS, 100 * 2 ** this.#losses);
    this.#losses += 1;
    this.#relinkTimer = setTimeout(() => this.#relink(), delayMs);
  }

  #received(items: ToPage[]): void {
    this.#losses = 0;
    for (const item of items) this.#inbox.push(item);
    if (!this.#isReading) void this.#readInbox();
  }

  /** Takes items in their order; one that takes long to read lets others wait, but not the rest of the page. */
  async #readInbox(): Promise<void> {
    this.#isReading = true;
    try {
      for (let item = this.#inbox.shift(); item; item = this.#inbox.shift()) {
        if (item.type === "ahead") this.#ahead = gatherPages(item.pages);
        else if (item.type === "state") this.#takeState(item.state, await this.#entriesOf(item.state));
        else if (item.type === "step" && item.step.lines.length > 1)
          this.#takeStep(item.step, await readStep(item.step));
        else this.#take(item);
      }
    } finally {
      this.#isReading = false;
    }
    this.#hasTaken();
  }

  async #entriesOf({ epoch, seq, pages }: WholeState): Promise<Entries> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    if (this.#mirror.hasSeen(epoch, seq)) return new OrderedMap();
    return pages ? gatherPages(pages) : ((await ahead) ?? new OrderedMap());
  }

  #takeState({ epoch, seq }: WholeState, changes: Entries): void {
    // A worker that begins with what is on disk may be behind the one before it, which this page has seen.
    if (!this.#mirror.hasSeen(epoch, seq)) this.#mirror.apply({ epoch, prev: 0, seq, reset: true, changes });
    this.#opened();
  }

  #takeStep(step: StepLines, changes: Change[] | Entries): void {
    this.#mirror.apply({ ...step, changes });
    this.#opened();
  }

  #take(item: Exclude<ToPage, { type: "ahead" | "state" }>): void {
    switch (item.type) {
      case "step":
        return this.#takeStep(item.step, item.step.lines.flatMap(parseChanges));
      case "settled":
        return this.#operations.settle(item.settled);
      case "status":
        this.#reported = item.status;
        return;
      case "ask-again":
        return this.#operations.askAgain();
      case "outbox":
      case "queued":
      case "unqueued":
        return this.#pending.received(item);
      case "token-wanted":
        return void this.#sendToken();
      case "pong":
        return;
    }
  }

  #hasTaken(): void {
    this.#updateStatus();
    for (const waiter of this.#waiters) {
      if (!waiter.isDue()) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
  }

  async #sendToken(): Promise<void> {
    const link = this.#link;
    let token: string | undefined;
    try {
      if (typeof this.#tokens === "function") token = await this.#tokens();
    } catch (error) {
      reportError(error);
    }
    if (link === this.#link) link?.send({ type: "token", token: token ?? null });
  }

  #opened(): void {
    this.#opening?.resolve();
    this.#opening = undefined;
  }

  #updateStatus(): void {
    const { epoch, seq } = this.#mirror;
    const head = Math.max(this.#reported.head, seq);
    const status: ReplicaStatus = {
      ...this.#reported,
      epoch,
      seq,
      head,
      pending: this.#operations.size + this.#pending.size,
    };
    const old = this.#status;
    if ((Object.keys(status) as (keyof ReplicaStatus)[]).every((name) => status[name] === old[name])) return;
    this.#status = Object.freeze(status);
    for (const subscriber of this.#statusSubscribers) callSafely(() => subscriber(status));
  }

  // --- the page's life

  /** A page that is hidden for good, or may be frozen any moment, must not be waited for, nor pile up messages. */
  #followLifecycle(): void {
    if (typeof document === "undefined") return; // A program that is no page neither freezes nor hides.
    const { signal } = this.#listening;
    const hide = (): void => this.#hide();
    const show = (): void => this.#return();
    const hurry = (): void => this.#link?.send({ type: "hurry" });
    addEventListener("online", hurry, { signal });
    addEventListener("pagehide", hide, { signal });
    addEventListener("pageshow", show, { signal });
    document.addEventListener("freeze", hide, { signal });
    document.addEventListener("resume", show, { signal });
    document.addEventListener(
      "visibilitychange",
      () => {
        if (document.visibilityState === "visible") hurry();
      },
      { signal },
    );
  }

  #hide(): void {
    this.#isHidden = true;
    clearTimeout(this.#relinkTimer);
    this.#operations.pause();
    this.#letGo("paused");
  }

  /** Without a link nobody counts on this page, and it knows of nothing new. */
  #letGo(state: "paused" | "offline"): void {
    this.#link?.close();
    this.#link = undefined;
    this.#inbox = [];
    this.#reported = { ...this.#reported, state, inSync: false };
    this.#updateStatus();
  }

  #return(): void {
    if (!this.#isHidden) return;
    this.#isHidden = false;
    this.#relink();
  }
}

const STATUS_BEFORE: SecondaryStatus = Object.freeze({
  state: "offline",
  epoch: null,
  seq: 0,
  head: 0,
  lagMs: 0,
  secondaryId: null,
  inSync: false,
  persisted: null,
  pending: 0,
  lastError: null,
});

type UpdateRequest = Exclude<Request, { type: "get" }>;

const toPendingWrite = (write: Write): PendingWrite =>
  "removed" in write ? write : { key: write.key, value: JSON.parse(write.json) as ReadonlyJson };

const NOTHING_KEPT = {
  code: "bad-request",
  applied: false,
  detail: 'a replica with durability "memory" keeps nothing, and so has no outbox',
} as const;

const closedError = (): Error => new Error("the replica is closed");

type Entries = OrderedMap<ReadonlyEntry>;

async function gatherPages(pages: readonly string[]): Promise<Entries> {
  const entries: Entries = new OrderedMap();
  await takeInSlices(pages, (page) => gather(unpackPage(page) ?? [], entries));
  return entries;
}

/** What a step changes; of a reset, what it leads to. */
async function readStep({ reset, lines }: StepLines): Promise<Change[] | Entries> {
  const entries: Entries = new OrderedMap();
  const changes: Change[] = [];
  await takeInSlices(lines, (line) => {
    if (reset) gather(parseChanges(line), entries);
    else for (const change of parseChanges(line)) changes.push(change);
  });
  return reset ? entries : changes;
}
