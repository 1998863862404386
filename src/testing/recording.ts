// How the simulator's own terms look in a history.

import type { Settled } from "../effects.ts";
import { keysOf, writesOf } from "../protocol.ts";
import type { Operation } from "../protocol.ts";
import type { RecordedEntry, RecordedOperation, RecordedOutcome } from "./history.ts";

/** A batch writes one text under all its keys; in a history each value is of one key of one operation. */
const valueFor = (key: string, json: string): string => `${key}=${json}`;

export function toRecordedOperation(operation: Operation): RecordedOperation {
  if (operation.type === "get") return { kind: "get", key: keysOf(operation)[0]! };
  const writes = writesOf(operation).map((write) => ({
    key: write.key,
    value: "removed" in write ? null : valueFor(write.key, write.json),
  }));
  const checks = operation.type === "batch" ? operation.checks.map(({ key, seq }) => ({ key, seq })) : [];
  return { kind: operation.type, writes, checks, ack: operation.ack };
}

export function toRecordedOutcome(settled: Settled): RecordedOutcome {
  switch (settled.type) {
    case "operation-ack":
      return { result: "acked", seq: settled.seq, replicas: settled.replicas };
    case "operation-failed":
      return { result: "failed", code: settled.code, applied: settled.applied, seq: settled.seq };
    case "outcome-unknown":
      return { result: "unknown" };
    case "get-result": {
      const { entry, seq } = settled;
      if (!entry) return { result: "read", value: null, seq };
      return { result: "read", value: valueFor(entry.key, entry.value), writtenAt: entry.seq, seq };
    }
  }
}

export const toRecordedEntries = (entries: ReadonlyMap<string, { value: unknown; seq: number }>): RecordedEntry[] =>
  [...entries].map(([key, { value, seq }]) => [key, valueFor(key, String(value)), seq]);
