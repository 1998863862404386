import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { compareKeys, isInRange } from "../src/kv.ts";
import type { Change, Check, Range } from "../src/kv.ts";
import { Mirror, gather } from "./mirror.ts";
import type { ListOptions, MirrorStep, PendingWrite, ReadonlyEntry, ReadonlyJson, VisibleChange } from "./mirror.ts";

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
    for (const change of step.changes as Iterable<Change>) {
      if ("value" in change) entries.set(change.key, { value: change.value, seq: change.seq });
      else entries.delete(change.key);
    }
  }
  return entries;
}

/** A reset whose changes were put together by whoever brings it. */
const gathered = (step: MirrorStep): MirrorStep =>
  step.reset ? { ...step, changes: gather(step.changes as Iterable<Change>) } : step;

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
            mirror.apply(index % 2 === 0 ? step : gathered(step));
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

/** A mirror that shows a and b at seqs 1 and 2, and all that a subscriber to everything hears from there on. */
function toMirror(): { mirror: Mirror; heard: VisibleChange[][] } {
  const mirror = new Mirror();
  const changes: Change[] = [
    { key: "a", value: 1, seq: 1 },
    { key: "b", value: 2, seq: 2 },
  ];
  mirror.apply({ epoch: "e", prev: 0, seq: 2, reset: true, changes });
  const heard: VisibleChange[][] = [];
  mirror.subscribe({}, (changes) => heard.push([...changes]));
  return { mirror, heard };
}

const stepTo = (seq: number, ...changes: Change[]): MirrorStep => ({
  epoch: "e",
  prev: seq - 1,
  seq,
  reset: false,
  changes,
});

