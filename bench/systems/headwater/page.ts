// Headwater in a page: the public API, with the SharedWorker that a browser makes of it.

import { openReplica, readStored } from "../../../web/client.ts";
import type { Replica } from "../../../web/client.ts";
import { keyOf, offer, until } from "../../page.ts";

let replica: Replica;

const urlOf = (store: string): string => `/v1/stores/${store}`;

const open = (store: string): Promise<Replica> =>
  openReplica({
    url: urlOf(store),
    worker: (name) => new SharedWorker("/bench/headwater/worker.js", { type: "module", name }),
  });

const hasAll = (count: number): boolean =>
  [0, count >> 1, count - 1].every((index) => replica.get(keyOf(index)) !== undefined);

offer({
  async bootstrap(store, count) {
    const begin = performance.now();
    replica = await open(store);
    await replica.caughtUp({ atLeast: count });
    const readable = performance.now() - begin;
    if (!hasAll(count)) throw new Error("the replica does not have everything");
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if ((replica.status.persisted ?? 0) >= count) resolve();
      };
      replica.subscribeStatus(look);
      look();
    });
    return { readable, persisted: performance.now() - begin };
  },
  async warm(store, count) {
    const begin = performance.now();
    // As a page with a first screen does it: what that screen needs, then everything.
    const first = await readStored({ url: urlOf(store) }, keyOf(count >> 1));
    const firstKey = performance.now() - begin;
    if (!first) throw new Error("the first key is not there");
    replica = await open(store);
    await until(() => hasAll(count));
    return { firstKey, complete: performance.now() - begin };
  },
  get: (key) => replica.get(key),
  list: (prefix) => replica.list({ prefix }),
});
