// Updates that are kept on disk until their end is known: through reloads, closed browsers and days without a network.
//
//   take --> kept on disk --its turn--> noted as sent --> sent --ack--> gone
//               ^                                          |--refused for good--> kept as failed --dismiss--> gone
//               +---- no answer, or not now ---------------+
//
// All workers of this browser share one outbox per store, and the holder of its lock sends (outbox-sender.ts). Should two of
// them send for a while, a name makes an update happen once (I1).

import type { Settled } from "../../src/effects.ts";
import { OUTCOME_PATIENCE_MS, QUEUED_UPDATES_MAX } from "../../src/limits.ts";
import { nameOf } from "../../src/protocol.ts";
import type { FailureCode, OperationName, Update } from "../../src/protocol.ts";
import type { QueuedUpdate, ToPage } from "../feed.ts";
import { FullError, KeptUpdates } from "./kept-updates.ts";
import { hasLocks } from "./lock.ts";
import type { Tenure } from "./lock.ts";
import type { Kept, OutboxMemory, OutboxPersistence } from "./outbox-persistence.ts";
import { OutboxSender } from "./outbox-sender.ts";
import type { Word } from "./outbox-sender.ts";

/** A disk that could not be read is read again after this, and after twice as long each time. */
const RETRY_BASE_MS = 250;
const RETRY_CAP_MS = 30_000;

/** So many ends are remembered, for pages that were away and ask again. */
const ENDS_MAX = QUEUED_UPDATES_MAX;
/** One who does not send waits so long for what the one who does puts back into a database that was emptied. */
const PUT_BACK_MS = 2000;

export interface OutboxEvents {
  /** Feeds updates to the machine, all in one turn. Their answers come back by `settled`. */
  operate(updates: Update[]): void;
  /** For all pages of this worker. */
  publish(item: ToPage): void;
  /** Waits for the lock of the one who sends; undefined once `signal` has ended the wait, or without locks. */
  waitForTurn(signal: AbortSignal): Promise<Tenure | undefined>;
  /** Whether pages of this worker will show what an update did at `seq`, but do not yet. */
  isYetToShow(update: Update, seq: number): boolean;
}

/** The one who sent before may have died before it could tell what it had done. */
type Succession = { type: "anew" };

export class DurableOutbox {
  readonly #store: OutboxPersistence;
  readonly #events: OutboxEvents;
  readonly #ended = new AbortController();
  readonly #channel: BroadcastChannel;
  readonly #kept = new KeptUpdates();
  readonly #sender: OutboxSender;
  /** The latest ends, by name. */
  readonly #ends = new Map<string, Settled | null>();
  /** What was acked and is not visible here yet (O3), by name. */
  readonly #ahead = new Map<string, { kept: Kept; seq: number; tell: () => void }>();
  /** It has been read what is on disk. */
  #isRead = false;
  /** What was told while it was being read what is on disk. */
  readonly #missed = new Set<Word[]>();
  #isPursuing = false;

