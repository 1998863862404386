// W6: one writer, 1,000 sockets. One change at a time until the last socket has it; then many, in bursts of 100 per turn of
// the writer, until every socket has all of them.

import { keyOf, valueOf } from "../entries.ts";
import { quantile } from "../statistics.ts";
import type { NodeWorkload } from "../system.ts";

const SOCKETS = 1000;
const WARM_UP = 5;
const SINGLE = 30;
const BURST = 100;
const SLOW = 100_000;

export const w6: NodeWorkload = {
  cells: () => [""],
  async run(adapter, _cell, store, isQuick) {
    const writer = await adapter.openWriter(store);
    const counts = new Uint32Array(SOCKETS);
    let wanted = Infinity;
    let missing = 0;
    let reached: () => void = () => {};
    const sockets = await adapter.openSockets!(store, SOCKETS, (socket, changes) => {
      const before = counts[socket]!;
      counts[socket] = changes;
      if (before >= wanted || changes < wanted) return;
      missing -= 1;
      if (missing === 0) reached();
    });
    let written = 0;
    const untilSeen = async (count: number, write: () => Promise<void>): Promise<number> => {
      wanted = written + count;
      missing = SOCKETS;
      const seen = new Promise<void>((resolve) => {
        reached = resolve;
      });
      const begin = performance.now();
      await write();
      await seen;
      written += count;
      return performance.now() - begin;
    };
    const single: number[] = [];
    for (let i = 0; i < WARM_UP + SINGLE; i++) {
      let acked: Promise<unknown> = Promise.resolve();
      const ms = await untilSeen(1, async () => {
        acked = writer.write(keyOf(i), valueOf(i));
      });
      if (i >= WARM_UP) single.push(ms);
      await acked.catch(() => {});
    }
    let unconfirmed = 0;
    const many = async (count: number): Promise<number> => {
      const acks: Promise<unknown>[] = [];
      const first = written;
      const ms = await untilSeen(count, async () => {
        for (let start = 0; start < count; start += BURST) {
          for (let i = start; i < start + BURST; i++) acks.push(writer.write(keyOf(1000 + first + i), valueOf(i)));
          await new Promise((resolve) => setImmediate(resolve));
        }
      });
      const ends = await Promise.allSettled(acks);
      unconfirmed = ends.filter(({ status }) => status === "rejected").length / count;
      return ((count * SOCKETS) / ms) * 1000;
    };
    // A system that sends every change as a frame of its own is asked for no more than one burst.
    let rate = await many(BURST);
    if (rate > SLOW) rate = await many(isQuick ? 2000 : 5000);
    await sockets.close();
    await writer.close();
    return [
      { metric: "one change -> at all 1,000 sockets, p50", unit: "ms", value: quantile(single, 0.5) },
      { metric: "one change -> at all 1,000 sockets, p99", unit: "ms", value: quantile(single, 0.99) },
      { metric: "bursts of 100", unit: "deliveries/s", value: rate },
      ...(writer.acks
        ? [{ metric: "bursts of 100: not confirmed in time", unit: "% of writes", value: unconfirmed * 100 }]
        : []),
    ];
  },
};
