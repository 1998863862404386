// The bare platform: the least that a Durable Object can do for the same work. A write is a row of entries and a row of a
// log, in one transaction; replicas are sent what was written, writers what was committed. It knows no checks, no names of
// operations, no membership and no catch-up.
//
// What has arrived together is committed together (a turn of the event loop), unless `?each` asks for one commit per message.

import { DurableObject } from "cloudflare:workers";

interface Env {
  BARE: DurableObjectNamespace<Bare>;
}

type Write = [id: number, key: string, value: string];

const CHUNK_ENTRIES = 1000;

export class Bare extends DurableObject<Env> {
  #seq: number;
  #rowsWritten = 0;
  #inbox: { socket: WebSocket; writes: Write[] }[] = [];
  #turn: Promise<void> | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const { sql } = ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT, seq INTEGER) WITHOUT ROWID");
    sql.exec("CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, key TEXT, value TEXT)");
    this.#seq = (sql.exec("SELECT coalesce(max(seq), 0) AS seq FROM log").one().seq as number) ?? 0;
  }

  override async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname.endsWith("/rows")) return new Response(String(this.#rowsWritten));
    if (pathname.endsWith("/all")) return new Response(this.#all(), { headers: { "Content-Type": "text/plain" } });
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [searchParams.get("role") ?? "writer"]);
    if (searchParams.has("each")) server.serializeAttachment("each");
    return new Response(null, { status: 101, webSocket: client });
  }

  override async webSocketMessage(socket: WebSocket, frame: string): Promise<void> {
    if (frame.startsWith("ack")) return; // A replica's word that it has something; nobody waits for it here.
    const writes = JSON.parse(frame) as Write[];
    if (socket.deserializeAttachment() === "each") return this.#commit([{ socket, writes }]);
    this.#inbox.push({ socket, writes });
    this.#turn ??= this.#takeTurn();
    await this.#turn;
  }

  override webSocketClose(socket: WebSocket): void {
    if (socket.readyState === WebSocket.CLOSING) socket.close(1000);
  }

  async #takeTurn(): Promise<void> {
    await scheduler.wait(0);
    this.#turn = undefined;
    this.#commit(this.#inbox.splice(0));
  }

  #commit(messages: { socket: WebSocket; writes: Write[] }[]): void {
    const changes: [key: string, value: string, seq: number][] = [];
    for (const { writes } of messages) {
      for (const [, key, value] of writes) changes.push([key, value, ++this.#seq]);
    }
    const text = JSON.stringify(changes);
    const { sql } = this.ctx.storage;
    this.ctx.storage.transactionSync(() => {
      const entries = sql.exec(
        `INSERT INTO entries SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE true
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, seq = excluded.seq`,
        text,
      );
      const log = sql.exec(
        "INSERT INTO log SELECT value ->> 2, value ->> 0, value ->> 1 FROM json_each(?) WHERE true",
        text,
      );
      this.#rowsWritten += entries.rowsWritten + log.rowsWritten;
    });
    const step = `{"seq":${this.#seq},"changes":${text}}`;
    for (const replica of this.ctx.getWebSockets("replica")) replica.send(step);
    const acks = new Map<WebSocket, number[]>();
    for (const { socket, writes } of messages) {
      const ids = acks.get(socket) ?? [];
      for (const [id] of writes) ids.push(id);
      acks.set(socket, ids);
    }
    for (const [socket, ids] of acks) socket.send(JSON.stringify(ids));
  }

  /** All entries, as lines of JSON lists. */
  #all(): ReadableStream<Uint8Array> {
    const rows = this.ctx.storage.sql.exec("SELECT key, value, seq FROM entries ORDER BY key").raw();
    const encoder = new TextEncoder();
    return new ReadableStream({
      pull(controller) {
        const items: unknown[] = [];
        for (const row of rows) {
          items.push(row);
          if (items.length === CHUNK_ENTRIES) break;
        }
        if (items.length > 0) controller.enqueue(encoder.encode(`${JSON.stringify(items)}\n`));
        if (items.length < CHUNK_ENTRIES) controller.close();
      },
    });
  }
}

export default {
  fetch(request: Request, env: Env): Promise<Response> {
    const store = new URL(request.url).pathname.split("/")[2] ?? "";
    return env.BARE.getByName(store).fetch(request);
  },
};
