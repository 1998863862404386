// Yjs on Node: a document with one map, and y-partyserver's provider.

import YProvider from "y-partyserver/provider";
import { Doc } from "yjs";
import { CountedSocket, dialMany } from "../../socket.ts";

export function connect(origin) {
  const host = new URL(origin).host;
  const open = async (store) => {
    const doc = new Doc();
    const options = { party: "yjs", WebSocketPolyfill: CountedSocket, disableBc: true };
    const provider = new YProvider(host, store, doc, options);
    if (!provider.synced) await new Promise((resolve) => provider.once("synced", resolve));
    return { map: doc.getMap("entries"), close: () => provider.destroy() };
  };
  return {
    async openWriter(store) {
      const { map, close } = await open(store);
      return {
        acks: false,
        async write(key, value) {
          map.set(key, value);
        },
        close,
      };
    },
    async openReplica(store, stepped) {
      const { map, close } = await open(store);
      const keys = new Set(map.keys());
      map.observe((event) => {
        for (const key of event.keysChanged) keys.add(key);
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
    async openSockets(store, count, seen) {
      const sockets = await dialMany(count, async (index) => {
        const socket = new CountedSocket(`ws://${host}/parties/yjs/${store}?_pk=socket-${index}`);
        let updates = 0;
        // Sync messages that carry an update begin with 0 and 2.
        socket.on("message", (frame) => {
          if (frame[0] === 0 && frame[1] === 2) seen(index, ++updates);
        });
        await new Promise((resolve) => socket.once("open", resolve));
        return socket;
      });
      return { close: () => sockets.forEach((socket) => socket.terminate()) };
    },
  };
}
