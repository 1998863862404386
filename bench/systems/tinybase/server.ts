// TinyBase's own Durable Object, with its SQLite persister in the mode that has no limit of size.

import { createMergeableStore } from "tinybase";
import { createDurableObjectSqlStoragePersister } from "tinybase/persisters/persister-durable-object-sql-storage";
import {
  WsServerDurableObject,
  getWsServerDurableObjectFetch,
} from "tinybase/synchronizers/synchronizer-ws-server-durable-object";

/** The persister is made before the object has fields. */
const rowsWritten = new WeakMap();

export class TinyBase extends WsServerDurableObject {
  createPersister() {
    const { sql } = this.ctx.storage;
    const exec = sql.exec.bind(sql);
    sql.exec = (...args) => {
      const cursor = exec(...args);
      rowsWritten.set(this, (rowsWritten.get(this) ?? 0) + cursor.rowsWritten);
      return cursor;
    };
    return createDurableObjectSqlStoragePersister(createMergeableStore(), sql, { mode: "fragmented" });
  }

  fetch(request) {
    if (request.url.endsWith("/rows")) return new Response(String(rowsWritten.get(this)));
    return super.fetch(request);
  }
}

const openSocket = getWsServerDurableObjectFetch("TINYBASE");

export default {
  fetch(request, env) {
    if (!request.url.endsWith("/rows")) return openSocket(request, env);
    const path = new URL(request.url).pathname.split("/").slice(1, -1).join("/");
    return env.TINYBASE.get(env.TINYBASE.idFromName(path)).fetch(request);
  },
};
