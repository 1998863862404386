// What changes a primary's store, step by step, as tests do it.

import type { Change, Json } from "../kv.ts";
import type { Commit, Compaction, PrimaryPersistence } from "../store.ts";

export type StoreStep =
  | { commit: Commit; now: number }
  | { compaction: Compaction }
  | { epoch: string; isLoading: boolean }
  | { load: readonly Change<Json>[] }
  | { endLoading: number };

export function doStep(store: PrimaryPersistence, step: StoreStep): void {
  if ("commit" in step) store.apply(step.commit, step.now);
  else if ("compaction" in step) store.compact(step.compaction);
  else if ("epoch" in step) store.clear(step.epoch, step.isLoading);
  else if ("load" in step) store.load(step.load);
  else store.endLoading(step.endLoading);
}
