// What a durable outbox asks of its disk.

import type { Settled } from "../../src/effects.ts";
import type { OperationFailed, OperationName } from "../../src/protocol.ts";
import type { QueuedUpdate } from "../feed.ts";

/** An update in its place in the outbox. */
export interface Kept extends QueuedUpdate {
  /** Places rise in the order in which updates are to be sent. */
  place: number;
  /** When it was sent first, in milliseconds since 1970: from then on nobody knows whether the primary has it. */
  sentAt?: number;
  /** The name under which it is sent, where its own is spent: the primary has refused it, and stays with that (A3). */
  sentAs?: OperationName;
}

/** An update by its own name, and the name under which it is sent: if it has got another one, it is not this any more. */
export interface Sending {
  name: string;
  sentAs: string;
}

/** An update that is about to be sent. */
export interface Marked {
  name: string;
  /** When it was sent first, perhaps by another worker; undefined if this is the first time. */
  sentAt: number | undefined;
}

/** What has come of a sending: it is done with, or is kept as failed, or is to be sent under another name. */
export type Conclusion = Sending & ({ done: Settled } | { failure: OperationFailed } | { sendAs: OperationName });

/** How updates are kept, and of those that are not any more, how they have ended. */
export interface Added {
  kept: Kept[];
  ended: Ended[];
}

export interface Ended {
  name: OperationName;
  /** Null: it was dismissed. */
  settled: Settled | null;
}

/**
 * The outbox of one store in one browser. Several workers may use it at once. Every write is one transaction: durable
 * when its promise resolves, not there at all when it rejects. No place is ever used again, for as long as the disk is not
 * emptied; what is there then, begins with what its user knows (`OutboxMemory`).
 */
export interface OutboxPersistence {
  /** Everything that is kept, in its order. */
  load(): Promise<Kept[]>;
  /**
   * Appends updates, but for those whose names are there already. What was dismissed stays out, and so does what was done
   * under another name: of all else the primary knows whether it was done.
   */
  add(updates: readonly Omit<Kept, "place">[]): Promise<Added>;
  /** Notes that these are about to be sent. Those that are there to be sent are told as they were before. */
  markSent(sendings: readonly Sending[], sentAt: number): Promise<Marked[]>;
  /** Says by name which of them were there and without an end, so that each end is told by one worker. */
  conclude(conclusions: readonly Conclusion[]): Promise<string[]>;
  /** Takes out what has failed or was never sent, for good; false if it is on its way, or not there. */
  dismiss(name: string): Promise<boolean>;
  close(): Promise<void>;
}

/** The user of an outbox's disk, who outlives what is on it: people and browsers delete databases under running pages. */
export interface OutboxMemory {
  /** What is known to be kept, in its order. Where it is missing on the disk, it is put back before anything else. */
  readKept(): readonly Kept[];
  /** The disk is being emptied, or was closed. */
  interrupted(): void;
}
