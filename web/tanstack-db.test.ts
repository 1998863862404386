import { createCollection, createLiveQueryCollection, createTransaction, eq } from "@tanstack/db";
import type { Collection } from "@tanstack/db";
import * as fc from "fast-check";
import { afterEach, expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import type { Change, JsonValue } from "../src/kv.ts";
import { MemoryPrimary } from "./kit/index.ts";
import type { MemoryPrimaryOptions } from "./kit/index.ts";
import { Mirror } from "./mirror.ts";
import type { ReadonlyJson } from "./mirror.ts";
import type { Replica } from "./page-replica.ts";
import { headwaterCollectionOptions, writeTransaction } from "./tanstack-db.ts";
import type { RowOf, WriteOptions } from "./tanstack-db.ts";
import type { TypedReplica } from "./typed.ts";

interface Card {
  readonly id: string;
  readonly text: string;
}

let primary: MemoryPrimary;
afterEach(() => primary?.close());

/** Two replicas of one store. */
async function openTwo(options?: MemoryPrimaryOptions): Promise<[Replica, Replica]> {
  primary = new MemoryPrimary(options);
  return [await primary.openReplica(), await primary.openReplica()];
}

function openCards(replica: Replica, options: WriteOptions = {}): Collection<Card, string> {
  return createCollection(headwaterCollectionOptions<Card>({ replica, prefix: "card/", startSync: true, ...options }));
}

interface Shown {
  readonly toArray: object[];
  subscribeChanges(changed: () => void, options: { includeInitialState: true }): unknown;
}

/** The rows by their keys, without what TanStack DB says of them. */
function rowsOf({ toArray }: Pick<Shown, "toArray">): object[] {
  return toArray.map((row) => Object.fromEntries(Object.entries(row).filter(([name]) => !name.startsWith("$"))));
}

/** Resolves when these are the rows. */
function shown(rows: Shown, expected: readonly object[]): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (JSON.stringify(rowsOf(rows)) === JSON.stringify(expected)) resolve();
    };
    // Without what is there already it would not be told when that goes.
    rows.subscribeChanges(look, { includeInitialState: true });
    look();
  });
}

/** What the rows of a replica's entries are. */
const rowsIn = (replica: Pick<Replica, "list">): object[] =>
  replica.list({ prefix: "card/" }).flatMap(({ key, value }) => {
    const isRow = typeof value === "object" && value !== null && !Array.isArray(value);
    return isRow ? [{ ...(value as object), id: key.slice("card/".length) }] : [];
  });

const [tea, milk] = [
  { id: "1", text: "Tea" },
  { id: "2", text: "Milk" },
];

test("a live query shows what others write", async () => {
  const [mine, theirs] = await openTwo();
  await theirs.insert("card/1", tea);
  await mine.caughtUp({ atLeast: 1 });
  const cards = openCards(mine);
  const milks = createLiveQueryCollection((query) =>
    query.from({ card: cards }).where(({ card }) => eq(card.text, "Milk")),
  );
  await milks.preload();
  expect([rowsOf(cards), rowsOf(milks)]).toEqual([[tea], []]);
  await theirs.insert("card/2", milk);
  await shown(milks, [milk]);
  await theirs.remove("card/2");
  await shown(milks, []);
});

test("rows are the entries under the prefix whose values are objects, each with its key", async () => {
  const [mine, theirs] = await openTwo();
  const values: ReadonlyJson[] = [{ text: "no key" }, { id: "other", text: "" }, "text", 7, null, ["list"]];
  await theirs.batch(values.map((value, at) => ({ insert: { key: `card/${at}`, value } })));
  await theirs.insert("title", { text: "no card" });
  await mine.caughtUp({ atLeast: 2 });
  const cards = openCards(mine);
  expect(rowsOf(cards)).toEqual([
    { text: "no key", id: "0" },
    { id: "1", text: "" },
  ]);
  await theirs.batch([{ insert: { key: "card/0", value: 0 } }, { insert: { key: "card/2", value: { text: "row" } } }]);
  await shown(cards, [
    { id: "1", text: "" },
    { text: "row", id: "2" },
  ]);

  const slugs = createCollection(headwaterCollectionOptions({ replica: mine, prefix: "card/", keyField: "slug" }));
  await slugs.preload();
  expect(slugs.get("2")).toMatchObject({ text: "row", slug: "2" });
});