describe("pending updates", () => {
  test("show at once, in all reads, with the seq beneath and the pending mark", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending(
      "p",
      [
        { key: "b", value: 20 },
        { key: "ab", value: 30 },
        { key: "a", removed: true },
      ],
      [],
    );
    const b = { key: "b", value: 20, seq: 2, pending: true };
    const ab = { key: "ab", value: 30, seq: 0, pending: true };
    expect(mirror.list()).toEqual([ab, b]);
    expect(mirror.list({ reverse: true, limit: 1 })).toEqual([b]);
    expect(mirror.list({ prefix: "a" })).toEqual([ab]);
    expect(mirror.entry("b")).toEqual(b);
    expect(mirror.entry("b")).toBe(mirror.entry("b"));
    expect(mirror.entry("a")).toBeUndefined();
    expect(heard).toEqual([
      [ab, { key: "a", removed: true, seq: 1, pending: true, oldValue: 1 }, { ...b, oldValue: 2 }],
    ]);
  });

  test("are listed by the UTF-8 order of their keys, among the entries of the primary", () => {
    const { mirror } = toMirror();
    mirror.addPending(
      "p",
      [
        { key: "\u{1f600}", value: 1 },
        { key: "\uff5e", value: 2 },
      ],
      [],
    );
    expect(mirror.list().map(({ key }) => key)).toEqual(["a", "b", "\uff5e", "\u{1f600}"]);
    expect(mirror.list({ reverse: true, limit: 3 }).map(({ key }) => key)).toEqual(["\u{1f600}", "\uff5e", "b"]);
  });

  test("entries of the primary have no pending mark, neither beside nor after pending ones", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending("p", [{ key: "a", value: 10 }], []);
    expect(mirror.entry("b")).not.toHaveProperty("pending");
    mirror.removePending("p");
    expect(mirror.entry("a")).not.toHaveProperty("pending");
    expect(heard[1]?.[0]).not.toHaveProperty("pending");
  });

  test("lie over each other in the order in which they were added, whichever goes first", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending("p", [{ key: "a", value: 10 }], []);
    mirror.addPending("q", [{ key: "a", value: 20 }], []);
    mirror.addPending("r", [{ key: "a", value: 30 }], []);
    mirror.removePending("q");
    expect(mirror.entry("a")?.value).toBe(30);
    mirror.removePending("r");
    expect(mirror.entry("a")?.value).toBe(10);
    mirror.removePending("p");
    expect(mirror.entry("a")).toEqual({ key: "a", value: 1, seq: 1 });
    expect(heard.flat().map((change) => "value" in change && change.value)).toEqual([10, 20, 30, 10, 1]);
  });

  test("of two writes of one update to one key the later shows", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending(
      "p",
      [
        { key: "a", value: 10 },
        { key: "a", removed: true },
      ],
      [],
    );
    expect(mirror.entry("a")).toBeUndefined();
    expect(heard).toEqual([[{ key: "a", removed: true, seq: 1, pending: true, oldValue: 1 }]]);
  });

  test("a name that is there already and one that is not change nothing", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending("p", [{ key: "a", value: 10 }], []);
    mirror.addPending("p", [{ key: "a", value: 20 }], []);
    mirror.removePending("q");
    expect(mirror.entry("a")?.value).toBe(10);
    expect(heard).toHaveLength(1);
  });

  test("stay on top of what steps bring beneath, of which nobody hears", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending(
      "p",
      [
        { key: "a", value: 10 },
        { key: "b", removed: true },
      ],
      [],
    );
    heard.length = 0;
    mirror.apply(stepTo(3, { key: "a", value: 3, seq: 3 }, { key: "b", value: 3, seq: 3 }));
    expect(mirror.list()).toEqual([{ key: "a", value: 10, seq: 3, pending: true }]);
    expect(heard).toEqual([]);
    mirror.removePending("p");
    expect(heard).toEqual([
      [
        { key: "a", value: 3, seq: 3, oldValue: 10 },
        { key: "b", value: 3, seq: 3 },
      ],
    ]);
  });

  test("an acked insert is told once more: the same value, with its seq and without the mark", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending("p", [{ key: "c", value: 10 }], []);
    mirror.apply(stepTo(3, { key: "c", value: 10, seq: 3 }));
    mirror.removePending("p");
    expect(heard).toEqual([
      [{ key: "c", value: 10, seq: 0, pending: true }],
      [{ key: "c", value: 10, seq: 3, oldValue: 10 }],
    ]);
  });

  test("an acked remove is not told again: there was nothing to see before, nor is there now", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending("p", [{ key: "a", removed: true }], []);
    mirror.apply(stepTo(3, { key: "a", removed: true, seq: 3 }));
    mirror.removePending("p");
    expect(heard).toHaveLength(1);
  });

  test("one that is taken back leaves what is beneath", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending(
      "p",
      [
        { key: "a", value: 10 },
        { key: "c", value: 10 },
      ],
      [],
    );
    mirror.removePending("p");
    expect(mirror.list().map(({ key }) => key)).toEqual(["a", "b"]);
    expect(heard[1]).toEqual([
      { key: "c", removed: true, seq: 0, oldValue: 10 },
      { key: "a", value: 1, seq: 1, oldValue: 10 },
    ]);
  });

  test("a seq check holds while the primary's entry has that seq and no earlier pending update writes the key", () => {
    const { mirror, heard } = toMirror();
    const isShown = (): boolean => mirror.entry("c") !== undefined;
    mirror.addPending("p", [{ key: "c", value: 1 }], [{ key: "a", seq: 1 }]);
    expect(isShown()).toBe(true);
    mirror.addPending("later", [{ key: "a", value: 10 }], []);
    expect(isShown()).toBe(true);
    mirror.apply(stepTo(3, { key: "a", value: 3, seq: 3 }));
    expect(isShown()).toBe(false);
    expect(heard.at(-1)).toEqual([{ key: "c", removed: true, seq: 0, oldValue: 1 }]);
    mirror.addPending("q", [{ key: "c", value: 2 }], [{ key: "a", seq: 3 }]);
    expect(isShown()).toBe(false);
    mirror.removePending("later");
    expect(isShown()).toBe(true);
  });

  test("a null check holds while the key is absent beneath, be it by an earlier pending remove", () => {
    const { mirror } = toMirror();
    mirror.addPending("p", [{ key: "c", value: 1 }], [{ key: "a", seq: null }]);
    expect(mirror.entry("c")).toBeUndefined();
    mirror.addPending("remove", [{ key: "a", removed: true }], []);
    expect(mirror.entry("c")).toBeUndefined();
    mirror.addPending("q", [{ key: "d", value: 1 }], [{ key: "a", seq: null }]);
    expect(mirror.entry("d")?.value).toBe(1);
    mirror.apply(stepTo(3, { key: "a", removed: true, seq: 3 }));
    expect(mirror.entry("c")?.value).toBe(1);
    mirror.removePending("remove");
    expect(mirror.entry("d")?.value).toBe(1);
  });

  test("a check that fails by a step makes those fail that build on its update, in one notification", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending("p", [{ key: "b", removed: true }], [{ key: "a", seq: 1 }]);
    mirror.addPending(
      "q",
      [
        { key: "b", value: 20 },
        { key: "c", value: 20 },
      ],
      [{ key: "b", seq: null }],
    );
    expect(mirror.list().map(({ value }) => value)).toEqual([1, 20, 20]);
    heard.length = 0;
    mirror.apply(stepTo(3, { key: "a", value: 3, seq: 3 }));
    expect(mirror.list().map(({ value }) => value)).toEqual([3, 2]);
    expect(heard).toEqual([
      [
        { key: "c", removed: true, seq: 0, oldValue: 20 },
        { key: "b", value: 2, seq: 2, oldValue: 20 },
        { key: "a", value: 3, seq: 3, oldValue: 1 },
      ],
    ]);
  });

  test("a check outlives the updates that have written its key", () => {
    const { mirror } = toMirror();
    mirror.addPending("write", [{ key: "a", value: 10 }], []);
    mirror.addPending("p", [{ key: "c", value: 1 }], [{ key: "a", seq: 1 }]);
    mirror.removePending("write");
    expect(mirror.entry("c")?.value).toBe(1);
    mirror.apply(stepTo(3, { key: "a", value: 3, seq: 3 }));
    expect(mirror.entry("c")).toBeUndefined();
  });

  test("one that is not effective is not told, neither when it comes nor when it goes", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending("p", [{ key: "a", value: 10 }], [{ key: "a", seq: null }]);
    mirror.removePending("p");
    expect(heard).toEqual([]);
  });

  test("survive a reset, after which their checks are decided anew", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending("p", [{ key: "a", value: 10 }], []);
    mirror.addPending("q", [{ key: "b", value: 10 }], [{ key: "b", seq: 2 }]);
    heard.length = 0;
    const changes = [{ key: "b", value: 3, seq: 3 }];
    mirror.apply({ epoch: "e", prev: 0, seq: 3, reset: true, changes });
    expect(mirror.list()).toEqual([{ key: "a", value: 10, seq: 0, pending: true }, ...changes]);
    expect(heard).toEqual([[{ key: "b", value: 3, seq: 3, oldValue: 10 }]]);
  });

  test("a dropped step notifies nobody", () => {
    const { mirror, heard } = toMirror();
    mirror.addPending("p", [{ key: "c", value: 10 }], [{ key: "a", seq: 1 }]);
    heard.length = 0;
    mirror.apply(stepTo(2, { key: "a", value: 3, seq: 2 }));
    mirror.apply(stepTo(9, { key: "a", value: 3, seq: 9 }));
    expect(mirror.entry("c")?.value).toBe(10);
    expect(heard).toEqual([]);
  });
});

