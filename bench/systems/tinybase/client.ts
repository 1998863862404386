// TinyBase on Node: a mergeable store whose values are the entries, and its synchronizer.

import { createMergeableStore } from "tinybase";
import { createWsSynchronizer } from "tinybase/synchronizers/synchronizer-ws-client";
import { CountedSocket, dialMany } from "../../socket.ts";

const PROBE = "probe";
const PROBE_MS = 150;
const ATTEMPTS = 20;

export function connect(origin) {
  const urlOf = (store) => `${origin.replace("http", "ws")}/${store}`;
  const rowsWritten = async (store) => Number(await (await fetch(`${origin}/${store}/rows`)).text());
  /** The store that stands for the one asked for. */
  const aliases = new Map();
  const aliasOf = (store) => aliases.get(store) ?? store;
  /**
   * An object that is only just being made can miss its first client, and from then on relays what it never stores. That
   * is faster than what is to be measured, so another one is taken then.
   */
  const openStoring = async (store) => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const alias = `${store}-${attempt}`;
      const opened = await open(alias);
      const rows = await rowsWritten(alias);
      opened.values.setValue(PROBE, 0);
      await new Promise((resolve) => setTimeout(resolve, PROBE_MS));
      aliases.set(store, alias);
      if ((await rowsWritten(alias)) > rows) return opened;
      await opened.close();
    }
    throw new Error(`of ${ATTEMPTS} servers none stored anything`);
  };
  const open = async (store) => {
    const values = createMergeableStore();
    const synchronizer = await createWsSynchronizer(values, new CountedSocket(urlOf(store)));
    await synchronizer.startSync();
    return { values, close: () => synchronizer.destroy() };
  };
  return {
    async openWriter(store) {
      const { values, close } = await openStoring(store);
      return {
        acks: false,
        async write(key, value) {
          values.setValue(key, value);
        },
        close,
      };
    },
    async openReplica(store, stepped) {
      const { values, close } = await open(aliasOf(store));
      const keys = new Set(values.getValueIds().filter((key) => key !== PROBE));
      values.addValueListener(null, (_, key) => {
        if (key !== PROBE) keys.add(key);
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
    rowsWritten: (store) => rowsWritten(aliasOf(store)),
  };
}
