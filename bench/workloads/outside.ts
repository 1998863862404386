// The workloads that are not done by a system's client on Node.

import type { OutsideWorkload } from "../measure.ts";
import type { WorkloadId } from "../system.ts";
import { w8 } from "./w8.ts";

export const outside: Partial<Record<WorkloadId, OutsideWorkload>> = { W8: w8 };
