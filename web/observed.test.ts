import { createRoot, from } from "solid-js";
import { derived, get } from "svelte/store";
import { effectScope, watchEffect } from "vue";
import { expect, test, vi } from "vitest";
import type { Change } from "../src/kv.ts";
import { Mirror } from "./mirror.ts";
import { observeEntries, observeEntry } from "./observed.ts";
import type { Replica } from "./page-replica.ts";
import { useEntries } from "./vue.ts";

/** A page's reads, and what makes them change. */
function rig(): { replica: Replica; change: (...changes: ([key: string, value: number] | [key: string])[]) => void } {
  const mirror = new Mirror();
  const replica = {
    entry: (key: string) => mirror.entry(key),
    list: mirror.list.bind(mirror),
    subscribe: mirror.subscribe.bind(mirror),
  } as unknown as Replica;
  return {
    replica,
    change(...all) {
      const seq = mirror.seq + 1;
      const changes = all.map(([key, value]): Change =>
        value === undefined ? { key, removed: true, seq } : { key, value, seq },
      );
      mirror.apply({ epoch: "e", prev: mirror.seq, seq, reset: mirror.epoch === null, changes });
    },
  };
}

test("an observed entry is the same object until it changes", () => {
  const { replica, change } = rig();
  change(["a", 1], ["b", 1]);
  const observed = observeEntry(replica, "a");
  const changed = vi.fn();
  const stop = observed.subscribe(changed);
  const before = observed.get();
  change(["b", 2]);
  expect([observed.get(), changed.mock.calls.length]).toEqual([before, 1]);
  expect(observed.get()).toBe(before);
  change(["a", 2]);
  expect(changed.mock.calls.map(([entry]) => (entry as { value: number }).value)).toEqual([1, 2]);
  expect(observed.get()).toMatchObject({ value: 2 });
  stop();
  stop();
  change(["a"]);
  expect(changed).toHaveBeenCalledTimes(2);
  expect(observed.get()).toBeUndefined();
});

test("observed entries are the same list until one of them changes, and the others stay the same objects", () => {
  const { replica, change } = rig();
  change(["a/1", 1], ["a/2", 1], ["b", 1]);
  const observed = observeEntries(replica, { prefix: "a/" });
  const drawn = observed.get();
  const changed = vi.fn();
  const stop = observed.subscribe(changed);
  expect(observed.get()).toBe(drawn);
  change(["b", 2]);
  expect(observed.get()).toBe(drawn);
  expect(changed).toHaveBeenCalledTimes(1);
  change(["a/2", 2], ["a/3", 1]);
  expect(changed).toHaveBeenCalledTimes(2);
  const next = observed.get();
  expect(next.map(({ key, value }) => [key, value])).toEqual([
    ["a/1", 1],
    ["a/2", 2],
    ["a/3", 1],
  ]);
  expect(next[0]).toBe(drawn[0]);
  stop();
});

test("what changes while nobody watches is read all the same, also between a first read and the watching", () => {
  const { replica, change } = rig();
  const observed = observeEntries(replica, { limit: 1, reverse: true });
  expect(observed.get()).toEqual([]);
  change(["a", 1], ["b", 1]);
  expect(observed.get()).toMatchObject([{ key: "b" }]);
  const before = observed.get();
  change(["b", 2]);
  const stop = observed.subscribe(() => {});
  expect(observed.get()).not.toBe(before);
  expect(observed.get()).toMatchObject([{ key: "b", value: 2 }]);
  stop();
  change(["c", 1]);
  expect(observed.get()).toMatchObject([{ key: "c" }]);
});

test("it is a store of Svelte's, a source of Solid's, and a ref of Vue's", () => {
  const { replica, change } = rig();
  change(["a/1", 1]);
  const observed = observeEntries(replica, { prefix: "a/" });
  const count = derived(observed, (entries) => entries.length);
  expect(get(count)).toBe(1);

  const end = createRoot((dispose: () => void) => {
    const entries = from(observed);
    return () => {
      const { length } = entries()!;
      dispose();
      return length;
    };
  });
  const drawn: number[] = [];
  const scope = effectScope();
  scope.run(() => {
    const entries = useEntries(replica, { prefix: "a/" });
    watchEffect(() => drawn.push(entries.value.length), { flush: "sync" });
  });
  change(["a/2", 1], ["b", 1]);
  expect([get(count), end(), drawn]).toEqual([2, 2, [1, 2]]);
  scope.stop();
  change(["a/1"]);
  expect([get(count), drawn]).toEqual([1, [1, 2]]);
});