test("an insert shows at once, and stays while it is confirmed", async () => {
  const [mine, theirs] = await openTwo();
  const [cards, others] = [openCards(mine), openCards(theirs)];
  const events: unknown[][] = [];
  cards.subscribeChanges((changes) => {
    for (const { type, key, value } of changes) events.push([type, key, value.$synced]);
  });
  const transaction = cards.insert(tea);
  expect([rowsOf(cards), mine.list()]).toEqual([[tea], []]);
  await transaction.when("settled");
  expect(mine.get("card/1")).toEqual(tea);
  expect(events).toEqual([
    ["insert", "1", false],
    ["update", "1", true],
  ]);
  await shown(others, [tea]);
  await others.update("1", (card) => void Object.assign(card, { text: "Green tea" })).when("settled");
  await shown(cards, [{ id: "1", text: "Green tea" }]);
  await cards.delete("1").when("settled");
  await shown(others, []);
});

test("what one call changes is one batch, all of it or nothing", async () => {
  const schema = { "card/${string}": z.object({ text: z.string().max(4) }) };
  const [mine, theirs] = await openTwo({ schema });
  const [cards, others] = [openCards(mine), openCards(theirs)];
  const sizes: number[] = [];
  others.subscribeChanges(() => sizes.push(others.size));
  await cards.insert([tea, milk]).when("settled");
  expect(primary.entries().map(({ seq }) => seq)).toEqual([1, 1]);
  await shown(others, [tea, milk]);
  expect(sizes).toEqual([2]);

  const refused = cards.update(["1", "2"], ([first, second]) => {
    Object.assign(first!, { text: "Mate" });
    Object.assign(second!, { text: "Oat milk" });
  });
  expect(rowsOf(cards)).toEqual([
    { id: "1", text: "Mate" },
    { id: "2", text: "Oat milk" },
  ]);
  await expect(refused.when("settled")).rejects.toMatchObject({ code: "invalid-value", applied: false });
  expect(rowsOf(cards)).toEqual([tea, milk]);
  await shown(others, [tea, milk]);
});

test("a transaction of several collections is one batch of their replica, and of no other", async () => {
  const [mine, theirs] = await openTwo();
  const cards = openCards(mine);
  const lists = createCollection(
    headwaterCollectionOptions<{ id: string; cards: string[] }>({ replica: mine, prefix: "list/" }),
  );
  const write = (change: () => void): Promise<unknown> =>
    createTransaction({ mutationFn: ({ transaction }) => writeTransaction(transaction) })
      .mutate(change)
      .when("settled");
  await write(() => {
    cards.insert([tea, milk]);
    lists.insert({ id: "a", cards: ["1"] });
    cards.delete("2");
  });
  expect(primary.entries().map(({ key, seq }) => [key, seq])).toEqual([
    ["card/1", 1],
    ["list/a", 1],
  ]);

  const foreign = openCards(theirs);
  const both = write(() => {
    cards.delete("1");
    foreign.insert(milk);
  });
  await expect(both).rejects.toThrow("one replica");
  expect([rowsOf(cards), primary.entries().length]).toEqual([[tea], 2]);
});

test("with `ifUnchanged` a write is refused if its row has changed meanwhile, and goes through otherwise", async () => {
  const [mine, theirs] = await openTwo();
  const cards = openCards(mine, { ifUnchanged: true });
  const set = (text: string) => cards.update("1", (card) => void Object.assign(card, { text })).when("settled");

  const first = theirs.insert("card/1", milk);
  await expect(cards.insert(tea).when("settled")).rejects.toMatchObject({ code: "conflict", applied: false });
  await first;
  await shown(cards, [{ ...milk, id: "1" }]);
  await set("Tea");
  await set("Green tea");
  const second = theirs.insert("card/1", milk);
  await expect(set("Mate")).rejects.toMatchObject({ code: "conflict", check: { key: "card/1", seq: 4 } });
  await second;
  await shown(cards, [{ ...milk, id: "1" }]);
  await cards.delete("1").when("settled");
  expect(primary.entries()).toEqual([]);
});

