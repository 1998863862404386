// The host of the primary machine: a Durable Object that feeds it what comes in and carries out its effects. It
// decides nothing about operations or membership. The store is the truth: whatever else is here can be lost at any
// time, and is built again from the store and from what is kept beside the sockets.
//
//   sockets, requests, timer --> inbox --a turn takes it all--> machine --> store, then sockets

import { DurableObject } from "cloudflare:workers";
import { unreachable } from "../src/assert.ts";
import { encodeDownstream, readInteger } from "../src/codec.ts";
import type { Memo, PrimaryEffect, PrimaryInput, SessionId } from "../src/effects.ts";
import type { Entry, Json, Range } from "../src/kv.ts";
import { COMPACT_EVERY_MS, LAG_LIMIT_MS, LAG_LIMIT_MS_MAX, LAG_LIMIT_MS_MIN, SOCKETS_MAX } from "../src/limits.ts";
import { PRIMARY_DEFAULTS, Primary as PrimaryMachine } from "../src/primary.ts";
import type { MemberStatus } from "../src/primary.ts";
import { CLOSE, PROTOCOL_VERSION, SUBPROTOCOL } from "../src/protocol.ts";
import type { Downstream, Join, MemberState, Outcome, Update } from "../src/protocol.ts";
import type { Commit, Compaction, ListPage } from "../src/store.ts";
import { logFailure } from "./log.ts";
import { ObjectDatabase } from "./object-database.ts";
import { problem } from "./problem.ts";
import { RequestSession, SocketSession } from "./sessions.ts";
import type { Session } from "./sessions.ts";
import { SqlStore } from "./sql-store.ts";
import { STREAM_TYPES, StreamSession } from "./stream.ts";
import type { StreamForm } from "./stream.ts";

/** What the object reads of its environment. */
export interface PrimarySettingsEnv {
  /** `lagLimitMs`: after how long a silent member leaves the in-sync set, in milliseconds. */
  LAG_LIMIT_MS?: string;
}

/** A store as its status shows it. */
export interface StoreStatus {
  epoch: string;
  head: number;
  floor: number;
  entries: number;
  secondaries: MemberStatus[];
  settings: { lagLimitMs: number };
}

/** A store's figures; the counters begin when the object was last loaded. */
export interface StoreMetrics {
  head: number;
  entries: number;
  sockets: number;
  streams: number;
  /** Updates by how they ended: `acked`, or the code of the failure. */
  operations: Record<string, number>;
  secondaries: Record<MemberState, number>;
  rowsWritten: number;
}

/** What a turn has for one session. */
interface Parcel {
  messages: Downstream<Json>[];
  memo?: { value: Memo | undefined };
  close?: { code: number; reason: string };
}

/** The Durable Object that is one store's primary. Its methods answer in plain values; outcomes are never thrown. */
export class Primary extends DurableObject<PrimarySettingsEnv> {
  readonly #store: SqlStore;
  readonly #machine: PrimaryMachine;
  readonly #lagLimitMs: number;
  readonly #sessions = new Map<SessionId, Session>();
  readonly #sockets = new Map<WebSocket, SocketSession>();
  #streams = 0;
  #nextSession: SessionId = 1;
  #inbox: { input: PrimaryInput; now: number }[] = [];
  #turn: Promise<void> | undefined;
  #lastNow = 0;
  #parcels = new Map<SessionId, Parcel>();
  // Many sessions get one and the same snapshot: it is encoded once.
  readonly #lines = new WeakMap<Downstream<Json>, string>();
  #wakeAt: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #refusal: "storage-full" | "unavailable" | undefined;
  readonly #operations: Record<string, number> = {};
  #rowsWritten = 0;
  /** Whether the next compaction is known to be due; a row is written to set an alarm, so it is set once. */
  #hasAlarm = false;

  constructor(ctx: DurableObjectState, env: PrimarySettingsEnv) {
    super(ctx, env);
    this.#store = new SqlStore(new ObjectDatabase(ctx.storage));
    this.#lagLimitMs = readLagLimit(env.LAG_LIMIT_MS);
    this.#machine = new PrimaryMachine(this.#store, { ...PRIMARY_DEFAULTS, lagLimitMs: this.#lagLimitMs });
    // A peer's heartbeat is the text frame "ping", answered with "pong" without waking the object. Neither is a line
    // of the protocol, as it has no line feed.
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    this.#inbox.push({ input: { type: "start" }, now: this.#now() });
    this.#reopenSockets();
    this.#takeInbox();
  }

  // --- for the app

  /** Does an update and returns its one outcome, at the latest when its deadline has come. */
  async operate(update: Update): Promise<Outcome> {
    const session = this.#nextSession++;
    const request = new RequestSession();
    this.#sessions.set(session, request);
    void this.#give({ type: "connect", session });
    void this.#give({ type: "receive", session, message: update });
    const reply = await request.reply;
    this.#sessions.delete(session);
    void this.#give({ type: "disconnect", session });
    if (reply.type === "get-result") throw new Error("broken promise: an update is answered by its outcome");
    return reply;
  }

