import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareKeys, isCovered, isInRange } from "./kv.ts";
import { joinRefusalOf, partsOf } from "./rights.ts";

const prefix = fc.stringMatching(/^[ab/]{1,3}$/);
const keys = ["a", "a/", "a/a", "a/b", "aa", "ab", "b", "b/", "b/a", "ba", "bb", "c"];

describe("partsOf", () => {
  test("S2 together and in their order the parts hold exactly the keys of the range that may be read, each once", () => {
    const range = fc.record({
      prefix: fc.option(prefix, { nil: undefined }),
      start: fc.constantFrom(undefined, "a/b"),
    });
    fc.assert(
      fc.property(fc.array(prefix, { maxLength: 5 }), range, fc.boolean(), (read, { prefix: own, start }, reverse) => {
        const asked = { ...(own !== undefined && { prefix: own }), ...(start !== undefined && { start }) };
        const parts = partsOf(asked, read, reverse);
        const found = parts.flatMap((part) => {
          const inPart = keys.filter((key) => isInRange(key, part)).toSorted(compareKeys);
          return reverse ? inPart.toReversed() : inPart;
        });
        const expected = keys.filter((key) => isInRange(key, asked) && isCovered(key, read)).toSorted(compareKeys);
        expect(found).toEqual(reverse ? expected.toReversed() : expected);
      }),
    );
  });

  test("S2 who may read everything reads the range as it is", () => {
    expect(partsOf({ prefix: "a" }, null, false)).toEqual([{ prefix: "a" }]);
  });
});

describe("joinRefusalOf", () => {
  test("S2 a Join is granted exactly if no key that it asks for is kept from it", () => {
    fc.assert(
      fc.property(fc.array(prefix, { maxLength: 4 }), fc.array(prefix, { maxLength: 4 }), (prefixes, read) => {
        const isGranted = joinRefusalOf({ prefixes }, { read, write: [], sync: true }) === undefined;
        expect(isGranted).toBe(prefixes.every((one) => read.some((allowed) => one.startsWith(allowed))));
      }),
    );
    expect(joinRefusalOf({}, { read: ["a"], write: null, sync: true })).toContain('"a"');
    expect(joinRefusalOf({}, { read: null, write: null, sync: true })).toBeUndefined();
  });
});
