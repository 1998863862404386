// Vue's refs on a replica. Each ends with the scope in which it was made: a component's setup, say.

import { onScopeDispose, shallowRef } from "vue";
import type { ShallowRef } from "vue";
import type { ListOptions, ReadonlyEntry } from "./mirror.ts";
import { observeEntries, observeEntry, observeStatus } from "./observed.ts";
import type { Observed } from "./observed.ts";
import type { Replica, ReplicaStatus } from "./page-replica.ts";

/** The entry of a key; undefined if there is none. */
export const useEntry = (replica: Replica, key: string): Readonly<ShallowRef<ReadonlyEntry | undefined>> =>
  toRef(observeEntry(replica, key));

/** The entries of a range, by key. */
export const useEntries = (replica: Replica, options?: ListOptions): Readonly<ShallowRef<readonly ReadonlyEntry[]>> =>
  toRef(observeEntries(replica, options));

/** Where the replica stands. */
export const useStatus = (replica: Replica): Readonly<ShallowRef<ReplicaStatus>> => toRef(observeStatus(replica));

function toRef<Value>(observed: Observed<Value>): Readonly<ShallowRef<Value>> {
  const ref = shallowRef(observed.get());
  onScopeDispose(observed.subscribe((value) => (ref.value = value)));
  return ref;
}
