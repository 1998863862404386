import { expect, test, vi } from "vitest";
import type { Change } from "../src/kv.ts";
import { Mirror } from "./mirror.ts";
import { observeEntries, observeEntry } from "./observed.ts";
import type { Replica } from "./page-replica.ts";

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
  expect([observed.get(), changed.mock.calls.length]).toEqual([before, 0]);
  expect(observed.get()).toBe(before);
  change(["a", 2]);
  expect(changed).toHaveBeenCalledTimes(1);
  expect(observed.get()).toMatchObject({ value: 2 });
  stop();
  change(["a"]);
  expect(changed).toHaveBeenCalledTimes(1);
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
  expect(changed).not.toHaveBeenCalled();
  change(["a/2", 2], ["a/3", 1]);
  expect(changed).toHaveBeenCalledTimes(1);
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