describe("a subscriber that calls back", () => {
  test("reads at once what it adds; the others hear of it after what came before, and whole", () => {
    const mirror = new Mirror();
    const heard: string[] = [];
    const note = (name: string, changes: readonly VisibleChange[]): number =>
      heard.push(`${name}: ${changes.map(({ key }) => key).join()}`);
    mirror.subscribe({}, (changes) => {
      note("first", changes);
      if (changes[0]!.key !== "a") return;
      mirror.addPending(
        "p",
        [
          { key: "b", value: 1 },
          { key: "c", value: 1 },
        ],
        [],
      );
      expect(mirror.entry("c")?.value).toBe(1);
    });
    mirror.subscribe({}, (changes) => note("second", changes));
    mirror.apply({ epoch: "e", prev: 0, seq: 1, reset: true, changes: [{ key: "a", value: 1, seq: 1 }] });
    expect(heard).toEqual(["first: a", "second: a", "first: b,c", "second: b,c"]);
  });

  test("is not told of what it could read when it subscribed, nor of anything once it has left", () => {
    const mirror = new Mirror();
    const heard: string[] = [];
    const leave: (() => void)[] = [];
    mirror.subscribe({ key: "a" }, () => {
      mirror.addPending("p", [{ key: "b", value: 1 }], []);
      mirror.subscribe({}, () => heard.push("came"));
      for (const call of leave) call();
    });
    leave.push(mirror.subscribe({}, () => heard.push("left")));
    mirror.apply({ epoch: "e", prev: 0, seq: 1, reset: true, changes: [{ key: "a", value: 1, seq: 1 }] });
    expect(heard).toEqual([]);
  });
});

