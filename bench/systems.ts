// The systems, in the order of the tables.

import type { System } from "./system.ts";

const BARE: Pick<System, "folder" | "isDurable" | "server" | "packages"> = {
  folder: "bare",
  isDurable: true,
  server: { kind: "workerd", objects: { BARE: "Bare" } },
  packages: [],
};
const ONE_FRAME = "bare differs from it only in how writes arrive and are committed";
const NOT_BROWSER = { W3: ONE_FRAME, W4: ONE_FRAME, W5: ONE_FRAME, W7: ONE_FRAME, W8: ONE_FRAME };

const NO_100_REPLICAS = { "W2 5,000 x 100": "100 whole clients do not fit into one process" };
const NO_50_000 = Object.fromEntries(
  ["1", "10", "100"].map((replicas) => [`W2 50,000 x ${replicas}`, "peers are asked for 5,000"]),
);
const ONLY_10_000 = (reason: string): Record<string, string> =>
  Object.fromEntries(["W3", "W4", "W5", "W7"].map((workload) => [`${workload} 100,000`, reason]));

export const SYSTEMS: readonly System[] = [
  {
    name: "headwater",
    folder: "headwater",
    description:
      "this project; on Node its secondary machine, codec and operations with a Map in place of IndexedDB, in Chromium all of it",
    isDurable: true,
    server: { kind: "workerd", isProject: true, objects: { PRIMARY: "Primary" } },
    lacks: {},
    bundles: {
      page: "systems/headwater/open-replica.ts",
      "page, all of the API": "../web/client.ts",
      worker: "../web/replica/worker.ts",
    },
    workers: { "worker.js": "../web/replica/worker.ts" },
    packages: [],
  },
  {
    ...BARE,
    name: "bare",
    description:
      "a minimal Durable Object and a Map: one frame per write, all that has arrived in a turn committed at once (entry and log row each); in Chromium `fetch` and one IndexedDB record per 512 entries",
    lacks: {},
  },
  {
    ...BARE,
    name: "bare-packed",
    variant: "packed",
    description: "bare, and the writer packs the writes of a turn into one frame, as headwater does",
    lacks: NOT_BROWSER,
  },
  {
    ...BARE,
    name: "bare-each",
    variant: "each",
    description: "bare, but every message is committed on its own",
    lacks: {
      ...NOT_BROWSER,
      W6: ONE_FRAME,
      "W2 50,000 x 1": "it takes a minute",
      "W2 50,000 x 10": "it takes a minute",
      "W2 50,000 x 100": "it takes minutes",
      "W2 5,000 x 100": "it takes a minute",
    },
  },
  {
    ...BARE,
    name: "bare-acked",
    variant: "acked",
    description: "bare-packed, and every socket answers every frame with an ack, as headwater's secondaries do",
    lacks: { ...NOT_BROWSER, W1: ONE_FRAME, W2: ONE_FRAME, W9: ONE_FRAME },
  },
  {
    name: "tinybase",
    folder: "tinybase",
    description:
      "TinyBase, WsServerDurableObject with the SQLite persister (fragmented); entries are values of a mergeable store; IndexedDB by its persister",
    isDurable: true,
    server: { kind: "workerd", objects: { TINYBASE: "TinyBase" } },
    lacks: {
      ...NO_100_REPLICAS,
      ...NO_50_000,
      ...ONLY_10_000("filling its server with 100,000 entries takes longer than the whole benchmark"),
      W6: "its sockets take no part without its synchronizer, of which 1,000 do not fit into one process",
    },
    bundles: { page: "systems/tinybase/bundle.ts" },
    packages: ["tinybase"],
  },
  {
    name: "yjs",
    folder: "yjs",
    description:
      "Yjs on y-partyserver, saved to SQLite by onSave with the default debounce of 2 s: what was seen elsewhere may be lost with the server; y-indexeddb",
    isDurable: false,
    server: { kind: "workerd", objects: { Yjs: "Yjs" } },
    lacks: {
      ...NO_100_REPLICAS,
      ...NO_50_000,
    },
    bundles: { page: "systems/yjs/bundle.ts" },
    packages: ["yjs", "y-partyserver", "y-indexeddb"],
  },
  {
    name: "replicache",
    folder: "replicache",
    description:
      "Replicache with a minimal Durable Object of ours (push, pull by a global version, pokes by socket), all delays set to 0; IndexedDB by itself",
    isDurable: true,
    server: { kind: "workerd", objects: { REPLICACHE: "ReplicacheServer" } },
    lacks: {
      ...NO_100_REPLICAS,
      ...NO_50_000,
      W6: "its sockets carry pokes only; 1,000 whole clients do not fit into one process",
    },
    bundles: { page: "systems/replicache/bundle.ts" },
    settleMs: 4000,
    packages: ["replicache"],
  },
  {
    name: "pouchdb",
    folder: "pouchdb",
    description: "PouchDB with live replication to express-pouchdb on LevelDB, in Node; in Chromium its idb adapter",
    isDurable: true,
    storesRows: true,
    server: { kind: "node" },
    lacks: {
      ...NO_100_REPLICAS,
      ...NO_50_000,
      ...ONLY_10_000("a row per entry: more than a minute"),
      W6: "it has no sockets",
      "W7 server, 1000 sockets": "it has no sockets",
      W9: "it has neither sockets nor rows of SQLite",
    },
    bundles: { page: "systems/pouchdb/bundle.ts" },
    packages: ["pouchdb-core", "express-pouchdb"],
  },
];
