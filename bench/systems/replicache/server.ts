// The least server that Replicache needs, as a Durable Object: push, pull by a global version, and a socket for pokes.

import { DurableObject } from "cloudflare:workers";

export class ReplicacheServer extends DurableObject {
  #rowsWritten = 0;

  constructor(ctx, env) {
    super(ctx, env);
    const { sql } = ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT, version INTEGER) WITHOUT ROWID");
    sql.exec("CREATE INDEX IF NOT EXISTS entries_by_version ON entries (version)");
    sql.exec(
      "CREATE TABLE IF NOT EXISTS clients (id TEXT PRIMARY KEY, client_group TEXT, last_id INTEGER, version INTEGER) WITHOUT ROWID",
    );
  }

  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname.endsWith("/rows")) return new Response(String(this.#rowsWritten));
    if (pathname.endsWith("/push")) return this.#push(await request.json());
    if (pathname.endsWith("/pull")) return this.#pull(await request.json());
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage() {}

  webSocketClose(socket) {
    if (socket.readyState === WebSocket.CLOSING) socket.close(1000);
  }

  get #version() {
    const query =
      "SELECT max((SELECT coalesce(max(version), 0) FROM entries), (SELECT coalesce(max(version), 0) FROM clients)) AS version";
    return this.ctx.storage.sql.exec(query).one().version;
  }

  #push({ clientGroupID, mutations }) {
    const { sql } = this.ctx.storage;
    const version = this.#version + 1;
    this.ctx.storage.transactionSync(() => {
      const lastIds = new Map();
      const entries = new Map();
      for (const { clientID, id, args } of mutations) {
        const lastId =
          lastIds.get(clientID) ??
          sql.exec("SELECT last_id FROM clients WHERE id = ?", clientID).toArray()[0]?.last_id ??
          0;
        if (id <= lastId) continue;
        lastIds.set(clientID, id);
        entries.set(args.key, args.value);
      }
      if (lastIds.size === 0) return;
      const rows = JSON.stringify([...entries].map(([key, value]) => [key, JSON.stringify(value)]));
      this.#rowsWritten += sql.exec(
        `INSERT INTO entries SELECT value ->> 0, value ->> 1, ? FROM json_each(?) WHERE true
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version`,
        version,
        rows,
      ).rowsWritten;
      for (const [id, lastId] of lastIds) {
        this.#rowsWritten += sql.exec(
          `INSERT INTO clients VALUES (?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET last_id = excluded.last_id, version = excluded.version`,
          id,
          clientGroupID,
          lastId,
          version,
        ).rowsWritten;
      }
    });
    for (const socket of this.ctx.getWebSockets()) socket.send("poke");
    return Response.json({});
  }

  #pull({ clientGroupID, cookie }) {
    const { sql } = this.ctx.storage;
    const since = cookie ?? 0;
    const patch = cookie === null ? [`{"op":"clear"}`] : [];
    for (const [key, value] of sql.exec("SELECT key, value FROM entries WHERE version > ?", since).raw()) {
      patch.push(`{"op":"put","key":${JSON.stringify(key)},"value":${value}}`);
    }
    const query = "SELECT id, last_id FROM clients WHERE client_group = ? AND version > ?";
    const changes = Object.fromEntries(sql.exec(query, clientGroupID, since).raw());
    const body = `{"cookie":${this.#version},"lastMutationIDChanges":${JSON.stringify(changes)},"patch":[${patch.join(",")}]}`;
    return new Response(body, { headers: { "Content-Type": "application/json" } });
  }
}

export default {
  fetch(request, env) {
    const store = new URL(request.url).pathname.split("/")[2] ?? "";
    return env.REPLICACHE.getByName(store).fetch(request);
  },
};