// The same few values again and again, some of which are equal only by identity.
const VALUES: readonly ReadonlyJson[] = [0, 1, "x", null, [1], [1]];
const NAMES = ["p", "q", "r", "s", "t"];

const value = fc.constantFrom(...VALUES);
const key = fc.constantFrom(...KEYS.slice(0, 5), "\u{1f600}", "\uff5e");
const writes = fc.array(fc.oneof(fc.record({ key, value }), fc.record({ key, removed: fc.constant(true as const) })), {
  maxLength: 4,
});
type Operation =
  | { type: "step"; kind: "next" | "catch-up" | "old" | "gap" | "stranger"; writes: PendingWrite[]; back: number }
  | { type: "reset"; isSameHistory: boolean; writes: PendingWrite[] }
  | { type: "add"; name: string; writes: PendingWrite[]; checks: { key: string; kind: "is" | "absent" | number }[] }
  | { type: "remove"; name: string };
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("step" as const),
      kind: fc.constantFrom("next", "next", "catch-up", "old", "gap", "stranger"),
      writes,
      back: fc.nat(3),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("reset" as const), isSameHistory: fc.boolean(), writes }) },
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant("add" as const),
      name: fc.constantFrom(...NAMES),
      writes,
      checks: fc.array(
        fc.record({ key, kind: fc.oneof(fc.constantFrom("is" as const, "absent" as const), fc.nat(4)) }),
        { maxLength: 2 },
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("remove" as const), name: fc.constantFrom(...NAMES) }) },
);

type Visible = Map<string, ReadonlyEntry>;

/** The primary's log and the pending updates; what they show is worked out from nothing each time. */
class Model {
  epoch = 0;
  log: Change[] = [];
  seq = 0;
  pending = new Map<string, { writes: readonly PendingWrite[]; checks: readonly Check[] }>();

  base(): Visible {
    const base: Visible = new Map();
    for (const change of this.log) {
      if ("value" in change) base.set(change.key, change);
      else base.delete(change.key);
    }
    return base;
  }

