// Replicache in a page, on IndexedDB. It stores in the background and does not say when it has.

import { keyOf, offer } from "../../page.ts";
import { open } from "./open.ts";

let replicache;

offer({
  async bootstrap(store, count) {
    const begin = performance.now();
    replicache = open(location.origin, store, store, "idb");
    const keys = new Set();
    await new Promise((resolve) => {
      replicache.experimentalWatch(
        (diffs) => {
          for (const { key } of diffs) keys.add(key);
          if (keys.size === count) resolve();
        },
        { initialValuesInFirstDiff: true },
      );
    });
    return { readable: performance.now() - begin };
  },
  async warm(store, count) {
    const begin = performance.now();
    replicache = open("http://127.0.0.1:9", store, store, "idb");
    if ((await replicache.query((tx) => tx.get(keyOf(0)))) === undefined) throw new Error("nothing was stored");
    const firstKey = performance.now() - begin;
    const values = await replicache.query((tx) => tx.scan().values().toArray());
    if (values.length !== count) throw new Error(`only ${values.length} were stored`);
    return { firstKey, complete: performance.now() - begin };
  },
  get: (key) => replicache.query((tx) => tx.get(key)),
  list: (prefix) => replicache.query((tx) => tx.scan({ prefix }).values().toArray()),
});
