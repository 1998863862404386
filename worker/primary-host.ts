// The host of the primary machine in a Durable Object: its driver on the object's SQLite and hibernatable sockets. The
// store is the truth: whatever else is here can be lost at any time, and is built again from the store and from what is
// kept beside the sockets.

import { DurableObject } from "cloudflare:workers";
import { readInteger } from "../src/codec.ts";
import type { Entry, Json, Range } from "../src/kv.ts";
import { COMPACT_EVERY_MS, LAG_LIMIT_MS_MAX, LAG_LIMIT_MS_MIN } from "../src/limits.ts";
import { PRIMARY_DEFAULTS } from "../src/primary.ts";
import type { PrimarySettings } from "../src/primary.ts";
import { SUBPROTOCOL } from "../src/protocol.ts";
import type { Outcome, Update } from "../src/protocol.ts";
import type { ListPage } from "../src/store.ts";
import { offersDeflate } from "./deflate.ts";
import { grantOf } from "./grant.ts";
import type { Grant } from "./grant.ts";
import { HibernatingSession } from "./hibernating-session.ts";
import { Histories } from "./histories.ts";
import { logFailure } from "./log.ts";
import { ObjectDatabase } from "./object-database.ts";
import { PrimaryDriver } from "./primary-driver.ts";
import type { Answer, Platform, StoreMetrics, StoreStatus } from "./primary-driver.ts";
import type { Session } from "./sessions.ts";
import { SqlStore } from "./sql-store.ts";
import { flawInStore } from "./store-schema.ts";

/** What the object reads of its environment. */
export interface PrimarySettingsEnv {
  /** `lagLimitMs`: after how long a silent member leaves the in-sync set, in milliseconds. */
  LAG_LIMIT_MS?: string;
  /** `tombstonesKept`: how many removals a compaction remembers. */
  TOMBSTONES_KEPT?: string;
  /** `clientLeaseMs`: for how long a client may repeat an update, in milliseconds. */
  CLIENT_LEASE_MS?: string;
  /** `rates.identity` and `rates.store`: operations per second of one identity, and of everyone together. */
  RATE_PER_IDENTITY?: string;
  RATE_PER_STORE?: string;
}

/** With less a batch, or a bootstrap, could never be paid for. */
const RATE_MIN = 500;

/** The Durable Object that is one store's primary. Its methods answer in plain values; outcomes are never thrown. */
export class Primary extends DurableObject<PrimarySettingsEnv> {
  readonly #store: SqlStore;
  readonly #histories: Histories;
  readonly #sockets = new Map<WebSocket, HibernatingSession>();
  /** What is known of the alarm: it is set for this time or an earlier one. A row is written to set it, so that is done seldom. */
  #alarmAt = Infinity;

  constructor(ctx: DurableObjectState, env: PrimarySettingsEnv) {
    super(ctx, env);
    this.#store = new SqlStore(new ObjectDatabase(ctx.storage));
    const settings: PrimarySettings = {
      ...PRIMARY_DEFAULTS,
      lagLimitMs: readSetting(env, "LAG_LIMIT_MS", LAG_LIMIT_MS_MIN, LAG_LIMIT_MS_MAX) ?? PRIMARY_DEFAULTS.lagLimitMs,
      tombstonesKept: readSetting(env, "TOMBSTONES_KEPT", 0, 1_000_000) ?? PRIMARY_DEFAULTS.tombstonesKept,
      clientLeaseMs: readSetting(env, "CLIENT_LEASE_MS", 60_000, 1e10) ?? PRIMARY_DEFAULTS.clientLeaseMs,
      flawOf: flawInStore,
      rates: {
        identity: readSetting(env, "RATE_PER_IDENTITY", RATE_MIN, 1_000_000) ?? PRIMARY_DEFAULTS.rates.identity,
        store: readSetting(env, "RATE_PER_STORE", RATE_MIN, 1_000_000) ?? PRIMARY_DEFAULTS.rates.store,
      },
    };
    const failed = (): void => ctx.abort("the primary broke a promise of its own and starts anew");
    const platform: Platform = {
      glance,
      comeRound: () => scheduler.wait(0),
      written: () => void this.#setAlarm(Date.now() + COMPACT_EVERY_MS),
      expiring: (at) => void this.#setAlarm(at),
      ended: (session) => this.#drop(session),
      failed,
    };
    this.#histories = new Histories(this.#store, () => new PrimaryDriver(this.#store, settings, platform), failed);
    // A peer's heartbeat is the text frame "ping", answered with "pong" without waking the object. Neither is a line
    // of the protocol, as it has no line feed.
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    this.#reopenSockets();
    this.#driver.start();
  }

