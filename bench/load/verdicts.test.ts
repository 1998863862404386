import { describe, expect, test } from "vitest";
import { findGap } from "./reader.ts";
import { demandFlat, demandNone, demandReturn, demandSpread, demandTraffic } from "./verdicts.ts";
import type { Round } from "./verdicts.ts";

const SOCKETS = 100;
const round = (attempts: number[]): Round => ({ answeredMs: 500, attempts, returns: [600, 900] });
const evenly = (count: number, value: (i: number) => number): number[] =>
  Array.from({ length: count }, (_, i) => value(i));

describe("memory", () => {
  test("is flat where it breathes, and after it has warmed up", () => {
    const breathing = evenly(240, (i) => 200 + (i % 20) * 3);
    const warming = evenly(240, (i) => (i < 60 ? 50 + i * 3 : 230));
    expect([breathing, warming].map((samples) => demandFlat(samples).isMet)).toEqual([true, true]);
  });

  test("is not flat where it leaks a megabyte a second", () => {
    expect(demandFlat(evenly(240, (i) => 100 + i))).toMatchObject({ isMet: false, found: "190 -> 310 MiB" });
  });

  test("is not shown by three samples", () => {
    expect(demandFlat([1, 1, 1]).isMet).toBe(false);
  });
});

describe("return", () => {
  test("a crowd that is spread out is no stampede, however often it tries", () => {
    const attempts = evenly(5 * SOCKETS, (i) => i * 3);
    expect(demandSpread([round(attempts)], SOCKETS)).toMatchObject({ isMet: true, found: "34 %" });
  });

  test("a crowd that comes at once is a stampede, also in one round of many", () => {
    const spread = round(evenly(SOCKETS, (i) => i * 5));
    const together = round(evenly(SOCKETS, (i) => 1000 + i));
    expect(demandSpread([spread, together, spread], SOCKETS)).toMatchObject({ isMet: false, found: "100 %" });
  });

  test("a round without a return is missed", () => {
    expect(demandReturn([round([]), round([])], 2).isMet).toBe(true);
    expect(demandReturn([round([])], 2).isMet).toBe(false);
  });
});

describe("chains", () => {
  test("each step begins where the last one ended", () => {
    expect(findGap(undefined, { reset: true, prev: 0, seq: 7 })).toBeUndefined();
    expect(findGap(7, { reset: false, prev: 7, seq: 9 })).toBeUndefined();
  });

  test("a step that is left out, comes again or replaces everything is found", () => {
    expect(findGap(7, { reset: false, prev: 8, seq: 9 })).toBe("a step from 8 to 9 came after 7");
    expect(findGap(9, { reset: false, prev: 7, seq: 9 })).toBe("a step from 7 to 9 came after 9");
    expect(findGap(9, { reset: false, prev: 9, seq: 9 })).toBe("a step to 9 came after 9");
    expect(findGap(9, { reset: true, prev: 0, seq: 12 })).toBe("everything was sent anew at 12, after 9");
  });
});

describe("demands", () => {
  test("one complaint is too many, and is told", () => {
    expect(demandNone("losses", [])).toMatchObject({ isMet: true, found: "none" });
    expect(demandNone("losses", ["a is lost"])).toMatchObject({ isMet: false, found: "1, the first: a is lost" });
  });

  test("a run in which little is acked shows nothing", () => {
    expect([demandTraffic(90, 100), demandTraffic(10, 100), demandTraffic(0, 0)].map(({ isMet }) => isMet)).toEqual([
      true,
      false,
      false,
    ]);
  });
});
