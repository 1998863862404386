// Updates that are kept on disk until their end is known: through reloads, closed browsers and days without a network.
//
//   take --> kept on disk --its turn--> noted as sent --> sent --ack--> gone
//               ^                                          |--refused for good--> kept as failed --dismiss--> gone
//               +---- no answer, or not now ---------------+
//
// They are sent in waves, in their order. A wave leaves as one frame, and the next one when all of it is answered: nothing
// overtakes what was queued before it.
//
// All workers of this browser share one outbox per store, and the holder of its lock sends. Should two of them send for a
// while, a name makes an update happen once (I1).

import { encodeUpstream } from "../../src/codec.ts";
import type { Settled } from "../../src/effects.ts";
import { utf8Length } from "../../src/kv.ts";
import type { Write } from "../../src/kv.ts";
import { CLIENT_LEASE_MS, FRAME_BYTES_MAX, QUEUED_BYTES_MAX, QUEUED_UPDATES_MAX } from "../../src/limits.ts";
import { nameOf, writesOf } from "../../src/protocol.ts";
import type { FailureCode, OperationName, Update } from "../../src/protocol.ts";
import type { QueuedUpdate, ToPage } from "../feed.ts";
import { isFromRecord } from "../operations.ts";
import { hasLocks, waitForLock } from "./lock.ts";
import type { Tenure } from "./lock.ts";
import type { Conclusion, Kept, OutboxPersistence } from "./outbox-persistence.ts";

const WAVE_UPDATES_MAX = 200;
const WAVE_BYTES_MAX = FRAME_BYTES_MAX / 2;
/** A wave of which nothing succeeded is sent again after this, and after twice as long each time. */
const RETRY_BASE_MS = 250;
const RETRY_CAP_MS = 30_000;
/** What was sent so long ago may have been forgotten by the primary together with its client (I4). */
const FORGOTTEN_MS = CLIENT_LEASE_MS / 2;

/** So many ends are remembered, for pages that were away and ask again. */
const ENDS_MAX = 1000;

/** These say nothing about the update itself: it is asked again. Whatever else is refused, is refused for good (A3). */
const PASSING: readonly FailureCode[] = ["offline", "rate-limited", "in-doubt", "unauthorized"];

export interface OutboxEvents {
  /** Feeds updates to the machine, all in one turn. Their answers come back by `settled`. */
  operate(updates: Update[]): void;
  /** For all pages of this worker. */
  publish(item: ToPage): void;
}

/** An update that was sent and is not answered. */
interface Asked {
  kept: Kept;
  isRepeat: boolean;
}

/** What workers tell each other and their pages. */
type Word = { type: "kept"; kept: Kept[] } | { type: "gone"; name: OperationName; settled: Settled | null };
/** The one who sent before may have died before it could tell what it had done. */
type Succession = { type: "anew" };

/** There is no room for more. */
class FullError extends Error {
  override readonly name = "FullError";
}