test("what cannot be sent is taken back", async () => {
  const [mine] = await openTwo();
  const cards = openCards(mine);
  await cards.insert(tea).when("settled");
  primary.cut();
  const deletion = cards.delete("1");
  expect(rowsOf(cards)).toEqual([]);
  await expect(deletion.when("settled")).rejects.toMatchObject({ code: "offline", applied: false });
  expect(rowsOf(cards)).toEqual([tea]);
});

test("what the replica itself shows before it is acked, the rows show", async () => {
  const [mine] = await openTwo();
  const cards = openCards(mine, { ifUnchanged: true });
  const insertion = mine.insert("card/1", tea, { optimistic: true });
  expect(rowsOf(cards)).toEqual([tea]);
  await insertion;
  expect(cards.get("1")).toMatchObject(tea);
  await cards.delete("1").when("settled");
  expect(mine.list()).toEqual([]);
});

test("after its clean-up a collection follows nothing, and begins anew when it is read", async () => {
  const [mine] = await openTwo();
  let followers = 0;
  const subscribe: Replica["subscribe"] = (interest, subscriber) => {
    const unsubscribe = mine.subscribe(interest, subscriber);
    followers += 1;
    return () => {
      followers -= 1;
      unsubscribe();
    };
  };
  const cards = openCards({ list: mine.list.bind(mine), subscribe } as Replica);
  await mine.insert("card/1", tea);
  expect([rowsOf(cards), followers]).toEqual([[tea], 1]);
  await cards.cleanup();
  await mine.batch([{ remove: { key: "card/1" } }, { insert: { key: "card/2", value: milk } }]);
  expect([rowsOf(cards), followers]).toEqual([[], 0]);
  await cards.preload();
  expect([rowsOf(cards), followers]).toEqual([[milk], 1]);
});

test("whoever is told that a collection is ready may write, and the rows show it", async () => {
  const [mine] = await openTwo();
  const cards = createCollection(headwaterCollectionOptions<Card>({ replica: mine, prefix: "card/" }));
  cards.onFirstReady(() => void mine.insert("card/1", tea, { optimistic: true }));
  await cards.preload();
  expect(rowsOf(cards)).toEqual([tea]);
});

test("rows have the types of the replica's entries", () => {
  interface Entries {
    title: string;
    "card/${string}": { text: string; tags: string[] };
    "list/${string}": { id: string };
    "path/${string}": number[];
  }
  const replica = {} as TypedReplica<Entries>;
  const { getKey } = headwaterCollectionOptions({ replica, prefix: "card/", keyField: "slug" });
  expectTypeOf(getKey).parameter(0).toEqualTypeOf<RowOf<Entries, "card/", "slug">>();
  expectTypeOf<RowOf<Entries, "card/">["tags"]>().toEqualTypeOf<readonly string[]>();
  expectTypeOf<RowOf<Entries, "list/">["id"]>().toEqualTypeOf<string>();
  expectTypeOf<RowOf<Entries, "path/">>().toEqualTypeOf<never>();
  const rows = createCollection(headwaterCollectionOptions({ replica: {} as Replica, prefix: "card/" }));
  expectTypeOf(rows).toExtend<Collection<Record<string, unknown>, string>>();
});

// --- properties

const ids = fc.constantFrom("1", "2", "3", "4");
const values: fc.Arbitrary<JsonValue> = fc.oneof(
  fc.record({ text: fc.constantFrom("a", "b", "c"), note: fc.constant("n") }, { requiredKeys: ["text"] }),
  fc.constantFrom<JsonValue>(null, "text", [1]),
);

/** What a replica goes through, and a collection with it. */
type Event =
  | { type: "step" | "reset"; changes: { id: string; value: JsonValue | undefined }[] }
  | { type: "pend" | "restart" | "unpend"; id: string; value: JsonValue };

