// Yjs in a page, with y-indexeddb.

import { IndexeddbPersistence } from "y-indexeddb";
import YProvider from "y-partyserver/provider";
import { Doc } from "yjs";
import { keyOf, offer } from "../../page.ts";

const doc = new Doc();
const map = doc.getMap("entries");

offer({
  async bootstrap(store, count) {
    const begin = performance.now();
    const persistence = new IndexeddbPersistence(store, doc);
    const provider = new YProvider(location.host, store, doc, { party: "yjs", disableBc: true });
    await new Promise((resolve) => {
      const look = () => {
        if (map.size === count) resolve();
      };
      map.observe(look);
      look();
    });
    const readable = performance.now() - begin;
    await persistence.whenSynced;
    // Reading waits for what is being written.
    const request = persistence.db.transaction(["updates"], "readonly").objectStore("updates").count();
    await new Promise((resolve) => {
      request.onsuccess = resolve;
    });
    const persisted = performance.now() - begin;
    provider.destroy();
    return { readable, persisted };
  },
  async warm(store) {
    const begin = performance.now();
    const persistence = new IndexeddbPersistence(store, doc);
    await persistence.whenSynced;
    if (map.get(keyOf(0)) === undefined) throw new Error("nothing was stored");
    const complete = performance.now() - begin;
    return { firstKey: complete, complete };
  },
  get: (key) => map.get(key),
  list: (prefix) => [...map.keys()].filter((key) => key.startsWith(prefix)).map((key) => map.get(key)),
});
