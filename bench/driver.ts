// The process in which one system's client runs, apart from all others. It does what its parent asks, one thing at a
// time, and ends with it.

import { join } from "node:path";
import { keyOf, valueOf } from "./entries.ts";
import type { Adapter, Connect, Figure } from "./system.ts";
import { NODE_WORKLOADS } from "./workloads/index.ts";

/** What the parent asks. */
export type Order =
  | { type: "open"; folder: string; variant: string | undefined; origin: string }
  | { type: "run"; workload: string; cell: string; store: string; isQuick: boolean }
  | { type: "sockets"; store: string; count: number }
  | { type: "fill"; store: string; count: number };

export type Report = { figures: Figure[] } | { error: string };

let adapter: Adapter | undefined;

async function obey(order: Order): Promise<Figure[]> {
  switch (order.type) {
    case "open": {
      const client = (await import(join(import.meta.dirname, "systems", order.folder, "client.ts"))) as {
        connect: Connect;
      };
      adapter = client.connect(order.origin, order.variant);
      return [];
    }
    case "run":
      return NODE_WORKLOADS[order.workload]!.run(adapter!, order.cell, order.store, order.isQuick);
    case "fill":
      await fill(adapter!, order.store, order.count);
      return [];
    case "sockets":
      await adapter!.openSockets!(order.store, order.count, () => {});
      return [];
  }
}

/** Writes entries and waits until the server has shown all of them to another replica. */
async function fill(adapter: Adapter, store: string, count: number): Promise<void> {
  if (adapter.fill) {
    const entries = Array.from({ length: count }, (_, i) => [keyOf(i), valueOf(i)] as const);
    return adapter.fill(store, entries);
  }
  const atOnce = 1000;
  let stepped: () => void = () => {};
  const writer = await adapter.openWriter(store);
  const replica = await adapter.openReplica(store, () => stepped());
  for (let start = 0; start < count; start += atOnce) {
    const end = Math.min(count, start + atOnce);
    const seen = new Promise<void>((resolve) => {
      stepped = () => {
        if (replica.size >= end) resolve();
      };
    });
    const writes = Array.from({ length: end - start }, (_, i) => writer.write(keyOf(start + i), valueOf(start + i)));
    await Promise.all(writes);
    await seen;
  }
  await replica.close();
  await writer.close();
}

process.on("message", (order: Order) => {
  obey(order).then(
    (figures) => process.send!({ figures } satisfies Report),
    (error: unknown) =>
      process.send!({
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      } satisfies Report),
  );
});
// Some clients still ask after they have been closed, and nobody takes the answer.
process.on("unhandledRejection", () => {});
process.setMaxListeners(0);
process.on("disconnect", () => process.exit());
