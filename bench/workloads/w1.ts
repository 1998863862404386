// W1: one writer, one write at a time. First without any replica: write -> acked. Then with one: write -> visible there.

import { keyOf, valueOf } from "../entries.ts";
import { quantile } from "../statistics.ts";
import type { Adapter, Figure, NodeWorkload, Writer } from "../system.ts";

const WARM_UP = 100;

export const w1: NodeWorkload = {
  cells: () => [""],
  async run(adapter, _cell, store, isQuick) {
    const count = isQuick ? 300 : 500;
    const writer = await adapter.openWriter(store);
    const figures: Figure[] = [];
    if (writer.acks) figures.push(...quantiles("write -> acked, no replica", await acked(writer, 0, count)));
    figures.push(...(await visible(adapter, writer, store, count)));
    await writer.close();
    const second = await adapter.openSecondWriter?.(`${store}-second`);
    if (second) {
      figures.push(...quantiles(`write -> acked, no replica, ${second.name}`, await acked(second.writer, 0, count)));
      await second.writer.close();
    }
    return figures;
  },
};

async function acked(writer: Writer, first: number, count: number): Promise<number[]> {
  for (let i = 0; i < WARM_UP; i++) await writer.write(keyOf(first + i), valueOf(i));
  const ms: number[] = [];
  for (let i = WARM_UP; i < WARM_UP + count; i++) ms.push(await timeOf(writer, first + i));
  return ms;
}

async function timeOf(writer: Writer, index: number): Promise<number> {
  const key = keyOf(index);
  const value = valueOf(index);
  const begin = performance.now();
  await writer.write(key, value);
  return performance.now() - begin;
}

async function visible(adapter: Adapter, writer: Writer, store: string, count: number): Promise<Figure[]> {
  let stepped: () => void = () => {};
  const replica = await adapter.openReplica(store, () => stepped());
  const visibleMs: number[] = [];
  const ackedMs: number[] = [];
  const first = 100_000;
  for (let i = 0; i < WARM_UP + count; i++) {
    const key = keyOf(first + i);
    const value = valueOf(i);
    const begin = performance.now();
    const seen = new Promise<void>((resolve) => {
      stepped = () => {
        if (!replica.has(key)) return;
        if (i >= WARM_UP) visibleMs.push(performance.now() - begin);
        stepped = () => {};
        resolve();
      };
    });
    await writer.write(key, value);
    if (i >= WARM_UP && writer.acks) ackedMs.push(performance.now() - begin);
    await seen;
  }
  await replica.close();
  return [
    ...quantiles("write -> visible in another replica", visibleMs),
    ...(ackedMs.length > 0 ? quantiles("write -> acked, one replica", ackedMs) : []),
  ];
}

const quantiles = (metric: string, values: readonly number[]): Figure[] => [
  { metric: `${metric}, p50`, unit: "ms", value: quantile(values, 0.5) },
  { metric: `${metric}, p99`, unit: "ms", value: quantile(values, 0.99) },
];
