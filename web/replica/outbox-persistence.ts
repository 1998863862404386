// What a durable outbox asks of its disk.

import type { OperationFailed } from "../../src/protocol.ts";
import type { QueuedUpdate } from "../feed.ts";

/** An update in its place in the outbox. */
export interface Kept extends QueuedUpdate {
  /** Places rise in the order in which updates are to be sent. */
  place: number;
  /** When it was sent first, in milliseconds since 1970: from then on nobody knows whether the primary has it. */
  sentAt?: number;
}

/** An update that is about to be sent. */
export interface Marked {
  place: number;
  /** When it was sent first, perhaps by another worker; undefined if this is the first time. */
  sentAt: number | undefined;
}

/** How an update leaves its place: done with, or kept as failed. */
export interface Conclusion {
  place: number;
  failure?: OperationFailed;
}

/**
 * The outbox of one store in one browser. Several workers may use it at once. Every write is one transaction: durable
 * when its promise resolves, not there at all when it rejects. No place is ever used again.
 */
export interface OutboxPersistence {
  /** Everything that is kept, in its order. */
  load(): Promise<Kept[]>;
  /** Appends updates, but for those whose names are there already; says how each is kept. What was dismissed stays out. */
  add(updates: readonly Omit<Kept, "place">[]): Promise<Kept[]>;
  /** Notes that these are about to be sent. Those that are there to be sent are told as they were before. */
  markSent(places: readonly number[], sentAt: number): Promise<Marked[]>;
  /** Says which of them were there and without an end, so that each end is told by one worker. */
  conclude(conclusions: readonly Conclusion[]): Promise<number[]>;
  /** Takes out what has failed or was never sent, for good; false if it is on its way, or not there. */
  dismiss(place: number): Promise<boolean>;
  close(): Promise<void>;
}
