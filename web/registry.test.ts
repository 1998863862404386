import { afterEach, expect, test } from "vitest";
import { MemoryPrimary } from "./kit/index.ts";
import type { Replica, ReplicaStatus } from "./page-replica.ts";
import { openReplicas } from "./registry.ts";
import type { OpenReplica } from "./registry.ts";

let primary: MemoryPrimary;
afterEach(() => primary.close());

const owner = {};

/** A replica, and its other side for tools. */
async function open(): Promise<[Replica, OpenReplica]> {
  primary = new MemoryPrimary();
  const replica = await primary.openReplica();
  return [replica, [...openReplicas()].find((one) => one.replica === replica)!];
}

function until(replica: Replica, isDue: (status: ReplicaStatus) => boolean): Promise<void> {
  return new Promise((resolve) => {
    const leave = replica.subscribeStatus((status) => {
      if (!isDue(status)) return;
      leave();
      resolve();
    });
  });
}

test("an open replica is found by tools until it is closed", async () => {
  const [replica, tools] = await open();
  expect(tools.url).toBe("http://memory/v1/stores/test");
  await replica.close();
  expect(openReplicas().has(tools)).toBe(false);
});

test("a replica that is taken offline stays there until it is let go", async () => {
  const [replica, tools] = await open();
  await replica.insert("a", 1);
  tools.setFaults(owner, ["offline"]);
  await until(replica, ({ state }) => state === "offline");
  await expect(replica.insert("a", 2)).rejects.toMatchObject({ code: "offline", applied: false });
  expect(replica.status).toMatchObject({ state: "offline", lastError: "taken offline by a page" });
  tools.setFaults(owner, []);
  await until(replica, ({ state }) => state === "following");
  expect(await replica.insert("a", 3)).toMatchObject({ seq: 2 });
});

test("what one wants to be at fault does not end with another", async () => {
  const [replica, tools] = await open();
  const other = {};
  tools.setFaults(owner, ["offline"]);
  tools.setFaults(other, ["offline", "stalled-disk"]);
  await until(replica, ({ state }) => state === "offline");
  tools.setFaults(other, []);
  await expect(replica.insert("a", 1)).rejects.toMatchObject({ code: "offline" });
  tools.setFaults(owner, []);
  await until(replica, ({ state }) => state === "following");
});

test("a dropped connection is made again", async () => {
  const [replica, tools] = await open();
  tools.drop();
  await until(replica, ({ state }) => state === "offline");
  await until(replica, ({ state }) => state === "following");
});

test("a wiped copy is fetched again under another name, while the page shows what it has", async () => {
  const [replica, tools] = await open();
  await replica.insert("a", 1);
  const { secondaryId } = replica.status;
  tools.wipe();
  await until(replica, (status) => status.secondaryId !== secondaryId && status.state === "following");
  expect([replica.get("a"), replica.status.seq]).toEqual([1, 1]);
  expect(await replica.insert("a", 2)).toMatchObject({ seq: 2 });
});

test("an operation that is on its way when the copy is wiped is answered all the same", async () => {
  const [replica, tools] = await open();
  const asked = Array.from({ length: 20 }, (_, value) => replica.insert("a", value));
  tools.wipe();
  const ends = await Promise.allSettled(asked);
  expect(ends.filter(({ status }) => status === "rejected")).toEqual([]);
  expect(primary.entries()).toMatchObject([{ value: 19, seq: 20 }]);
});

test("each update is told when it is asked for, with its end", async () => {
  const [replica, tools] = await open();
  const seen: Promise<unknown>[] = [];
  const leave = tools.observe((ended) => void seen.push(ended.catch(({ code }: { code: string }) => code)));
  await replica.insert("a", 1);
  await expect(replica.batch([{ remove: { key: "a" } }], { checks: [{ key: "a", seq: 7 }] })).rejects.toThrow();
  leave();
  await replica.remove("a");
  expect(await Promise.all(seen)).toMatchObject([{ seq: 1 }, "conflict"]);
});