const events: fc.Arbitrary<Event> = fc.oneof(
  fc.record({
    type: fc.constantFrom("step" as const, "step" as const, "reset" as const),
    changes: fc.uniqueArray(fc.record({ id: ids, value: fc.option(values, { nil: undefined }) }), {
      selector: ({ id }) => id,
    }),
  }),
  fc.record({ type: fc.constantFrom("pend" as const, "unpend" as const, "restart" as const), id: ids, value: values }),
);

test("whatever comes to a replica, steps, resets and pending updates, its rows are those of its entries", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(events, { maxLength: 30 }), async (all) => {
      const mirror = new Mirror();
      const replica = {
        list: mirror.list.bind(mirror),
        subscribe: mirror.subscribe.bind(mirror),
      } as unknown as Replica;
      const cards = openCards(replica);
      for (const event of all) {
        if ("changes" in event) take(mirror, event);
        else if (event.type === "pend") {
          mirror.addPending(event.id, [{ key: `card/${event.id}`, value: event.value }], []);
        } else if (event.type === "unpend") mirror.removePending(event.id);
        else {
          await cards.cleanup();
          await cards.preload();
        }
        expect(rowsOf(cards)).toEqual(rowsIn(replica));
      }
      await cards.cleanup();
    }),
  );
});

function take(mirror: Mirror, { type, changes }: Extract<Event, { changes: unknown }>): void {
  const seq = mirror.seq + 1;
  const isReset = type === "reset" || mirror.epoch === null;
  mirror.apply({
    epoch: isReset ? `epoch ${seq}` : mirror.epoch,
    prev: mirror.seq,
    seq,
    reset: isReset,
    changes: changes.map(({ id, value }): Change =>
      value === undefined ? { key: `card/${id}`, removed: true, seq } : { key: `card/${id}`, value, seq },
    ),
  });
}

const writes = fc.record({
  by: fc.constantFrom("mine", "theirs", "replica"),
  id: ids,
  text: fc.constantFrom("a", "b", "c", undefined),
  ifUnchanged: fc.boolean(),
  isAwaited: fc.boolean(),
});

test("whatever two collections and a replica write, all end with the same rows, and nothing stays pending", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(writes, { maxLength: 20 }), async (all) => {
      const [mine, theirs] = await openTwo();
      const [checked, unchecked] = [true, false].map((ifUnchanged) => openCards(mine, { ifUnchanged }));
      const others = openCards(theirs);
      const ends: Promise<unknown>[] = [];
      for (const { by, id, text, ifUnchanged, isAwaited } of all) {
        const cards = by === "mine" ? (ifUnchanged ? checked! : unchecked!) : others;
        const end = by === "replica" ? writeTo(theirs, id, text) : change(cards, id, text);
        ends.push(end.catch((error: unknown) => expect(error).toMatchObject({ code: "conflict" })));
        if (isAwaited) await ends.at(-1);
      }
      await Promise.all(ends);
      const { seq } = await theirs.insert("end", true);
      await mine.caughtUp({ atLeast: seq });
      const rows = rowsIn({ list: () => primary.entries() });
      for (const cards of [checked!, unchecked!, others]) {
        expect(rowsOf(cards)).toEqual(rows);
        expect(cards.toArray.every(({ $synced }) => $synced)).toBe(true);
      }
      await primary.close();
    }),
    { numRuns: 50 },
  );
});

/** Sets a row's text, or removes the row. */
function change(cards: Collection<Card, string>, id: string, text: string | undefined): Promise<unknown> {
  if (!cards.has(id)) return text === undefined ? Promise.resolve() : cards.insert({ id, text }).when("settled");
  if (text === undefined) return cards.delete(id).when("settled");
  return cards.update(id, (card) => void Object.assign(card, { text })).when("settled");
}

const writeTo = (replica: Replica, id: string, text: string | undefined): Promise<unknown> =>
  text === undefined ? replica.remove(`card/${id}`) : replica.insert(`card/${id}`, { text }, { optimistic: true });
