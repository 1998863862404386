// What a driver counts for its operators. Nothing is decided by it, and all of it begins anew with the driver.

import type { Json } from "../src/kv.ts";
import type { Downstream } from "../src/protocol.ts";
import { isPart } from "./sessions.ts";

/** Upper bounds of the latencies that are told apart, in milliseconds. */
export const LATENCIES_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000] as const;

export interface Counts {
  /** Updates by how they ended: `acked`, or the code of the failure. */
  operations: Record<string, number>;
  /** How many updates were acked within each of `LATENCIES_MS` and not the one before it, and last those that took longer. */
  ackLatencies: number[];
  ackLatencySumMs: number;
  commits: number;
  rowsWritten: number;
  /** Sessions that were closed from this side, by code. */
  closed: Record<number, number>;
  /** Letters of the parts that secondaries were sent while they caught up. */
  partsSent: number;
}

export class Figures {
  readonly #counts: Counts = {
    operations: {},
    ackLatencies: Array<number>(LATENCIES_MS.length + 1).fill(0),
    ackLatencySumMs: 0,
    commits: 0,
    rowsWritten: 0,
    closed: {},
    partsSent: 0,
  };

  /** As they are now. */
  read(): Counts {
    return structuredClone(this.#counts);
  }

  answered(message: Downstream<Json>, tookMs: number): void {
    if (message.type !== "operation-ack" && message.type !== "operation-failed") return;
    const { operations, ackLatencies } = this.#counts;
    const isAck = message.type === "operation-ack";
    const outcome = isAck ? "acked" : message.code;
    operations[outcome] = (operations[outcome] ?? 0) + 1;
    if (!isAck) return;
    const bucket = LATENCIES_MS.findIndex((bound) => tookMs <= bound);
    ackLatencies[bucket === -1 ? LATENCIES_MS.length : bucket]! += 1;
    this.#counts.ackLatencySumMs += tookMs;
  }

  committed(rows: number): void {
    this.#counts.commits += 1;
    this.#counts.rowsWritten += rows;
  }

  sent(message: Downstream<Json>, line: string): void {
    if (isPart(message)) this.#counts.partsSent += line.length;
  }

  closedWith(code: number): void {
    this.#counts.closed[code] = (this.#counts.closed[code] ?? 0) + 1;
  }
}
