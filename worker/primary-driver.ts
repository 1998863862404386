// Drives a primary machine: feeds it what comes in, carries out its effects and keeps its sessions. It decides nothing
// about operations or membership, and knows no platform: a Durable Object (primary-host.ts) or Node (node/file-primary.ts)
// gives it a store and sockets, and says what it means to start anew.
//
//   sockets, requests, timer --> inbox --a turn takes it all--> machine --> store, then sockets

import { unreachable } from "../src/assert.ts";
import { encodeDownstream } from "../src/codec.ts";
import type { Memo, PrimaryEffect, PrimaryInput, SessionId } from "../src/effects.ts";
import { changeBytes } from "../src/kv.ts";
import type { Entry, Json, Range } from "../src/kv.ts";
import {
  MESSAGES_WAITING_MAX,
  SOCKETS_MAX,
  SOCKETS_PER_IDENTITY_MAX,
  STREAMS_MAX,
  STREAMS_PER_IDENTITY_MAX,
} from "../src/limits.ts";
import { Primary } from "../src/primary.ts";
import type { MemberStatus, PrimarySettings } from "../src/primary.ts";
import { CLOSE, PROTOCOL_VERSION } from "../src/protocol.ts";
import type { Downstream, Join, MemberState, Outcome, Update, Upstream } from "../src/protocol.ts";
import { partsOf } from "../src/rights.ts";
import { CommitInDoubtError } from "../src/store.ts";
import type { Commit, Compaction, ListPage, PrimaryPersistence } from "../src/store.ts";
import { Figures } from "./figures.ts";
import type { Counts } from "./figures.ts";
import { grantOf, hasEnded } from "./grant.ts";
import type { Grant } from "./grant.ts";
import { logFailure } from "./log.ts";
import { problem } from "./problem.ts";
import { RequestSession } from "./sessions.ts";
import type { Session, SocketSession } from "./sessions.ts";
import { NDJSON, SSE, StreamSession, exportOf } from "./stream.ts";
import type { StreamForm } from "./stream.ts";

/** A store as its status shows it. */
export interface StoreStatus {
  epoch: string;
  head: number;
  floor: number;
  entries: number;
  secondaries: MemberStatus[];
  settings: Pick<PrimarySettings, "lagLimitMs" | "tombstonesKept" | "clientLeaseMs" | "rates">;
}

/** A store's figures; the counters begin when the primary was last loaded. */
export interface StoreMetrics extends Counts {
  head: number;
  entries: number;
  sockets: number;
  streams: number;
  operationsInFlight: number;
  secondaries: Record<MemberState, number>;
  /** For how long the member of the in-sync set that is furthest behind has owed an ack. */
  lagMs: number;
  demotions: Primary["demotions"];
}

/** More is asked for than may be. */
interface Overdrawn {
  ok: false;
  code: "rate-limited";
  detail: string;
}

/** What is answered to who reads without a session. */
export type Answer<Value> = { ok: true; value: Value } | Overdrawn;

/** What a driver needs of the platform that it runs on. */
export interface Platform {
  /** Resolves when the next event has had its turn: soon, but late enough to see whether there is one. */
  glance(): Promise<void>;
  /** Resolves when the event loop has come round, and with it whatever has arrived in the meantime. */
  comeRound(): Promise<void>;
  /** A session ends at this time, in milliseconds since 1970: then `expire` is to be called. */
  expiring(at: number): void;
  /** A commit has been written, so that there is something that will be given up one day. */
  written(): void;
  /** The session was ended from this side. */
  ended(session: Session): void;
  /** A turn has failed. What the machine knew is in the store, or will be asked again: it must start anew. */
  failed(error: unknown): void;
}

const connectOf = (session: SessionId, { grant }: Session): PrimaryInput & { type: "connect" } => {
  if (!grant) return { type: "connect", session };
  const { read, write, sync, identity } = grant;
  return { type: "connect", session, rights: { read, write, sync }, ...(identity !== undefined && { identity }) };
};

