import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry, JsonValue } from "../src/kv.ts";
import { packPages, takeInSlices, parseChanges, unpackPage } from "./feed.ts";

const entry: fc.Arbitrary<Entry> = fc.record({
  key: fc.string({ minLength: 1, unit: "binary" }),
  value: fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as JsonValue),
  seq: fc.nat(),
});

/** What IndexedDB stores of a text: two bytes for each unit if any unit needs them. */
const storedBytes = (text: string): number => text.length * (/[^\0-\xff]/.test(text) ? 2 : 1);

describe("packPages", () => {
  test("what is packed comes back, in its order", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 60 }), (entries) => {
        expect(packPages(entries).flatMap((page) => unpackPage(page)!)).toEqual(entries);
      }),
    );
  });

  test("a page has at most 512 entries and 60 KiB, in narrow and wide text", () => {
    const value = fc
      .oneof(fc.nat(3000), fc.constant(0))
      .chain((length) => fc.constantFrom("x".repeat(length), "é", "水".repeat(length)));
    fc.assert(
      fc.property(fc.array(value, { minLength: 200, maxLength: 1200 }), (values) => {
        const pages = packPages(values.map((value, seq) => ({ key: `key:${seq}`, value, seq })));
        for (const page of pages) {
          expect(storedBytes(page)).toBeLessThanOrEqual(60 * 1024);
          expect(unpackPage(page)!.length).toBeLessThanOrEqual(512);
        }
      }),
      { numRuns: 20 },
    );
  });

  test("fills pages: 100,000 entries of 100 bytes take fewer than 250", () => {
    function* many(): Generator<Entry> {
      for (let seq = 0; seq < 100_000; seq++) yield { key: `user:${seq}`, value: "x".repeat(100), seq };
    }
    expect(packPages(many()).length).toBeLessThan(250);
  });

  test("an entry that is larger than a page has one of its own", () => {
    const large = "x".repeat(100_000);
    const pages = packPages([
      { key: "a", value: 1, seq: 1 },
      { key: "b", value: large, seq: 2 },
      { key: "c", value: 3, seq: 3 },
    ]);
    expect(pages.map((page) => unpackPage(page)!.map(({ key }) => key))).toEqual([["a"], ["b"], ["c"]]);
  });
});

describe("unpackPage", () => {
  test.each(["", "{", "{}", "null", "[1,2]", '["a",1]', '["a",1,"2"]', "[1,2,3]", '["a",1,2,"b"]'])(
    "refuses %s",
    (text) => {
      expect(unpackPage(text)).toBeUndefined();
    },
  );
});

describe("parseChanges", () => {
  test("a change without a seq has its snapshot's", () => {
    expect(
      parseChanges('{"prev":1,"seq":3,"changes":[{"key":"a","value":1,"seq":2},{"key":"b","removed":true}]}'),
    ).toEqual([
      { key: "a", value: 1, seq: 2 },
      { key: "b", removed: true, seq: 3 },
    ]);
  });
});

test("what is read in slices comes whole and in its order, and other tasks have their turn in between", async () => {
  const texts = Array.from({ length: 50 }, (_, i) => String(i));
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 0);
  const read: string[] = [];
  await takeInSlices(texts, (text) => {
    const until = performance.now() + 1;
    while (performance.now() < until);
    read.push(text);
  });
  clearInterval(timer);
  expect(read).toEqual(texts);
  expect(turns).toBeGreaterThan(0);
});
