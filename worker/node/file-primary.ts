// The host of the primary machine on Node: its driver on a file and on sockets of this process, with what a Durable
// Object's methods offer. Sockets end with the process, so there is no memory that they could outlive.

import { setImmediate } from "node:timers/promises";
import type { SessionId } from "../../src/effects.ts";
import { COMPACT_EVERY_MS } from "../../src/limits.ts";
import type { PrimarySettings } from "../../src/primary.ts";
import { CLOSE } from "../../src/protocol.ts";
import type { PrimaryStub } from "../app.ts";
import type { Grant } from "../grant.ts";
import { BETWEEN_HISTORIES, Histories } from "../histories.ts";
import { logFailure } from "../log.ts";
import { PrimaryDriver } from "../primary-driver.ts";
import type { Platform } from "../primary-driver.ts";
import { SocketSession } from "../sessions.ts";
import type { Peer, Socket } from "../sessions.ts";
import { SqlStore } from "../sql-store.ts";
import { FileDatabase } from "./file-database.ts";

/** The close code of an endpoint that ends (RFC 6455, 7.4.1). */
const GOING_AWAY = 1001;
/** Longer than this no timer can wait. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** What a socket's owner tells its session. */
export interface SocketEvents {
  receive(frame: string | ArrayBuffer): void;
  end(): void;
}

export class FilePrimary {
  /** What the app asks. */
  readonly stub: PrimaryStub;
  readonly #database: FileDatabase;
  readonly #store: SqlStore;
  readonly #histories: Histories;
  readonly #ended: () => void;
  #compaction: ReturnType<typeof setTimeout> | undefined;
  #expiry: ReturnType<typeof setTimeout> | undefined;
  #expiresAt = Infinity;
  #isStopped = false;

  /** Opens the file, or creates it. `ended` is called when it has failed and must be opened anew, not by `close`. */
  constructor(path: string, settings: PrimarySettings, ended: () => void) {
    this.#ended = ended;
    this.#database = new FileDatabase(path);
    this.#store = new SqlStore(this.#database);
    const platform: Platform = {
      // Here a round of the event loop costs next to nothing.
      glance: () => setImmediate(),
      comeRound: () => setImmediate(),
      written: () => this.#scheduleCompaction(),
      expiring: (at) => this.#expireAt(at),
      ended: () => {},
      failed: () => this.#fail(),
    };
    const histories = new Histories(
      this.#store,
      () => new PrimaryDriver(this.#store, settings, platform),
      () => this.#fail(),
    );
    this.#histories = histories;
    if (this.#store.hasClients()) this.#scheduleCompaction();
    histories.driver.start();
    this.stub = {
      operate: async (update, grant) => histories.driver.operate(update, grant),
      get: async (key, grant) => histories.driver.get(key, grant),
      list: async (range, limit, reverse, grant) => histories.driver.list(range, limit, reverse, grant),
      status: async (grant) => histories.driver.status(grant),
      metrics: async () => histories.driver.metrics(),
      fetch: (request) => histories.fetch(request),
    };
  }

  /** The answer to whoever wants to open a socket when none can be. */
  refusal(grant: Grant | undefined): Response | undefined {
    return this.#histories.refusal("socket", grant);
  }

  /** Begins the session of an open socket. */
  accept(socket: Socket, peer: Peer): SocketEvents {
    // It belongs to this history, whichever there is when it ends.
    const { serving: driver } = this.#histories;
    if (!driver) {
      socket.close(CLOSE.replaced, BETWEEN_HISTORIES);
      return { receive: () => {}, end: () => {} };
    }
    let session: SocketSession;
    const id: SessionId = driver.open((id) => {
      session = new SocketSession(socket, id, peer);
      return session;
    });
    return {
      receive: (frame) => {
        // A peer's heartbeat; neither text is a line of the protocol, as it has no line feed.
        if (frame === "ping") socket.send("pong");
        else void driver.receive(session, frame);
      },
      end: () => driver.release(id),
    };
  }

  /** Ends every session and gives the file back. */
  close(): void {
    this.#stop("the primary is shutting down");
  }

  #fail(): void {
    if (this.#isStopped) return;
    this.#stop("the primary broke a promise of its own and starts anew");
    this.#ended();
  }

  #stop(reason: string): void {
    this.#isStopped = true;
    clearTimeout(this.#compaction);
    clearTimeout(this.#expiry);
    this.#histories.serving?.stop(GOING_AWAY, reason);
    try {
      this.#database.close();
    } catch (error) {
      logFailure("close-failed", error);
    }
  }

  /** Ends sessions whose time is over; that alone does not keep the process alive. */
  #expireAt(at: number): void {
    if (this.#expiresAt <= at) return;
    this.#expiresAt = at;
    clearTimeout(this.#expiry);
    const delayMs = Math.min(TIMER_MS_MAX, Math.max(0, at - Date.now()));
    this.#expiry = setTimeout(() => {
      this.#expiresAt = Infinity;
      const next = this.#histories.serving?.expire();
      if (next !== undefined) this.#expireAt(next);
    }, delayMs).unref();
  }

  /** Compacts now and then, for as long as there is something to drop; that alone does not keep the process alive. */
  #scheduleCompaction(): void {
    this.#compaction ??= setTimeout(() => void this.#compact(), COMPACT_EVERY_MS).unref();
  }

  async #compact(): Promise<void> {
    await this.#histories.serving?.compact();
    this.#compaction = undefined;
    if (this.#store.hasClients()) this.#scheduleCompaction();
  }
}
