// The founding scenario and what every user expects first: from outside, on real workerd and real Chromium.

import { expect } from "@playwright/test";
import { test } from "./fixtures.ts";
import { statusOf, waitForInSync, waitForReplica, waitForStatus } from "./kit/index.ts";
import { POLLING, insert, openTab, readAll, waitForSeq, waitForValue } from "./tab.ts";

test("5,000 pairs are inserted, four more browsers join, and all five replicas hold all pairs", async ({
  browser,
  primary,
}) => {
  const pairs = Array.from(
    { length: 5000 },
    (_, index) => [`pair/${index}`, { index, text: `value ${index}` }] as const,
  );
  const writer = await openTab(await browser.newContext(), primary.origin, "founding");
  const last = await writer.evaluate(async (all) => {
    const { replica } = window.headwater;
    const acks = await Promise.all(all.map(([key, value]) => replica.insert(key, value)));
    return acks.reduce((seq, ack) => Math.max(seq, ack.seq), 0);
  }, pairs);
  expect(last).toBe(5000);

  const joining = [];
  for (let count = 0; count < 4; count++)
    joining.push(await openTab(await browser.newContext(), primary.origin, "founding"));
  const expected = new Map<string, unknown>(pairs);
  for (const page of [writer, ...joining]) {
    await waitForSeq(page, last);
    expect(await readAll(page)).toEqual(expected);
    await waitForInSync(page);
  }
  expect(await primary.readStore("founding")).toEqual(expected);

  // With five replicas in sync, one more write is on all five disks when it is acknowledged.
  expect(await insert(writer, "one more", true)).toEqual({ seq: 5001, replicas: 5 });
  for (const page of joining) expect((await statusOf(page)).persisted).toBe(5001);
});

test("three tabs of one browser share one replica", async ({ context, primary }) => {
  const tabs = [];
  for (let count = 0; count < 3; count++) tabs.push(await openTab(context, primary.origin, "shared"));
  await Promise.all(tabs.map((page) => waitForInSync(page)));
  expect((await primary.status("shared")).secondaries).toMatchObject([{ mode: "durable", state: "in-sync" }]);
  expect(await insert(tabs[0]!, "a", 1)).toEqual({ seq: 1, replicas: 1 });
  await Promise.all(tabs.map((tab) => waitForValue(tab, "a", 1)));

  // The replica outlives the tab that started it.
  await tabs[0]!.close();
  expect(await insert(tabs[1]!, "b", 2)).toEqual({ seq: 2, replicas: 1 });
  await waitForValue(tabs[2]!, "b", 2);
});

test("a write in one tab is seen in another tab and in another browser, and at once in its own", async ({
  browser,
  context,
  primary,
}) => {
  const writer = await openTab(context, primary.origin, "seen");
  const sibling = await openTab(context, primary.origin, "seen");
  const stranger = await openTab(await browser.newContext(), primary.origin, "seen");
  const own = await writer.evaluate(async () => {
    const { replica } = window.headwater;
    await replica.insert("note", "fresh");
    return replica.get("note");
  });
  expect(own).toBe("fresh");
  await waitForValue(sibling, "note", "fresh");
  await waitForValue(stranger, "note", "fresh");
  await stranger.evaluate(() => window.headwater.replica.remove("note"));
  await writer.waitForFunction(() => window.headwater.replica.get("note") === undefined);
});

test("a person inserts, watches and removes entries on the board", async ({ browser, context, primary }) => {
  const mine = await openTab(context, primary.origin, "people");
  const yours = await openTab(await browser.newContext(), primary.origin, "people");
  await mine.getByTestId("insert-key").fill("tea");
  await mine.getByTestId("insert-value").fill('{"cups": 2}');
  await mine.keyboard.press("Enter");
  await expect(yours.locator('[data-testid="entry"][data-key="tea"]')).toContainText("2");
  await yours
    .locator('[data-testid="entry"][data-key="tea"]')
    .getByRole("button", { name: /remove/i })
    .click();
  await expect(mine.locator('[data-testid="entry"][data-key="tea"]')).toHaveCount(0);
  expect(await primary.readStore("people")).toEqual(new Map());
});

test("reloading while the primary is gone still shows everything, and the replica resumes when it is back", async ({
  context,
  primary,
}) => {
  const page = await openTab(context, primary.origin, "offline");
  await waitForInSync(page);
  await insert(page, "kept", [1, 2, 3]);
  await page.waitForFunction(async () => (await navigator.serviceWorker.ready).active?.state === "activated");

  await primary.kill();
  await page.reload();
  await waitForReplica(page);
  expect(await readAll(page)).toEqual(new Map([["kept", [1, 2, 3]]]));
  await expect(page.locator('[data-testid="entry"][data-key="kept"]')).toBeVisible();
  const failure = await page.evaluate(() =>
    window.headwater.replica.insert("lost", 1).catch((error: unknown) => {
      const { code, applied } = error as { code: string; applied: boolean };
      return { code, applied };
    }),
  );
  expect(failure).toMatchObject({ code: "offline", applied: false });

  await primary.restart();
  await waitForInSync(page);
  expect(await insert(page, "after", true)).toMatchObject({ replicas: 1 });
  expect(await primary.readStore("offline")).toEqual(
    new Map<string, unknown>([
      ["after", true],
      ["kept", [1, 2, 3]],
    ]),
  );
});

