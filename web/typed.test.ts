import { expect, expectTypeOf, test } from "vitest";
import type { ValueSchema } from "../src/schema.ts";
import type { EntriesOf, EntryOf, KeyOf, TypedReplica, ValueAt } from "./typed.ts";

interface Card {
  text: string;
  tags: string[];
}
interface Named {
  title: string;
  "card/${string}": Card;
  "card/${string}/done": boolean;
}
interface Indexed {
  title: string;
  [key: `card/${string}`]: Card;
}

test("types follow the names of keys, in both notations", () => {
  expectTypeOf<KeyOf<Indexed>>().toEqualTypeOf<"title" | `card/${string}`>();
  expectTypeOf<KeyOf<Named>>().toEqualTypeOf<"title" | `card/${string}` | `card/${string}/done`>();
  expectTypeOf<ValueAt<Indexed, "card/1">>().toEqualTypeOf<Card>();
  expectTypeOf<ValueAt<Named, "title">>().toEqualTypeOf<string>();
  expectTypeOf<EntryOf<Named, "card/">["key"]>().toEqualTypeOf<`card/${string}` | `card/${string}/done`>();
  expectTypeOf<EntryOf<Indexed, "card/7">["value"]>().toEqualTypeOf<{
    readonly text: string;
    readonly tags: readonly string[];
  }>();
  expectTypeOf<EntriesOf<{ "n/${string}": ValueSchema<number> }>>().toEqualTypeOf<{ "n/${string}": number }>();
});

test("a replica takes and gives what its type says, and no other keys", () => {
  const calls: unknown[][] = [];
  const replica = new Proxy({} as TypedReplica<Named>, {
    get:
      (_, name) =>
      (...args: unknown[]): unknown =>
        calls.push([name, ...args]),
  });
  expectTypeOf(replica.get("card/1")).toEqualTypeOf<
    { readonly text: string; readonly tags: readonly string[] } | undefined
  >();
  void replica.insert("card/1", { text: "Tea", tags: ["hot"] });
  void replica.batch([{ insert: { key: "title", value: "Board" } }, { remove: { key: "card/1" } }]);
  replica.subscribe({ prefix: "card/" }, (changes) => {
    for (const change of changes)
      if (change.key === "title") expectTypeOf(change.oldValue).toEqualTypeOf<string | undefined>();
  });
  // @ts-expect-error: no such key.
  replica.get("cards/1");
  // @ts-expect-error: not a card.
  void replica.insert("card/1", { text: 1 });
  // @ts-expect-error: not the title's type.
  void replica.batch([{ insert: { key: "title", value: 7 } }]);
  expect(calls).toHaveLength(7);
});
