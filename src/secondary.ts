// The secondary: follows a primary by the chain of its snapshots, has them made visible and persisted, acks what is
// persisted, and carries its users' operations to the primary and the answers back. It keeps no entries itself.
//
//                                    +------ disconnect ------+
//                                    v                        |
//   start --> offline --connect--> joining --joined--> catching-up --step up to head--> following
//                ^
//                +--resume-- paused <--pause-- (any)
//
// A snapshot's way: receive -> (aside until its step is whole) -> apply, at once -> persist -> SnapshotAck.

import { unreachable } from "./assert.ts";
import type { SecondaryEffect, SecondaryInput, SecondaryState, SecondaryStatus, Step } from "./effects.ts";
import { isCovered } from "./kv.ts";
import { JOIN_PATIENCE_MS, PERSIST_RETRY_MS, STALL_PATIENCE_MS } from "./limits.ts";
import { Outbox } from "./outbox.ts";
import { PROTOCOL_VERSION, keysOf } from "./protocol.ts";
import type { Downstream, Join, JoinedSecondary, Snapshot } from "./protocol.ts";

export interface SecondarySettings {
  /** Its own lasting id. */
  secondaryId: string;
  /** Only keys that begin with one of these; undefined: all. */
  prefixes: string[] | undefined;
}

/** A session's agreement with the primary. */
interface Membership {
  epoch: string;
  /** The primary's head when it answered; the visible state is behind until it has come so far. */
  head: number;
  inSync: boolean;
  /** The cursor for which a gap has been reported already. */
  askedFrom?: number;
}

/** Parts of a step that is not whole yet. They outlast their connection: the next one goes on where they end. */
interface Aside {
  epoch: string;
  /** It is a bootstrap, and will replace everything. */
  isReset: boolean;
  seq: number;
  /** The step is whole when the chain has come so far. */
  until: number;
  parts: Snapshot[];
}

export class Secondary {
  readonly #prefixes: string[] | undefined;
  #secondaryId: string;
  readonly #outbox = new Outbox((effect) => this.#emit(effect));
  #mode: "durable" | "memory" = "memory";
  #isStarted = false;
  #before: SecondaryInput[] = [];
  #isConnected = false;
  #isPaused = false;
  #joinSentAt: number | undefined;
  #membership: Membership | undefined;
  #aside: Aside | undefined;
  #epoch: string | null = null;
  #seq = 0;
  #head = 0;
  #behindSince: number | undefined;
  /** When the chain moved last. */
  #movedAt = 0;
  /** When it is next looked at whether the chain still moves; undefined while there is nothing to wait for. */
  #lookAt: number | undefined;
  #persistedSeq = 0;
  #unpersisted: Step[] = [];
  #persisting: Step[] | undefined;
  #retryAt: number | undefined;
  #lastError: string | null = null;
  #wakeAt: number | undefined;
  #effects: SecondaryEffect[] = [];

  constructor(settings: SecondarySettings) {
    this.#secondaryId = settings.secondaryId;
    this.#prefixes = settings.prefixes;
  }

