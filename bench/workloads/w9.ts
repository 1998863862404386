// W9: what an operation costs that is billed or travels: rows written, and bytes on the wire with all framing, for keys
// of 11 and values of 100 letters.

import { VALUE_LENGTH, keyOf, valueOf } from "../entries.ts";
import { bytesOf, socketsOf } from "../socket.ts";
import type { Figure, NodeWorkload } from "../system.ts";

const WARM_UP = 10;
const SEQUENTIAL = 200;
const PIPELINED = 5000;
/** The key, and the value with its quotation marks. */
const PAYLOAD_BYTES = keyOf(0).length + VALUE_LENGTH + 2;

export const w9: NodeWorkload = {
  cells: () => [""],
  async run(adapter, _cell, store) {
    const figures: Figure[] = [];
    let stepped: () => void = () => {};
    const { result: writer, sockets: writersSockets } = await socketsOf(() => adapter.openWriter(store));
    const { result: replica, sockets: replicasSockets } = await socketsOf(() =>
      adapter.openReplica(store, () => stepped()),
    );
    const write = async (first: number, count: number): Promise<void> => {
      const seen = new Promise<void>((resolve) => {
        stepped = () => {
          if (replica.size >= first + count) resolve();
        };
      });
      const acks = Array.from({ length: count }, (_, i) => writer.write(keyOf(first + i), valueOf(first + i)));
      await seen;
      await Promise.all(acks);
    };
    const count = async (): Promise<[rows: number, writers: Bytes, replicas: Bytes]> => [
      (await adapter.rowsWritten?.(store)) ?? NaN,
      bytesOf(writersSockets),
      bytesOf(replicasSockets),
    ];
    const measure = async (label: string, inserts: number, body: () => Promise<void>): Promise<void> => {
      const [rows, writers, replicas] = await count();
      await body();
      const [rowsAfter, writersAfter, replicasAfter] = await count();
      const add = (metric: string, unit: string, total: number, less = 0): void => {
        if (!Number.isFinite(total)) return;
        figures.push({ metric: `${label}: ${metric}`, unit, value: total / inserts - less });
      };
      add("rows written per insert of a new key", "rows", rowsAfter - rows);
      if (writersSockets.length === 0 || replicasSockets.length === 0) return;
      add("bytes from the writer", "bytes", writersAfter.sent - writers.sent);
      add("bytes to the writer", "bytes", writersAfter.received - writers.received);
      add("bytes to a replica", "bytes", replicasAfter.received - replicas.received);
      add("bytes from a replica", "bytes", replicasAfter.sent - replicas.sent);
      add("overhead to a replica", "bytes", replicasAfter.received - replicas.received, PAYLOAD_BYTES);
    };
    await write(0, WARM_UP);
    await measure("one at a time", SEQUENTIAL, async () => {
      for (let i = 0; i < SEQUENTIAL; i++) await write(WARM_UP + i, 1);
    });
    await measure("5,000 at once", PIPELINED, () => write(WARM_UP + SEQUENTIAL, PIPELINED));
    await replica.close();
    await writer.close();
    return figures;
  },
};

type Bytes = ReturnType<typeof bytesOf>;
