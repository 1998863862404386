// What a replica's host asks of its disk, and what it finds there. testing/replica-store-contract.ts is what every
// implementation must keep.

import type { Entry } from "../../src/kv.ts";
import type { StepLines } from "../feed.ts";

/** Which state the checkpoint holds, and of which replica. */
export interface Checkpoint {
  secondaryId: string;
  epoch: string;
  seq: number;
}

/** What is on the disk: nothing, or a checkpoint and what came after it. */
export interface Stored {
  checkpoint: Checkpoint | undefined;
  pages: string[];
  steps: StepLines[];
}

/** The replica's visible state. */
export interface Image {
  epoch: string;
  seq: number;
  entries: Iterable<Entry>;
}

/** The disk is not this replica's any more: another has claimed it, or it was emptied. Nothing will change that. */
export class LostError extends Error {
  override readonly name = "LostError";
}

/**
 * A replica's persistence. It is made with a function that tells the visible state, which it may ask for whenever it
 * writes: instead of steps it may store the state that they led to, or a later one.
 *
 * Every write is one transaction. When its promise resolves it is durable, with all that was asked before; when it
 * rejects, nothing of it is there, but after DeadlineError it may still come, ahead of what is asked afterwards. Writes take effect in the order of the calls. Only who has claimed the disk last may
 * write; for anybody else every write rejects with LostError.
 */
export interface ReplicaPersistence {
  /** Reads everything, as it was at one moment. */
  load(): Promise<Stored>;
  /** Reads one entry, as it was at one moment, and of everything else as little as it takes to know it. */
  find(key: string): Promise<Entry | undefined>;
  /** Reads everything and, in the same transaction, takes the disk away from whoever had it. */
  claim(): Promise<Stored>;
  /** Makes these steps durable. They follow on what is there, or begin with a reset. */
  persist(steps: StepLines[], secondaryId: string): Promise<void>;
  /** Replaces everything by the visible state. */
  checkpoint(secondaryId: string): Promise<void>;
  /** Deletes everything: what is stored is of no use. */
  clear(): Promise<void>;
  /** Waits for what is being written, and lets go. Whatever is asked afterwards rejects. */
  close(): Promise<void>;
}
