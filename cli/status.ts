// `status`: what the primary of a store says of itself and of its secondaries.

import type { StoreStatus } from "../web/client.ts";
import type { Connection } from "./connection.ts";
import { paint, toShown } from "./output.ts";
import type { Output } from "./output.ts";

export async function status(connection: Connection, output: Output): Promise<void> {
  const status = await connection.connect().status();
  await output.result(status, () => describe(connection.store, status));
}

function describe(store: string, { epoch, head, floor, entries, secondaries }: StoreStatus): string {
  const rows = secondaries.map(({ id, mode, state, acked, lagMs }) => [
    toShown(id),
    mode,
    paint(state === "in-sync" ? "green" : "yellow", state),
    `acked ${acked}`,
    `lag ${lagMs} ms`,
  ]);
  const facts = [
    ["store", store],
    ["epoch", epoch],
    ["head", `${head}, floor ${floor}`],
    ["entries", `${entries}`],
    ["secondaries", `${secondaries.length}`],
  ];
  return [
    ...facts.map(([name, fact]) => `${paint("dim", name!.padEnd(11))}  ${fact}`),
    ...rows.map((row) => `  ${row.join("  ")}`),
  ].join("\n");
}
