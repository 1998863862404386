import { describe, expect, test } from "vitest";
import { checkHistory } from "./testing/history-checker.ts";
import type { HistoryLine } from "./testing/history.ts";
import { simulate } from "./testing/simulation.ts";

const first = Number(process.env.SIM_SEED ?? 1);

describe("R1 V1 V2 A2 what users and replicas of simulated clusters have seen is a history without violations", () => {
  const chunk = 20;
  for (let seed = first; seed < first + 100; seed += chunk) {
    test(`seeds ${seed} to ${seed + chunk - 1}`, { timeout: 120_000 }, () => {
      for (let one = seed; one < seed + chunk; one++) {
        const lines: HistoryLine[] = [];
        simulate(one, (line) => lines.push(line));
        expect(checkHistory(lines), `seed ${one}`).toEqual([]);
      }
    });
  }
});

test("V1 V3 a simulated history that was changed by hand is rejected", () => {
  const lines: HistoryLine[] = [];
  simulate(first, (line) => lines.push(structuredClone(line)));
  const shown = lines.filter((line) => line.type === "observe").findLast(({ entries }) => entries.length > 1)!;
  shown.entries.pop();
  expect(checkHistory(lines).map(({ rule }) => rule)).toContain("V1");
});
