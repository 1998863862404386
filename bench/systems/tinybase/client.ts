// TinyBase on Node: a mergeable store whose values are the entries, and its synchronizer.

import { createMergeableStore } from "tinybase";
import { createWsSynchronizer } from "tinybase/synchronizers/synchronizer-ws-client";
import { CountedSocket, dialMany } from "../../socket.ts";

export function connect(origin) {
  const urlOf = (store) => `${origin.replace("http", "ws")}/${store}`;
  const open = async (store) => {
    const values = createMergeableStore();
    const synchronizer = await createWsSynchronizer(values, new CountedSocket(urlOf(store)));
    await synchronizer.startSync();
    return { values, close: () => synchronizer.destroy() };
  };
  return {
    async openWriter(store) {
      const { values, close } = await open(store);
      return {
        acks: false,
        async write(key, value) {
          values.setValue(key, value);
        },
        close,
      };
    },
    async openReplica(store, stepped) {
      const { values, close } = await open(store);
      const keys = new Set(values.getValueIds());
      values.addValueListener(null, (_, key) => {
        keys.add(key);
        stepped();
      });
      return {
        has: (key) => keys.has(key),
        get size() {
          return keys.size;
        },
        close,
      };
    },
    async fill(store, entries) {
      const { values, close } = await open(store);
      const witness = await open(store);
      values.setValues(Object.fromEntries(entries));
      while (witness.values.getValueIds().length < entries.length) await new Promise((end) => setTimeout(end, 50));
      await witness.close();
      await close();
    },
    async openSockets(store, count) {
      const sockets = await dialMany(count, async () => {
        const socket = new CountedSocket(urlOf(store));
        await new Promise((resolve) => socket.once("open", resolve));
        return socket;
      });
      return { close: () => sockets.forEach((socket) => socket.terminate()) };
    },
    rowsWritten: async (store) => Number(await (await fetch(`${origin}/${store}/rows`)).text()),
  };
}