  step(input: SecondaryInput, now: number): SecondaryEffect[] {
    if (this.#isStarted) {
      this.#take(input, now);
    } else if (input.type === "start") {
      this.#isStarted = true;
      this.#mode = input.mode;
      this.#epoch = input.epoch;
      this.#seq = this.#head = this.#persistedSeq = input.seq;
      for (const kept of this.#before.splice(0)) this.#take(kept, now);
    } else {
      this.#before.push(input); // B1
    }
    if (this.#head <= this.#seq) this.#behindSince = undefined;
    else this.#behindSince ??= now;
    this.#lookAt = this.#isWaitingForSteps ? (this.#lookAt ?? now + STALL_PATIENCE_MS) : undefined;
    this.#scheduleWake();
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  status(now: number): SecondaryStatus {
    return {
      state: this.#state,
      epoch: this.#epoch,
      seq: this.#seq,
      head: this.#head,
      lagMs: this.#behindSince === undefined ? 0 : now - this.#behindSince,
      secondaryId: this.#secondaryId,
      inSync: this.#membership?.inSync ?? false,
      persisted: this.#mode === "durable" ? this.#persistedSeq : null,
      pending: this.#outbox.size,
      lastError: this.#lastError,
    };
  }

  get #state(): SecondaryState {
    if (this.#isPaused) return "paused";
    if (!this.#isConnected) return "offline";
    if (!this.#membership) return "joining";
    return this.#aside || this.#seq < this.#membership.head ? "catching-up" : "following";
  }

  #take(input: SecondaryInput, now: number): void {
    switch (input.type) {
      case "start":
        return;
      case "connect":
        this.#isConnected = true;
        return this.#join(now);
      case "disconnect":
        this.#isConnected = false;
        this.#endMembership();
        return this.#outbox.close(now);
      case "receive":
        return this.#receive(input.message, now);
      case "operate":
        return this.#outbox.operate(input.operation, now);
      case "persisted":
        return this.#persisted(now);
      case "refused":
        return this.#refused(input.detail, now);
      case "change-mode":
        return this.#changeMode(input.mode);
      case "refresh":
        return this.#refresh();
      case "rename":
        this.#secondaryId = input.secondaryId;
        return;
      case "pause":
        return this.#pause();
      case "resume":
        return this.#resume();
      case "tick":
        return this.#tick(now);
      default:
        return unreachable(input);
    }
  }

  // --- membership

  #join(now: number): void {
    if (!this.#isConnected || this.#isPaused) return;
    this.#endMembership();
    this.#joinSentAt = now;
    const secondaryId = this.#secondaryId;
    const prefixes = this.#prefixes;
    const { epoch, seq: since } = this.#cursor;
    const join: Join = { type: "join", version: PROTOCOL_VERSION, secondaryId, mode: this.#mode, epoch, since };
    this.#emit({ type: "send", message: prefixes ? { ...join, prefixes } : join });
  }

  #joined({ epoch, head, reset }: JoinedSecondary, now: number): void {
    if (this.#joinSentAt === undefined) return; // It answers a Join from before a pause, or has come twice.
    if (!reset && epoch !== this.#cursor.epoch) {
      return this.#reconnect("the primary continues a history that is not ours");
    }
    this.#joinSentAt = undefined;
    if (reset) this.#aside = { epoch, isReset: true, seq: 0, until: 0, parts: [] };
    this.#membership = { epoch, head, inSync: false };
    this.#movedAt = now;
    this.#head = head;
    if (this.#retryAt === undefined) this.#lastError = null;
    this.#outbox.open(now);
    if (reset) this.#outbox.applied(Infinity); // The seqs of another history say nothing about this one.
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    if (this.#isConnected) this.#emit({ type: "send", message: { type: "leave" } });
    this.#endMembership();
  }

  /** An answer to the Join from before the pause may still be on its way; on a new connection none can be. */
  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#isConnected) this.#reconnect("awake again");
  }

  #endMembership(): void {
    this.#membership = undefined;
    this.#joinSentAt = undefined;
    if (this.#aside?.parts.length === 0) this.#aside = undefined; // Only announced.
  }

  /** Where the chain stands: with what is aside or, without that, with what is visible. */
  get #cursor(): { epoch: string | null; seq: number } {
    return this.#aside ?? { epoch: this.#epoch, seq: this.#seq };
  }

  #changeMode(mode: "durable" | "memory"): void {
    if (mode === this.#mode) return;
    this.#mode = mode;
    this.#unpersisted = [];
    this.#persisting = undefined;
    this.#retryAt = undefined;
    this.#persistedSeq = this.#seq;
    // The primary learns of it by a new Join; a new connection leaves no doubt about which acks meant what.
    if (this.#isConnected) this.#reconnect(`the copy is kept in ${mode === "durable" ? "storage" : "memory"} now`);
  }

  // --- replication

  #receive(message: Downstream, now: number): void {
    switch (message.type) {
      case "joined-secondary":
        return this.#joined(message, now);
      case "snapshot":
        return this.#membership ? this.#follow(this.#membership, message, now) : undefined;
      case "membership":
        if (this.#membership) this.#membership.inSync = message.inSync;
        return;
      case "operation-ack":
      case "operation-failed":
      case "get-result":
        if (this.#membership) this.#head = Math.max(this.#head, message.seq ?? 0);
        return this.#outbox.answer(message, (operation, seq) => this.#mustSee(keysOf(operation), seq), now);
      default:
        return unreachable(message);
    }
  }

  #follow(membership: Membership, snapshot: Snapshot, now: number): void {
    this.#head = Math.max(this.#head, snapshot.seq);
    const isFirstOfBootstrap = this.#aside?.parts.length === 0;
    const cursor = this.#cursor.seq;
    if (snapshot.prev > cursor) return this.#askFrom(membership, cursor); // D2
    if (snapshot.seq <= cursor && !isFirstOfBootstrap) return this.#ackAgain(); // D1
    this.#movedAt = now;
    this.#aside ??= { epoch: membership.epoch, isReset: false, seq: 0, until: 0, parts: [] };
    this.#aside.seq = snapshot.seq;
    this.#aside.parts.push(snapshot);
    this.#aside.until = Math.max(this.#aside.until, snapshot.until);
    if (snapshot.seq < this.#aside.until) return this.#ackAgain();
    this.#apply(this.#aside, now);
  }

  /** V1: all parts take effect at once. */
  #apply({ epoch, isReset, seq, parts }: Aside, now: number): void {
    const step: Step = { epoch, prev: parts[0]!.prev, seq, reset: isReset, parts };
    this.#aside = undefined;
    this.#epoch = step.epoch;
    this.#seq = seq;
    this.#emit({ type: "apply", step });
    this.#outbox.applied(seq);
    if (this.#mode === "memory") return this.#ack(seq);
    if (step.reset) {
      this.#unpersisted = [];
      this.#persistedSeq = 0; // What is on disk belongs to what was replaced.
    }
    this.#unpersisted.push(step);
    this.#persist(now);
  }

  /** D2: a gap is reported once; the answer begins at the cursor. */
  #askFrom(membership: Membership, cursor: number): void {
    if (membership.askedFrom === cursor) return;
    membership.askedFrom = cursor;
    this.#emit({ type: "send", message: { type: "resend", since: cursor } });
  }

  /** R2: what lies outside the prefixes is not sent and does not move the seq; the end of a step at head does. */
  #refresh(): void {
    if (!this.#membership || this.#aside) return;
    this.#emit({ type: "send", message: { type: "resend", since: this.#seq } });
  }

  /** What this secondary may say that it holds: what is on disk or, without one, what is visible. */
  get #heldSeq(): number {
    return this.#mode === "durable" ? this.#persistedSeq : this.#seq;
  }

  #ack(seq: number): void {
    this.#emit({ type: "send", message: { type: "snapshot-ack", seq } });
  }

  /** Says where the chain stands: at the parts that are aside or, without any, at what is held. */
  #ackAgain(): void {
    if (this.#aside) this.#emit({ type: "send", message: { type: "part-ack", seq: this.#aside.seq } });
    else this.#ack(this.#heldSeq);
  }

  #mustSee(keys: readonly string[], seq: number): boolean {
    return seq > this.#seq && !this.#isPaused && keys.some((key) => isCovered(key, this.#prefixes));
  }

  /**
   * Whether the primary owes this secondary snapshots. One of some prefixes is not told of other writes (R2), and one
   * whose disk is behind is itself what holds the chain up.
   */
  get #isWaitingForSteps(): boolean {
    if (!this.#membership || this.#persisting || this.#unpersisted.length > 0) return false;
    const head = this.#prefixes ? this.#membership.head : this.#head;
    return this.#aside !== undefined || this.#seq < head;
  }

  /** D8: pings may be answered by a connection of which the primary has lost everything else. */
  #look(now: number): void {
    if (this.#lookAt === undefined || now < this.#lookAt) return;
    this.#lookAt = undefined;
    if (now - this.#movedAt >= STALL_PATIENCE_MS) this.#reconnect("the primary does not send what it has");
    else this.#lookAt = this.#movedAt + STALL_PATIENCE_MS;
  }

  // --- persistence

  #persist(now: number): void {
    if (this.#persisting || this.#unpersisted.length === 0 || now < (this.#retryAt ?? now)) return;
    this.#retryAt = undefined;
    this.#persisting = this.#unpersisted;
    this.#unpersisted = [];
    this.#emit({ type: "persist", steps: this.#persisting });
  }

  /** A bootstrap has replaced what is being written, and waits behind it. */
  get #isReplaced(): boolean {
    return this.#unpersisted[0]?.reset === true;
  }

  #persisted(now: number): void {
    const last = this.#persisting?.at(-1);
    if (!last) return; // The mode has changed meanwhile.
    this.#persisting = undefined;
    this.#lastError = null;
    if (!this.#isReplaced) {
      this.#persistedSeq = last.seq;
      // D3; an ack for another history would be taken for one of this.
      const isOfThisHistory = this.#membership?.epoch === last.epoch && !this.#aside?.isReset;
      if (isOfThisHistory) this.#ack(last.seq);
    }
    this.#persist(now);
  }

  /** D4: what was refused is tried again, together with what has come since; its ack waits. */
  #refused(detail: string, now: number): void {
    if (!this.#persisting) return;
    if (!this.#isReplaced) this.#unpersisted = [...this.#persisting, ...this.#unpersisted];
    this.#persisting = undefined;
    this.#lastError = detail;
    this.#retryAt = now + PERSIST_RETRY_MS;
  }

  // --- time and effects

  #tick(now: number): void {
    this.#wakeAt = undefined; // The host's timer is spent.
    this.#outbox.expire(now);
    this.#persist(now);
    this.#look(now);
    if (this.#joinSentAt !== undefined && now - this.#joinSentAt >= JOIN_PATIENCE_MS) {
      this.#reconnect("the primary does not answer");
    }
  }

  #reconnect(reason: string): void {
    this.#lastError = reason;
    this.#endMembership();
    this.#emit({ type: "reconnect", reason });
  }

  #scheduleWake(): void {
    const joinAt = this.#joinSentAt === undefined ? Infinity : this.#joinSentAt + JOIN_PATIENCE_MS;
    const retryAt = this.#unpersisted.length > 0 ? this.#retryAt : undefined;
    const next = Math.min(this.#outbox.nextWakeAt, retryAt ?? Infinity, joinAt, this.#lookAt ?? Infinity);
    const at = next === Infinity ? undefined : next;
    if (at !== this.#wakeAt) this.#emit({ type: "wake", at });
    this.#wakeAt = at;
  }

  #emit(effect: SecondaryEffect): void {
    this.#effects.push(effect);
  }
}