/** What it means that the persistence has refused a transaction. */
export const refusalCodeOf = (error: unknown): "storage-full" | "unavailable" =>
  String(error).includes("SQLITE_FULL") ? "storage-full" : "unavailable";

/** How many of each there may be, in all and of one identity. */
const ROOM = {
  socket: {
    most: SOCKETS_MAX,
    mostName: "SOCKETS_MAX",
    own: SOCKETS_PER_IDENTITY_MAX,
    ownName: "SOCKETS_PER_IDENTITY_MAX",
  },
  stream: {
    most: STREAMS_MAX,
    mostName: "STREAMS_MAX",
    own: STREAMS_PER_IDENTITY_MAX,
    ownName: "STREAMS_PER_IDENTITY_MAX",
  },
};

/** So many entries are counted whenever someone asks, more only after this has passed. */
const COUNTED_EACH_TIME_MAX = 10_000;
const RECOUNT_MS = 1000;
/** Counts that are kept, one for each set of rights. */
const COUNTS_MAX = 100;

const TOO_MANY_MESSAGES = `more than ${MESSAGES_WAITING_MAX} messages at once (MESSAGES_WAITING_MAX)`;

const isAck = ({ type }: Upstream): boolean => type === "snapshot-ack" || type === "part-ack";

/** What a turn has for one session. */
interface Parcel {
  messages: Downstream<Json>[];
  memo?: { value: Memo | undefined };
  close?: { code: number; reason: string };
}

export class PrimaryDriver {
  readonly #store: PrimaryPersistence;
  readonly #settings: PrimarySettings;
  readonly #platform: Platform;
  readonly #machine: Primary;
  readonly #sessions = new Map<SessionId, Session>();
  readonly #open: Record<Session["kind"], number> = { socket: 0, stream: 0, request: 0 };
  /** Sockets and streams by kind and identity. */
  readonly #openBy = new Map<string, number>();
  /** Messages that wait for the turn, by session. */
  readonly #waiting = new Map<SessionId, number>();
  readonly #counted = new Map<string, { entries: number; at: number }>();
  #nextSession: SessionId = 1;
  #inbox: { input: PrimaryInput; now: number }[] = [];
  #turn: Promise<void> | undefined;
  /** Frames and requests that wait for the turn. */
  #arrivals = 0;
  /** One of them is from a writer who does not wait for answers, so that the next is on its way. */
  #hasMoreToCome = false;
  #lastNow = 0;
  #parcels = new Map<SessionId, Parcel>();
  // Many sessions get one and the same snapshot: it is encoded once.
  readonly #lines = new WeakMap<Downstream<Json>, string>();
  #wakeAt: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = 0;
  #refusal: "storage-full" | "unavailable" | undefined;
  readonly #figures = new Figures();
  #isStopped = false;

  constructor(store: PrimaryPersistence, settings: PrimarySettings, platform: Platform) {
    this.#store = store;
    this.#settings = settings;
    this.#platform = platform;
    this.#machine = new Primary(store, settings);
    this.#inbox.push({ input: { type: "start" }, now: this.#now() });
  }

  /** Takes a session in again that was open before the memory was lost. Only before `start`, by rising id. */
  reopen(id: SessionId, session: Session, memo: Memo | undefined): void {
    this.#nextSession = id + 1;
    this.#hold(id, session);
    this.#inbox.push({ input: { ...connectOf(id, session), ...(memo && { memo }) }, now: this.#now() });
  }

  start(): void {
    this.#takeInbox();
  }