  get #driver(): PrimaryDriver {
    return this.#histories.driver;
  }

  // --- for the app

  /** Does an update and returns its one outcome, at the latest when its deadline has come. */
  operate(update: Update, grant?: Grant): Promise<Outcome> {
    return this.#driver.operate(update, grant);
  }

  /** The entry at this key, as it is at the moment. */
  get(key: string, grant?: Grant): Answer<Entry<Json> | null> {
    return this.#driver.get(key, grant);
  }

  /** The entries of a range and the head that they are true of. */
  list(range: Range, limit: number, reverse: boolean, grant?: Grant): Answer<ListPage & { seq: number }> {
    return this.#driver.list(range, limit, reverse, grant);
  }

  status(grant?: Grant): StoreStatus {
    return this.#driver.status(grant);
  }

  metrics(): StoreMetrics {
    return this.#driver.metrics();
  }

  /**
   * Opens a session: a WebSocket if asked to upgrade, else a stream from `?since=&epoch=` in the `form` wanted. A POST
   * carries an export to be imported, a DELETE deletes the store.
   */
  override async fetch(request: Request): Promise<Response> {
    const isUpgrade = request.headers.get("Upgrade")?.toLowerCase() === "websocket";
    if (!isUpgrade) return this.#histories.fetch(request);
    return this.#histories.refusal("socket", grantOf(request.headers)) ?? this.#acceptSocket(request);
  }

  // --- sockets

  #acceptSocket(request: Request): Response {
    const { 0: client, 1: socket } = new WebSocketPair();
    this.ctx.acceptWebSocket(socket);
    const peer = { grant: grantOf(request.headers), deflates: offersDeflate(request.headers) };
    this.#driver.open((id) => {
      const session = HibernatingSession.open(socket, id, peer);
      this.#sockets.set(socket, session);
      return session;
    });
    const hasOffer = request.headers.has("Sec-WebSocket-Protocol");
    const headers: Record<string, string> = hasOffer ? { "Sec-WebSocket-Protocol": SUBPROTOCOL } : {};
    return new Response(null, { status: 101, webSocket: client, headers });
  }

  /** Takes the sockets in again that were accepted before the object lost its memory, in the order of that time. */
  #reopenSockets(): void {
    const open = this.ctx.getWebSockets().filter((socket) => socket.readyState === WebSocket.OPEN);
    const reopened = open.map((socket) => ({ socket, ...HibernatingSession.reopen(socket) }));
    for (const { socket, session, memo } of reopened.sort((a, b) => a.session.id - b.session.id)) {
      this.#sockets.set(socket, session);
      this.#driver.reopen(session.id, session, memo);
    }
  }

  // An event lasts until its effects are carried out, so that a failure is its own.

  override async webSocketMessage(socket: WebSocket, frame: string | ArrayBuffer): Promise<void> {
    const session = this.#sockets.get(socket);
    if (session) await this.#driver.receive(session, frame);
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    // The codes that say that there was no code, or no close frame at all, cannot be sent back.
    if (socket.readyState === WebSocket.CLOSING) socket.close(code === 1005 || code === 1006 ? 1000 : code);
    await this.#release(socket);
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    await this.#release(socket);
  }

  async #release(socket: WebSocket): Promise<void> {
    const session = this.#sockets.get(socket);
    if (!session) return;
    this.#sockets.delete(socket);
    this.#driver.release(session.id);
    await this.#driver.settled();
  }

  #drop(session: Session): void {
    for (const [socket, held] of this.#sockets) {
      if (held === session) return void this.#sockets.delete(socket);
    }
  }

  // --- time

  /**
   * The platform's alarm outlives the memory: it ends the sessions whose time is over, and brings the next compaction, for
   * as long as there is something to drop.
   */
  override async alarm(): Promise<void> {
    this.#alarmAt = Infinity;
    const next = this.#histories.serving?.expire();
    await this.#histories.serving?.compact();
    if (next !== undefined) await this.#setAlarm(next);
    if (this.#store.hasClients()) await this.#setAlarm(Date.now() + COMPACT_EVERY_MS);
  }

  /** Sets the alarm, unless it comes earlier anyway. */
  async #setAlarm(at: number): Promise<void> {
    if (this.#alarmAt <= at) return;
    this.#alarmAt = at;
    try {
      const set = await this.ctx.storage.getAlarm();
      if (set === null || at < set) await this.ctx.storage.setAlarm(at);
      else this.#alarmAt = Math.min(this.#alarmAt, set);
    } catch (error) {
      this.#alarmAt = Infinity; // The next commit tries again.
      logFailure("alarm-refused", error);
    }
  }
}

/** A setting that is not understood must not stop a store: it is reported, and the status shows what is in force. */
function readSetting(
  env: PrimarySettingsEnv,
  name: keyof PrimarySettingsEnv,
  min: number,
  max: number,
): number | undefined {
  const text = env[name];
  if (text === undefined) return undefined;
  const setting = readInteger(text, name, min, max);
  if (setting.ok) return setting.value;
  logFailure("setting-refused", setting.detail);
  return undefined;
}

/** A byte that goes through a pipe takes a fraction of what a timer takes, and lets the next frame in. */
async function glance(): Promise<void> {
  const { readable, writable } = new IdentityTransformStream();
  const written = writable.getWriter().write(new Uint8Array(1));
  await readable.getReader().read();
  await written;
}
