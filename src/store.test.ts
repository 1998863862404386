import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareKeys, isInRange } from "./kv.ts";
import { MemoryStore, OrderedMap } from "./store.ts";
import type { Range } from "./kv.ts";
import { testPrimaryPersistence } from "./testing/primary-store-contract.ts";
import type { PrimaryDisk } from "./testing/primary-store-contract.ts";

const key = fc.string({ minLength: 1, maxLength: 3, unit: fc.constantFrom("a", "b", "é", "\uffee", "😀") });
const range: fc.Arbitrary<Range> = fc.record({ prefix: key, start: key, end: key }, { requiredKeys: [] });

test("an ordered map is a map that is walked in key order, whatever was done to it in between", () => {
  const step = fc.oneof(
    fc.record({ set: key }),
    fc.record({ remove: key }),
    fc.record({ walk: range, reverse: fc.boolean() }),
    fc.record({ fill: fc.integer({ min: 33, max: 60 }) }),
    fc.constant({ clear: true as const }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const map = new OrderedMap<string>();
      const model = new Map<string, string>();
      const set = (name: string): void => {
        map.set(name, name);
        model.set(name, name);
      };
      for (const one of steps) {
        if ("set" in one) set(one.set);
        else if ("fill" in one) for (let i = 0; i < one.fill; i++) set(`f${(i * 7919) % 101}`);
        else if ("remove" in one) {
          map.delete(one.remove);
          model.delete(one.remove);
        } else if ("clear" in one) {
          map.clear();
          model.clear();
        } else {
          const expected = [...model.keys()].filter((name) => isInRange(name, one.walk)).sort(compareKeys);
          expect([...map.walk(one.walk, one.reverse)]).toEqual(one.reverse ? expected.reverse() : expected);
        }
        expect(map.size).toBe(model.size);
      }
    }),
  );
});

test("C1 a walk by seq in parts gives every key's latest state once, and never splits a seq", () => {
  const writes = fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 4 }), {
    maxLength: 30,
  });
  fc.assert(
    fc.property(writes, fc.integer({ min: 1, max: 5 }), (batches, changes) => {
      const store = new MemoryStore("e", { changes, bytes: 1_000_000 });
      batches.forEach((keys, index) => {
        const seq = index + 1;
        store.apply(
          {
            seq,
            changes: keys.map((one) => ({ key: `k${one}`, value: `${seq}`, seq })),
            clients: new Map(),
          },
          0,
        );
      });
      const seen = new Map<string, number>();
      let since = 0;
      for (let isEnd = false; !isEnd;) {
        const page = store.readChanges(since, 0);
        for (const change of page.changes) {
          expect(change.seq).toBeGreaterThan(since);
          expect(change.seq).toBeLessThanOrEqual(page.seq);
          expect(seen.has(change.key)).toBe(false);
          seen.set(change.key, change.seq);
        }
        ({ seq: since, isEnd } = page);
      }
      expect(since).toBe(store.head);
      for (const [name, seq] of seen) expect(store.get(name)?.seq).toBe(seq);
      expect(seen.size).toBe(store.list({}, 1000).entries.length);
    }),
  );
});

/** Memory lives as long as its store, so opening it anew gives the same one. */
function newMemoryDisk(): PrimaryDisk {
  disksMade += 1;
  const store = new MemoryStore(`epoch-${disksMade}`);
  const open = (): MemoryStore => {
    store.dropLoading(); // As a disk is found by whoever opens it anew.
    return store;
  };
  return { use: async (body) => body(open) };
}
let disksMade = 0;

describe("the store in memory", () => {
  testPrimaryPersistence((title, run) => test(title, run, 30_000), newMemoryDisk, { seed: 20_261_020, runs: 300 });
});
