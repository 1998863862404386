// The primary: takes sessions and members in, streams what is durable to them, and answers operations. It knows no
// clock, socket or disk; a host feeds it inputs and carries out its effects. The way of an update is drawn in
// updates.ts, that of a member in arbiter.ts, that of a snapshot in replicator.ts.

import { Arbiter } from "./arbiter.ts";
import type { Member } from "./arbiter.ts";
import { unreachable } from "./assert.ts";
import type { Memo, PrimaryEffect, PrimaryInput, SessionId } from "./effects.ts";
import { changeBytes } from "./kv.ts";
import type { Json } from "./kv.ts";
import {
  ASKED_BYTES_PER_OPERATION,
  CLIENT_LEASE_MS,
  LAG_LIMIT_MS,
  MEMO_DELAY_MS,
  RATE_PER_IDENTITY,
  RATE_PER_STORE,
  READER_WINDOW_BYTES_MAX,
  REFUSALS_MAX,
  RESEND_MS,
  TOMBSTONES_KEPT,
  WINDOW_BYTES_MAX,
  WINDOW_FRAMES_MAX,
} from "./limits.ts";
import { CLOSE, costOf } from "./protocol.ts";
import type {
  Downstream,
  FailureCode,
  Get,
  Join,
  MemberState,
  Mode,
  Operation,
  PartAck,
  SnapshotAck,
  Update,
  Upstream,
} from "./protocol.ts";
import { Quota } from "./quota.ts";
import type { Rates } from "./quota.ts";
import { Replicator } from "./replicator.ts";
import type { LiveCommit, Start, Window } from "./replicator.ts";
import { joinRefusalOf, mayKnow, refusalOf } from "./rights.ts";
import type { Rights } from "./rights.ts";
import type { PrimaryStore } from "./store.ts";
import { Updates } from "./updates.ts";

export interface PrimarySettings {
  /** A member of the in-sync set that owes an ack for so long leaves it. */
  lagLimitMs: number;
  /** Whether frames can get lost on the way, so that what is un-acked must be sent again. */
  isLossy: boolean;
  /** What may be un-acked per secondary. */
  window: Window;
  /** How many tombstones a compaction leaves. */
  tombstonesKept: number;
  /** How long a client's record is kept after its last update. */
  clientLeaseMs: number;
  /** How many operations a second may be asked for. */
  rates: Rates;
  /** Why an update may not be done as it is, whoever asks for it; undefined if it may. The same update gets the same answer. */
  flawOf?: (update: Update) => string | undefined;
}

export const PRIMARY_DEFAULTS: PrimarySettings = {
  lagLimitMs: LAG_LIMIT_MS,
  isLossy: false,
  window: { bytes: WINDOW_BYTES_MAX, frames: WINDOW_FRAMES_MAX },
  tombstonesKept: TOMBSTONES_KEPT,
  clientLeaseMs: CLIENT_LEASE_MS,
  rates: { identity: RATE_PER_IDENTITY, store: RATE_PER_STORE },
};

const ALL_RIGHTS: Rights = { read: null, write: null, sync: true };

/** Whom a session serves. */
interface Party {
  rights: Rights;
  identity: string | undefined;
  /** Whose quota it uses: its identity's or, without one, its own. */
  owner: string;
  /** How often it has asked for what it may not. */
  refusals: number;
}

export interface MemberStatus {
  id: string;
  mode: Mode;
  state: MemberState;
  acked: number;
  lagMs: number;
}

export class Primary {
  readonly #store: PrimaryStore;
  readonly #settings: PrimarySettings;
  readonly #arbiter: Arbiter;
  #isStarted = false;
  #before: PrimaryInput[] = [];
  readonly #updates: Updates;
  readonly #sessions = new Map<SessionId, Party>();
  readonly #quota: Quota;
  /** Members that have acked more than is kept for a primary without memory, by when it is due. */
  readonly #dueMemos = new Map<SessionId, number>();
  #wakeAt: number | undefined;
  #effects: PrimaryEffect[] = [];

