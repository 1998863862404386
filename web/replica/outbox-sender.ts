// Sends what an outbox keeps, in waves and in its order: a wave leaves as one frame, and the next one when all of it is
// answered, so that nothing overtakes what was queued before it.
//
//   next wave --noted on disk--> asked --answered--> ended on disk, and told
//       ^                          |
//       +--- after a wait ---------+--- no answer or not now: under the same name
//                                  +--- refused, and the primary stays with that (A3): under another name
//
// What was refused is held until its wave has ended. If something behind it was applied meanwhile, it comes too late, and has
// failed; else it goes again, ahead of everything else.

import { encodeUpstream } from "../../src/codec.ts";
import type { Settled } from "../../src/effects.ts";
import { utf8Length } from "../../src/kv.ts";
import { CLIENT_LEASE_MS, OUTCOMES_PER_CLIENT_MAX } from "../../src/limits.ts";
import { nameOf } from "../../src/protocol.ts";
import type { FailureCode, OperationFailed, OperationName, Update } from "../../src/protocol.ts";
import { QUEUED_FIRST_ID } from "../feed.ts";
import { isFromRecord } from "../operations.ts";
import { randomId } from "../random-id.ts";
import { sendingOf, sentAsOf } from "./kept-updates.ts";
import type { KeptUpdates } from "./kept-updates.ts";
import type { Conclusion, Kept, OutboxPersistence } from "./outbox-persistence.ts";

const WAVE_UPDATES_MAX = 200;
/** A wave that takes longer to go up than its answers are waited for is not given up for lost, but it is asked again. */
const WAVE_BYTES_MAX = 64 * 1024;
/** So many of a client's ends the primary is to remember, for pages that were away and ask again. */
const ENDS_ASKED_MAX = OUTCOMES_PER_CLIENT_MAX / 2;
/** A wave of which nothing succeeded is sent again after this, and after twice as long each time. */
const RETRY_BASE_MS = 250;
const RETRY_CAP_MS = 30_000;
/** What was sent so long ago may have been forgotten by the primary together with its client (I4). */
const FORGOTTEN_MS = CLIENT_LEASE_MS / 2;

/** These say nothing about the update itself: it is asked again. */
const PASSING: readonly FailureCode[] = ["offline", "rate-limited", "in-doubt", "unauthorized"];
/** Neither do these, but the name is spent. Whatever else is refused, is refused for good. */
const SPENT: readonly FailureCode[] = ["unavailable", "overloaded", "storage-full"];

/** What workers tell each other and their pages. */
export type Word = { type: "kept"; kept: Kept[] } | { type: "gone"; name: OperationName; settled: Settled | null };

export interface SenderEvents {
  /** Feeds updates to the machine, all in one turn. Their answers come back by `settled`. */
  operate(updates: Update[]): void;
  /** What has come of an update is on disk. */
  tell(word: Word): void;
  /** What is on disk is not what is known here. */
  readAgain(): Promise<void>;
}

/** An update that was sent and is not answered. */
interface Asked {
  kept: Kept;
  past: Past;
}

/**
 * Whether an update was sent before, and whether that may be forgotten by now. A wave is of one kind: something new would make
 * a record in which the forgotten is missing, and would overtake what was refused before without our knowing.
 */
type Past = "unsent" | "sent" | "forgotten";

interface Answer {
  kept: Kept;
  settled: Settled;
}

interface Verdict {
  conclusion: Conclusion;
  word: Word;
}

