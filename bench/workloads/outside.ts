// The workloads that are not done by a system's client on Node.

import { browserWorkload } from "../browser.ts";
import type { OutsideWorkload } from "../measure.ts";
import type { WorkloadId } from "../system.ts";
import { w7 } from "./w7.ts";
import { w8 } from "./w8.ts";

const LARGE = "100,000";
const bySize = (isQuick: boolean): string[] => (isQuick ? ["10,000"] : ["10,000", LARGE]);

export const outside: Partial<Record<WorkloadId, OutsideWorkload>> = {
  W3: browserWorkload("W3", bySize),
  W4: browserWorkload("W4", bySize),
  W5: browserWorkload("W5", bySize),
  W7: w7,
  W8: w8,
};
