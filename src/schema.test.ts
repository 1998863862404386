import * as fc from "fast-check";
import { expect, test } from "vitest";
import { StoreSchema } from "./schema.ts";
import type { ValueSchema } from "./schema.ts";

type Issues = NonNullable<Awaited<ReturnType<ValueSchema["~standard"]["validate"]>>["issues"]>;

function schemaOf(validate: (value: unknown) => Issues | Promise<{ issues?: Issues }> | undefined): ValueSchema {
  return {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => {
        const found = validate(value);
        return found instanceof Promise ? found : { issues: found };
      },
    },
  };
}
const anything = schemaOf(() => undefined);
const nothing = schemaOf(() => [{ message: "never" }]);

test("the first name that fits counts, and a key that none fits may not be written", () => {
  const schema = new StoreSchema({ title: anything, "card/${string}/done": anything, "card/${string}": nothing });
  expect(schema.flawOf("title", 1)).toBeUndefined();
  expect(schema.flawOf("card/1/done", 1)).toBeUndefined();
  expect(schema.flawOf("card/1\n/done", 1)).toBeUndefined();
  expect(schema.flawOf("card/1", 1)).toBe('"card/1": never');
  for (const key of ["titles", "a title", "Card/1", "car"]) expect(schema.flawOf(key, 1)).toContain("no such key");
});

test("a name without a wildcard fits itself and nothing else, whatever letters it has", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", minLength: 1 }), fc.string({ unit: "binary" }), (name, key) => {
      fc.pre(!name.includes("${string}"));
      const schema = new StoreSchema({ [name]: anything });
      expect(schema.flawOf(name, 1)).toBeUndefined();
      expect(schema.flawOf(key, 1) === undefined).toBe(key === name);
      expect(new StoreSchema({ [`${name}\${string}`]: anything }).flawOf(name + key, 1)).toBeUndefined();
    }),
  );
});

test("says where in the value the reason lies", () => {
  const issues: Issues = [
    { message: "must be a text", path: ["cards", { key: 0 }, "text"] },
    { message: "too old" },
    { message: "third" },
    { message: "fourth" },
  ];
  const schema = new StoreSchema({ a: schemaOf(() => issues) });
  expect(schema.flawOf("a", {})).toBe('"a": cards.0.text: must be a text; too old; third');
});

test("a schema that fails, or takes its time, lets nothing pass", () => {
  const failing = schemaOf(() => {
    throw new Error("oh");
  });
  expect(new StoreSchema({ a: failing }).flawOf("a", 1)).toContain("its schema failed: Error: oh");
  expect(new StoreSchema({ a: schemaOf(() => Promise.resolve({})) }).flawOf("a", 1)).toContain("asynchronous");
});

test("a name with many wildcards is matched in one pass", () => {
  const schema = new StoreSchema({ [`${"${string}/".repeat(20)}end`]: anything });
  expect(schema.flawOf("/".repeat(1000), 1)).toContain("no such key");
  expect(schema.flawOf(`${"/".repeat(1000)}end`, 1)).toBeUndefined();
  const overlapping = new StoreSchema({ "ab${string}ba": anything });
  expect(overlapping.flawOf("aba", 1)).toContain("no such key");
  expect(overlapping.flawOf("abba", 1)).toBeUndefined();
});
