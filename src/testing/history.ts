// The history of a store as users and replicas have seen it, in a form that can be written to a file (one JSON object
// per line) and checked afterwards, whether it comes from the simulator or from real browsers.
//
// All times are milliseconds of one clock. Where a recorder knows a time only to within bounds, it writes the earliest
// one for an `invoke` and the latest one for everything else: then each operation took effect inside what is written.

import type { Ack, FailureCode } from "../protocol.ts";

/** The first line. */
interface Header {
  type: "header";
  version: 1;
  /**
   * How late a `persisted` line may be. 0: it stands in its place, so that a disk without one did not hold the seq yet.
   * Real pages hear of their disk by message, or die before they do.
   */
  statusLagMs: number;
}

/** A value is a text that no other operation of the history writes; null removes the key. */
export interface RecordedWrite {
  key: string;
  value: string | null;
}

export type RecordedOperation =
  | {
      kind: "insert" | "remove" | "batch";
      writes: RecordedWrite[];
      checks: { key: string; seq: number | null }[];
      ack: Ack;
    }
  | { kind: "get"; key: string };

interface Invoke {
  type: "invoke";
  at: number;
  client: string;
  id: number;
  operation: RecordedOperation;
}

/** An operation without a response is as unknown as one whose response says so. */
export type RecordedOutcome =
  | { result: "acked"; seq: number; replicas: number }
  | { result: "failed"; code: FailureCode; applied?: boolean | undefined; seq?: number | undefined }
  | { result: "unknown" }
  /** What a get has read, and (if the reader was told) when it was written and which seq was read. */
  | { result: "read"; value: string | null; writtenAt?: number; seq?: number };

interface Respond {
  type: "respond";
  at: number;
  client: string;
  id: number;
  outcome: RecordedOutcome;
  /** What the client's own replica showed at this moment; left out if it was not following the primary. */
  shown?: { epoch: string | null; seq: number };
}

/** Key, value and the seq of its last write. */
export type RecordedEntry = readonly [key: string, value: string, seq: number];

/** The whole visible state of a replica: written whenever it has changed, and when a life begins. */
export interface Observe {
  type: "observe";
  at: number;
  replica: string;
  /** Rises with every restart of the replica (or load of the page). */
  life: number;
  /** When this life began: it shows at least what was on its disk by then. Only needed where a life begins. */
  begunAt?: number;
  /** Where the state is kept, if it is; replicas that share a disk name the same one. */
  disk?: string;
  epoch: string | null;
  seq: number;
  /** `seq` is only the lowest that the state can be of: it was seen amid several steps. */
  isSeqLeast?: boolean;
  entries: RecordedEntry[];
  prefixes?: readonly string[] | undefined;
}

/** A disk holds everything up to `seq`. */
interface Persisted {
  type: "persisted";
  at: number;
  disk: string;
  epoch: string;
  seq: number;
  prefixes?: readonly string[] | undefined;
}

/** A disk was wiped or set back, at some time from `at` to `until`: what was said of it before does not hold any more. */
interface DiskLost {
  type: "disk-lost";
  at: number;
  until?: number;
  disk: string;
}

/** The primary was set back to an older state, where another history begins. */
interface Restored {
  type: "restored";
  at: number;
  epoch: string;
}

/** The primary when all faults have healed, and the replicas that must have become equal to it. */
interface Final {
  type: "final";
  at: number;
  epoch: string;
  head: number;
  entries: RecordedEntry[];
  replicas: string[];
}

export type HistoryLine = Header | Invoke | Respond | Observe | Persisted | DiskLost | Restored | Final;

/** Takes the lines of a history as they come about. */
export type Recorder = (line: HistoryLine) => void;

export const formatHistory = (lines: readonly HistoryLine[]): string =>
  lines.map((line) => `${JSON.stringify(line)}\n`).join("");

export const parseHistory = (text: string): HistoryLine[] =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as HistoryLine);
