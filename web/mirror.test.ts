import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { compareKeys, isInRange } from "../src/kv.ts";
import type { Change, Range } from "../src/kv.ts";
import { Mirror } from "./mirror.ts";
import type { MirrorStep, ReadonlyJson, VisibleChange } from "./mirror.ts";

const KEYS = ["a", "ab", "abc", "b", "ba", "é", "\u{1f600}", "\uff5e"];

type Write = [key: string, value: number | null];
const write: fc.Arbitrary<Write> = fc.tuple(fc.constantFrom(...KEYS), fc.option(fc.nat(9)));
const range: fc.Arbitrary<Range> = fc.record(
  { prefix: fc.constantFrom("a", "ab", "b"), start: fc.constantFrom(...KEYS), end: fc.constantFrom(...KEYS) },
  { requiredKeys: [] },
);

/** Writes as a primary would send them: each step a seq, resets now and then, each with all that there is. */
function toSteps(batches: readonly { writes: Write[]; isReset: boolean }[]): MirrorStep[] {
  const all = new Map<string, Change>();
  return batches.map(({ writes, isReset }, index) => {
    const seq = index + 1;
    const changes = new Map<string, Change>();
    for (const [key, value] of writes) {
      changes.set(key, value === null ? { key, removed: true, seq } : { key, value, seq });
    }
    for (const change of changes.values()) all.set(change.key, change);
    const isFirst = index === 0;
    const reset = isReset || isFirst;
    const sent = reset ? [...all.values()].filter((change) => "value" in change) : [...changes.values()];
    return { epoch: "e", prev: reset ? 0 : seq - 1, seq, reset, changes: sent };
  });
}

const batches = fc.array(fc.record({ writes: fc.array(write, { maxLength: 6 }), isReset: fc.boolean() }), {
  minLength: 1,
  maxLength: 12,
});

/** What a naive replica would show. */
function replay(steps: readonly MirrorStep[]): Map<string, { value: unknown; seq: number }> {
  const entries = new Map<string, { value: unknown; seq: number }>();
  for (const step of steps) {
    if (step.reset) entries.clear();
    for (const change of step.changes) {
      if ("value" in change) entries.set(change.key, { value: change.value, seq: change.seq });
      else entries.delete(change.key);
    }
  }
  return entries;
}

/** What a mirror shows, as a map from key to value. */
const shown = (mirror: Mirror, range?: Range): Map<string, ReadonlyJson> =>
  new Map(mirror.list(range).map(({ key, value }) => [key, value]));

