// Updates that are kept on disk until their end is known: through reloads, closed browsers and days without a network.
//
//   take --> kept on disk --its turn--> noted as sent --> sent --ack--> gone
//               ^                                          |--refused for good--> kept as failed --dismiss--> gone
//               +---- no answer, or not now ---------------+
//
// They are sent in waves, in their order. A wave leaves as one frame, so that what a busy primary turns away is the end
// of it, and the next one leaves when all of it is answered: nothing overtakes what was queued before it.
//
// All workers of this browser share one outbox per store, and the holder of its lock sends. Should two of them send for a
// while, a name makes an update happen once (I1).

import type { Settled } from "../../src/effects.ts";
import { utf8Length } from "../../src/kv.ts";
import type { Write } from "../../src/kv.ts";
import { CLIENT_LEASE_MS, FRAME_BYTES_MAX, QUEUED_BYTES_MAX, QUEUED_UPDATES_MAX } from "../../src/limits.ts";
import { nameOf, writesOf } from "../../src/protocol.ts";
import type { FailureCode, OperationName, Update } from "../../src/protocol.ts";
import type { QueuedUpdate, ToPage } from "../feed.ts";
import { isFromRecord } from "../operations.ts";
import { hasLocks, waitForLock } from "./lock.ts";
import type { Conclusion, Kept, OutboxPersistence } from "./outbox-persistence.ts";

const WAVE_UPDATES_MAX = 200;
const WAVE_BYTES_MAX = FRAME_BYTES_MAX / 2;
/** A wave of which nothing succeeded is sent again after this, and after twice as long each time. */
const RETRY_BASE_MS = 250;
const RETRY_CAP_MS = 30_000;
/** What was sent so long ago may have been forgotten by the primary together with its client (I4). */
const FORGOTTEN_MS = CLIENT_LEASE_MS / 2;

/** These say nothing about the update itself: it is asked again. */
const PASSING: readonly FailureCode[] = ["offline", "overloaded", "rate-limited", "in-doubt", "unauthorized"];

export interface OutboxEvents {
  /** Feeds an update to the machine, which is joined. Its answer comes back by `settled`. */
  operate(update: Update): void;
  /** For all pages of this worker. */
  publish(item: ToPage): void;
}

/** What workers tell each other: what they tell their pages, too. */
type Word = { type: "kept"; kept: Kept[] } | { type: "gone"; name: OperationName; settled: Settled | null };

/** There is no room for more. */
class FullError extends Error {
  override readonly name = "FullError";
}

