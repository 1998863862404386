import fc from "fast-check";
import { expect, test } from "vitest";
import { compareKeys, faultOfKey, isInRange, utf8Length } from "./kv.ts";
import { KEY_BYTES_MAX } from "./limits.ts";

const anyText = fc.string({
  unit: fc.oneof(
    fc.constantFrom("a", "é", "€", "\uffee", "😀", "\u{10ffff}", "\ue000"),
    fc.string({ minLength: 1, maxLength: 1, unit: "grapheme" }),
  ),
});

test("keys are ordered as their UTF-8 bytes are", () => {
  fc.assert(
    fc.property(anyText, anyText, (a, b) => {
      expect(Math.sign(compareKeys(a, b))).toBe(Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b))));
    }),
  );
});

test("utf8Length counts what an encoder writes, lone surrogates included", () => {
  const units = fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 })
    .map((codes) => String.fromCharCode(...codes));
  fc.assert(
    fc.property(fc.oneof(anyText, units), (text) => {
      expect(utf8Length(text)).toBe(new TextEncoder().encode(text).length);
    }),
  );
});

test("L1 a key is non-empty, well-formed and at most 1 KiB in UTF-8", () => {
  expect(faultOfKey("a")).toBeUndefined();
  expect(faultOfKey("é".repeat(KEY_BYTES_MAX / 2))).toBeUndefined();
  expect(faultOfKey("é".repeat(KEY_BYTES_MAX / 2) + "a")).toContain("longer");
  expect(faultOfKey("")).toContain("empty");
  expect(faultOfKey("a\ud800b")).toContain("Unicode");
});

test("a range takes its start, leaves out its end, and demands its prefix", () => {
  expect(["a", "b", "c"].filter((key) => isInRange(key, { start: "b" }))).toEqual(["b", "c"]);
  expect(["a", "b", "c"].filter((key) => isInRange(key, { end: "b" }))).toEqual(["a"]);
  expect(["a/1", "ab", "a/2"].filter((key) => isInRange(key, { prefix: "a/" }))).toEqual(["a/1", "a/2"]);
});