  constructor(name: string, openStore: (memory: OutboxMemory) => OutboxPersistence, events: OutboxEvents) {
    this.#store = openStore({
      readKept: () => (this.#sender.isOwner ? [...this.#kept.values()].map(suspectSent) : []),
      interrupted: () => void this.#readAnew(),
    });
    this.#events = events;
    this.#sender = new OutboxSender(this.#store, this.#kept, {
      operate: (updates) => events.operate(updates),
      tell: (word) => this.#tell(word),
      readAgain: () => this.#readWithOthers(this.#ended.signal),
    });
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Word | Succession>) => {
      if (data.type === "anew") void this.#read(this.#ended.signal);
      else this.#hear(data);
    };
  }

  /** Reads what is kept. */
  async start(): Promise<void> {
    const isRead = await this.#load();
    const late = isRead ? Promise.resolve() : this.#read(this.#ended.signal);
    // Whoever put there what is found may have died before the one who sends had heard of it.
    void late.then(() => {
      if (this.#kept.size > 0) this.#callAnew();
    });
  }

  /** All of it, for a page; undefined while nobody knows. */
  get queued(): QueuedUpdate[] | undefined {
    if (!this.#isRead) return undefined;
    return [...[...this.#ahead.values()].map(({ kept }) => kept), ...this.#kept.values()];
  }

  /** Keeps updates; whoever gave them hears that they are on disk, or that they could not be kept. */
  async take(updates: readonly QueuedUpdate[]): Promise<void> {
    const { fitting, refused, reason, release } = this.#kept.reserve(updates.filter((one) => !this.#hasEnded(one)));
    for (const { update } of refused) this.#refuse(update, reason);
    try {
      if (fitting.length > 0) await this.#add(fitting);
    } catch (error) {
      for (const { update } of fitting) this.#refuse(update, error);
      // What a page asks for again may be kept by a worker that did not live to tell.
      if (fitting.some(({ update }) => update.repeat)) void this.#read(this.#ended.signal);
    } finally {
      release();
    }
  }

  /** Takes out what has failed or was never sent; of anything else pages are told once more how it stands. */
  async dismiss(name: OperationName): Promise<void> {
    if (!this.#kept.has(nameOf(name))) return this.#publishEnd(name, unknown(name));
    // Only the disk knows what other workers have sent.
    const isOut = await this.#store.dismiss(nameOf(name)).catch(() => false);
    if (isOut) return this.#tell({ type: "gone", name, settled: null });
    const still = this.#kept.get(nameOf(name));
    if (still) this.#events.publish({ type: "queued", queued: [still] });
  }

  /** Whether the machine has joined, so that what it is fed leaves at once. */
  setOpen(isOpen: boolean): void {
    this.#sender.setOpen(isOpen);
  }

  /** The machine has begun anew and knows of nothing. */
  askAgain(): void {
    this.#sender.askAgain();
  }

  /** Takes the answer to one of its own. */
  settled(settled: Settled): void {
    this.#sender.settled(settled);
  }

  /** More is visible here than before. */
  shown(): void {
    for (const { kept, seq, tell } of this.#ahead.values()) {
      if (!this.#events.isYetToShow(kept.update, seq)) tell();
    }
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    this.#sender.stop();
    for (const { tell } of this.#ahead.values()) tell();
    // What is being written is told, too.
    await this.#store.close();
    this.#channel.close();
  }

  // --- what is kept

  /** So that nobody goes by what is no longer true. */
  #readWithOthers(end: AbortSignal): Promise<void> {
    if (!end.aborted) this.#callAnew();
    return this.#read(end);
  }

  /** The disk was emptied. For its owner to read it is to put back what is missing, and then the others are to see that. */
  async #readAnew(): Promise<void> {
    const { isOwner } = this.#sender;
    if (!isOwner && this.#kept.size > 0) await pause(PUT_BACK_MS, this.#ended.signal);
    await this.#read(this.#ended.signal);
    if (isOwner) this.#callAnew();
  }

  #callAnew(): void {
    if (!this.#ended.signal.aborted) this.#channel.postMessage({ type: "anew" } satisfies Succession);
  }

  /** Reads what is on disk, as soon as that can be done. */
  async #read(end: AbortSignal): Promise<void> {
    for (let delayMs = RETRY_BASE_MS; !end.aborted && !(await this.#load()); delayMs *= 2) {
      await pause(Math.min(RETRY_CAP_MS, delayMs), end);
    }
  }

  /** Reads what is on disk, for all pages; false if that cannot be done now. */
  async #load(): Promise<boolean> {
    const missed: Word[] = [];
    this.#missed.add(missed);
    const kept = await this.#store.load().catch(() => undefined);
    this.#missed.delete(missed);
    if (!kept) return false;
    this.#kept.clear();
    for (const one of kept) this.#put(one);
    for (const word of missed) this.#note(word);
    this.#isRead = true;
    this.#events.publish({ type: "outbox", queued: this.queued! });
    if (this.#kept.size > 0) this.#pursue();
    return true;
  }

  #put(kept: Kept): void {
    const name = nameOf(kept.update);
    // One worker has taken it out while another still told how it stands.
    if (this.#ends.get(name) === null) return;
    this.#ends.delete(name);
    this.#kept.put(kept);
  }

  async #add(updates: readonly QueuedUpdate[]): Promise<void> {
    // A page that asks again does not know whether it was sent in its absence.
    const { kept, ended } = await this.#store.add(
      updates.map((queued) => (queued.update.repeat ? { sentAt: queued.queuedAt, ...queued } : queued)),
    );
    this.#tell({ type: "kept", kept });
    for (const { name, settled } of ended) this.#publishEnd(name, settled);
  }

  /** Whether its end is known here; then whoever has asked is told of it. */
  #hasEnded({ update }: QueuedUpdate): boolean {
    const name = nameOf(update);
    const end = this.#ends.get(name);
    if (end === undefined) return false;
    if (!this.#ahead.has(name)) this.#publishEnd(update, end);
    return true;
  }

  /** An update could not be kept, unless it was kept before. */
  #refuse(update: Update, error: unknown): void {
    const { clientId, id } = update;
    const kept = this.#kept.get(nameOf(update));
    if (kept) return this.#events.publish({ type: "queued", queued: [kept] });
    // One that was given to another worker before may be kept by that one.
    if (update.repeat) return this.#publishEnd(update, unknown(update));
    const [code, detail] = explain(error);
    this.#publishEnd(update, { type: "operation-failed", clientId, id, code, applied: false, detail });
  }

  #publishEnd({ clientId, id }: OperationName, settled: Settled | null): void {
    this.#events.publish({ type: "unqueued", name: { clientId, id }, settled });
  }

  #tell(word: Word): void {
    this.#channel.postMessage(word);
    this.#hear(word);
  }

  #hear(word: Word): void {
    for (const missed of this.#missed) missed.push(word);
    const kept = word.type === "gone" ? this.#kept.get(nameOf(word.name)) : undefined;
    this.#note(word);
    if (word.type === "kept") {
      const queued = word.kept.flatMap(({ update }) => this.#kept.get(nameOf(update)) ?? []);
      this.#events.publish({ type: "queued", queued });
    } else if (!kept || !this.#await(kept, word.settled)) {
      this.#publishEnd(word.name, word.settled);
    }
    if (this.#kept.size > 0) this.#pursue();
    this.#sender.advance();
  }

  #note(word: Word): void {
    if (word.type === "kept") {
      for (const kept of word.kept) this.#put(kept);
      return;
    }
    const name = nameOf(word.name);
    const kept = this.#kept.get(name);
    this.#kept.drop(name);
    this.#ends.set(name, word.settled);
    for (const [oldest] of this.#ends) {
      if (this.#ends.size <= ENDS_MAX) break;
      this.#ends.delete(oldest);
    }
    if (kept) this.#sender.gone(kept);
  }

  /** O3: an ack that came late, or that another worker was given, waits until the write is visible here, too; for so long as any ack would. */
  #await(kept: Kept, settled: Settled | null): boolean {
    if (settled?.type !== "operation-ack" || !this.#events.isYetToShow(kept.update, settled.seq)) return false;
    const name = nameOf(kept.update);
    const tell = (): void => {
      clearTimeout(timer);
      if (this.#ahead.delete(name)) this.#publishEnd(kept.update, settled);
    };
    const timer = setTimeout(tell, OUTCOME_PATIENCE_MS);
    this.#ahead.set(name, { kept, seq: settled.seq, tell });
    return true;
  }

  // --- who sends

  #pursue(): void {
    if (this.#isPursuing) return;
    this.#isPursuing = true;
    void this.#own();
  }

  async #own(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      const tenure = await this.#events.waitForTurn(signal);
      // Without locks everyone sends.
      if (tenure || (!signal.aborted && !hasLocks())) await this.#rule(tenure);
      else return;
    }
  }

  /** Sends, for as long as the lock is held. */
  async #rule(tenure: Tenure | undefined): Promise<void> {
    const over = new AbortController();
    const end = over.signal;
    this.#ended.signal.addEventListener("abort", () => over.abort());
    if (this.#ended.signal.aborted) over.abort();
    void tenure?.lost.then(() => over.abort());
    await this.#readWithOthers(end);
    if (!end.aborted) {
      this.#sender.setOwner(true);
      await pause(undefined, end);
      this.#sender.setOwner(false);
    }
    tenure?.release();
  }
}

/** Others may have sent it since it was last read here. */
const suspectSent = (kept: Kept): Kept => ({ sentAt: kept.queuedAt, ...kept });

const unknown = ({ clientId, id }: OperationName): Settled => ({ type: "outcome-unknown", clientId, id });

/** Waits until the time is over, if one is given, or `signal` ends the wait. */
function pause(delayMs: number | undefined, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = delayMs === undefined ? undefined : setTimeout(resolve, delayMs);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** What a program is told of an update that could not be kept. */
function explain(error: unknown): [code: FailureCode, detail: string] {
  if (error instanceof FullError) return ["overloaded", error.message];
  const { name } = error as Error;
  return [name === "QuotaExceededError" ? "storage-full" : "unavailable", `it could not be kept: ${String(error)}`];
}
