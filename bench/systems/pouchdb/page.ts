// PouchDB in a page, on IndexedDB.

import idbAdapter from "pouchdb-adapter-idb";
import httpAdapter from "pouchdb-adapter-http";
import PouchDB from "pouchdb-core";
import replication from "pouchdb-replication";
import { keyOf, offer } from "../../page.ts";

PouchDB.plugin(idbAdapter).plugin(httpAdapter).plugin(replication);

let local;

offer({
  async bootstrap(store, count) {
    const begin = performance.now();
    local = new PouchDB(store, { adapter: "idb" });
    const remote = new PouchDB(`${location.origin}/stores/${store}`, { adapter: "http" });
    await local.replicate.from(remote, { batch_size: 1000 });
    const persisted = performance.now() - begin;
    const { rows } = await local.allDocs({ include_docs: true });
    if (rows.length !== count) throw new Error(`only ${rows.length} have come`);
    return { readable: performance.now() - begin, persisted };
  },
  async warm(store, count) {
    const begin = performance.now();
    local = new PouchDB(store, { adapter: "idb" });
    await local.get(keyOf(0));
    const firstKey = performance.now() - begin;
    const { rows } = await local.allDocs({ include_docs: true });
    if (rows.length !== count) throw new Error(`only ${rows.length} were stored`);
    return { firstKey, complete: performance.now() - begin };
  },
  get: (key) => local.get(key),
  list: async (prefix) => {
    const { rows } = await local.allDocs({ include_docs: true, startkey: prefix, endkey: `${prefix}\ufff0` });
    return rows;
  },
});
