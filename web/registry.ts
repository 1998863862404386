// The replicas that a page has open, where tools that look at it from outside find them: the inspector, and tests. They may come with
// another copy of this library than the page's own, so the place has a name that all of them know.

import type { Fault } from "./feed.ts";
import type { Acknowledged, Replica } from "./page-replica.ts";

/** Is told of each update when it is asked for; what it is given settles as the update ends. */
export type OperationObserver = (ended: Promise<Acknowledged>) => void;

/** A replica and what only tools do with it. */
export interface OpenReplica {
  /** The store's address. */
  readonly url: string;
  readonly replica: Replica;
  /**
   * From now on `owner` wants these to be at fault, for all pages that share the replica, until it says otherwise or the page
   * goes.
   */
  setFaults(owner: object, faults: readonly Fault[]): void;
  /** Loses the connection once. */
  drop(): void;
  /** Forgets the copy of this browser, which then is fetched again; the outbox stays. */
  wipe(): void;
  /** Watches the updates of this page. Returns what ends that. */
  observe(observer: OperationObserver): () => void;
}

const PLACE = Symbol.for("headwater.replicas");

/** In the order of opening. */
export function openReplicas(): Set<OpenReplica> {
  return ((globalThis as { [PLACE]?: Set<OpenReplica> })[PLACE] ??= new Set());
}