export class OutboxSender {
  readonly #store: OutboxPersistence;
  readonly #kept: KeptUpdates;
  readonly #events: SenderEvents;
  /** The sent and unanswered ones, by the names under which they were sent. */
  readonly #wave = new Map<string, Asked>();
  /** Those of earlier waves of which no answer has come in time; on a slow network one may still come. */
  readonly #late = new Map<string, Kept>();
  #answers: Answer[] = [];
  /** Those of the wave that were refused under a name that is spent. */
  #refused: { kept: Kept; failure: OperationFailed }[] = [];
  /** The last place of the wave of which it is known that it was applied. */
  #appliedPlace = -Infinity;
  #hasPassing = false;
  #isConcluding = false;
  /** Names for what must be sent under another one. */
  readonly #renewals = { clientId: randomId(), nextId: QUEUED_FIRST_ID };
  /** Clients of whom the primary had a record at this time. */
  readonly #knownAt = new Map<string | null, number>();
  #isOwner = false;
  #isOpen = false;
  /** It is being written down that a wave is about to leave. */
  #isMarking = false;
  #isStopped = false;
  #failures = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(store: OutboxPersistence, kept: KeptUpdates, events: SenderEvents) {
    this.#store = store;
    this.#kept = kept;
    this.#events = events;
  }

  /** Whether it is this worker that sends. */
  get isOwner(): boolean {
    return this.#isOwner;
  }

  setOwner(isOwner: boolean): void {
    this.#isOwner = isOwner;
    this.advance();
  }

  /** Whether the machine has joined, so that what it is fed leaves at once. */
  setOpen(isOpen: boolean): void {
    if (isOpen === this.#isOpen) return;
    this.#isOpen = isOpen;
    if (isOpen) this.#retry();
  }

  /** The machine has begun anew and knows of nothing: whose turn it is then, begins with a look at the disk. */
  askAgain(): void {
    this.#wave.clear();
    this.#endWave();
  }

  /** Takes the answer to one of its own. */
  settled(settled: Settled): void {
    const name = nameOf(settled);
    const kept = this.#wave.get(name)?.kept ?? this.#late.get(name);
    if (!kept) return;
    this.#wave.delete(name);
    if (settled.type === "outcome-unknown") this.#late.set(name, kept);
    else this.#late.delete(name);
    this.#answers.push({ kept, settled });
    this.#concludeSoon();
  }

  /** Somebody else has ended an update. */
  gone(kept: Kept): void {
    this.#late.delete(sendingOf(kept).sentAs);
    if (this.#wave.delete(sendingOf(kept).sentAs)) this.#endWave();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#retryTimer);
  }

  /** Sends what is next, if it is its turn. */
  advance(): void {
    const isBusy = this.#wave.size > 0 || this.#isMarking || this.#isConcluding || this.#retryTimer !== undefined;
    if (this.#isOwner && this.#isOpen && !isBusy) void this.#send();
  }

  /** Notes on disk that a wave is about to be sent, and sends it. */
  async #send(): Promise<void> {
    const wave = this.#nextWave();
    if (wave.length === 0) return;
    const now = Date.now();
    this.#isMarking = true;
    const marked = await this.#store.markSent(wave.map(sendingOf), now).catch(() => undefined);
    // Another worker has ended some of them, and did not live to tell.
    if (marked && marked.length < wave.length) await this.#events.readAgain();
    this.#isMarking = false;
    if (!marked) return this.#retryLater();
    // Whoever has the lock now, asks by itself.
    if (!this.#isOwner) return;
    this.#appliedPlace = -Infinity;
    for (const asked of this.#leaving(wave, new Map(marked.map(({ name, sentAt }) => [name, sentAt])), now)) {
      const { sentAs } = sendingOf(asked.kept);
      this.#late.delete(sentAs);
      this.#wave.set(sentAs, asked);
    }
    this.#ask();
    this.advance();
  }

  /** What is still to be sent of a wave, of which it is noted when each was sent first. */
  #leaving(wave: readonly Kept[], before: ReadonlyMap<string, number | undefined>, now: number): Asked[] {
    const leaving: Asked[] = [];
    for (const { update, sentAs } of wave) {
      const name = nameOf(update);
      const kept = this.#kept.get(name);
      if (!kept || kept.failure) continue;
      // Another worker has given it another name: nothing overtakes it.
      if (!before.has(name) || nameOf(sentAsOf(kept)) !== nameOf(sentAs ?? update)) break;
      const sentAt = before.get(name);
      const asked: Asked = { kept: { ...kept, sentAt: sentAt ?? now }, past: pastOf(sentAt) };
      this.#kept.put(asked.kept);
      leaving.push(asked);
    }
    const [first] = leaving;
    const end = leaving.findIndex(({ past }) => past !== first!.past);
    return end < 0 ? leaving : leaving.slice(0, end);
  }

  #ask(): void {
    if (this.#wave.size === 0) return;
    const oldest = new Map<string | null, number>();
    for (const kept of this.#kept.values()) {
      const { clientId, id } = sentAsOf(kept);
      if (!kept.failure) oldest.set(clientId, Math.min(id, oldest.get(clientId) ?? id));
    }
    this.#events.operate(
      [...this.#wave.values()].map(({ kept, past }) => {
        const { clientId, id } = sentAsOf(kept);
        const settled = this.#settledBefore(clientId, oldest.get(clientId) ?? id, kept.sentAt!);
        return { ...kept.update, clientId, id, settled, repeat: past !== "unsent" };
      }),
    );
  }

  /**
   * What is before the first that is unanswered, if the primary has a record of the client, but for the latest ends, which
   * it is to tell a page that asks again. Of one whom it may have forgotten it is claimed that something is settled, so that
   * it says `expired` rather than do it twice (I4): ids begin at 2. Of any other nothing is claimed, or what has never
   * reached the primary would be `expired`.
   */
  #settledBefore(clientId: string | null, firstId: number, sentAt: number): number {
    if (!isOld(this.#knownAt.get(clientId))) return Math.max(1, firstId - 1 - ENDS_ASKED_MAX);
    return isOld(sentAt) ? 1 : 0;
  }

  #nextWave(): Kept[] {
    const wave: Kept[] = [];
    let bytes = 0;
    for (const kept of this.#kept.values()) {
      if (kept.failure) continue;
      bytes += utf8Length(encodeUpstream(kept.update));
      if (wave.length > 0 && (wave.length >= WAVE_UPDATES_MAX || bytes > WAVE_BYTES_MAX)) break;
      if (wave[0] && pastOf(wave[0].sentAt) !== pastOf(kept.sentAt)) break;
      wave.push(kept);
    }
    return wave;
  }

  /** The answers of a turn are written down together. */
  #concludeSoon(): void {
    if (this.#isConcluding) return;
    this.#isConcluding = true;
    queueMicrotask(() => void this.#conclude());
  }

  /** Writes down what has come of a wave, and tells it. What could not be written down is asked again. */
  async #conclude(): Promise<void> {
    while (this.#answers.length > 0 || (this.#wave.size === 0 && this.#refused.length > 0)) {
      const verdicts = this.#answers.splice(0).flatMap((answer) => this.#judge(answer) ?? []);
      if (this.#wave.size === 0) verdicts.push(...this.#judgeRefused());
      const names = await this.#store.conclude(verdicts.map(({ conclusion }) => conclusion)).catch(() => undefined);
      if (!names) this.#hasPassing = true;
      const ended = new Set(names);
      for (const { conclusion, word } of verdicts) if (ended.has(conclusion.name)) this.#events.tell(word);
    }
    this.#isConcluding = false;
    this.#endWave();
  }

  #endWave(): void {
    if (this.#wave.size > 0 || this.#isConcluding) return;
    if (this.#refused.length > 0) return this.#concludeSoon();
    if (this.#hasPassing) this.#retryLater();
    else this.#failures = 0;
    this.#hasPassing = false;
    this.advance();
  }

  /** What is to be written down of an answer, and told; undefined if the update is to be asked again. */
  #judge({ kept, settled }: Answer): Verdict | undefined {
    const { clientId } = sentAsOf(kept);
    if (isFromRecord(settled)) {
      this.#knownAt.set(clientId, Math.max(kept.sentAt!, this.#knownAt.get(clientId) ?? 0));
    }
    const isFailure = settled.type === "operation-failed";
    if (settled.type === "operation-ack" || (isFailure && settled.applied)) {
      this.#appliedPlace = Math.max(this.#appliedPlace, kept.place);
      const name = nameOnly(kept.update);
      const done = { ...settled, ...name };
      return { conclusion: { ...sendingOf(kept), done }, word: { type: "gone", name, settled: done } };
    }
    if (!isFailure || PASSING.includes(settled.code)) this.#hasPassing = true;
    else if (SPENT.includes(settled.code)) this.#refused.push({ kept, failure: settled });
    else return toFailed(kept, settled);
    return undefined;
  }

  #judgeRefused(): Verdict[] {
    if (this.#refused.length === 0) return [];
    this.#hasPassing = true;
    const refused = this.#refused.splice(0).sort((a, b) => a.kept.place - b.kept.place);
    return refused.map(({ kept, failure }): Verdict => {
      if (kept.place < this.#appliedPlace) return toFailed(kept, failure);
      const sendAs = { clientId: this.#renewals.clientId, id: this.#renewals.nextId };
      this.#renewals.nextId += 1;
      const { sentAt: _sentAt, ...unsent } = kept;
      const conclusion = { ...sendingOf(kept), sendAs };
      return { conclusion, word: { type: "kept", kept: [{ ...unsent, sentAs: sendAs }] } };
    });
  }

  #retryLater(): void {
    if (this.#isStopped) return;
    const delayMs = Math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ** this.#failures);
    this.#failures += 1;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#retry(), delayMs);
  }

  #retry(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.advance();
  }
}

function toFailed(kept: Kept, settled: OperationFailed): Verdict {
  const failure = { ...settled, ...nameOnly(kept.update) };
  return { conclusion: { ...sendingOf(kept), failure }, word: { type: "kept", kept: [{ ...kept, failure }] } };
}

/** Whether a record that was written at this time may be gone. */
const isOld = (at: number | undefined): boolean => at === undefined || Date.now() - at > FORGOTTEN_MS;
const pastOf = (sentAt: number | undefined): Past =>
  sentAt === undefined ? "unsent" : isOld(sentAt) ? "forgotten" : "sent";

const nameOnly = ({ clientId, id }: OperationName): OperationName => ({ clientId, id });
