// The way of an update at the primary, from its arrival to its one answer.
//
//   enqueue --> queue --commit--> flight --persisted--> waiting --the in-sync set has acked--> OperationAck
//                 |                 |                      |
//                 | deadline        | deadline             | deadline
//                 v                 v                      v
//         failed, applied:false   in-doubt        unconfirmed, applied:true
//
// One commit is in flight at a time; what arrives meanwhile forms the next one.

import type { Arbiter } from "./arbiter.ts";
import { assert } from "./assert.ts";
import type { PrimaryEffect, SessionId } from "./effects.ts";
import { Group } from "./group.ts";
import type { Decision } from "./group.ts";
import { DEADLINE_MS, OPERATIONS_IN_FLIGHT_MAX, OPERATIONS_PER_IDENTITY_MAX, PERSIST_RETRY_MS } from "./limits.ts";
import { costOf, keysOf } from "./protocol.ts";
import type { FailureCode, OperationAck, OperationFailed, Update } from "./protocol.ts";
import { LiveCommit } from "./replicator.ts";
import type { Commit, OutcomeRecord, PrimaryStore } from "./store.ts";

/** An update on its way to its answer. */
interface Pending {
  session: SessionId;
  /** Whose room it takes; undefined while it takes none. */
  owner?: string | undefined;
  update: Update;
  deadline: number;
  isAnswered: boolean;
}

/** An update that is durable here at `seq` and waits for secondaries. */
interface Waiting extends Pending {
  seq: number;
}

/** An update that was turned away, to be remembered so that it never happens after all (A3). */
interface Refusal {
  clientId: string;
  outcome: OutcomeRecord;
}

interface Flight {
  /** Head before it. */
  prev: number;
  commit: Commit;
  refusals: Refusal[];
  decided: { pending: Pending; decision: Decision }[];
}

export class Updates {
  readonly #store: PrimaryStore;
  readonly #arbiter: Arbiter;
  readonly #emit: (effect: PrimaryEffect) => void;
  readonly #replicate: (live: LiveCommit, now: number) => void;
  #queue: Pending[] = [];
  #flight: Flight | undefined;
  #retryAt: number | undefined;
  #refusal: "storage-full" | "unavailable" = "unavailable";
  // Both in the order of arrival, which is the order of deadlines. `#waiting` is in the order of seq, too: it holds
  // what waits for the whole set. Repeats and what waits for a number of secondaries are the others.
  #waiting: Waiting[] = [];
  #others: Waiting[] = [];
  /** Updates that have been taken and not answered, by owner. */
  readonly #held = new Map<string, number>();
  // Outcomes of what was turned away without a commit; they are written with the next one.
  #refusals: Refusal[] = [];

  /** `replicate` is called with each commit that has become durable, before anyone is answered. */
  constructor(
    store: PrimaryStore,
    arbiter: Arbiter,
    emit: (effect: PrimaryEffect) => void,
    replicate: (live: LiveCommit, now: number) => void,
  ) {
    this.#store = store;
    this.#arbiter = arbiter;
    this.#emit = emit;
    this.#replicate = replicate;
  }

  /** Updates that have been taken and not answered. */
  get size(): number {
    return this.#queue.length + (this.#flight?.decided.length ?? 0) + this.#waiting.length + this.#others.length;
  }

  /** Whether a commit is on its way to the disk. */
  get isInFlight(): boolean {
    return this.#flight !== undefined;
  }