export class DurableOutbox {
  readonly #name: string;
  readonly #store: OutboxPersistence;
  readonly #events: OutboxEvents;
  readonly #ended = new AbortController();
  readonly #channel: BroadcastChannel;
  /** By name, in their order. */
  readonly #kept = new Map<string, Kept>();
  #keptBytes = 0;
  /** What was sent and is not answered. */
  readonly #wave = new Map<string, Kept>();
  #hasPassing = false;
  /** Answers of this turn. */
  #answers: Settled[] = [];
  /** Clients of whom the primary has a record. */
  readonly #known = new Set<string | null>();
  #isPursuing = false;
  #isOwner = false;
  #isOpen = false;
  /** It is being written down that a wave is about to leave. */
  #isMarking = false;
  #failures = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(name: string, store: OutboxPersistence, events: OutboxEvents) {
    this.#name = name;
    this.#store = store;
    this.#events = events;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Word>) => this.#hear(data);
  }

  /** Reads what is kept. */
  async start(): Promise<void> {
    await this.#load();
    if (this.#kept.size > 0) this.#pursue();
  }

  /** All of it, for a page. */
  get queued(): QueuedUpdate[] {
    return [...this.#kept.values()];
  }

  /** Keeps updates; whoever gave them hears that they are on disk, or that they could not be kept. */
  async take(updates: readonly QueuedUpdate[]): Promise<void> {
    try {
      this.#demandRoom(updates);
      this.#tell({ type: "kept", kept: await this.#store.add(updates) });
      this.#pursue();
    } catch (error) {
      const [code, detail] = explain(error);
      for (const { update } of updates) {
        const { clientId, id } = update;
        const settled: Settled = { type: "operation-failed", clientId, id, code, applied: false, detail };
        this.#events.publish({ type: "unqueued", name: { clientId, id }, settled });
      }
    }
  }

  /** Takes out what has failed or was never sent; of anything else pages are told once more how it stands. */
  async dismiss(name: OperationName): Promise<void> {
    const kept = this.#kept.get(nameOf(name));
    if (!kept) return this.#events.publish({ type: "unqueued", name, settled: null });
    try {
      if (kept.failure === undefined && (kept.sentAt !== undefined || this.#isMarking))
        throw new Error("it is on its way");
      await this.#store.conclude([{ place: kept.place }]);
      this.#tell({ type: "gone", name, settled: null });
    } catch {
      this.#events.publish({ type: "queued", queued: [kept] });
    }
  }

  /** Whether the machine has joined, so that what it is fed leaves at once. */
  setOpen(isOpen: boolean): void {
    if (isOpen === this.#isOpen) return;
    this.#isOpen = isOpen;
    if (isOpen) this.#retry();
  }

  /** The machine has begun anew and knows of nothing. */
  askAgain(): void {
    for (const kept of this.#wave.values()) this.#events.operate({ ...kept.update, repeat: true });
  }

  /** Takes the answer to one of its own. */
  settled(settled: Settled): void {
    if (!this.#wave.has(nameOf(settled))) return;
    // The answers of a turn are written down together.
    if (this.#answers.push(settled) === 1) queueMicrotask(() => void this.#conclude());
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    clearTimeout(this.#retryTimer);
    this.#channel.close();
    await this.#store.close();
  }

  // --- what is kept

  /** Storage that cannot be read keeps nothing that is not in memory. */
  async #load(): Promise<void> {
    const kept = await this.#store.load().catch(() => undefined);
    if (!kept) return;
    this.#kept.clear();
    this.#keptBytes = 0;
    for (const one of kept) this.#put(one);
  }

  #put(kept: Kept): void {
    this.#drop(kept.update);
    this.#kept.set(nameOf(kept.update), kept);
    this.#keptBytes += bytesOf(kept.update);
  }

  #drop(name: OperationName): void {
    const kept = this.#kept.get(nameOf(name));
    if (!kept) return;
    this.#keptBytes -= bytesOf(kept.update);
    this.#kept.delete(nameOf(name));
  }

  #demandRoom(updates: readonly QueuedUpdate[]): void {
    if (this.#kept.size + updates.length > QUEUED_UPDATES_MAX) {
      throw new FullError(`the outbox holds at most ${QUEUED_UPDATES_MAX} updates (QUEUED_UPDATES_MAX)`);
    }
    const bytes = updates.reduce((sum, { update }) => sum + bytesOf(update), this.#keptBytes);
    if (bytes > QUEUED_BYTES_MAX) {
      throw new FullError(`the outbox holds at most ${QUEUED_BYTES_MAX} bytes (QUEUED_BYTES_MAX)`);
    }
  }

  #tell(word: Word): void {
    this.#channel.postMessage(word);
    this.#hear(word);
  }

  #hear(word: Word): void {
    if (word.type === "kept") {
      // One that is there already keeps its place.
      for (const kept of word.kept) {
        if (this.#kept.has(nameOf(kept.update))) this.#kept.set(nameOf(kept.update), kept);
        else this.#put(kept);
      }
      this.#events.publish({ type: "queued", queued: word.kept });
    } else {
      const { name, settled } = word;
      this.#drop(name);
      this.#events.publish({ type: "unqueued", name, settled });
    }
    this.#advance();
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
      const tenure = await waitForLock(this.#name, signal);
      // Without locks everyone sends.
      if (signal.aborted || (!tenure && hasLocks())) return tenure?.release();
      // The one before may have died before it could tell what it had done.
      await this.#load();
      this.#events.publish({ type: "outbox", queued: this.queued });
      this.#isOwner = true;
      this.#advance();
      await new Promise<void>((over) => {
        signal.addEventListener("abort", () => over());
        void tenure?.lost.then(over);
      });
      this.#isOwner = false;
      tenure?.release();
    }
  }

  // --- sending

  #advance(): void {
    const isFree = this.#wave.size === 0 && !this.#isMarking && this.#retryTimer === undefined;
    if (this.#isOwner && this.#isOpen && isFree) void this.#send();
  }

  /** Notes on disk that a wave is about to be sent, and sends it. */
  async #send(): Promise<void> {
    const wave = this.#nextWave();
    const fresh = wave.filter(({ sentAt }) => sentAt === undefined);
    const now = Date.now();
    this.#isMarking = true;
    try {
      if (fresh.length > 0)
        await this.#store.markSent(
          fresh.map(({ place }) => place),
          now,
        );
    } catch {
      return this.#retryLater();
    } finally {
      this.#isMarking = false;
    }
    for (const kept of wave) {
      const name = nameOf(kept.update);
      // A person who was faster has dismissed it.
      if (!this.#kept.has(name)) continue;
      this.#wave.set(name, kept);
      this.#kept.set(name, { ...kept, sentAt: kept.sentAt ?? now });
    }
    const first = new Map<string | null, number>();
    for (const { update } of wave) if (!first.has(update.clientId)) first.set(update.clientId, update.id);
    for (const { update, sentAt } of this.#wave.values()) {
      const settled = this.#settledBefore(update.clientId, first.get(update.clientId)!, sentAt ?? now);
      this.#events.operate({ ...update, settled, repeat: sentAt !== undefined });
    }
  }

  /**
   * Everything before the first that is unanswered. Of a client whom the primary may have forgotten altogether it is
   * claimed that something is settled, so that the primary says `expired` rather than do it twice (I4): ids begin at 2.
   */
  #settledBefore(clientId: string | null, firstId: number, sentAt: number): number {
    if (this.#known.has(clientId)) return firstId - 1;
    return Date.now() - sentAt > FORGOTTEN_MS ? 1 : 0;
  }

  #nextWave(): Kept[] {
    const wave: Kept[] = [];
    let bytes = 0;
    for (const kept of this.#kept.values()) {
      if (kept.failure) continue;
      bytes += bytesOf(kept.update);
      if (wave.length > 0 && (wave.length >= WAVE_UPDATES_MAX || bytes > WAVE_BYTES_MAX)) break;
      wave.push(kept);
    }
    return wave;
  }

  /** Writes down what has come of a wave. If that fails, it is answered the same once more after the next start. */
  async #conclude(): Promise<void> {
    const answers = this.#answers.splice(0);
    const concluded = answers.map((settled) => this.#judge(settled)).filter((one) => one !== undefined);
    await this.#store.conclude(concluded.map(({ conclusion }) => conclusion)).catch(() => {});
    for (const settled of answers) this.#wave.delete(nameOf(settled));
    for (const { word } of concluded) this.#tell(word);
    if (this.#wave.size > 0) return;
    if (this.#hasPassing) this.#retryLater();
    else this.#failures = 0;
    this.#hasPassing = false;
    this.#advance();
  }
  /** What is to be written down of an answer, and told; undefined if the update is to be asked again. */
  #judge(settled: Settled): { conclusion: Conclusion; word: Word } | undefined {
    const kept = this.#wave.get(nameOf(settled))!;
    const { clientId, id } = kept.update;
    const { place } = kept;
    const name = { clientId, id };
    if (isFromRecord(settled)) this.#known.add(clientId);
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
