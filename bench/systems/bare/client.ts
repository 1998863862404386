// The client of the bare platform: a Map that follows a socket.

import { dial, dialMany } from "../../socket.ts";
import type { Adapter, ReplicaHandle, Writer } from "../../system.ts";

const CHANGES_PER_FRAME_MAX = 1000;

interface Step {
  seq: number;
  changes: [key: string, value: string, seq: number][];
}

export function connect(origin: string, variant: string | undefined): Adapter {
  const base = origin.replace("http", "ws");
  const query = variant === "each" ? "&each" : "";
  return {
    openWriter: (store) =>
      openWriter(`${base}/stores/${store}/socket?role=writer${query}`, variant === "packed" || variant === "acked"),
    openReplica: (store, stepped) => openReplica(`${base}/stores/${store}/socket?role=replica`, stepped),
    async openSockets(store, count, seen) {
      const sockets = await dialMany(count, async (index) => {
        const socket = await dial(`${base}/stores/${store}/socket?role=replica`, (text) => {
          const seq = Number(text.slice(7, text.indexOf(",", 7)));
          if (variant === "acked") socket.send(`ack${seq}`);
          seen(index, seq);
        });
        return socket;
      });
      return { close: () => sockets.forEach((socket) => socket.terminate()) };
    },
    rowsWritten: async (store) => Number(await (await fetch(`${origin}/stores/${store}/rows`)).text()),
  };
}

async function openWriter(url: string, isPacked: boolean): Promise<Writer> {
  const pending = new Map<number, () => void>();
  let lastId = 0;
  let fresh: [number, string, string][] = [];
  const socket = await dial(url, (text) => {
    for (const id of JSON.parse(text) as number[]) {
      pending.get(id)?.();
      pending.delete(id);
    }
  });
  const flush = (): void => {
    for (let start = 0; start < fresh.length; start += CHANGES_PER_FRAME_MAX) {
      socket.send(JSON.stringify(fresh.slice(start, start + CHANGES_PER_FRAME_MAX)));
    }
    fresh = [];
  };
  return {
    acks: true,
    write(key, value) {
      const id = ++lastId;
      if (!isPacked) socket.send(JSON.stringify([[id, key, value]]));
      else if (fresh.push([id, key, value]) === 1) queueMicrotask(flush);
      return new Promise<void>((resolve) => pending.set(id, resolve));
    },
    close: () => socket.terminate(),
  };
}

async function openReplica(url: string, stepped: () => void): Promise<ReplicaHandle> {
  const entries = new Map<string, { value: string; seq: number }>();
  const socket = await dial(url, (text) => {
    const { changes } = JSON.parse(text) as Step;
    for (const [key, value, seq] of changes) entries.set(key, { value, seq });
    stepped();
  });
  return {
    has: (key) => entries.has(key),
    get size() {
      return entries.size;
    },
    close: () => socket.terminate(),
  };
}
