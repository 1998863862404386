// The workloads that a system's client on Node can do. W3, W4 and W5 need a browser, W7 and W8 look from outside.

import type { NodeWorkload } from "../system.ts";
import { w1 } from "./w1.ts";
import { w2 } from "./w2.ts";
import { w6 } from "./w6.ts";
import { w9 } from "./w9.ts";

export const NODE_WORKLOADS: Record<string, NodeWorkload> = { W1: w1, W2: w2, W6: w6, W9: w9 };
