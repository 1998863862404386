// How much is fuzzed and from which seed: FUZZ_RUNS cases in all suites together, from FUZZ_SEED. The same seed gives the
// same cases; `npm run fuzz` draws another one each time and says which.

import * as fc from "fast-check";

/** Which share of all cases a suite runs. */
export const FUZZ_SHARES = { lines: 0.44, frames: 0.01, primary: 0.2, secondary: 0.3, http: 0.05 } as const;

const RUNS_DEFAULT = 2000;
const SEED_DEFAULT = 1;
/** What a case may take on a slow machine before the suite counts as stuck. */
const CASE_MS = 100;
const SUITE_MS = 60_000;
/** In so few cases a planted bug must show. */
const PLANT_RUNS = 500;

/** What is read of the environment. */
export interface FuzzEnv {
  FUZZ_RUNS?: string | undefined;
  FUZZ_SEED?: string | undefined;
}

export interface FuzzBudget {
  numRuns: number;
  seed: number;
  timeout: number;
}

export function budgetOf(suite: keyof typeof FUZZ_SHARES, env: FuzzEnv): FuzzBudget {
  const numRuns = Math.ceil(Number(env.FUZZ_RUNS || RUNS_DEFAULT) * FUZZ_SHARES[suite]);
  return { numRuns, seed: Number(env.FUZZ_SEED || SEED_DEFAULT), timeout: SUITE_MS + numRuns * CASE_MS };
}

/** How a property fails for what it is meant to catch; undefined if it holds. */
export async function faultFound<Case>(
  property: fc.IProperty<Case> | fc.IAsyncProperty<Case>,
  numRuns = PLANT_RUNS,
): Promise<string | undefined> {
  const { errorInstance } = await fc.check(property, { numRuns, seed: SEED_DEFAULT, endOnFailure: true });
  return errorInstance instanceof Error ? errorInstance.message : undefined;
}
