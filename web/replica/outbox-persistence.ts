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

/** How an update leaves its place: done with, or kept as failed. */
export interface Conclusion {
  place: number;
  failure?: OperationFailed;
}

/**
 * The outbox of one store in one browser. Several workers may use it at once. Every write is one transaction: durable
 * when its promise resolves, not there at all when it rejects.
 */
export interface OutboxPersistence {
  /** Everything that is kept, in its order. */
  load(): Promise<Kept[]>;
  /** Appends updates, but for those whose names are there already; says how each of them is kept. */
  add(updates: readonly QueuedUpdate[]): Promise<Kept[]>;
  /** Notes that these are about to be sent. */
  markSent(places: readonly number[], sentAt: number): Promise<void>;
  conclude(conclusions: readonly Conclusion[]): Promise<void>;
  close(): Promise<void>;
}
