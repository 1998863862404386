// Reads of a replica as values that can be watched, for what draws them again when they change. Each is the same object for
// as long as nothing about it has changed, as React demands; and each is a store by Svelte's contract, which Solid's `from`
// takes, too.

import type { ListOptions, ReadonlyEntry } from "./mirror.ts";
import type { Replica, ReplicaStatus } from "./page-replica.ts";

/** A value that can be read at any time, and watched. */
export interface Observed<Value> {
  /** The present value: the same object until it changes. */
  readonly get: () => Value;
  /** Calls back at once, and after it may have changed, with the present value. Returns what ends that. */
  readonly subscribe: (run: (value: Value) => void) => () => void;
}

/** The entry of a key; undefined if there is none. */
export function observeEntry(replica: Replica, key: string): Observed<ReadonlyEntry | undefined> {
  return toObserved(
    () => replica.entry(key),
    (changed) => replica.subscribe({ key }, changed),
  );
}

/** The entries of a range, by key. An entry that has not changed is the same object as before. */
export function observeEntries(replica: Replica, options: ListOptions = {}): Observed<readonly ReadonlyEntry[]> {
  const { limit: _limit, reverse: _reverse, ...range } = options;
  let entries: readonly ReadonlyEntry[] = [];
  let watchers = 0;
  let isOld = true;
  const get = (): readonly ReadonlyEntry[] => {
    // While nobody watches, nothing says that they have changed.
    if (watchers > 0 && !isOld) return entries;
    isOld = false;
    const present = replica.list(options);
    const isSame = present.length === entries.length && present.every((entry, at) => entry === entries[at]);
    if (!isSame) entries = present;
    return entries;
  };
  return toObserved(get, (changed) => {
    watchers += 1;
    isOld = true;
    const unsubscribe = replica.subscribe(range, () => {
      isOld = true;
      changed();
    });
    return () => {
      watchers -= 1;
      unsubscribe();
    };
  });
}

/** Where the replica stands. */
export function observeStatus(replica: Replica): Observed<ReplicaStatus> {
  return toObserved(
    () => replica.status,
    (changed) => replica.subscribeStatus(changed),
  );
}

function toObserved<Value>(get: () => Value, watch: (changed: () => void) => () => void): Observed<Value> {
  return {
    get,
    subscribe(run) {
      const unsubscribe = watch(() => run(get()));
      run(get());
      let isDone = false;
      return () => {
        if (!isDone) unsubscribe();
        isDone = true;
      };
    },
  };
}