  /** What shows, and over which keys pending writes lie. */
  visible(): { entries: Visible; covered: Set<string> } {
    const base = this.base();
    const entries = new Map(base);
    const covered = new Set<string>();
    for (const { writes, checks } of this.pending.values()) {
      const holds = checks.every(({ key, seq }) =>
        seq === null ? !entries.has(key) : !covered.has(key) && base.get(key)?.seq === seq,
      );
      if (!holds) continue;
      for (const write of writes) {
        covered.add(write.key);
        if ("removed" in write) entries.delete(write.key);
        else {
          const seq = base.get(write.key)?.seq ?? 0;
          entries.set(write.key, { key: write.key, value: write.value, seq, pending: true });
        }
      }
    }
    return { entries, covered };
  }

  /** Writes of the primary, one seq each. */
  commit(writes: readonly PendingWrite[]): Change[] {
    const changes = writes.map((write) => ({ ...write, seq: ++this.seq }) as Change);
    this.log.push(...changes);
    return changes;
  }
}

/** Does an operation on both; returns the seq of the removal for keys that the primary has removed by it. */
function perform(operation: Operation, model: Model, mirror: Mirror): (key: string) => number {
  const epoch = `e${model.epoch}`;
  const { seq } = model;
  switch (operation.type) {
    case "add": {
      const checks = operation.checks.map(({ key, kind }) => {
        const isPresent = kind === "is" ? (model.base().get(key)?.seq ?? null) : kind;
        return { key, seq: isPresent === "absent" ? null : isPresent };
      });
      const { name, writes } = operation;
      if (!model.pending.has(name)) model.pending.set(name, { writes, checks });
      mirror.addPending(name, writes, checks);
      return () => 0;
    }
    case "remove":
      model.pending.delete(operation.name);
      mirror.removePending(operation.name);
      return () => 0;
    case "reset": {
      if (!operation.isSameHistory) {
        model.epoch += 1;
        model.seq = Math.max(0, seq - 3);
        model.log = [];
      }
      model.commit(operation.writes);
      // What comes again is read anew from its text, yet it is no other value.
      const changes = structuredClone([...model.base().values()]) as Change[];
      const own = new Map(operation.writes.map((write) => [write.key, write]));
      for (const [index, change] of changes.entries()) {
        const write = own.get(change.key);
        if (write && "value" in write) changes[index] = { ...change, value: write.value } as Change;
      }
      mirror.apply({ epoch: `e${model.epoch}`, prev: 0, seq: model.seq, reset: true, changes });
      return () => model.seq;
    }
    case "step": {
      const { kind, writes, back } = operation;
      if (kind === "old") {
        const changes = [{ key: "a", value: 9, seq }];
        mirror.apply({ epoch, prev: Math.max(0, seq - 1), seq, reset: false, changes });
      } else if (kind === "gap" || kind === "stranger") {
        const changes = [{ key: "a", value: 9, seq: seq + 2 }];
        const elsewhere = kind === "gap" ? epoch : "other";
        mirror.apply({ epoch: elsewhere, prev: kind === "gap" ? seq + 1 : seq, seq: seq + 2, reset: false, changes });
      } else {
        const changes = model.commit(writes);
        const prev = kind === "next" ? seq : Math.max(0, seq - back);
        // A catch-up brings again what is here, and may name a key twice.
        const sent = model.log.filter((change) => change.seq > prev);
        mirror.apply({ epoch, prev, seq: model.seq, reset: false, changes: sent });
        return (key) => changes.findLast((change) => change.key === key)?.seq ?? 0;
      }
      return () => 0;
    }
  }
}

/** What subscribers should hear, by key. */
function difference(
  before: Visible,
  { entries, covered }: ReturnType<Model["visible"]>,
  model: Model,
  removedAt: (key: string) => number,
  isOtherHistory: boolean,
): Map<string, VisibleChange> {
  const changes = new Map<string, VisibleChange>();
  for (const key of new Set([...before.keys(), ...entries.keys()])) {
    const old = before.get(key);
    const now = entries.get(key);
    const isKept =
      old !== undefined &&
      now !== undefined &&
      old.value === now.value &&
      old.pending === now.pending &&
      (now.pending === true || (old.seq === now.seq && !isOtherHistory));
    if (isKept) continue;
    const pending = covered.has(key) ? { pending: true as const } : {};
    const seq = covered.has(key) ? (model.base().get(key)?.seq ?? 0) : removedAt(key);
    const change: VisibleChange = now ?? { key, removed: true, seq, ...pending };
    changes.set(key, old ? { ...change, oldValue: old.value } : change);
  }
  return changes;
}