  /** The entry at this key, as it is at the moment. */
  get(key: string): Entry<Json> | null {
    return this.#store.get(key) ?? null;
  }

  /** The entries of a range and the head that they are true of. */
  list(range: Range, limit: number, reverse: boolean): ListPage & { seq: number } {
    return { ...this.#store.list(range, limit, reverse), seq: this.#store.head };
  }

  status(): StoreStatus {
    const { epoch, head, floor } = this.#store;
    return {
      epoch,
      head,
      floor,
      entries: this.#store.countEntries(),
      secondaries: this.#machine.members(this.#now()),
      settings: { lagLimitMs: this.#lagLimitMs },
    };
  }

  metrics(): StoreMetrics {
    const secondaries: StoreMetrics["secondaries"] = { "catching-up": 0, "in-sync": 0, lagging: 0, following: 0 };
    for (const { state } of this.#machine.members(this.#now())) secondaries[state] += 1;
    return {
      head: this.#store.head,
      entries: this.#store.countEntries(),
      sockets: this.#sockets.size,
      streams: this.#streams,
      operations: { ...this.#operations },
      secondaries,
      rowsWritten: this.#rowsWritten,
    };
  }

  /** Opens a session: a WebSocket if asked to upgrade, else a stream from `?since=&epoch=` in the `form` wanted. */
  override async fetch(request: Request): Promise<Response> {
    if (this.#sockets.size + this.#streams >= SOCKETS_MAX) {
      return problem("overloaded", { detail: `${SOCKETS_MAX} sockets are open (SOCKETS_MAX)` });
    }
    if (request.headers.get("Upgrade")?.toLowerCase() === "websocket") return this.#acceptSocket(request);
    const query = new URL(request.url).searchParams;
    const since = query.get("since");
    const epoch = query.get("epoch") ?? this.#store.epoch;
    const form = query.get("form") === "sse" ? "sse" : "ndjson";
    return this.#openStream(request.signal, form, since === null ? undefined : Number(since), epoch);
  }

  // --- sockets

  #acceptSocket(request: Request): Response {
    const { 0: client, 1: socket } = new WebSocketPair();
    this.ctx.acceptWebSocket(socket);
    const session = SocketSession.open(socket, this.#nextSession++);
    this.#hold(socket, session);
    void this.#give({ type: "connect", session: session.id });
    const hasOffer = request.headers.has("Sec-WebSocket-Protocol");
    const headers: Record<string, string> = hasOffer ? { "Sec-WebSocket-Protocol": SUBPROTOCOL } : {};
    return new Response(null, { status: 101, webSocket: client, headers });
  }

  /** Takes the sockets in again that were accepted before the object lost its memory, in the order of that time. */
  #reopenSockets(): void {
    const open = this.ctx.getWebSockets().filter((socket) => socket.readyState === WebSocket.OPEN);
    const reopened = open.map((socket) => ({ socket, session: SocketSession.reopen(socket) }));
    for (const { socket, session } of reopened.sort((a, b) => a.session.id - b.session.id)) {
      this.#hold(socket, session);
      this.#nextSession = session.id + 1;
      const { id, memo } = session;
      const input: PrimaryInput = { type: "connect", session: id, ...(memo && { memo }) };
      this.#inbox.push({ input, now: this.#now() });
    }
  }

  #hold(socket: WebSocket, session: SocketSession): void {
    this.#sockets.set(socket, session);
    this.#sessions.set(session.id, session);
  }

  override async webSocketMessage(socket: WebSocket, frame: string | ArrayBuffer): Promise<void> {
    const session = this.#sockets.get(socket);
    if (!session) return; // It was closed here, and this was on its way.
    const { messages, refusal } = session.read(frame);
    for (const message of messages) void this.#give({ type: "receive", session: session.id, message });
    if (refusal) {
      session.close(CLOSE.badMessage, refusal.detail);
      this.#release(socket);
    }
    // The event lasts until its effects are carried out, so that a failure is its own.
    await this.#turn;
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    // The codes that say that there was no code, or no close frame at all, cannot be sent back.
    if (socket.readyState === WebSocket.CLOSING) socket.close(code === 1005 || code === 1006 ? 1000 : code);
    this.#release(socket);
    await this.#turn;
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    this.#release(socket);
    await this.#turn;
  }

  /** Ends a socket's session, unless it has ended before. */
  #release(socket: WebSocket): void {
    const session = this.#sockets.get(socket);
    if (!session) return;
    this.#sockets.delete(socket);
    this.#sessions.delete(session.id);
    void this.#give({ type: "disconnect", session: session.id });
  }

  // --- streams

  /** Without `since`, or where it cannot be continued from, the stream begins with all entries. */
  #openStream(signal: AbortSignal, form: StreamForm, since: number | undefined, epoch: string): Response {
    const session = this.#nextSession++;
    const stream = new StreamSession(form, {
      onTaken: (ack) => void this.#give({ type: "receive", session, message: ack }),
      onCancel: () => this.#releaseStream(session),
    });
    // A stream learns that its consumer has gone when it next has something for it; this is told at once.
    signal.addEventListener("abort", () => this.#releaseStream(session));
    this.#streams += 1;
    this.#sessions.set(session, stream);
    void this.#give({ type: "connect", session });
    const join: Join = {
      type: "join",
      version: PROTOCOL_VERSION,
      secondaryId: `reader-${crypto.randomUUID()}`,
      mode: "reader",
      epoch: since === undefined ? null : epoch,
      since: since ?? 0,
    };
    void this.#give({ type: "receive", session, message: join });
    return new Response(stream.body, { headers: { "Content-Type": STREAM_TYPES[form], "Cache-Control": "no-cache" } });
  }

  #releaseStream(session: SessionId): void {
    if (!this.#sessions.delete(session)) return;
    this.#streams -= 1;
    void this.#give({ type: "disconnect", session });
  }

  // --- turns

  /** Puts an input in the inbox; returns the turn that will take it. */
  #give(input: PrimaryInput): Promise<void> {
    this.#inbox.push({ input, now: this.#now() });
    return (this.#turn ??= this.#takeTurn());
  }

  /**
   * Each message is an event of its own, and each event would commit on its own. Waiting for the event loop to come
   * round gathers what has arrived, and all of it shares one commit and leaves as one frame per socket.
   */
  async #takeTurn(): Promise<void> {
    await scheduler.wait(0);
    this.#turn = undefined;
    try {
      this.#takeInbox();
    } catch (error) {
      logFailure("turn-failed", error);
      // The machine may have stopped half-way through a step. What it knew is in the store, or will be asked again.
      this.ctx.abort("the primary broke a promise of its own and starts anew");
    }
  }

