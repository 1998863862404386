// TinyBase in a page: the store, the synchronizer, and its IndexedDB persister, which saves the whole when told to.

import { createMergeableStore } from "tinybase";
import { createIndexedDbPersister } from "tinybase/persisters/persister-indexed-db";
import { createWsSynchronizer } from "tinybase/synchronizers/synchronizer-ws-client";
import { keyOf, offer } from "../../page.ts";

const values = createMergeableStore();

offer({
  async bootstrap(store, count) {
    const begin = performance.now();
    const persister = createIndexedDbPersister(values, store);
    const synchronizer = await createWsSynchronizer(values, new WebSocket(`ws://${location.host}/${store}`));
    const complete = new Promise((resolve) => {
      values.addDidFinishTransactionListener(() => {
        if (values.getValueIds().length === count) resolve();
      });
    });
    await synchronizer.startSync();
    if (values.getValueIds().length < count) await complete;
    const readable = performance.now() - begin;
    await persister.save();
    const persisted = performance.now() - begin;
    await synchronizer.destroy();
    return { readable, persisted };
  },
  async warm(store) {
    const begin = performance.now();
    const persister = createIndexedDbPersister(values, store);
    await persister.load();
    if (values.getValue(keyOf(0)) === undefined) throw new Error("nothing was stored");
    const complete = performance.now() - begin;
    return { firstKey: complete, complete };
  },
  get: (key) => values.getValue(key),
  list: (prefix) =>
    values
      .getValueIds()
      .filter((key) => key.startsWith(prefix))
      .map((key) => values.getValue(key)),
});
