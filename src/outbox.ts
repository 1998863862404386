// The operations of a secondary's users, from the moment they are given to the moment their end is known.
//
//   operate --> waiting --open, room--> sent --answer--> settled        (an ack whose snapshot has not been applied
//                  ^                     |               yet is held until it has: whoever was acked reads the write)
//                  +------- close -------+
//
// Nothing waits for ever: what was never sent fails as `offline`, what was sent and not answered is unknown. An answer that comes
// later settles nothing, but is told.

import type { SecondaryEffect, Settled } from "./effects.ts";
import {
  OPERATIONS_PENDING_MAX,
  OPERATIONS_SENT_MAX,
  OUTCOME_PATIENCE_MS,
  UNSENT_LIMIT_MS,
  WRITES_SENT_MAX,
} from "./limits.ts";
import { costOf, nameOf } from "./protocol.ts";
import type { Operation, OperationAck, Reply } from "./protocol.ts";

interface Pending {
  operation: Operation;
  /** Since when it could not be sent. */
  since: number;
  firstSentAt?: number;
}

interface Held {
  ack: OperationAck;
  until: number;
}

export class Outbox {
  readonly #emit: (effect: SecondaryEffect) => void;
  // Maps, because they keep the order in which things were put in.
  #waiting = new Map<string, Pending>();
  #sent = new Map<string, Pending>();
  /** What was sent and is not answered would write, and check. */
  #sentWrites = 0;
  #held: Held[] = [];
  #isOpen = false;

  constructor(emit: (effect: SecondaryEffect) => void) {
    this.#emit = emit;
  }

  get size(): number {
    return this.#waiting.size + this.#sent.size + this.#held.length;
  }

  /** When something is due to be given up; Infinity if nothing is. */
  get nextWakeAt(): number {
    let next = this.#held[0]?.until ?? Infinity;
    for (const { firstSentAt } of this.#sent.values()) {
      next = Math.min(next, (firstSentAt ?? 0) + OUTCOME_PATIENCE_MS);
      break; // They were sent in this order.
    }
    if (this.#isOpen) return next;
    for (const pending of this.#waiting.values()) {
      next = Math.min(next, givenUpAt(pending));
      if (pending.firstSentAt === undefined) break; // What was sent before stands in front of what was not.
    }
    return next;
  }

  /** What is a repeat was sent before, by another machine: whatever keeps it from being sent now, it may have happened. */
  operate(operation: Operation, now: number): void {
    const { clientId, id } = operation;
    const isRepeat = operation.type !== "get" && operation.repeat;
    if (this.size >= OPERATIONS_PENDING_MAX) {
      const detail = `${OPERATIONS_PENDING_MAX} operations are waiting (OPERATIONS_PENDING_MAX)`;
      if (isRepeat) return this.#settle({ type: "outcome-unknown", clientId, id });
      return this.#settle({ type: "operation-failed", clientId, id, code: "overloaded", applied: false, detail });
    }
    this.#waiting.set(nameOf(operation), { operation, since: now, ...(isRepeat && { firstSentAt: now }) });
    this.#flush(now);
  }

  /** The secondary has joined: B1, and U2 for what an earlier connection left unanswered. */
  open(now: number): void {
    this.#isOpen = true;
    this.#flush(now);
  }

  /** The connection is gone: what it left unanswered will be asked again, in its old order, before anything new. */
  close(now: number): void {
    this.#isOpen = false;
    for (const pending of this.#waiting.values()) pending.since = now;
    this.#waiting = new Map([...this.#sent, ...this.#waiting]);
    this.#sent = new Map();
    this.#sentWrites = 0;
  }

  /** `mustSee` says whether the sender's own replica shows this write, and so must show it before the ack. */
  answer(reply: Reply, mustSee: (operation: Operation, seq: number) => boolean, now: number): void {
    const name = nameOf(reply);
    const pending = this.#sent.get(name);
    if (!pending) {
      // Given up before, or answered twice.
      const isOpen = this.#waiting.has(name) || this.#held.some(({ ack }) => nameOf(ack) === name);
      if (!isOpen) this.#emit({ type: "late", reply });
      return;
    }
    this.#sent.delete(name);
    this.#forget(pending);
    if (reply.type === "operation-ack" && mustSee(pending.operation, reply.seq)) {
      this.#held.push({ ack: reply, until: now + OUTCOME_PATIENCE_MS });
    } else {
      this.#settle(reply);
    }
    this.#flush(now);
  }

  /** Everything up to `seq` is visible here. */
  applied(seq: number): void {
    if (this.#held.length > 0) this.#release(({ ack }) => ack.seq <= seq);
  }

  expire(now: number): void {
    this.#release(({ until }) => until <= now);
    for (const pending of this.#sent.values()) if (givenUpAt(pending) <= now) this.#giveUp(this.#sent, pending);
    if (this.#isOpen) return this.#flush(now);
    for (const pending of this.#waiting.values()) if (givenUpAt(pending) <= now) this.#giveUp(this.#waiting, pending);
  }

  #flush(now: number): void {
    if (!this.#isOpen) return;
    for (const [name, pending] of this.#waiting) {
      const { operation } = pending;
      const writes = operation.type === "get" ? 0 : costOf(operation);
      const isFull = this.#sentWrites + writes > WRITES_SENT_MAX && this.#sent.size > 0;
      if (isFull || this.#sent.size >= OPERATIONS_SENT_MAX) return;
      this.#waiting.delete(name);
      this.#sentWrites += writes;
      const isRepeat = operation.type !== "get" && pending.firstSentAt !== undefined;
      pending.firstSentAt ??= now;
      this.#sent.set(name, pending);
      this.#emit({ type: "send", message: isRepeat ? { ...operation, repeat: true } : operation });
    }
  }

  #giveUp(list: Map<string, Pending>, pending: Pending): void {
    const { operation, firstSentAt } = pending;
    const { clientId, id, type } = operation;
    list.delete(nameOf(operation));
    if (list === this.#sent) this.#forget(pending);
    if (firstSentAt === undefined || type === "get") {
      const detail = "no connection to the primary";
      this.#settle({ type: "operation-failed", clientId, id, code: "offline", applied: false, detail });
    } else {
      this.#settle({ type: "outcome-unknown", clientId, id }); // U1
    }
  }

  #forget({ operation }: Pending): void {
    if (operation.type !== "get") this.#sentWrites -= costOf(operation);
  }

  #release(isDue: (held: Held) => boolean): void {
    const held = this.#held;
    this.#held = held.filter((one) => !isDue(one));
    for (const one of held) if (isDue(one)) this.#settle(one.ack);
  }

  #settle(settled: Settled): void {
    this.#emit({ type: "settle", settled });
  }
}

/** When a pending operation that does not get on is given up. */
function givenUpAt({ since, firstSentAt }: Pending): number {
  return firstSentAt === undefined ? since + UNSENT_LIMIT_MS : firstSentAt + OUTCOME_PATIENCE_MS;
}
