import { expect, test } from "vitest";
import { MemoryPrimary } from "../kit/index.ts";
import { History } from "./history.ts";

test("changes are remembered as they became visible, the latest first, and no more than a thousand", async () => {
  const primary = new MemoryPrimary();
  const [replica, other] = [await primary.openReplica(), await primary.openReplica()];
  await replica.insert("before", 1);
  const history = new History(replica);
  await other.insert("a/1", "one");
  await other.batch([{ insert: { key: "a/1", value: "two" } }, { insert: { key: "b", value: 1 } }]);
  const { seq } = await other.remove("a/1");
  await replica.caughtUp({ atLeast: seq });
  const shown = (prefix: string): unknown[] => history.list(prefix, 10).map(({ key, value, seq }) => [key, value, seq]);
  expect(shown("a")).toEqual([
    ["a/1", undefined, 4],
    ["a/1", "two", 3],
    ["a/1", "one", 2],
  ]);
  expect(shown("")).toContainEqual(["b", 1, 3]);
  expect(history.of("a/1", 2).map(({ value }) => value)).toEqual([undefined, "two"]);

  for (let round = 0; round < 25; round++) {
    const operations = Array.from({ length: 100 }, (_, index) => ({ insert: { key: `k${index}`, value: round } }));
    await replica.batch(operations);
  }
  expect(history.list("", Infinity).length).toBeLessThanOrEqual(2000);
  expect(history.of("k99", 1)).toMatchObject([{ value: 24 }]);
  history.close();
  await replica.insert("k99", "unseen");
  expect(history.of("k99", 1)).toMatchObject([{ value: 24 }]);
  await primary.close();
});

test("what is pending has not happened, and is told once it has", async () => {
  const primary = new MemoryPrimary();
  const replica = await primary.openReplica();
  const history = new History(replica);
  const done = replica.insert("a", 1, { optimistic: true });
  expect(replica.get("a")).toBe(1);
  expect(history.list("", 10)).toEqual([]);
  await done;
  expect(history.list("", 10)).toMatchObject([{ key: "a", value: 1, seq: 1 }]);
  await primary.close();
});
