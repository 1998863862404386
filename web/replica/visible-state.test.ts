import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { packPages } from "../feed.ts";
import type { StepLines } from "../feed.ts";
import { databaseName } from "./idb-store.ts";
import type { Stored } from "./replica-persistence.ts";
import { VisibleState } from "./visible-state.ts";

type Model = Map<string, { value: number; seq: number }>;

/** A step as the log holds it: the lines as they were received, in one part or two. */
function toStep(prev: number, seq: number, writes: [string, number | null][], isSplit: boolean): StepLines {
  const changes = writes.map(([key, value]) => (value === null ? { key, removed: true, seq } : { key, value, seq }));
  if (!isSplit) return { epoch: "e", prev, seq, reset: false, lines: [JSON.stringify({ prev, seq, changes })] };
  const half = Math.floor(changes.length / 2);
  const middle = seq - 0.5; // No seq of its own: parts of one step are told apart by the line only.
  const lines = [
    JSON.stringify({ prev, seq: Math.floor(middle), changes: changes.slice(0, half), until: seq }),
    JSON.stringify({ prev: Math.floor(middle), seq, changes: changes.slice(half) }),
  ];
  return { epoch: "e", prev, seq, reset: false, lines };
}

const history = fc.array(
  fc.record({
    writes: fc.array(fc.tuple(fc.constantFrom("a", "b", "c", "d", "é"), fc.option(fc.nat(9))), { maxLength: 5 }),
    isSplit: fc.boolean(),
    gap: fc.nat(2),
  }),
  { minLength: 1, maxLength: 15 },
);

function build(given: { writes: [string, number | null][]; isSplit: boolean; gap: number }[]): {
  steps: StepLines[];
  models: Model[];
} {
  const steps: StepLines[] = [];
  const models: Model[] = [];
  let model: Model = new Map();
  let seq = 0;
  for (const { writes, isSplit, gap } of given) {
    const prev = seq;
    seq += 1 + gap;
    steps.push(toStep(prev, seq, writes, isSplit));
    model = new Map(model);
    for (const [key, value] of writes) {
      if (value === null) model.delete(key);
      else model.set(key, { value, seq });
    }
    models.push(model);
  }
  return { steps, models };
}

function storedAt(steps: StepLines[], models: Model[], at: number, logFrom: number): Stored {
  const model = models[at]!;
  const pages = packPages([...model].map(([key, entry]) => ({ key, ...entry })));
  const checkpoint = { secondaryId: "s", epoch: "e", seq: steps[at]!.seq };
  return { checkpoint, pages, steps: steps.slice(logFrom) };
}

describe("VisibleState.fromStored", () => {
  test("gives the state that was written, from any checkpoint and with steps left over from before it", () => {
    fc.assert(
      fc.property(history, fc.nat(14), fc.nat(14), (given, atSeed, fromSeed) => {
        const { steps, models } = build(given);
        const at = atSeed % steps.length;
        const state = VisibleState.fromStored(storedAt(steps, models, at, fromSeed % (at + 2)))!;
        expect(state.seq).toBe(steps.at(-1)!.seq);
        const entries = [...state.toImage()!.entries].map(({ key, value, seq }) => [key, { value, seq }]);
        expect(new Map(entries as [string, unknown][])).toEqual(models.at(-1));
      }),
    );
  });

  test("an empty database is an empty state; pages or steps without a checkpoint are of no use", () => {
    expect(VisibleState.fromStored({ checkpoint: undefined, pages: [], steps: [] })?.epoch).toBe(null);
    expect(VisibleState.fromStored({ checkpoint: undefined, pages: ["[]"], steps: [] })).toBeUndefined();
    expect(
      VisibleState.fromStored({ checkpoint: undefined, pages: [], steps: [toStep(0, 1, [], false)] }),
    ).toBeUndefined();
  });

  const { steps, models } = build([
    { writes: [["a", 1]], isSplit: false, gap: 0 },
    { writes: [["b", 2]], isSplit: false, gap: 0 },
    { writes: [["c", 3]], isSplit: false, gap: 0 },
  ]);
  const whole = storedAt(steps, models, 0, 1);
  const spoilt: [string, Stored][] = [
    ["a page that is cut off", { ...whole, pages: [whole.pages[0]!.slice(0, -2)] }],
    ["a step that is missing", { ...whole, steps: [steps[2]!] }],
    ["a step of another history", { ...whole, steps: [steps[1]!, { ...steps[2]!, epoch: "other" }] }],
    ["a line that is not one", { ...whole, steps: [{ ...steps[1]!, lines: ["{"] }] }],
    ["a line of another kind", { ...whole, steps: [{ ...steps[1]!, lines: ['{"type":"membership","inSync":true}'] }] }],
  ];
  test.each(spoilt)("%s makes all of it useless", (_, stored) => {
    expect(VisibleState.fromStored(whole)).toBeDefined();
    expect(VisibleState.fromStored(stored)).toBeUndefined();
  });
});

describe("databaseName", () => {
  test("names the format and the store, and tells partial replicas apart whatever the order of their prefixes", () => {
    const url = "https://example.com/v1/stores/board";
    expect(databaseName({ url })).toBe(`headwater:2:${url}`);
    expect(databaseName({ url, prefixes: ["b", "a"] })).toBe(databaseName({ url, prefixes: ["a", "b"] }));
    const names = [{}, { prefixes: ["a"] }, { identity: "a" }, { identity: "b" }, { identity: '["a"]' }];
    expect(new Set(names.map((copy) => databaseName({ url, ...copy }))).size).toBe(names.length);
  });
});
