import { describe, expect, test } from "vitest";
import type { Check } from "../src/kv.ts";
import { Overlay } from "./overlay.ts";
import type { Note, PendingWrite } from "./overlay.ts";

const MANY = 10_000;

/** An overlay over entries with seq 1, with a count of how often it looks at one of them or at a check. */
function toOverlay(): {
  overlay: Overlay;
  checkOf: (key: string) => Check[];
  effort: (work: (note: Note) => void) => number;
  noted: string[];
} {
  let looks = 0;
  const look = <Item>(item: Item): Item => {
    looks += 1;
    return item;
  };
  const overlay = new Overlay((key) => look({ key, value: 0, seq: 1 }));
  const checkOf = (key: string): Check[] => [
    {
      get key() {
        return look(key);
      },
      seq: 1,
    },
  ];
  const noted: string[] = [];
  const effort = (work: (note: Note) => void): number => {
    looks = 0;
    noted.length = 0;
    work((key) => noted.push(key));
    return looks;
  };
  return { overlay, checkOf, effort, noted };
}

const writeOf = (key: string): PendingWrite[] => [{ key, value: 1 }];

describe("among 10,000 pending updates, the effort for one does not depend on how many there are", () => {
  test("each with a key and a check of its own", () => {
    const { overlay, checkOf, effort, noted } = toOverlay();
    for (let i = 0; i < MANY; i++) overlay.add(`p${i}`, writeOf(`k${i}`), checkOf(`k${i}`), () => {});
    expect(effort((note) => overlay.add("one", writeOf("k5000"), [], note))).toBeLessThan(10);
    expect(noted).toEqual(["k5000"]);
    expect(effort((note) => overlay.remove("p100", note))).toBeLessThan(10);
    expect(noted).toEqual(["k100"]);
    expect(effort((note) => overlay.rebase(note, ["k7"]))).toBeLessThan(10);
  });

  test("all of one key, without checks", () => {
    const { overlay, effort } = toOverlay();
    for (let i = 0; i < MANY; i++) overlay.add(`p${i}`, writeOf("k"), [], () => {});
    expect(effort((note) => overlay.remove("p0", note))).toBeLessThan(10);
    expect(effort((note) => overlay.remove(`p${MANY - 1}`, note))).toBeLessThan(10);
    expect(effort((note) => overlay.rebase(note, ["k"]))).toBeLessThan(10);
  });

  test("all with a check of one key, unless it is the one on which all of them depend", () => {
    const { overlay, checkOf, effort, noted } = toOverlay();
    for (let i = 0; i < MANY; i++) overlay.add(`p${i}`, writeOf("k"), checkOf("k"), () => {});
    expect(effort((note) => overlay.add("one", writeOf("k"), checkOf("k"), note))).toBeLessThan(10);
    expect(effort((note) => overlay.remove("p5000", note))).toBeLessThan(10);
    expect(effort((note) => overlay.rebase(note, ["k"]))).toBeLessThan(10);
    // The second takes the place of the first.
    expect(effort((note) => overlay.remove("p0", note))).toBeLessThan(2 * MANY);
    expect(noted).toEqual(["k", "k"]);
  });
});

test("what is empty is clear again, whatever has been in it", () => {
  const { overlay, checkOf } = toOverlay();
  overlay.add("p", writeOf("k"), checkOf("other"), () => {});
  overlay.add("q", writeOf("k"), [{ key: "k", seq: null }], () => {});
  expect(overlay.isClear).toBe(false);
  overlay.remove("p", () => {});
  expect(overlay.isClear).toBe(true);
  overlay.remove("q", () => {});
  expect(overlay.isClear).toBe(true);
});
