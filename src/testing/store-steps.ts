// What changes a primary's store, step by step, as tests do it.

import type { Change, Json } from "../kv.ts";
import type { Commit, Compaction, PrimaryPersistence } from "../store.ts";

export type StoreStep =
  | { commit: Commit; now: number }
  | { compaction: Compaction }
  | { clear: string }
  | { beginLoading: true }
  | { load: readonly Change<Json>[] }
  | { endLoading: number; epoch: string };

export function doStep(store: PrimaryPersistence, step: StoreStep): void {
  if ("commit" in step) store.apply(step.commit, step.now);
  else if ("compaction" in step) store.compact(step.compaction);
  else if ("clear" in step) store.clear(step.clear);
  else if ("beginLoading" in step) store.beginLoading();
  else if ("load" in step) store.load(step.load);
  else store.endLoading(step.epoch, step.endLoading);
}
