// Replicache on Node, in memory, with a socket for pokes.

import { CountedSocket, dial, dialMany } from "../../socket.ts";
import { open } from "./open.ts";

export function connect(origin) {
  const urlOf = (store) => `${origin.replace("http", "ws")}/stores/${store}/poke`;
  let names = 0;
  return {
    async openWriter(store) {
      const replicache = open(origin, `writer-${++names}`, store, "mem");
      return {
        acks: false,
        write: (key, value) => replicache.mutate.put({ key, value }),
        close: () => replicache.close(),
      };
    },
    async openReplica(store, stepped) {
      const replicache = open(origin, `replica-${++names}`, store, "mem");
      const keys = new Set();
      replicache.experimentalWatch(
        (diffs) => {
          for (const { key } of diffs) keys.add(key);
          stepped();
        },
        { initialValuesInFirstDiff: true },
      );
      const socket = await dial(urlOf(store), () => void replicache.pull());
      await replicache.pull();
      return {
        has: (key) => keys.has(key),
        get size() {
          return keys.size;
        },
        async close() {
          socket.terminate();
          await replicache.close();
        },
      };
    },
    async fill(store, entries) {
      const atOnce = 1000;
      for (let start = 0; start < entries.length; start += atOnce) {
        const mutations = entries
          .slice(start, start + atOnce)
          .map(([key, value], offset) => ({ clientID: "fill", id: start + offset + 1, args: { key, value } }));
        const body = JSON.stringify({ clientGroupID: "fill", mutations });
        const answer = await fetch(`${origin}/stores/${store}/push`, { method: "POST", body });
        if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      }
    },
    async openSockets(store, count) {
      const sockets = await dialMany(count, async () => {
        const socket = new CountedSocket(urlOf(store));
        await new Promise((resolve) => socket.once("open", resolve));
        return socket;
      });
      return { close: () => sockets.forEach((socket) => socket.terminate()) };
    },
    rowsWritten: async (store) => Number(await (await fetch(`${origin}/stores/${store}/rows`)).text()),
  };
}