const inOrder = (entries: Visible, range: Range = {}): ReadonlyEntry[] =>
  [...entries.values()].filter(({ key }) => isInRange(key, range)).sort((a, b) => compareKeys(a.key, b.key));

describe("a mirror with pending updates and one that works out everything anew", () => {
  const runs = { numRuns: 300 };
  const operations = fc.array(operation, { maxLength: 30, size: "max" });
  const limit = fc.option(fc.nat(4), { nil: Infinity });

  test("show the same in all reads and tell exactly the difference, once for each operation", () => {
    fc.assert(
      fc.property(operations, range, fc.boolean(), limit, (operations, range, reverse, limit) => {
        const model = new Model();
        const mirror = new Mirror();
        let calls: (readonly VisibleChange[])[] = [];
        mirror.subscribe({}, (changes) => {
          expect(mirror.list()).toEqual(inOrder(model.visible().entries));
          calls.push(changes);
        });
        mirror.apply({ epoch: "e0", prev: 0, seq: 0, reset: true, changes: [] });
        for (const operation of operations) {
          const { entries: before } = model.visible();
          const { epoch } = model;
          calls = [];
          const removedAt = perform(operation, model, mirror);
          const now = model.visible();
          const told = difference(before, now, model, removedAt, epoch !== model.epoch);
          expect(calls).toHaveLength(told.size > 0 ? 1 : 0);
          expect(new Map(calls.flat().map((change) => [change.key, change]))).toEqual(told);
          expect(calls.flat()).toHaveLength(told.size);
          const seqs = calls.flat().map(({ seq }) => seq);
          expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));

          const listed = inOrder(now.entries, range);
          if (reverse) listed.reverse();
          const options: ListOptions = { ...range, reverse, limit };
          expect(mirror.list(options)).toStrictEqual(listed.slice(0, limit));
          for (const key of KEYS) expect(mirror.entry(key)).toStrictEqual(now.entries.get(key));
          expect([mirror.epoch, mirror.seq]).toEqual([`e${model.epoch}`, model.seq]);
        }
      }),
      runs,
    );
  });

  test("hold the same as subscribers that keep their own copy by the changes, whoever calls back meanwhile", () => {
    fc.assert(
      fc.property(operations, range, fc.array(fc.boolean()), (operations, range, nested) => {
        const model = new Model();
        const mirror = new Mirror();
        const rest = [...operations];
        const turns = [...nested];
        const performNext = (): void => {
          const next = rest.shift();
          if (next) perform(next, model, mirror);
        };
        const copies = [range, {}, range].map((range) => {
          const copy: Visible = new Map();
          mirror.subscribe(range, (changes) => {
            for (const { oldValue, ...change } of changes) {
              expect(oldValue).toBe(copy.get(change.key)?.value);
              if ("value" in change) copy.set(change.key, change);
              else copy.delete(change.key);
            }
            if (turns.shift() ?? false) performNext();
          });
          return { range, copy };
        });
        mirror.apply({ epoch: "e0", prev: 0, seq: 0, reset: true, changes: [] });
        while (rest.length > 0) {
          performNext();
          // The seq beneath a pending value may change unnoticed.
          const settled = (entries: Visible, range: Range): unknown =>
            inOrder(entries, range).map((entry) => (entry.pending ? { ...entry, seq: "any" } : entry));
          const { entries } = model.visible();
          for (const { range, copy } of copies) expect(settled(copy, range)).toEqual(settled(entries, range));
        }
      }),
      runs,
    );
  });
});
