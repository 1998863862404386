import { describe, expect, test } from "vitest";
import { simulate } from "./testing/simulation.ts";

// Another range of seeds: SIM_SEED=20000 SIM_RUNS=500 npm test -- --only core
const first = Number(process.env.SIM_SEED ?? 1);
const runs = Number(process.env.SIM_RUNS ?? 500);

describe("V3 whole clusters under faults keep every rule, and come right when the faults have healed", () => {
  const chunk = 25;
  for (let seed = first; seed < first + runs; seed += chunk) {
    const last = Math.min(seed + chunk, first + runs) - 1;
    test(`seeds ${seed} to ${last}`, { timeout: 120_000 }, () => {
      for (let one = seed; one <= last; one++) {
        try {
          simulate(one);
        } catch (error) {
          throw new Error(`seed ${one} broke a rule; again: npm run sim -- --runs 1 --seed ${one}`, { cause: error });
        }
      }
    });
  }

  test("the same seed gives the same run", () => {
    expect(simulate(7)).toEqual(simulate(7));
  });
});
