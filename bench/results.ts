// What a run of the benchmark has found.

import type { Row, System } from "./system.ts";

export interface Results {
  rows: Row[];
  systems: readonly System[];
  /** What was not measured, and why. */
  left: { system: string; cell: string; reason: string }[];
  /** What should have been measured and failed. */
  failures: { system: string; cell: string; reason: string }[];
}
