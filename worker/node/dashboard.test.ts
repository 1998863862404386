import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Figures, LATENCIES_MS } from "../figures.ts";
import { formatMetrics } from "../metrics.ts";

const docs = join(import.meta.dirname, "..", "..", "docs");
const dashboard = readFileSync(join(docs, "operations", "grafana.json"), "utf8");
const guide = readFileSync(join(docs, "operations.md"), "utf8");

const served = formatMetrics(
  new Map([
    [
      "board",
      {
        ...new Figures().read(),
        head: 0,
        entries: 0,
        sockets: 0,
        streams: 0,
        operationsInFlight: 0,
        lagMs: 0,
        secondaries: { "catching-up": 0, "in-sync": 0, lagging: 0, following: 0 },
        demotions: { overflowing: 0, overdue: 0 },
      },
    ],
  ]),
);
const families = [...served.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name!);
const named = (text: string): Set<string> =>
  new Set([...text.matchAll(/headwater_\w+/g)].map(([name]) => name.replace(/_(bucket|sum|count)$/, "")));

it("the dashboard and the guide name the figures that there are", () => {
  expect([...named(dashboard)].filter((name) => !families.includes(name))).toEqual([]);
  expect([...named(guide)].toSorted()).toEqual(families.toSorted());
});

it("an ack falls into the bucket of its latency, and into all above it", () => {
  const figures = new Figures();
  const ack = { type: "operation-ack", clientId: null, id: 1, seq: 1, replicas: 0 } as const;
  for (const tookMs of [0, 1, 3, 700, 5000]) figures.answered(ack, tookMs);
  const { ackLatencies, ackLatencySumMs, operations } = figures.read();
  expect(ackLatencies).toEqual([2, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
  expect([ackLatencies.length, ackLatencySumMs, operations]).toEqual([LATENCIES_MS.length + 1, 5704, { acked: 5 }]);
});