export class DurableOutbox {
  readonly #name: string;
  readonly #store: OutboxPersistence;
  readonly #events: OutboxEvents;
  readonly #waitForTurn: typeof waitForLock;
  readonly #ended = new AbortController();
  readonly #channel: BroadcastChannel;
  /** By name, in the order of their places. */
  readonly #kept = new Map<string, Kept>();
  #keptBytes = 0;
  #lastPlace = -Infinity;
  /** The latest ends, by name. */
  readonly #ends = new Map<string, Settled | null>();
  /** What is being written down, and not kept yet. */
  readonly #taking = { updates: 0, bytes: 0 };
  /** It has been read what is on disk. */
  #isRead = false;
  /** What was told while it was being read what is on disk. */
  readonly #missed = new Set<Word[]>();
  readonly #wave = new Map<string, Asked>();
  #hasPassing = false;
  #answers: { kept: Kept; settled: Settled }[] = [];
  #isConcluding = false;
  /** Clients of whom the primary had a record at this time. */
  readonly #knownAt = new Map<string | null, number>();
  #isPursuing = false;
  #isOwner = false;
  #isOpen = false;
  /** It is being written down that a wave is about to leave. */
  #isMarking = false;
  #failures = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(name: string, store: OutboxPersistence, events: OutboxEvents, waitForTurn = waitForLock) {
    this.#name = name;
    this.#store = store;
    this.#events = events;
    this.#waitForTurn = waitForTurn;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Word | Succession>) => {
      if (data.type === "anew") void this.#read(this.#ended.signal);
      else this.#hear(data);
    };
  }

  /** Reads what is kept. */
  async start(): Promise<void> {
    if (!(await this.#load())) void this.#read(this.#ended.signal);
  }

  /** All of it, for a page; undefined while nobody knows. */
  get queued(): QueuedUpdate[] | undefined {
    return this.#isRead ? [...this.#kept.values()] : undefined;
  }

  /** Keeps updates; whoever gave them hears that they are on disk, or that they could not be kept. */
  async take(updates: readonly QueuedUpdate[]): Promise<void> {
    const open: QueuedUpdate[] = [];
    for (const queued of updates) {
      const end = this.#ends.get(nameOf(queued.update));
      if (end === undefined) open.push(queued);
      else this.#publishEnd(queued.update, end);
    }
    if (open.length === 0) return;
    try {
      const kept = await this.#add(open);
      this.#tell({ type: "kept", kept });
      const names = new Set(kept.map(({ update }) => nameOf(update)));
      for (const { update } of open) if (!names.has(nameOf(update))) this.#publishEnd(update, null); // Dismissed.
    } catch (error) {
      for (const { update } of open) this.#refuse(update, error);
      // What a page asks for again may be kept by a worker that did not live to tell.
      if (open.some(({ update }) => update.repeat)) void this.#read(this.#ended.signal);
    }
  }

  /** Takes out what has failed or was never sent; of anything else pages are told once more how it stands. */
  async dismiss(name: OperationName): Promise<void> {
    const kept = this.#kept.get(nameOf(name));
    if (!kept) return this.#publishEnd(name, unknown(name));
    // Only the disk knows what other workers have sent.
    const isOut = await this.#store.dismiss(kept.place).catch(() => false);
    if (isOut) return this.#tell({ type: "gone", name, settled: null });
    const still = this.#kept.get(nameOf(name));
    if (still) this.#events.publish({ type: "queued", queued: [still] });
  }

  /** Whether the machine has joined, so that what it is fed leaves at once. */
  setOpen(isOpen: boolean): void {
    if (isOpen === this.#isOpen) return;
    this.#isOpen = isOpen;
    if (isOpen) this.#retry();
  }

  /** The machine has begun anew and knows of nothing. */
  askAgain(): void {
    for (const asked of this.#wave.values()) asked.isRepeat = true;
    this.#ask();
  }

  /** Takes the answer to one of its own. */
  settled(settled: Settled): void {
    const name = nameOf(settled);
    const asked = this.#wave.get(name);
    if (!asked) return;
    this.#wave.delete(name);
    this.#answers.push({ kept: asked.kept, settled });
    if (this.#isConcluding) return;
    this.#isConcluding = true;
    // The answers of a turn are written down together.
    queueMicrotask(() => void this.#conclude());
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    clearTimeout(this.#retryTimer);
    // What is being written is told, too.
    await this.#store.close();
    this.#channel.close();
  }

  // --- what is kept

  /** So that nobody goes by what is no longer true. */
  #readWithOthers(end: AbortSignal): Promise<void> {
    if (!end.aborted) this.#channel.postMessage({ type: "anew" } satisfies Succession);
    return this.#read(end);
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
    this.#keptBytes = 0;
    this.#lastPlace = -Infinity;
    for (const one of kept) this.#put(one);
    for (const word of missed) this.#note(word);
    this.#isRead = true;
    this.#events.publish({ type: "outbox", queued: [...this.#kept.values()] });
    if (this.#kept.size > 0) this.#pursue();
    return true;
  }

  /** Nobody takes back that an update was sent, or has failed. */
  #put(kept: Kept): void {
    const name = nameOf(kept.update);
    const old = this.#kept.get(name);
    if (old?.place === kept.place) return void this.#kept.set(name, { ...old, ...kept });
    this.#drop(kept.update);
    this.#ends.delete(name);
    this.#keptBytes += bytesOf(kept.update);
    this.#kept.set(name, kept);
    if (kept.place < this.#lastPlace) this.#sort();
    else this.#lastPlace = kept.place;
  }

  /** What other workers tell may come late. */
  #sort(): void {
    const inOrder = [...this.#kept].sort(([, a], [, b]) => a.place - b.place);
    this.#kept.clear();
    for (const [name, kept] of inOrder) this.#kept.set(name, kept);
  }

  #drop(name: OperationName): void {
    const kept = this.#kept.get(nameOf(name));
    if (!kept) return;
    this.#keptBytes -= bytesOf(kept.update);
    this.#kept.delete(nameOf(name));
  }

  async #add(updates: readonly QueuedUpdate[]): Promise<Kept[]> {
    const fresh = updates.filter(({ update }) => !this.#kept.has(nameOf(update)));
    const bytes = fresh.reduce((sum, { update }) => sum + bytesOf(update), 0);
    this.#demandRoom(fresh.length, bytes);
    this.#taking.updates += fresh.length;
    this.#taking.bytes += bytes;
    try {
      // A page that asks again does not know whether it was sent in its absence.
      return await this.#store.add(
        updates.map((queued) => ({ ...queued, ...(queued.update.repeat && { sentAt: queued.queuedAt }) })),
      );
    } finally {
      this.#taking.updates -= fresh.length;
      this.#taking.bytes -= bytes;
    }
  }

  #demandRoom(updates: number, bytes: number): void {
    if (updates === 0) return;
    if (this.#kept.size + this.#taking.updates + updates > QUEUED_UPDATES_MAX) {
      throw new FullError(`the outbox holds at most ${QUEUED_UPDATES_MAX} updates (QUEUED_UPDATES_MAX)`);
    }
    if (this.#keptBytes + this.#taking.bytes + bytes > QUEUED_BYTES_MAX) {
      throw new FullError(`the outbox holds at most ${QUEUED_BYTES_MAX} bytes (QUEUED_BYTES_MAX)`);
    }
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
    this.#note(word);
    if (word.type === "gone") this.#publishEnd(word.name, word.settled);
    else
      this.#events.publish({ type: "queued", queued: word.kept.map(({ update }) => this.#kept.get(nameOf(update))!) });
    if (this.#kept.size > 0) this.#pursue();
    this.#advance();
  }

  #note(word: Word): void {
    if (word.type === "kept") return word.kept.forEach((kept) => this.#put(kept));
    this.#drop(word.name);
    this.#ends.set(nameOf(word.name), word.settled);
    for (const [oldest] of this.#ends) {
      if (this.#ends.size <= ENDS_MAX) break;
      this.#ends.delete(oldest);
    }
    if (this.#wave.delete(nameOf(word.name))) this.#endWave();
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
      const tenure = await this.#waitForTurn(this.#name, signal);
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
      this.#isOwner = true;
      this.#advance();
      await pause(undefined, end);
      this.#isOwner = false;
    }
    tenure?.release();
  }

  // --- sending

  #advance(): void {
    const isFree = this.#wave.size === 0 && !this.#isMarking && !this.#isConcluding && this.#retryTimer === undefined;
    if (this.#isOwner && this.#isOpen && isFree) void this.#send();
  }

  /** Notes on disk that a wave is about to be sent, and sends it. */
  async #send(): Promise<void> {
    const wave = this.#nextWave();
    if (wave.length === 0) return;
    const now = Date.now();
    this.#isMarking = true;
    const marked = await this.#store
      .markSent(
        wave.map(({ place }) => place),
        now,
      )
      .catch(() => undefined);
    // Another worker has ended some of them, and did not live to tell.
    if (marked && marked.length < wave.length) await this.#readWithOthers(this.#ended.signal);
    this.#isMarking = false;
    if (!marked) return this.#retryLater();
    // Whoever has the lock now, asks by itself.
    if (!this.#isOwner) return;
    const before = new Map(marked.map(({ place, sentAt }) => [place, sentAt]));
    const leaving: Asked[] = [];
    for (const { update, place } of wave) {
      const kept = this.#kept.get(nameOf(update));
      if (!kept || kept.failure || !before.has(place)) continue;
      const sentAt = before.get(place);
      const asked = { kept: { ...kept, sentAt: sentAt ?? now }, isRepeat: sentAt !== undefined };
      this.#put(asked.kept);
      leaving.push(asked);
    }
    for (const asked of leaving) {
      if (isForgettable(asked.kept) !== isForgettable(leaving[0]!.kept)) break;
      this.#wave.set(nameOf(asked.kept.update), asked);
    }
    this.#ask();
    this.#advance();
  }

  #ask(): void {
    if (this.#wave.size === 0) return;
    const oldest = new Map<string | null, number>();
    for (const { update, failure } of this.#kept.values()) {
      const { clientId, id } = update;
      if (!failure) oldest.set(clientId, Math.min(id, oldest.get(clientId) ?? id));
    }
    this.#events.operate(
      [...this.#wave.values()].map(({ kept: { update, sentAt }, isRepeat }) => {
        const settled = this.#settledBefore(update.clientId, oldest.get(update.clientId) ?? update.id, sentAt!);
        return { ...update, settled, repeat: isRepeat };
      }),
    );
  }

  /**
   * Everything before the first that is unanswered, if the primary has a record of the client. Of one whom it may have
   * forgotten it is claimed that something is settled, so that it says `expired` rather than do it twice (I4): ids begin
   * at 2. Of any other nothing is claimed, or what has never reached the primary would be `expired`.
   */
  #settledBefore(clientId: string | null, firstId: number, sentAt: number): number {
    if (!isOld(this.#knownAt.get(clientId))) return firstId - 1;
    return isOld(sentAt) ? 1 : 0;
  }

  #nextWave(): Kept[] {
    const wave: Kept[] = [];
    let bytes = 0;
    for (const kept of this.#kept.values()) {
      if (kept.failure) continue;
      bytes += utf8Length(encodeUpstream(kept.update));
      if (wave.length > 0 && (wave.length >= WAVE_UPDATES_MAX || bytes > WAVE_BYTES_MAX)) break;
      // What may be forgotten goes alone: something new would make a record in which it is missing.
      if (wave[0] && isForgettable(wave[0]) !== isForgettable(kept)) break;
      wave.push(kept);
    }
    return wave;
  }

  /** Writes down what has come of a wave, and tells it. What could not be written down is asked again. */
  async #conclude(): Promise<void> {
    while (this.#answers.length > 0) {
      const ends = this.#answers.splice(0).flatMap(({ kept, settled }) => this.#judge(kept, settled) ?? []);
      const places = await this.#store.conclude(ends.map(({ conclusion }) => conclusion)).catch(() => undefined);
      if (!places) this.#hasPassing = true;
      const ended = new Set(places);
      for (const { conclusion, word } of ends) if (ended.has(conclusion.place)) this.#tell(word);
    }
    this.#isConcluding = false;
    this.#endWave();
  }

  #endWave(): void {
    if (this.#wave.size > 0 || this.#isConcluding) return;
    if (this.#hasPassing) this.#retryLater();
    else this.#failures = 0;
    this.#hasPassing = false;
    this.#advance();
  }

  /** What is to be written down of an answer, and told; undefined if the update is to be asked again. */
  #judge(kept: Kept, settled: Settled): { conclusion: Conclusion; word: Word } | undefined {
    const { place, update, sentAt } = kept;
    const name = nameOnly(update);
    if (isFromRecord(settled)) {
      this.#knownAt.set(update.clientId, Math.max(sentAt!, this.#knownAt.get(update.clientId) ?? 0));
    }
    if (settled.type === "operation-ack") return { conclusion: { place }, word: { type: "gone", name, settled } };
    if (settled.type !== "operation-failed" || PASSING.includes(settled.code)) {
      this.#hasPassing = true;
      return undefined;
    }
    if (settled.applied) return { conclusion: { place }, word: { type: "gone", name, settled } };
    const failed = { ...kept, failure: settled };
    return { conclusion: { place, failure: settled }, word: { type: "kept", kept: [failed] } };
  }

  #retryLater(): void {
    if (this.#ended.signal.aborted) return;
    const delayMs = Math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ** this.#failures);
    this.#failures += 1;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#retry(), delayMs);
  }

  #retry(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#advance();
  }
}

/** Whether a record that was written at this time may be gone. */
const isOld = (at: number | undefined): boolean => at === undefined || Date.now() - at > FORGOTTEN_MS;
const isForgettable = ({ sentAt }: Kept): boolean => sentAt !== undefined && isOld(sentAt);

const nameOnly = ({ clientId, id }: OperationName): OperationName => ({ clientId, id });
const unknown = (name: OperationName): Settled => ({ type: "outcome-unknown", ...nameOnly(name) });

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

const bytesOf = (update: Update): number => writesOf(update).reduce((sum, write) => sum + bytesOfWrite(write), 0);

function bytesOfWrite(write: Write): number {
  return utf8Length(write.key) + ("json" in write ? utf8Length(write.json) : 0);
}
