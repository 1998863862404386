import { afterEach, expect, test } from "vitest";
import type { ReadonlyJson } from "../mirror.ts";
import type { Replica } from "../page-replica.ts";
import { MemoryPrimary } from "./index.ts";
import type { MemoryPrimaryOptions } from "./index.ts";

let primary: MemoryPrimary;
afterEach(() => primary.close());
const start = (options?: MemoryPrimaryOptions): MemoryPrimary => (primary = new MemoryPrimary(options));

/** Resolves when a replica shows a value. */
function shown(replica: Replica, key: string, value: ReadonlyJson | undefined): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (JSON.stringify(replica.get(key)) === JSON.stringify(value)) resolve();
    };
    replica.subscribe({ key }, look);
    look();
  });
}

test("replicas of one store see each other's writes, and others do not", async () => {
  const [one, other, elsewhere] = [
    await start().openReplica(),
    await primary.openReplica(),
    await primary.openReplica("elsewhere"),
  ];
  expect(await one.insert("a", { is: 1 })).toEqual({ seq: 1, replicas: 0 });
  await shown(other, "a", { is: 1 });
  await other.batch([{ insert: { key: "b", value: 2 } }, { remove: { key: "a" } }], { checks: [{ key: "a", seq: 1 }] });
  await shown(one, "a", undefined);
  expect(primary.entries()).toEqual([{ key: "b", value: 2, seq: 2 }]);
  await expect(one.batch([{ remove: { key: "b" } }], { checks: [{ key: "b", seq: 1 }] })).rejects.toMatchObject({
    code: "conflict",
    applied: false,
  });
  expect([elsewhere.list(), await one.getFromPrimary("b")]).toEqual([[], 2]);
});

test("a cut is offline, and heals by itself", async () => {
  const [one, other] = [await start().openReplica(), await primary.openReplica()];
  await one.insert("a", 1);
  await shown(other, "a", 1);
  primary.cut();
  await expect(one.insert("a", 2)).rejects.toMatchObject({ code: "offline", applied: false });
  expect([one.status.state, one.get("a")]).toEqual(["offline", 1]);
  primary.heal();
  await one.caughtUp();
  await one.insert("a", 3);
  await shown(other, "a", 3);
});

test("a restart loses connections and nothing else", async () => {
  const one = await start().openReplica();
  await one.insert("a", 1);
  const { epoch } = one.status;
  primary.restart();
  await one.insert("b", 2);
  expect([one.status.epoch, primary.entries().length]).toEqual([epoch, 2]);
});

test("what is optimistic shows at once, and is taken back when it is refused", async () => {
  const never = { issues: [{ message: "never" }] };
  const schema = {
    a: {
      "~standard": { version: 1 as const, vendor: "test", validate: (value: unknown) => (value === 0 ? never : {}) },
    },
  };
  const one = await start({ schema }).openReplica();
  const refused = one.insert("a", 0, { optimistic: true });
  expect(one.entry("a")).toMatchObject({ value: 0, pending: true });
  await expect(refused).rejects.toMatchObject({ code: "invalid-value" });
  expect(one.get("a")).toBeUndefined();
});

test("a replica of some prefixes holds those", async () => {
  const [all, some] = [await start().openReplica(), await primary.openReplica("test", { prefixes: ["a/"] })];
  await all.batch(["a/1", "b/1", "a/2"].map((key) => ({ insert: { key, value: key } })));
  await shown(some, "a/2", "a/2");
  expect(some.list().map(({ key }) => key)).toEqual(["a/1", "a/2"]);
});
