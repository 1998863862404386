// W7: what 1,000 idle sockets cost the server's process, and 100,000 entries the browser's tab.

import { setTimeout as sleep } from "node:timers/promises";
import { browserWorkload } from "../browser.ts";
import { Driver } from "../drive.ts";
import type { OutsideWorkload } from "../measure.ts";
import { residentMegabytes } from "../memory.ts";
import { SystemServer } from "../server.ts";

const SOCKETS = 1000;
const SETTLE_MS = 1000;

const tab = browserWorkload("W7", () => []);

export const w7: OutsideWorkload = {
  cells: (isQuick) => [`server, ${SOCKETS} sockets`, isQuick ? "10,000" : "100,000"],
  async prepare(bench, system, cell) {
    if (!cell.startsWith("server")) await tab.prepare!(bench, system, cell);
  },
  async run(bench, system, cell) {
    if (!cell.startsWith("server")) return tab.run(bench, system, cell);
    const server = await SystemServer.start(system, bench.workshop);
    let driver: Driver | undefined;
    try {
      driver = await Driver.start(system, server.origin);
      const store = bench.newStore();
      // With one socket the object is there, with its code and its tables.
      await driver.order({ type: "sockets", store, count: 1 }, 20_000);
      await sleep(SETTLE_MS);
      const before = await residentMegabytes(server.pid);
      await driver.order({ type: "sockets", store, count: SOCKETS }, 60_000);
      await sleep(SETTLE_MS);
      const after = await residentMegabytes(server.pid);
      return [
        { metric: "server with one idle socket", unit: "MiB", value: before },
        { metric: "server with 1,000 idle sockets", unit: "MiB", value: after },
      ];
    } finally {
      driver?.stop();
      await server.stop();
    }
  },
};