describe("Mirror", () => {
  test("shows at each step what a naive replica shows, in key order", () => {
    fc.assert(
      fc.property(
        batches,
        range,
        fc.boolean(),
        fc.option(fc.nat(5), { nil: undefined }),
        (given, range, reverse, limit) => {
          const mirror = new Mirror();
          const steps = toSteps(given);
          for (const [index, step] of steps.entries()) {
            mirror.apply(step);
            const model = replay(steps.slice(0, index + 1));
            const expected = [...model]
              .map(([key, entry]) => ({ key, ...entry }))
              .filter(({ key }) => isInRange(key, range))
              .sort((a, b) => compareKeys(a.key, b.key));
            if (reverse) expected.reverse();
            const options = limit === undefined ? { ...range, reverse } : { ...range, reverse, limit };
            expect(mirror.list(options).map(({ key, value, seq }) => ({ key, value, seq }))).toEqual(
              expected.slice(0, limit),
            );
            for (const key of KEYS) expect(mirror.entry(key)?.value).toEqual(model.get(key)?.value);
            expect(mirror.seq).toBe(step.seq);
          }
        },
      ),
    );
  });

  test("V1: subscribers that keep their own copy by the changes hold the same, each step at once, with the old values", () => {
    fc.assert(
      fc.property(batches, range, (given, range) => {
        const mirror = new Mirror();
        const copy = new Map<string, ReadonlyJson>();
        let calls = 0;
        mirror.subscribe(range, (changes) => {
          calls += 1;
          for (const change of changes) {
            expect(change.oldValue).toEqual(copy.get(change.key));
            if ("value" in change) copy.set(change.key, change.value);
            else copy.delete(change.key);
          }
          expect(new Set(changes.map(({ key }) => key)).size).toBe(changes.length);
          expect(copy).toEqual(shown(mirror, range));
        });
        for (const step of toSteps(given)) {
          calls = 0;
          mirror.apply(step);
          expect(calls).toBeLessThanOrEqual(1);
        }
        expect(copy).toEqual(shown(mirror, range));
      }),
    );
  });

  test("O2: served by a worker that is behind, it never goes back and ends where the worker does", () => {
    fc.assert(
      fc.property(batches, fc.nat(11), fc.nat(11), (given, seen, catchUpFrom) => {
        const steps = toSteps(given);
        const mirror = new Mirror();
        const ahead = steps.slice(0, (seen % steps.length) + 1);
        for (const step of ahead) mirror.apply(step);
        // The new worker stands further back and gets the rest in one step of catch-up.
        const from = Math.min(catchUpFrom % steps.length, ahead.length);
        const later = [...replay(steps).entries()];
        const removed = KEYS.filter((key) => !replay(steps).has(key));
        const changes: Change[] = [
          ...later
            .filter(([, { seq }]) => seq > from)
            .map(([key, { value, seq }]) => ({ key, value: value as number, seq })),
          ...removed.map((key) => ({ key, removed: true as const, seq: steps.length })),
        ];
        let last = mirror.seq;
        mirror.apply({ epoch: "e", prev: from, seq: steps.length, reset: false, changes });
        expect(mirror.seq).toBeGreaterThanOrEqual(last);
        last = mirror.seq;
        expect(shown(mirror)).toEqual(new Map(later.map(([key, { value }]) => [key, value])));
      }),
    );
  });

  test("a step that does not continue what is shown is dropped", () => {
    const mirror = new Mirror();
    mirror.apply({ epoch: "e", prev: 0, seq: 5, reset: true, changes: [{ key: "a", value: 1, seq: 5 }] });
    mirror.apply({ epoch: "e", prev: 6, seq: 7, reset: false, changes: [{ key: "a", value: 2, seq: 7 }] });
    mirror.apply({ epoch: "other", prev: 5, seq: 6, reset: false, changes: [{ key: "a", value: 3, seq: 6 }] });
    mirror.apply({ epoch: "e", prev: 3, seq: 4, reset: false, changes: [{ key: "a", value: 4, seq: 4 }] });
    expect(mirror.entry("a")?.value).toBe(1);
    expect(mirror.hasSeen("e", 5)).toBe(true);
    expect(mirror.hasSeen("e", 6)).toBe(false);
    expect(mirror.hasSeen("other", 1)).toBe(false);
  });

  test("a key's subscribers hear of that key only, and no more once they have left", () => {
    const mirror = new Mirror();
    const heard: VisibleChange[][] = [];
    const leave = mirror.subscribe({ key: "a" }, (changes) => heard.push([...changes]));
    const step = (seq: number, key: string): MirrorStep => ({
      epoch: "e",
      prev: seq - 1,
      seq,
      reset: seq === 1,
      changes: [{ key, value: seq, seq }],
    });
    mirror.apply(step(1, "a"));
    mirror.apply(step(2, "b"));
    mirror.apply(step(3, "a"));
    leave();
    leave();
    mirror.apply(step(4, "a"));
    expect(heard).toEqual([[{ key: "a", value: 1, seq: 1 }], [{ key: "a", value: 3, seq: 3, oldValue: 1 }]]);
  });

  describe("a subscriber that throws", () => {
    const reported: unknown[] = [];
    const before = globalThis.reportError as typeof reportError | undefined;
    beforeEach(() => {
      reported.length = 0;
      globalThis.reportError = (error) => reported.push(error);
    });
    afterEach(() => {
      globalThis.reportError = before!;
    });

    test("is reported, and the others hear of the step all the same", () => {
      const mirror = new Mirror();
      let heard = 0;
      mirror.subscribe({}, () => {
        throw new Error("a bug of the app");
      });
      mirror.subscribe({}, () => (heard += 1));
      mirror.apply({ epoch: "e", prev: 0, seq: 1, reset: true, changes: [{ key: "a", value: 1, seq: 1 }] });
      expect(heard).toBe(1);
      expect(reported).toHaveLength(1);
    });
  });
});