  #takeInbox(): void {
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
        this.#count(effect.message);
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
      this.#rowsWritten += this.#store.apply(commit, now);
      void this.#setAlarm();
      this.#refusal = undefined;
      return { type: "persisted" };
    } catch (error) {
      const code = String(error).includes("SQLITE_FULL") ? "storage-full" : "unavailable";
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
      logFailure("compaction-refused", error);
    }
  }

  /** After all writes of the turn: what is sent now is held back by the platform until they are on disk. */
  #dispatch(): void {
    const parcels = this.#parcels;
    this.#parcels = new Map();
    for (const [id, { messages, memo, close }] of parcels) {
      const session = this.#sessions.get(id);
      if (!session) continue;
      if (messages.length > 0) session.send(messages, (message) => this.#encode(message));
      if (memo) session.remember(memo.value);
      if (close) this.#close(id, session, close.code, close.reason);
    }
  }

  /** Carries out the machine's own decision to end a session. */
  #close(id: SessionId, session: Session, code: number, reason: string): void {
    session.close(code, reason);
    this.#sessions.delete(id);
    if (session instanceof StreamSession) this.#streams -= 1;
    for (const [socket, held] of this.#sockets) if (held === session) this.#sockets.delete(socket);
  }

  #encode(message: Downstream<Json>): string {
    let line = this.#lines.get(message);
    if (line === undefined) {
      line = encodeDownstream(message);
      this.#lines.set(message, line);
    }
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

  #count(message: Downstream<Json>): void {
    if (message.type !== "operation-ack" && message.type !== "operation-failed") return;
    const outcome = message.type === "operation-ack" ? "acked" : message.code;
    this.#operations[outcome] = (this.#operations[outcome] ?? 0) + 1;
  }

  // --- time

  /** The platform's alarm outlives the memory: it brings the next compaction, for as long as there is something to drop. */
  override async alarm(): Promise<void> {
    await this.#give({ type: "compact" });
    this.#hasAlarm = false;
    if (this.#store.hasClients()) await this.#setAlarm();
  }

  async #setAlarm(): Promise<void> {
    if (this.#hasAlarm) return;
    this.#hasAlarm = true;
    try {
      const isSet = (await this.ctx.storage.getAlarm()) !== null;
      if (!isSet) await this.ctx.storage.setAlarm(this.#now() + COMPACT_EVERY_MS);
    } catch (error) {
      this.#hasAlarm = false; // The next commit tries again.
      logFailure("alarm-refused", error);
    }
  }

  /** Keeps one timer for the time asked for, and none while nothing is in flight: a timer keeps the object awake. */
  #setTimer(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#wakeAt === undefined) return;
    this.#timer = setTimeout(() => void this.#give({ type: "tick" }), Math.max(0, this.#wakeAt - this.#now()));
  }

  /** Milliseconds that never run backwards, whatever the platform's clock does. */
  #now(): number {
    this.#lastNow = Math.max(this.#lastNow, Date.now());
    return this.#lastNow;
  }
}

/** A setting that is not understood must not stop a store: it is reported, and the status shows what is in force. */
function readLagLimit(text: string | undefined): number {
  if (text === undefined) return LAG_LIMIT_MS;
  const limit = readInteger(text, "LAG_LIMIT_MS", LAG_LIMIT_MS_MIN, LAG_LIMIT_MS_MAX);
  if (limit.ok) return limit.value;
  logFailure("setting-refused", limit.detail);
  return LAG_LIMIT_MS;
}
