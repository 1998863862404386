// Yjs on y-partyserver, saved as its documentation shows: the whole document, debounced. It goes to SQLite in pieces,
// because a row has a limit.

import { routePartykitRequest } from "partyserver";
import { YServer } from "y-partyserver";
import { applyUpdate, encodeStateAsUpdate } from "yjs";

const PIECE_BYTES = 1_000_000;

export class Yjs extends YServer {
  #rowsWritten = 0;

  async onLoad() {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS pieces (number INTEGER PRIMARY KEY, bytes BLOB)");
    const pieces = [...sql.exec("SELECT bytes FROM pieces ORDER BY number")].map(({ bytes }) => bytes);
    if (pieces.length > 0) applyUpdate(this.document, new Uint8Array(await new Blob(pieces).arrayBuffer()));
  }

  async onSave() {
    const { sql } = this.ctx.storage;
    const update = encodeStateAsUpdate(this.document);
    this.ctx.storage.transactionSync(() => {
      this.#rowsWritten += sql.exec("DELETE FROM pieces").rowsWritten;
      for (let start = 0; start < update.length; start += PIECE_BYTES) {
        const piece = update.slice(start, start + PIECE_BYTES);
        this.#rowsWritten += sql.exec("INSERT INTO pieces VALUES (?, ?)", start, piece).rowsWritten;
      }
    });
  }

  onRequest() {
    return new Response(String(this.#rowsWritten));
  }
}

export default {
  async fetch(request, env) {
    return (await routePartykitRequest(request, env)) ?? new Response("not found", { status: 404 });
  },
};