test("V2 a first screen reads what is stored without waiting for all of it", async ({ context, primary }) => {
  const first = await openTab(context, primary.origin, "first-screen");
  await waitForInSync(first);
  await insert(first, "kept", "old");
  await insert(first, "gone", 1);
  await first.evaluate(() => window.headwater.replica.remove("gone"));
  const { seq } = await insert(first, "kept", { is: "new" });
  await primary.kill();
  const page = await context.newPage();
  await page.goto(first.url(), { waitUntil: "commit" });
  await page.waitForFunction(() => window.headwater !== undefined, null, POLLING);
  const found = await page.evaluate(async (url) => {
    const { headwater } = window;
    const refusal = await headwater.readStored({ url }, "").catch((error: unknown) => (error as { code: string }).code);
    return {
      kept: await headwater.readStored({ url }, "kept"),
      others: [
        await headwater.readStored({ url }, "gone"),
        await headwater.readStored({ url }, "never"),
        await headwater.readStored({ url, identity: "else" }, "kept"),
      ],
      refusal,
    };
  }, "/v1/stores/first-screen");
  expect(found.kept).toEqual({ key: "kept", value: { is: "new" }, seq });
  expect(found.others).toEqual([undefined, undefined, undefined]);
  expect(found.refusal).toBe("bad-request");
});

test("R2 a replica of some prefixes holds only those, and can wait for a write outside of them", async ({
  context,
  primary,
}) => {
  const page = await openTab(context, primary.origin, "partial");
  await insert(page, "a/1", 1);
  const { seq } = await insert(page, "b/1", 2);
  const shown = await page.evaluate(async (url) => {
    const replica = await window.headwater.openReplica({ url, prefixes: ["a/"] });
    await replica.caughtUp();
    return replica.list().map(({ key }) => key);
  }, "/v1/stores/partial");
  expect(shown).toEqual(["a/1"]);
  const later = await page.evaluate(async (url) => {
    const replica = await window.headwater.openReplica({ url, prefixes: ["a/"] });
    const { seq: atLeast } = await window.headwater.replica.insert("b/2", 3);
    await replica.caughtUp({ atLeast });
    return { seq: replica.status.seq - atLeast, keys: replica.list().map(({ key }) => key) };
  }, "/v1/stores/partial");
  expect(later).toEqual({ seq: 0, keys: ["a/1"] });
  expect(seq).toBe(2);
});

test("kill -9 of the primary amid writes loses nothing that was acknowledged", async ({
  browser,
  context,
  primary,
}) => {
  const writer = await openTab(context, primary.origin, "killed");
  const watcher = await openTab(await browser.newContext(), primary.origin, "killed");
  await Promise.all([waitForInSync(writer), waitForInSync(watcher)]);
  for (let round = 0; round < 3; round++) {
    const outcomes = writer.evaluate(writeUntilTold, `round${round}`);
    await writer.waitForFunction(() => (window.ackedSoFar ?? 0) >= 40);
    await primary.kill();
    await Promise.all([writer, watcher].map((page) => waitForStatus(page, ({ state }) => state === "offline")));
    await primary.restart();
    await writer.evaluate(() => (window.isTold = true));
    const { acked, never } = await outcomes;
    const stored = await primary.readStore("killed");
    expect(acked.filter((key) => !stored.has(key))).toEqual([]);
    expect(never.filter((key) => stored.has(key))).toEqual([]);
    await Promise.all([waitForInSync(writer), waitForInSync(watcher)]);
    expect(await readAll(watcher)).toEqual(stored);
    expect(await readAll(writer)).toEqual(stored);
  }
});

declare global {
  interface Window {
    ackedSoFar?: number;
    isTold?: boolean;
  }
}

/** Runs in the page: keeps eight writes on their way and remembers what became of them. */
async function writeUntilTold(name: string): Promise<{ acked: string[]; never: string[] }> {
  const acked: string[] = [];
  const never: string[] = [];
  window.isTold = false;
  window.ackedSoFar = 0;
  let count = 0;
  const chain = async (): Promise<void> => {
    while (!window.isTold) {
      const key = `${name}/${count++}`;
      try {
        await window.headwater.replica.insert(key, name);
        window.ackedSoFar = acked.push(key);
      } catch (error) {
        if ((error as { applied?: boolean }).applied === false) never.push(key);
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, chain));
  return { acked, never };
}