  /** When the next deadline or retry is due; Infinity if nothing is on its way. */
  get nextWakeAt(): number {
    const unanswered = this.#flight?.decided.find(({ pending }) => !pending.isAnswered)?.pending;
    const retryAt = this.#queue.length > 0 ? this.#retryAt : undefined;
    return Math.min(
      deadlineOf(this.#queue[0]),
      deadlineOf(unanswered),
      deadlineOf(this.#waiting[0]),
      deadlineOf(this.#others[0]),
      retryAt ?? Infinity,
    );
  }

  enqueue({ session, owner }: { session: SessionId; owner: string }, update: Update, now: number): void {
    const pending: Pending = { session, update, deadline: now + DEADLINE_MS, isAnswered: false };
    const own = (this.#held.get(owner) ?? 0) + roomOf(update);
    if (this.size >= OPERATIONS_IN_FLIGHT_MAX) {
      const detail = `${OPERATIONS_IN_FLIGHT_MAX} operations are in flight (OPERATIONS_IN_FLIGHT_MAX)`;
      return this.#decline(pending, "overloaded", detail);
    }
    if (own > OPERATIONS_PER_IDENTITY_MAX) {
      const detail = `more than ${OPERATIONS_PER_IDENTITY_MAX} operations of this identity are in flight (OPERATIONS_PER_IDENTITY_MAX)`;
      return this.#decline(pending, "overloaded", detail);
    }
    this.#held.set(owner, own);
    this.#queue.push({ ...pending, owner });
  }

  /**
   * Turns away an update that may not be done, unless it was done before. Nothing is kept of it, or refusing would cost what doing
   * costs: whoever asks again after that answer, asks anew.
   */
  refuse(session: SessionId, update: Update, code: FailureCode, detail: string, now: number): void {
    const pending: Pending = { session, update, deadline: now + DEADLINE_MS, isAnswered: false };
    const failure: Failure = { code, applied: false, detail };
    if (!update.repeat) return this.#fail(pending, failure);
    this.#unlessKnown(pending, () => this.#fail(pending, failure));
  }

  commit(now: number): void {
    this.expire(now);
    while (!this.#flight && this.#queue.length > 0 && now >= (this.#retryAt ?? now)) {
      this.#retryAt = undefined;
      const group = new Group(this.#store, this.#arbiter);
      const refusals = this.#refusals.splice(0);
      for (const { clientId, outcome } of refusals) group.record(clientId, outcome);
      const decided: Flight["decided"] = [];
      while (decided.length < this.#queue.length && !group.isFullFor(this.#queue[decided.length]!.update)) {
        const pending = this.#queue[decided.length]!;
        decided.push({ pending, decision: group.place(pending.update) });
      }
      this.#queue.splice(0, decided.length);
      this.#flight = { prev: this.#store.head, commit: group.toCommit(), refusals, decided };
      if (group.isEmpty) this.#conclude(this.#flight, now);
      else this.#emit({ type: "persist", commit: this.#flight.commit });
    }
  }

  persisted(now: number): void {
    assert(this.#flight !== undefined, "`persisted` answers a `persist`");
    this.#refusal = "unavailable";
    this.#conclude(this.#flight, now);
    this.commit(now);
  }

  /** P2: what was refused is tried again, in its order, until its deadline. */
  refused(code: "storage-full" | "unavailable", now: number): void {
    assert(this.#flight !== undefined, "`refused` answers a `persist`");
    const again = this.#flight.decided.map(({ pending }) => pending).filter((pending) => !pending.isAnswered);
    this.#queue = [...again, ...this.#queue];
    this.#refusals = [...this.#flight.refusals, ...this.#refusals];
    this.#flight = undefined;
    this.#refusal = code;
    this.#retryAt = now + PERSIST_RETRY_MS;
  }

  /** The flight is durable: the secondaries get it first, then its senders their answers (O3). */
  #conclude({ prev, commit, decided }: Flight, now: number): void {
    this.#flight = undefined;
    if (commit.seq > prev) this.#replicate(new LiveCommit(prev, commit.seq, commit.changes), now);
    for (const { pending, decision } of decided) {
      if (pending.isAnswered) continue;
      if ("code" in decision) this.#fail(pending, failureOf(decision));
      else this.#await({ ...pending, seq: decision.seq });
    }
    this.confirm();
  }

  #await(waiting: Waiting): void {
    const { update, seq } = waiting;
    const isInOrder = seq >= (this.#waiting.at(-1)?.seq ?? 0);
    if (update.ack === "primary") this.#acknowledge(waiting);
    else if (update.ack === "all" && isInOrder) this.#waiting.push(waiting);
    else this.#others.push(waiting);
  }

  /** Acknowledges whatever has what it waited for: secondaries have acked, or have left and are waited for no more. */
  confirm(): void {
    const confirmed = this.#arbiter.confirmedSeq();
    let count = 0;
    while (count < this.#waiting.length && this.#waiting[count]!.seq <= confirmed) count += 1;
    for (const waiting of this.#waiting.splice(0, count)) this.#acknowledge(waiting);
    if (this.#others.length === 0) return;
    const isConfirmed = ({ update, seq }: Waiting): boolean =>
      typeof update.ack === "number"
        ? this.#arbiter.count(keysOf(update), seq).replicas >= update.ack
        : seq <= confirmed;
    const others = this.#others;
    this.#others = others.filter((waiting) => !isConfirmed(waiting));
    for (const waiting of others) if (isConfirmed(waiting)) this.#acknowledge(waiting);
  }

  #acknowledge(waiting: Waiting): void {
    const { update, seq } = waiting;
    const { clientId, id } = update;
    const { replicas } = this.#arbiter.count(keysOf(update), seq);
    this.#answer(waiting, { type: "operation-ack", clientId, id, seq, replicas });
  }

  /** The one answer of an update (A1). */
  #answer({ session, owner, update, deadline }: Pending, message: OperationAck | OperationFailed): void {
    this.#emit({ type: "send", session, message, askedAt: deadline - DEADLINE_MS });
    if (owner === undefined) return;
    const left = this.#held.get(owner)! - roomOf(update);
    if (left > 0) this.#held.set(owner, left);
    else this.#held.delete(owner);
  }

  /** P2, A3: it does not happen, and its name is remembered so that a repeat does not make it happen. */
  #turnAway(pending: Pending, code: FailureCode, detail?: string): void {
    const { clientId, id } = pending.update;
    if (clientId !== null && this.#refusals.length < OPERATIONS_IN_FLIGHT_MAX) {
      this.#refusals.push({ clientId, outcome: { id, code } });
    }
    this.#fail(pending, { code, applied: false, ...(detail !== undefined && { detail }) });
  }

  #fail(pending: Pending, failure: Failure): void {
    const { clientId, id } = pending.update;
    this.#answer(pending, { type: "operation-failed", clientId, id, ...failure });
  }

  /** A1: gives every update whose deadline has come the answer that is true of it. */
  expire(now: number): void {
    for (const pending of takeExpired(this.#queue, now)) this.#decline(pending, this.#refusal);
    for (const { pending } of this.#flight?.decided ?? []) {
      if (pending.deadline > now) break;
      if (!pending.isAnswered) this.#fail(pending, { code: "in-doubt" }); // P3
      pending.isAnswered = true;
    }
    for (const waiting of [...takeExpired(this.#waiting, now), ...takeExpired(this.#others, now)])
      this.#failUnconfirmed(waiting);
  }

  /** Turns away what waits or has just come. It has not happened, unless it repeats what has or what is in flight. */
  #decline(pending: Pending, code: FailureCode, detail?: string): void {
    this.#unlessKnown(pending, () => this.#turnAway(pending, code, detail));
  }

  /** Answers an update with what has become of it before, if that is known or about to be. */
  #unlessKnown(pending: Pending, decline: () => void): void {
    const { clientId, id } = pending.update;
    if (clientId === null) return decline();
    const isInFlight = this.#flight?.decided.some(
      ({ pending: { update } }) => update.clientId === clientId && update.id === id,
    );
    if (isInFlight) return this.#fail(pending, { code: "in-doubt" });
    const known = this.#store.readClient(clientId)?.outcomes.find((outcome) => outcome.id === id);
    if (!known) return decline();
    if ("code" in known) return this.#fail(pending, failureOf(known));
    this.#failUnconfirmed({ ...pending, seq: known.seq });
  }

  #failUnconfirmed(waiting: Waiting): void {
    const { update, seq } = waiting;
    this.#fail(waiting, { code: "unconfirmed", applied: true, seq, ...this.#arbiter.count(keysOf(update), seq) });
  }
}

/** An identity has room for so many writes, and for half of all updates that can be in flight. */
const ROOM_MIN = (2 * OPERATIONS_PER_IDENTITY_MAX) / OPERATIONS_IN_FLIGHT_MAX;
const roomOf = (update: Update): number => Math.max(ROOM_MIN, costOf(update));

type Failure = Omit<OperationFailed, "type" | "clientId" | "id">;

/** I3: of an expired outcome nothing is known any more, so nothing is said about `applied`. */
function failureOf(decision: Extract<Decision, { code: string }>): Failure {
  const { id: _id, ...failure } = decision;
  return decision.code === "expired" ? failure : { ...failure, applied: false };
}

const deadlineOf = (pending: Pending | undefined): number => pending?.deadline ?? Infinity;

function takeExpired<Item extends Pending>(queue: Item[], now: number): Item[] {
  let count = 0;
  while (count < queue.length && queue[count]!.deadline <= now) count += 1;
  return queue.splice(0, count);
}
