// Reads of a replica as values that can be watched, for what draws them again when they change: each is the same object for
// as long as nothing about it has changed, as React, Svelte, Vue and Solid demand in one way or another.

import type { ListOptions, ReadonlyEntry } from "./mirror.ts";
import type { Replica, ReplicaStatus } from "./page-replica.ts";

/** A value that can be read at any time, and watched. */
export interface Observed<Value> {
  /** The present value: the same object until it changes. */
  readonly get: () => Value;
  /** Calls back after it may have changed. Returns what ends that. */
  readonly subscribe: (changed: () => void) => () => void;
}

/** The entry of a key; undefined if there is none. */
export function observeEntry(replica: Replica, key: string): Observed<ReadonlyEntry | undefined> {
  return {
    get: () => replica.entry(key),
    subscribe: (changed) => replica.subscribe({ key }, changed),
  };
}

/** The entries of a range, by key. An entry that has not changed is the same object as before. */
export function observeEntries(replica: Replica, options: ListOptions = {}): Observed<readonly ReadonlyEntry[]> {
  const { limit: _limit, reverse: _reverse, ...range } = options;
  let entries: readonly ReadonlyEntry[] = [];
  // While nobody watches, nothing says that they have changed.
  let isWatched = false;
  let isOld = true;
  const read = (): readonly ReadonlyEntry[] => {
    const present = replica.list(options);
    const isSame = present.length === entries.length && present.every((entry, at) => entry === entries[at]);
    if (!isSame) entries = present;
    isOld = !isWatched;
    return entries;
  };
  return {
    get: () => (isOld ? read() : entries),
    subscribe(changed) {
      isWatched = true;
      isOld = true;
      const unsubscribe = replica.subscribe(range, () => {
        isOld = true;
        changed();
      });
      return () => {
        isWatched = false;
        isOld = true;
        unsubscribe();
      };
    },
  };
}

/** Where the replica stands. */
export function observeStatus(replica: Replica): Observed<ReplicaStatus> {
  return {
    get: () => replica.status,
    subscribe: (changed) => replica.subscribeStatus(changed),
  };
}
