// W2: many single writes, all asked for at once by one writer, until all of them are visible at every replica.

import { keyOf, valueOf } from "../entries.ts";
import { dialMany } from "../socket.ts";
import type { Figure, NodeWorkload, ReplicaHandle } from "../system.ts";

const WARM_UP = 500;

export const w2: NodeWorkload = {
  cells: (isQuick) => (isQuick ? ["5,000 x 1", "5,000 x 10"] : combine(["5,000", "50,000"], ["1", "10", "100"])),
  async run(adapter, cell, store) {
    const [count, replicaCount] = cell.split(" x ").map((part) => Number(part.replace(",", ""))) as [number, number];
    let wanted = 0;
    let missing = 0;
    let reached: () => void = () => {};
    const done = new Set<number>();
    const writer = await adapter.openWriter(store);
    const replicas: ReplicaHandle[] = [];
    await dialMany(replicaCount, async (index) => {
      replicas[index] = await adapter.openReplica(store, () => {
        if (done.has(index) || (replicas[index]?.size ?? 0) < wanted) return;
        done.add(index);
        missing -= 1;
        if (missing === 0) reached();
      });
    });
    const writeAll = async (
      first: number,
      count: number,
    ): Promise<{ visibleMs: number; ackedMs: number | undefined }> => {
      const items = Array.from({ length: count }, (_, i) => [keyOf(first + i), valueOf(first + i)] as const);
      wanted += count;
      missing = replicaCount;
      done.clear();
      const seen = new Promise<void>((resolve) => {
        reached = resolve;
      });
      const begin = performance.now();
      const acks = items.map(([key, value]) => writer.write(key, value));
      const acked = Promise.all(acks).then(() => performance.now() - begin);
      await seen;
      const visibleMs = performance.now() - begin;
      return { visibleMs, ackedMs: writer.acks ? await acked : undefined };
    };
    await writeAll(0, WARM_UP);
    const { visibleMs, ackedMs } = await writeAll(WARM_UP, count);
    for (const replica of replicas) await replica.close();
    await writer.close();
    const figures: Figure[] = [
      { metric: `${cell}: all visible`, unit: "ms", value: visibleMs },
      { metric: `${cell}: rate`, unit: "changes/s", value: (count / visibleMs) * 1000 },
    ];
    if (ackedMs !== undefined) figures.push({ metric: `${cell}: all acked`, unit: "ms", value: ackedMs });
    return figures;
  },
};

const combine = (counts: readonly string[], replicas: readonly string[]): string[] =>
  counts.flatMap((count) => replicas.map((replica) => `${count} x ${replica}`));