  constructor(store: PrimaryStore, settings: PrimarySettings = PRIMARY_DEFAULTS) {
    this.#store = store;
    this.#settings = settings;
    this.#arbiter = new Arbiter(settings.lagLimitMs);
    this.#quota = new Quota(settings.rates);
    this.#updates = new Updates(
      store,
      this.#arbiter,
      (effect) => this.#emit(effect),
      (live, now) => this.#replicate(live, now),
    );
  }

  step(input: PrimaryInput, now: number): PrimaryEffect[] {
    if (this.#isStarted) {
      this.#take(input, now);
    } else if (input.type === "start") {
      this.#isStarted = true;
      for (const kept of this.#before.splice(0)) this.#take(kept, now);
    } else {
      this.#before.push(input); // B1
    }
    this.#scheduleWake();
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  /** Those of one identity, if one is named. */
  members(now: number, identity?: string): MemberStatus[] {
    const all = [...this.#arbiter.members];
    const asked =
      identity === undefined ? all : all.filter(({ session }) => this.#sessions.get(session)?.identity === identity);
    return asked.map(({ secondaryId, mode, state, replicator }) => ({
      id: secondaryId,
      mode,
      state,
      acked: replicator.acked,
      lagMs: now - (replicator.oldestUnackedAt ?? now),
    }));
  }

  /** How often members have left the in-sync set because their window overflowed, or because an ack was overdue (M4). */
  readonly demotions = { overflowing: 0, overdue: 0 };

  /** Updates that have been taken and not answered. */
  get operationsInFlight(): number {
    return this.#updates.size;
  }

  #take(input: PrimaryInput, now: number): void {
    switch (input.type) {
      case "start":
        return;
      case "connect":
        this.#sessions.set(input.session, partyOf(input));
        if (input.memo) this.#restore(input.session, input.memo, now);
        return;
      case "disconnect":
        this.#sessions.delete(input.session);
        this.#leave(input.session);
        return;
      case "receive": {
        const party = this.#sessions.get(input.session);
        // A session that was closed here may still have messages on the way.
        if (party) this.#receive(input.session, input.message, party, now);
        return;
      }
      case "commit":
        this.#quota.endTurn();
        return this.#updates.commit(now);
      case "persisted":
        return this.#updates.persisted(now);
      case "refused":
        return this.#updates.refused(input.code, now);
      case "tick":
        return this.#tick(now);
      case "compact":
        return this.#compact(now);
      default:
        return unreachable(input);
    }
  }

  #receive(session: SessionId, message: Upstream, party: Party, now: number): void {
    switch (message.type) {
      case "join":
        return this.#join(session, message, party, now);
      case "leave":
        if (!this.#mayTell(session, now)) return;
        this.#emit({ type: "remember", session, memo: undefined });
        return this.#leave(session);
      case "snapshot-ack":
      case "part-ack":
        return this.#acked(session, message, now);
      case "resend":
        return this.#resend(session, message.since, now);
      case "get":
      case "insert":
      case "remove":
      case "batch":
        return this.#operate(session, message, party, now);
      default:
        return unreachable(message);
    }
  }

  #operate(session: SessionId, operation: Operation, party: Party, now: number): void {
    const detail = refusalOf(operation, party.rights);
    if (detail !== undefined) return this.#refuse(session, operation, "forbidden", detail); // S1
    if (operation.type === "get") return this.#get(session, operation, party, now);
    const refusal = this.#quota.take(party.owner, costOf(operation), now);
    const flaw = refusal === undefined ? this.#settings.flawOf?.(operation) : undefined;
    if (refusal === undefined && flaw === undefined)
      return this.#updates.enqueue({ session, owner: party.owner }, operation, now);
    const code = refusal === undefined ? "invalid-value" : "rate-limited"; // L3, L4
    this.#updates.refuse(session, operation, code, (refusal ?? flaw)!, now);
    this.#countRefusal(session);
  }

  #refuse(session: SessionId, operation: Operation, code: FailureCode, detail: string): void {
    this.#fail(session, operation, code, detail);
    this.#countRefusal(session);
  }

  /** L3: a refusal costs its sender nothing, and a session that goes on and on is closed. */
  #countRefusal(session: SessionId): void {
    const party = this.#sessions.get(session)!;
    party.refusals += 1;
    if (party.refusals > REFUSALS_MAX)
      this.#close(session, CLOSE.overloaded, "asks again and again for what it may not");
  }

  #fail(session: SessionId, { clientId, id }: Operation, code: FailureCode, detail: string): void {
    this.#send(session, { type: "operation-failed", clientId, id, code, applied: false, detail });
  }

  /** L3: whether a read that comes without a session may be done; else a sentence that says why not. */
  refuseRead(identity: string | undefined, now: number): string | undefined {
    return this.#quota.take(ownerOf(identity), 1, now);
  }

  /** L3: what such a read has brought is paid for afterwards. */
  chargeRead(identity: string | undefined, bytes: number, now: number): void {
    this.#quota.charge(ownerOf(identity), bytes / ASKED_BYTES_PER_OPERATION, now);
  }

  // --- membership

  #join(session: SessionId, join: Join, { rights, identity }: Party, now: number): void {
    if (this.#arbiter.memberOf(session)) return void this.#mayTell(session, now); // The same Join, come twice: its walk goes on.
    const refusal = joinRefusalOf(join, rights);
    if (refusal !== undefined) return this.#close(session, CLOSE.forbidden, refusal); // S2
    const { secondaryId, mode, prefixes, epoch, since } = join;
    const older = this.#arbiter.memberNamed(secondaryId);
    if (older && this.#isOfAnother(older.session, identity))
      return this.#close(session, CLOSE.superseded, "this secondary's id is that of another identity's"); // S5
    if (older) this.#close(older.session, CLOSE.superseded, "a newer session of this secondary has joined");
    const { epoch: own, head, floor } = this.#store;
    const reset = epoch !== own || since < floor || since > head;
    this.#send(session, { type: "joined-secondary", epoch: own, head, reset });
    // M1: a bootstrap is the walk from nothing, which needs no tombstones but those that come while it lasts.
    const start = { since: reset ? 0 : since, tombstonesAfter: reset ? head : 0, isStepOpen: true };
    this.#addMember({ session, secondaryId, mode, maySync: rights.sync }, prefixes, start, false, now);
  }

  /** Where nobody has an identity, an id is all that there is to go by. */
  #isOfAnother(session: SessionId, identity: string | undefined): boolean {
    const other = this.#sessions.get(session)?.identity;
    return other !== undefined && other !== identity;
  }

  /** Takes a member in again that this primary served before it lost its memory. */
  #restore(session: SessionId, memo: Memo, now: number): void {
    const { secondaryId, mode, prefixes, acked, inSync } = memo;
    if (acked === null) return this.#close(session, CLOSE.tooFarBehind, "it is not known any more what was sent here");
    if (acked < this.#store.floor || acked > this.#store.head) return this.#sendAway(session);
    // It may have been sent, and have acked, whatever was durable here.
    const start = { since: acked, acked, sentMax: this.#store.head, tombstonesAfter: 0, isStepOpen: false };
    const maySync = this.#sessions.get(session)!.rights.sync;
    this.#addMember({ session, secondaryId, mode, maySync }, prefixes, start, inSync, now);
  }

  #addMember(
    who: Pick<Member, "session" | "secondaryId" | "mode" | "maySync">,
    prefixes: readonly string[] | undefined,
    start: Start,
    wasInSync: boolean,
    now: number,
  ): void {
    const { window } = this.#settings;
    const limit =
      who.mode === "reader" ? { ...window, bytes: Math.min(window.bytes, READER_WINDOW_BYTES_MAX) } : window;
    const replicator = new Replicator(prefixes, start, limit);
    const member: Member = { ...who, replicator, state: "catching-up", rememberedAt: -Infinity };
    this.#arbiter.add(member);
    this.#walk(member, now);
    if (!this.#sessions.has(who.session)) return;
    this.#arbiter.review(member, this.#store.head);
    const isInSync = member.state === "in-sync";
    if (isInSync !== wasInSync) this.#send(who.session, { type: "membership", inSync: isInSync });
    this.#remember(member);
  }

  #leave(session: SessionId): void {
    this.#dueMemos.delete(session);
    for (const candidate of this.#arbiter.remove(session)) this.#review(candidate);
    this.#updates.confirm(); // M3
  }

  #acked(session: SessionId, { type, seq }: SnapshotAck | PartAck, now: number): void {
    const member = this.#arbiter.memberOf(session);
    if (!member) return void this.#mayTell(session, now); // It has left; the ack was on its way.
    const { replicator } = member;
    const owed = replicator.framesUnacked;
    if (!(type === "part-ack" ? replicator.receive(seq, now) : replicator.ack(seq, now)))
      return this.#close(session, CLOSE.badMessage, "acked a seq that was never sent");
    if (replicator.framesUnacked === owed && !this.#mayTell(session, now)) return;
    this.#pump(member, now);
    if (!this.#review(member) && type === "snapshot-ack") this.#rememberSoon(member, now);
    if (member.state === "in-sync") this.#updates.confirm(); // Nobody waits for anyone else.
  }

  /** L3: what tells nothing new is paid for, as anything that is asked for. */
  #mayTell(session: SessionId, now: number): boolean {
    const refusal = this.#quota.take(this.#sessions.get(session)!.owner, 1, now);
    if (refusal !== undefined) this.#close(session, CLOSE.overloaded, refusal);
    return refusal === undefined;
  }

  #resend(session: SessionId, since: number, now: number): void {
    const member = this.#arbiter.memberOf(session);
    if (!member) return void this.#mayTell(session, now);
    if (since < this.#store.floor) return this.#sendAway(session);
    if (!member.replicator.rewind(since))
      return this.#close(session, CLOSE.badMessage, "asked for a seq that was never sent");
    this.#walk(member, now);
  }

  /** Begins to send what a member has asked for. */
  #walk(member: Member, now: number): void {
    this.#pump(member, now);
    const { session, replicator } = member;
    const { owner } = this.#sessions.get(session)!;
    const refusal = this.#quota.ask({ session, owner }, replicator.windowBytes, now);
    if (refusal !== undefined) this.#close(session, CLOSE.overloaded, refusal);
  }

  /** What it misses is not known any more: it comes back with a new Join and is bootstrapped. */
  #sendAway(session: SessionId): void {
    this.#close(session, CLOSE.tooFarBehind, "what this secondary misses is not kept any more");
  }

  /** Admits a member that has caught up; true if its state changed. */
  #review(member: Member): boolean {
    if (!this.#arbiter.review(member, this.#store.head)) return false;
    if (member.state === "in-sync") this.#send(member.session, { type: "membership", inSync: true });
    this.#remember(member);
    return true;
  }

  #demote(member: Member, reason: keyof Primary["demotions"]): void {
    if (!this.#arbiter.demote(member)) return;
    this.demotions[reason] += 1;
    this.#send(member.session, { type: "membership", inSync: false });
    this.#remember(member);
  }

  /**
   * Writing a memo costs more than taking an ack, and a memo that names an older ack is as true: so of acks that follow
   * closely upon one another only the first and the last are remembered.
   */
  #rememberSoon(member: Member, now: number): void {
    if (this.#dueMemos.has(member.session)) return;
    if (now - member.rememberedAt < MEMO_DELAY_MS) {
      this.#dueMemos.set(member.session, now + MEMO_DELAY_MS);
      return;
    }
    member.rememberedAt = now;
    this.#remember(member);
  }

  #rememberDue(now: number): void {
    for (const [session, at] of this.#dueMemos) {
      if (at > now) return; // They became due in the order in which they stand here.
      const member = this.#arbiter.memberOf(session)!;
      member.rememberedAt = now;
      this.#remember(member);
    }
  }

  #remember({ session, secondaryId, mode, state, replicator }: Member): void {
    this.#dueMemos.delete(session);
    const memo: Memo = {
      secondaryId,
      mode,
      acked: replicator.hasAcked ? replicator.acked : null,
      inSync: state === "in-sync",
    };
    if (replicator.prefixes) memo.prefixes = [...replicator.prefixes];
    this.#emit({ type: "remember", session, memo });
  }

  // --- replication

  #replicate(live: LiveCommit, now: number): void {
    for (const member of this.#arbiter.members) {
      if (member.replicator.isSilent(now)) {
        this.#close(member.session, CLOSE.silent, "this secondary takes nothing of what it is sent"); // M7
        continue;
      }
      const snapshot = member.replicator.offer(live, now);
      if (snapshot) this.#send(member.session, snapshot);
      else if (snapshot === undefined) {
        if (member.replicator.isOverflowing) this.#demote(member, "overflowing"); // M4
        this.#pump(member, now);
      }
    }
  }

  #pump(member: Member, now: number): void {
    for (const snapshot of member.replicator.pump(this.#store, now)) this.#send(member.session, snapshot);
  }

  #get(session: SessionId, get: Get, { owner }: Party, now: number): void {
    const { clientId, id, key } = get;
    const entry = this.#store.get(key) ?? null;
    const refusal = this.#quota.ask({ session, owner }, entry ? changeBytes(entry) : 0, now);
    if (refusal !== undefined) return this.#refuse(session, get, "rate-limited", refusal);
    this.#send(session, { type: "get-result", clientId, id, entry, seq: this.#store.head });
  }

  // --- time

  /**
   * C3: gives up old tombstones and the records of clients that are long gone. A member whose walk has not come as far
   * as the new floor cannot go on: what it misses is not known any more.
   */
  #compact(now: number): void {
    if (this.#updates.isInFlight) return; // It may be about to write a record that would be dropped; the next time will do.
    const { tombstonesKept, clientLeaseMs } = this.#settings;
    const floor = this.#store.floorToKeep(tombstonesKept);
    this.#emit({ type: "compact", compaction: { floor, clientsBefore: now - clientLeaseMs } });
    for (const member of this.#arbiter.members) {
      if (!member.replicator.canContinueFrom(floor)) this.#sendAway(member.session);
    }
  }

  #tick(now: number): void {
    this.#wakeAt = undefined; // The host's timer is spent.
    this.#updates.expire(now);
    for (const member of this.#arbiter.overdue(now)) this.#demote(member, "overdue"); // M4
    this.#updates.confirm(); // M3
    this.#rememberDue(now);
    if (this.#settings.isLossy) this.#resendUnacked(now);
    this.#updates.commit(now);
  }

  /** D5: where frames can get lost, whatever is un-acked goes out again. */
  #resendUnacked(now: number): void {
    for (const { session, replicator } of this.#arbiter.members) {
      const at = replicator.oldestUnackedAt;
      if (at === undefined || now - at < RESEND_MS) continue;
      replicator.rewind(replicator.resendFrom);
      for (const snapshot of replicator.pump(this.#store, now)) this.#send(session, snapshot);
    }
  }

  #nextWakeAt(): number {
    const [memoAt = Infinity] = this.#dueMemos.values();
    let next = Math.min(this.#updates.nextWakeAt, this.#arbiter.nextOverdueAt(), memoAt);
    if (!this.#settings.isLossy) return next;
    for (const { replicator } of this.#arbiter.members) {
      next = Math.min(next, (replicator.oldestUnackedAt ?? Infinity) + RESEND_MS);
    }
    return next;
  }

  #scheduleWake(): void {
    const next = this.#nextWakeAt();
    const at = next === Infinity ? undefined : next;
    if (at !== this.#wakeAt) this.#emit({ type: "wake", at });
    this.#wakeAt = at;
  }

  // --- effects

  #emit(effect: PrimaryEffect): void {
    if (effect.type !== "send") {
      this.#effects.push(effect);
      return;
    }
    const { session, message } = effect;
    const party = this.#sessions.get(session);
    if (!party) return; // Whoever has gone gets nothing more: an answer that nobody hears is asked for again.
    this.#effects.push({ ...effect, message: withinRights(message, party.rights) });
  }

  #send(session: SessionId, message: Downstream<Json>): void {
    this.#emit({ type: "send", session, message });
  }

  #close(session: SessionId, code: number, reason: string): void {
    this.#emit({ type: "close", session, code, reason });
    this.#sessions.delete(session);
    this.#leave(session);
  }
}

function partyOf({ session, rights = ALL_RIGHTS, identity }: PrimaryInput & { type: "connect" }): Party {
  return { rights, identity, owner: ownerOf(identity) ?? `session ${session}`, refusals: 0 };
}

const ownerOf = (identity: string | undefined): string | undefined => identity && `identity ${identity}`;

/** S1: under one name others may have failed at a key that this session may know nothing of. */
function withinRights(message: Downstream<Json>, rights: Rights): Downstream<Json> {
  if (message.type !== "operation-failed" || !message.check || mayKnow(message.check.key, rights)) return message;
  const { check: _check, ...rest } = message;
  return rest;
}
