// Decides membership: who has joined, and whose acknowledgement a write waits for. It sends nothing; the primary
// tells the members what was decided here.
//
//                    acked = head, durable, room in the set
//   catching-up ---------------------------------------------> in-sync
//        |                                                     |     ^
//        | acked = head, but memory, reader or no room         |     | acked = head, and in time
//        v                                   window overflows, v     |
//    following                               ack overdue       lagging
//
// Leave and disconnect remove a member from any state. Leaving the set waives every ack that was owed (M3).

import { IN_SYNC_MAX } from "./limits.ts";
import type { MemberState, Mode } from "./protocol.ts";
import type { Replicator } from "./replicator.ts";
import type { SessionId } from "./effects.ts";

export interface Member {
  readonly session: SessionId;
  readonly secondaryId: string;
  readonly mode: Mode;
  /** Writers may wait for it, as far as its rights go. */
  readonly maySync: boolean;
  readonly replicator: Replicator;
  state: MemberState;
  /** When what it had acked was last kept for a primary without memory. */
  rememberedAt: number;
}

export class Arbiter {
  readonly #lagLimitMs: number;
  readonly #members = new Map<SessionId, Member>();
  readonly #named = new Map<string, Member>();
  readonly #inSync = new Set<Member>();

  constructor(lagLimitMs: number) {
    this.#lagLimitMs = lagLimitMs;
  }

  get members(): Iterable<Member> {
    return this.#members.values();
  }

  memberOf(session: SessionId): Member | undefined {
    return this.#members.get(session);
  }

  /** The session that serves this secondary at present. */
  memberNamed(secondaryId: string): Member | undefined {
    return this.#named.get(secondaryId);
  }

  add(member: Member): void {
    this.#members.set(member.session, member);
    this.#named.set(member.secondaryId, member);
  }

  /** Returns the members that may take the place that has become free. */
  remove(session: SessionId): Member[] {
    const member = this.#members.get(session);
    if (!member) return [];
    const wasFull = this.#inSync.size === IN_SYNC_MAX;
    this.#members.delete(session);
    this.#inSync.delete(member);
    if (this.#named.get(member.secondaryId) === member) this.#named.delete(member.secondaryId);
    return wasFull ? [...this.#members.values()].filter((other) => other.state === "following") : [];
  }

  /** M2: whoever has acked head is in sync, if its copy is durable, it has the right, and the set has room. True if its state changed. */
  review(member: Member, head: number): boolean {
    if (member.state === "in-sync" || !member.replicator.isCaughtUp(head)) return false;
    // M4: whoever was too slow shows first that it is not any more, on writes that do not wait for it.
    if (member.state === "lagging" && member.replicator.lastAckTookMs >= this.#lagLimitMs) return false;
    const before = member.state;
    const canBeInSync = member.mode === "durable" && member.maySync && this.#inSync.size < IN_SYNC_MAX;
    member.state = canBeInSync ? "in-sync" : "following";
    if (canBeInSync) this.#inSync.add(member);
    return member.state !== before;
  }

  /** M4: a member that cannot keep up leaves the set and returns through catch-up. True if it was in the set. */
  demote(member: Member): boolean {
    const wasInSync = this.#inSync.delete(member);
    if (wasInSync) member.state = "lagging";
    else if (member.state === "following") member.state = "catching-up";
    return wasInSync;
  }

  /** The members of the set that have owed an ack for `lagLimitMs`. */
  overdue(now: number): Member[] {
    return [...this.#inSync].filter((member) => {
      const at = member.replicator.oldestUnackedAt;
      return at !== undefined && now - at >= this.#lagLimitMs;
    });
  }

  /** When the next member will be overdue. */
  nextOverdueAt(): number {
    let next = Infinity;
    for (const { replicator } of this.#inSync) {
      const at = replicator.oldestUnackedAt;
      if (at !== undefined) next = Math.min(next, at + this.#lagLimitMs);
    }
    return next;
  }

  /** Every member of the set has everything up to here on disk; Infinity if the set is empty. */
  confirmedSeq(): number {
    let confirmed = Infinity;
    for (const { replicator } of this.#inSync) confirmed = Math.min(confirmed, replicator.confirmed);
    return confirmed;
  }

  /** How many members of the set get any of these keys, and how many of them have them on disk as of `seq`. */
  count(keys: readonly string[], seq: number): { expected: number; replicas: number } {
    let expected = 0;
    let replicas = 0;
    for (const { replicator } of this.#inSync) {
      if (!keys.some((key) => replicator.covers(key))) continue;
      expected += 1;
      if (replicator.confirmed >= seq) replicas += 1;
    }
    return { expected, replicas };
  }
}