  /** Ends every session and forgets everything; what is on its way is not answered any more. */
  stop(code: number, reason: string): void {
    this.#isStopped = true;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    for (const session of this.#sessions.values()) {
      session.close(code, reason);
      this.#platform.ended(session);
    }
    this.#sessions.clear();
  }

  // --- what is asked of a primary

  /** Does an update and returns its one outcome, at the latest when its deadline has come. */
  async operate(update: Update, grant?: Grant): Promise<Outcome> {
    const request = new RequestSession(grant);
    const session = this.open(() => request);
    this.#arrive(update);
    void this.#give({ type: "receive", session, message: update });
    const reply = await request.reply;
    this.release(session);
    if (reply.type === "get-result") throw new Error("broken promise: an update is answered by its outcome");
    return reply;
  }

  /** The entry at this key, as it is at the moment. */
  get(key: string, grant?: Grant): Answer<Entry<Json> | null> {
    const refusal = this.#refuseRead(grant);
    if (refusal) return refusal;
    const entry = this.#store.get(key) ?? null;
    if (entry) this.#chargeRead(grant, [entry]);
    return { ok: true, value: entry };
  }

  /** The entries of a range and the head that they are true of; of those only what `grant` lets be read. */
  list(range: Range, limit: number, reverse: boolean, grant?: Grant): Answer<ListPage & { seq: number }> {
    const refusal = this.#refuseRead(grant);
    if (refusal) return refusal;
    const page: ListPage = { entries: [], hasMore: false };
    for (const part of partsOf(range, grant?.read ?? null, reverse)) {
      const left = limit - page.entries.length;
      const { entries, hasMore } = this.#store.list(part, Math.max(1, left), reverse);
      // With nothing left to give, it is only looked whether there is more.
      if (left === 0) page.hasMore = entries.length > 0;
      else page.entries.push(...entries);
      page.hasMore ||= hasMore;
      if (page.hasMore) break;
    }
    this.#chargeRead(grant, page.entries);
    return { ok: true, value: { ...page, seq: this.#store.head } };
  }

  /** L3 */
  #refuseRead(grant: Grant | undefined): Overdrawn | undefined {
    const detail = this.#machine.refuseRead(grant?.identity, this.#now());
    return detail === undefined ? undefined : { ok: false, code: "rate-limited", detail };
  }

  #chargeRead(grant: Grant | undefined, entries: readonly Entry<Json>[]): void {
    const bytes = entries.reduce((sum, entry) => sum + changeBytes(entry), 0);
    this.#machine.chargeRead(grant?.identity, bytes, this.#now());
  }

  /** How many keys there are. Counting reads all of them, so of many it is not done at each asking. */
  #countEntries(read: readonly string[] | null): number {
    const name = JSON.stringify(read);
    const counted = this.#counted.get(name);
    const now = this.#now();
    if (counted && counted.entries > COUNTED_EACH_TIME_MAX && now - counted.at < RECOUNT_MS) return counted.entries;
    const parts = read ? partsOf({}, read, false) : [undefined];
    const entries = parts.reduce((sum, part) => sum + this.#store.countEntries(part), 0);
    if (this.#counted.size >= COUNTS_MAX) this.#counted.clear();
    this.#counted.set(name, { entries, at: now });
    return entries;
  }

  /** Whoever may not read everything sees what he may read counted, and of the secondaries only his own identity's. */
  status(grant?: Grant): StoreStatus {
    const read = grant?.read ?? null;
    const isAlone = read !== null && grant?.identity === undefined;
    const { lagLimitMs, tombstonesKept, clientLeaseMs, rates } = this.#settings;
    const { epoch, head, floor } = this.#store;
    return {
      epoch,
      head,
      floor,
      entries: this.#countEntries(read),
      secondaries: isAlone ? [] : this.#machine.members(this.#now(), read ? grant?.identity : undefined),
      settings: { lagLimitMs, tombstonesKept, clientLeaseMs, rates },
    };
  }

  metrics(): StoreMetrics {
    const secondaries: StoreMetrics["secondaries"] = { "catching-up": 0, "in-sync": 0, lagging: 0, following: 0 };
    let lagMs = 0;
    for (const member of this.#machine.members(this.#now())) {
      secondaries[member.state] += 1;
      if (member.state === "in-sync") lagMs = Math.max(lagMs, member.lagMs);
    }
    return {
      ...this.#figures.read(),
      head: this.#store.head,
      entries: this.#countEntries(null),
      sockets: this.#open.socket,
      streams: this.#open.stream,
      operationsInFlight: this.#machine.operationsInFlight,
      secondaries,
      lagMs,
      demotions: { ...this.#machine.demotions },
    };
  }

  /** Opens a stream as `?since=&epoch=&form=` of the request ask for it; an export of the store that it names as `store`. */
  openStream({ url, signal, headers }: Request): Response {
    const query = new URL(url).searchParams;
    const grant = grantOf(headers);
    const form = this.#formOf(query);
    const session = this.open(
      (id) =>
        new StreamSession(form, grant, {
          onTaken: (ack) => void this.#give({ type: "receive", session: id, message: ack }),
          onEnd: () => this.release(id),
        }),
    );
    const { body } = this.#sessions.get(session) as StreamSession;
    // A stream learns that its consumer has gone when it next has something for it; this is told at once.
    signal.addEventListener("abort", () => this.release(session));
    const since = query.get("since");
    const join: Join = {
      type: "join",
      version: PROTOCOL_VERSION,
      secondaryId: `reader-${crypto.randomUUID()}`,
      mode: "reader",
      // Without `since`, or where it cannot be continued from, the stream begins with all entries.
      epoch: since === null ? null : (query.get("epoch") ?? this.#store.epoch),
      since: Number(since ?? 0),
      ...(grant?.read && { prefixes: [...grant.read] }),
    };
    void this.#give({ type: "receive", session, message: join });
    return new Response(body, { headers: { "Content-Type": form.type, "Cache-Control": "no-cache" } });
  }

  #formOf(query: URLSearchParams): StreamForm {
    const form = query.get("form");
    if (form === "export") return exportOf(query.get("store") ?? "", this.#store);
    return form === "sse" ? SSE : NDJSON;
  }

  /** The answer to whoever wants to open a socket or a stream while there are too many. */
  refuseIfFull(kind: "socket" | "stream", grant: Grant | undefined): Response | undefined {
    const { most, mostName, own, ownName } = ROOM[kind];
    if (this.#open[kind] >= most) return problem("overloaded", { detail: `${most} ${kind}s are open (${mostName})` });
    const count = grant?.identity === undefined ? 0 : (this.#openBy.get(`${kind} ${grant.identity}`) ?? 0);
    if (count < own) return undefined;
    return problem("rate-limited", { detail: `${own} ${kind}s of this identity are open (${ownName})` });
  }

  // --- sessions

  /** Begins a session. */
  open(toSession: (id: SessionId) => Session): SessionId {
    const id = this.#nextSession++;
    const session = toSession(id);
    this.#hold(id, session);
    void this.#give(connectOf(id, session));
    return id;
  }

  /** S3: ends the sessions whose time is over; returns when the next one's will be. */
  expire(): number | undefined {
    let next = Infinity;
    const now = this.#now();
    for (const [id, session] of this.#sessions) {
      if (session.grant && hasEnded(session.grant, now)) this.#close(id, session);
      else next = Math.min(next, session.grant?.expiresAt ?? Infinity);
    }
    return next === Infinity ? undefined : next;
  }

  #close(id: SessionId, session: Session): void {
    session.close(CLOSE.expired, "the token has expired");
    this.release(id);
    this.#platform.ended(session);
  }

  /** Takes what a socket has received. Resolves when all of it is carried out. */
  async receive(session: SocketSession, frame: string | ArrayBuffer): Promise<void> {
    if (this.#sessions.get(session.id) !== session) return; // It was closed here, and this was on its way.
    if (session.grant && hasEnded(session.grant, this.#now())) return this.#close(session.id, session);
    const { messages, refusal } = session.read(frame);
    const hasOnlyAcks = messages.every(isAck);
    if (!hasOnlyAcks) this.#arrive(messages.at(-1));
    for (const message of messages)
      this.#inbox.push({ input: { type: "receive", session: session.id, message }, now: this.#now() });
    const waiting = (this.#waiting.get(session.id) ?? 0) + messages.length;
    this.#waiting.set(session.id, waiting);
    if (refusal) this.#turnOut(session, CLOSE.badMessage, refusal.detail);
    else if (waiting > MESSAGES_WAITING_MAX) this.#turnOut(session, CLOSE.overloaded, TOO_MANY_MESSAGES);
    // An ack shares no commit with anyone: it is taken at once, unless something came before it.
    if (hasOnlyAcks && !this.#turn) return this.#takeTurn();
    await (this.#turn ??= this.#awaitTurn());
  }

  #turnOut(session: SocketSession, code: number, reason: string): void {
    session.close(code, reason);
    this.release(session.id);
    this.#platform.ended(session);
  }

  /** Ends a session, unless it has ended before. */
  release(id: SessionId): void {
    if (this.#forget(id)) void this.#give({ type: "disconnect", session: id });
  }

  /** Gives up what is kept for those who were away for too long. Resolves when that is done. */
  async compact(): Promise<void> {
    await this.#give({ type: "compact" });
  }

  /** Resolves when what has come in until now is carried out. */
  async settled(): Promise<void> {
    await this.#turn;
  }

  #hold(id: SessionId, session: Session): void {
    const expiresAt = session.grant?.expiresAt;
    if (expiresAt !== undefined && session.kind !== "request") this.#platform.expiring(expiresAt);
    this.#sessions.set(id, session);
    this.#countOpen(session, 1);
  }

  #forget(id: SessionId): Session | undefined {
    const session = this.#sessions.get(id);
    if (!session) return undefined;
    this.#sessions.delete(id);
    this.#countOpen(session, -1);
    return session;
  }

  #countOpen({ kind, grant }: Session, change: 1 | -1): void {
    this.#open[kind] += change;
    if (grant?.identity === undefined || kind === "request") return;
    const name = `${kind} ${grant.identity}`;
    const count = (this.#openBy.get(name) ?? 0) + change;
    if (count > 0) this.#openBy.set(name, count);
    else this.#openBy.delete(name);
  }

  // --- turns

  /** Puts an input in the inbox; returns the turn that will take it. */
  #give(input: PrimaryInput): Promise<void> {
    this.#inbox.push({ input, now: this.#now() });
    return (this.#turn ??= this.#awaitTurn());
  }

  /** Notes that a frame or a request has come, by the last of its messages. */
  #arrive(last: Upstream | undefined): void {
    this.#arrivals += 1;
    if (last === undefined || !("settled" in last) || last.clientId === null) return;
    this.#hasMoreToCome ||= last.settled < last.id - 1;
  }

  /**
   * Each message is an event of its own, and each event would commit on its own. Waiting for the event loop to come
   * round gathers what has arrived, and all of it shares one commit and leaves as one frame per socket. A round takes
   * a millisecond or more, so whoever is alone does not wait for one.
   */
  async #awaitTurn(): Promise<void> {
    if (!this.#hasMoreToCome) await this.#platform.glance();
    if (this.#hasMoreToCome || this.#arrivals > 1) await this.#platform.comeRound();
    this.#arrivals = 0;
    this.#hasMoreToCome = false;
    this.#turn = undefined;
    this.#takeTurn();
  }

  #takeTurn(): void {
    if (this.#isStopped) return;
    try {
      this.#takeInbox();
    } catch (error) {
      logFailure("turn-failed", error);
      this.#platform.failed(error);
    }
  }

  #takeInbox(): void {
    this.#waiting.clear();
    for (const { input, now } of this.#inbox.splice(0)) this.#step(input, now);
    this.#step({ type: "commit" }, this.#now());
    this.#dispatch();
    this.#setTimer();
  }

  #step(input: PrimaryInput, now: number): void {
    let next: PrimaryInput | undefined = input;
    while (next) {
      const effects: PrimaryEffect[] = this.#machine.step(next, now);
      next = undefined;
      // What was persisted is told only after the other effects of the same step: their order is the machine's.
      for (const effect of effects) next = this.#carryOut(effect, now) ?? next;
    }
  }

  /** Carries out what must come first, and keeps for the end of the turn what must not leave before that. */
  #carryOut(effect: PrimaryEffect, now: number): PrimaryInput | undefined {
    switch (effect.type) {
      case "persist":
        return this.#persist(effect.commit, now);
      case "compact":
        this.#compactStore(effect.compaction);
        return undefined;
      case "send":
        this.#figures.answered(effect.message, now - (effect.askedAt ?? now));
        this.#parcelFor(effect.session).messages.push(effect.message);
        return undefined;
      case "remember":
        this.#parcelFor(effect.session).memo = { value: effect.memo };
        return undefined;
      case "close":
        this.#parcelFor(effect.session).close = effect;
        return undefined;
      case "wake":
        this.#wakeAt = effect.at;
        return undefined;
      default:
        return unreachable(effect);
    }
  }

  #persist(commit: Commit, now: number): PrimaryInput {
    try {
      this.#figures.committed(this.#store.apply(commit, now));
      this.#platform.written();
      this.#refusal = undefined;
      return { type: "persisted" };
    } catch (error) {
      if (error instanceof CommitInDoubtError) throw error;
      const code = refusalCodeOf(error);
      // It is tried again every 100 ms, and one line tells as much as ten a second.
      if (this.#refusal !== code) logFailure(`commit-refused: ${code}`, error);
      this.#refusal = code;
      return { type: "refused", code };
    }
  }

  #compactStore(compaction: Compaction): void {
    try {
      this.#store.compact(compaction);
    } catch (error) {
      if (error instanceof CommitInDoubtError) throw error;
      logFailure("compaction-refused", error);
    }
  }

  /** After all writes of the turn: what leaves now tells of nothing that is not durable, or is held back until it is. */
  #dispatch(): void {
    const parcels = this.#parcels;
    this.#parcels = new Map();
    for (const [id, { messages, memo, close }] of parcels) {
      const session = this.#sessions.get(id);
      if (!session) continue;
      if (session.grant && session.kind !== "request" && hasEnded(session.grant, this.#now())) {
        this.#close(id, session);
        continue;
      }
      if (messages.length > 0) session.send(messages, (message) => this.#encode(message));
      if (memo) session.remember(memo.value);
      if (!close) continue;
      session.close(close.code, close.reason);
      this.#figures.closedWith(close.code);
      this.#forget(id);
      this.#platform.ended(session);
    }
  }

  #encode(message: Downstream<Json>): string {
    let line = this.#lines.get(message);
    if (line === undefined) {
      line = encodeDownstream(message);
      this.#lines.set(message, line);
    }
    this.#figures.sent(message, line);
    return line;
  }

  #parcelFor(session: SessionId): Parcel {
    let parcel = this.#parcels.get(session);
    if (!parcel) {
      parcel = { messages: [] };
      this.#parcels.set(session, parcel);
    }
    return parcel;
  }

  // --- time

  /**
   * Keeps one timer for the time asked for or, as that is put off with every ack, for one before it; and none while
   * nothing is in flight: a timer keeps an object awake.
   */
  #setTimer(): void {
    if (this.#wakeAt !== undefined && this.#timer !== undefined && this.#timerAt <= this.#wakeAt) return;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#wakeAt === undefined) return;
    this.#timerAt = this.#wakeAt;
    this.#timer = setTimeout(() => this.#ring(), Math.max(0, this.#wakeAt - this.#now()));
  }

  #ring(): void {
    this.#timer = undefined;
    if (this.#wakeAt !== undefined && this.#wakeAt > this.#now()) this.#setTimer();
    else void this.#give({ type: "tick" });
  }

  /** Milliseconds that never run backwards, whatever the platform's clock does. */
  #now(): number {
    this.#lastNow = Math.max(this.#lastNow, Date.now());
    return this.#lastNow;
  }
}
