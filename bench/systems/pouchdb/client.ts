// PouchDB on Node: a database in memory and live replication.

import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const PouchDB = require("pouchdb-core")
  .plugin(require("pouchdb-adapter-memory"))
  .plugin(require("pouchdb-adapter-http"))
  .plugin(require("pouchdb-replication"));

export function connect(origin) {
  let names = 0;
  const open = async (store) => {
    const remote = new PouchDB(`${origin}/stores/${store}`, { adapter: "http" });
    await remote.info();
    return { local: new PouchDB(`local-${++names}`, { adapter: "memory" }), remote };
  };
  return {
    async openWriter(store) {
      const { local, remote } = await open(store);
      const replication = local.replicate.to(remote, { live: true, batch_size: 1000 });
      return { acks: false, write: (key, value) => local.put({ _id: key, value }), close: () => replication.cancel() };
    },
    async openReplica(store, stepped) {
      const { local, remote } = await open(store);
      const replication = local.replicate.from(remote, { live: true, batch_size: 1000 });
      const keys = new Set();
      const changes = local.changes({ live: true, since: 0 }).on("change", ({ id }) => {
        keys.add(id);
        stepped();
      });
      return {
        has: (key) => keys.has(key),
        get size() {
          return keys.size;
        },
        close() {
          changes.cancel();
          replication.cancel();
        },
      };
    },
  };
}
