// Writing without a network: what is queued is on disk, shown, sent in order when the primary is back, and never lost
// without a word.

import { expect } from "@playwright/test";
import type { Page } from "@playwright/test";
import { test } from "./fixtures.ts";
import { statusOf, waitForInSync, waitForReplica, waitForStatus } from "./kit/index.ts";
import { insert, openTab, readAll, waitForValue } from "./tab.ts";

/** The part of the public API that this spec uses; it sees the product from outside, so it is written down here again. */
interface QueueingReplica {
  get(key: string): unknown;
  entry(key: string): { seq: number; pending?: true } | undefined;
  insert(key: string, value: unknown, options: object): Promise<{ seq: number }>;
  remove(key: string, options: object): Promise<{ seq: number }>;
  batch(operations: object[], options: object): Promise<{ seq: number }>;
  pending(): Pending[];
  subscribePending(subscriber: (event: { type: string; update: Pending }) => void): () => void;
  dismiss(id: string): Promise<boolean>;
  close(): Promise<void>;
  readonly status: { pending: number; inSync: boolean };
}
interface Pending {
  id: string;
  operations: { insert?: { key: string; value: unknown }; remove?: { key: string } }[];
  state: string;
  error?: { code: string; applied?: boolean; check?: { key: string; seq: number | null } };
}
interface OutboxWindow {
  headwater: { replica: QueueingReplica };
  events: string[];
}

const QUEUED = { queue: true, optimistic: true };

function pendingOf(page: Page): Promise<{ key: string | undefined; state: string; code: string | undefined }[]> {
  return page.evaluate(() =>
    (window as unknown as OutboxWindow).headwater.replica.pending().map(({ operations, state, error }) => ({
      key: operations[0]?.insert?.key ?? operations[0]?.remove?.key,
      state,
      code: error?.code,
    })),
  );
}

/** Queues inserts, and resolves when they are on disk. */
async function queue(page: Page, pairs: [key: string, value: unknown][], options: object = QUEUED): Promise<void> {
  await page.evaluate(
    async ([all, asked]) => {
      const { replica } = (window as unknown as OutboxWindow).headwater;
      let left = all.length;
      const kept = new Promise<void>((resolve) => {
        replica.subscribePending(({ type }) => type === "queued" && (left -= 1) === 0 && resolve());
      });
      for (const [key, value] of all) void replica.insert(key, value, asked).catch(() => {});
      await kept;
    },
    [pairs, options] as const,
  );
}

async function waitForEmptyOutbox(page: Page): Promise<void> {
  await page.waitForFunction(() => (window as unknown as OutboxWindow).headwater.replica.pending().length === 0);
}

async function isControlled(page: Page): Promise<void> {
  await page.waitForFunction(async () => (await navigator.serviceWorker.ready).active?.state === "activated");
}

test("queued updates survive reloads without a primary, are shown, and are sent in order when it is back", async ({
  context,
  primary,
}) => {
  const page = await openTab(context, primary.origin, "queue");
  await waitForInSync(page);
  await insert(page, "note", "old");
  await isControlled(page);
  await primary.kill();

  await queue(page, [
    ["note", "first"],
    ["a", 1],
    ["note", "second"],
  ]);
  await page.evaluate(() => {
    const { replica } = (window as unknown as OutboxWindow).headwater;
    void replica.remove("a", { queue: true, optimistic: true });
    void replica.insert("quiet", 1, { queue: true });
  });
  await expect.poll(async () => (await pendingOf(page)).map(({ state }) => state)).toEqual(Array(5).fill("queued"));
  for (let round = 0; round < 2; round++) {
    expect(await readAll(page)).toEqual(new Map([["note", "second"]]));
    expect((await pendingOf(page)).map(({ key }) => key)).toEqual(["note", "a", "note", "a", "quiet"]);
    expect(await page.evaluate(() => window.headwater.replica.status.pending)).toBe(5);
    await page.reload();
    await waitForReplica(page);
  }
  const sibling = await openTab(context, primary.origin, "queue");
  expect(await readAll(sibling)).toEqual(new Map([["note", "second"]]));

  await page.evaluate(() => {
    const page = window as unknown as OutboxWindow;
    page.events = [];
    page.headwater.replica.subscribePending(({ type, update: { operations } }) => {
      page.events.push(`${type} ${JSON.stringify(operations)}`);
    });
  });
  await primary.restart();
  await waitForEmptyOutbox(page);
  await waitForEmptyOutbox(sibling);
  const expected = new Map<string, unknown>([
    ["note", "second"],
    ["quiet", 1],
  ]);
  expect(await primary.readStore("queue")).toEqual(expected);
  expect(await readAll(page)).toEqual(expected);
  expect(await readAll(sibling)).toEqual(expected);
  expect(await page.evaluate(() => (window as unknown as OutboxWindow).events)).toEqual([
    'acked [{"insert":{"key":"note","value":"first"}}]',
    'acked [{"insert":{"key":"a","value":1}}]',
    'acked [{"insert":{"key":"note","value":"second"}}]',
    'acked [{"remove":{"key":"a"}}]',
    'acked [{"insert":{"key":"quiet","value":1}}]',
  ]);
  // Five updates took five seqs: none was done twice.
  expect((await primary.status("queue")).head).toBe(6);
});

test("a conflict is reported, kept over a reload and dismissed; what was queued behind it is done", async ({
  browser,
  context,
  primary,
}) => {
  const page = await openTab(context, primary.origin, "conflict");
  await waitForInSync(page);
  const { seq } = await insert(page, "card", "mine");
  await isControlled(page);
  await primary.kill();
  await page.evaluate(
    ([checked, options]) => {
      const { replica } = (window as unknown as OutboxWindow).headwater;
      const checks = [{ key: "card", seq: checked }];
      void replica.batch([{ insert: { key: "card", value: "mine, later" } }], { ...options, checks }).catch(() => {});
      void replica.insert("after", 1, options).catch(() => {});
    },
    [seq, QUEUED] as const,
  );
  await expect.poll(async () => (await pendingOf(page)).map(({ state }) => state)).toEqual(["queued", "queued"]);
  expect(await page.evaluate(() => window.headwater.replica.get("card"))).toBe("mine, later");
  await page.close();

  await primary.restart();
  const other = await openTab(await browser.newContext(), primary.origin, "conflict");
  await insert(other, "card", "theirs");
  const back = await openTab(context, primary.origin, "conflict");
  await waitForValue(back, "after", 1);
  await expect.poll(() => pendingOf(back)).toEqual([{ key: "card", state: "failed", code: "conflict" }]);
  await waitForValue(back, "card", "theirs");
  await back.reload();
  await waitForReplica(back);
  expect(await pendingOf(back)).toEqual([{ key: "card", state: "failed", code: "conflict" }]);
  const isOut = await back.evaluate(() => {
    const { replica } = (window as unknown as OutboxWindow).headwater;
    return replica.dismiss(replica.pending()[0]!.id);
  });
  expect(isOut).toBe(true);
  await waitForEmptyOutbox(back);
  expect(await primary.readStore("conflict")).toEqual(
    new Map<string, unknown>([
      ["after", 1],
      ["card", "theirs"],
    ]),
  );
});

test("an optimistic update is seen at once, and taken back when it fails", async ({ context, primary }) => {
  const page = await openTab(context, primary.origin, "optimistic");
  await waitForInSync(page);
  const seen = await page.evaluate(async () => {
    const { replica } = (window as unknown as OutboxWindow).headwater;
    const acked = replica.insert("a", 1, { optimistic: true });
    const at = { value: replica.get("a"), pending: replica.entry("a")?.pending };
    const { seq } = await acked;
    return { ...at, isSettled: replica.entry("a")?.seq === seq && replica.entry("a")?.pending === undefined };
  });
  expect(seen).toEqual({ value: 1, pending: true, isSettled: true });
  await primary.kill();
  // What is sent before the loss is noticed has an unknown outcome.
  await waitForStatus(page, ({ state }) => state === "offline");
  const failed = await page.evaluate(async () => {
    const { replica } = (window as unknown as OutboxWindow).headwater;
    const refused = replica.insert("a", 2, { optimistic: true });
    const during = replica.get("a");
    const code = await refused.then(
      () => "acked",
      (error: unknown) => (error as { code: string }).code,
    );
    return { during, code, after: replica.get("a") };
  });
  expect(failed).toEqual({ during: 2, code: "offline", after: 1 });
});

test("many queued updates are done once each, in order, through kills of the primary and of the worker", async ({
  context,
  primary,
}) => {
  const COUNT = 1500;
  const page = await openTab(context, primary.origin, "many");
  await waitForInSync(page);
  await primary.kill();
  await queue(
    page,
    Array.from({ length: COUNT }, (_, index) => [`k${index % 10}`, index]),
    { queue: true },
  );
  for (let round = 0; round < 2; round++) {
    await primary.restart();
    await page.waitForFunction(
      (left) => (window as unknown as OutboxWindow).headwater.replica.pending().length < left,
      COUNT - 300 * (round + 1),
    );
    await primary.kill();
  }
  await page.reload();
  await primary.restart();
  await waitForReplica(page);
  await waitForEmptyOutbox(page);
  const last = Array.from({ length: 10 }, (_, key): [string, number] => [`k${key}`, COUNT - 10 + key]);
  expect(await primary.readStore("many")).toEqual(new Map(last));
  expect((await primary.status("many")).head).toBe(COUNT);
});

test("a person writes on the board without a network, and takes notice of what was refused", async ({
  context,
  primary,
}) => {
  const page = await openTab(context, primary.origin, "kept");
  await waitForInSync(page);
  await insert(page, "card", "mine");
  await primary.kill();
  await expect(page.getByTestId("status-state")).toHaveText("offline");
  await page.getByTestId("queue").check();
  await page.getByTestId("insert-key").fill("note");
  await page.getByTestId("insert-value").fill("later");
  await page.keyboard.press("Enter");
  const row = page.locator('[data-testid="entry"][data-key="note"]');
  await expect(row).toContainText("pending");
  await expect(page.getByTestId("insert-key")).toHaveValue("");
  const card = page.locator('[data-testid="entry"][data-key="card"]');
  await card.getByTestId("entry-value").click();
  await card.getByTestId("entry-editor-value").fill("mine, later");
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("queued")).toHaveCount(2);

  // Somebody else is faster.
  await page.close();
  await primary.restart();
  await fetch(primary.url("/v1/stores/kept/entries/card"), { method: "PUT", body: '"theirs"' });
  const back = await openTab(context, primary.origin, "kept");
  await expect(back.getByTestId("queued")).toHaveCount(1);
  await expect(back.getByTestId("queued")).toContainText("conflict");
  await expect(back.locator('[data-testid="entry"][data-key="card"]')).toContainText("theirs");
  await expect(back.locator('[data-testid="entry"][data-key="note"]')).not.toContainText("pending");
  await back.getByTestId("queued-dismiss").click();
  await expect(back.getByTestId("outbox")).toBeHidden();
});

test("the outbox's database is deleted under a running page: what it knows is put back, and sent in the old order", async ({
  context,
  primary,
}) => {
  const page = await openTab(context, primary.origin, "cleared");
  await waitForInSync(page);
  await isControlled(page);
  await primary.kill();
  await queue(page, [
    ["note", "first"],
    ["a", 1],
  ]);
  const name = `headwater:outbox:1:${primary.url("/v1/stores/cleared")}`;
  await page.evaluate((database) => {
    return new Promise<void>((resolve, reject) => {
      const request = indexedDB.deleteDatabase(database);
      request.onsuccess = () => resolve();
      request.onerror = () => reject(request.error!);
    });
  }, name);
  await queue(page, [["note", "second"]]);
  expect((await pendingOf(page)).map(({ key, state }) => `${key} ${state}`)).toEqual([
    "note queued",
    "a queued",
    "note queued",
  ]);
  // It is on the disk again, not only in memory.
  await page.reload();
  await waitForReplica(page);
  expect((await pendingOf(page)).map(({ key }) => key)).toEqual(["note", "a", "note"]);
  await primary.restart();
  await waitForEmptyOutbox(page);
  expect(await primary.readStore("cleared")).toEqual(
    new Map<string, unknown>([
      ["note", "second"],
      ["a", 1],
    ]),
  );
  expect((await primary.status("cleared")).head).toBe(3);
});

/** Opens another replica of the page's store, in place of the board's. */
async function reopen(page: Page, store: string, options: { identity?: string; token?: string }): Promise<void> {
  await page.evaluate(
    async ([url, asked]) => {
      await (window as unknown as OutboxWindow).headwater.replica.close();
      window.headwater.replica = await window.headwater.openReplica({ url, ...asked });
    },
    [`/v1/stores/${store}`, options] as const,
  );
}

test("what one identity has queued is neither shown nor sent under another", async ({ context, primary }) => {
  const ann = await openTab(context, primary.origin, "people");
  await isControlled(ann);
  await reopen(ann, "people", { identity: "ann" });
  await waitForInSync(ann);
  await primary.kill();
  await queue(ann, [["note", "ann's"]]);
  const bob = await openTab(context, primary.origin, "people");
  await reopen(bob, "people", { identity: "bob" });
  expect(await pendingOf(bob)).toEqual([]);
  expect(await readAll(bob)).toEqual(new Map());
  await queue(bob, [["other", "bob's"]]);
  await ann.close();
  await primary.restart();
  await waitForEmptyOutbox(bob);
  await waitForInSync(bob);
  expect(await primary.readStore("people")).toEqual(new Map([["other", "bob's"]]));
  await reopen(bob, "people", { identity: "ann" });
  await waitForEmptyOutbox(bob);
  expect(await primary.readStore("people")).toEqual(
    new Map([
      ["other", "bob's"],
      ["note", "ann's"],
    ]),
  );
});

test("a replica that cannot come to the primary makes room for one that can, with its copy and its outbox", async ({
  context,
  primary,
}) => {
  const stuck = await openTab(context, primary.origin, "elsewhere");
  // No socket can carry this token.
  await reopen(stuck, "room", { token: "not a token" });
  await waitForStatus(stuck, ({ state }) => state === "offline");
  await queue(stuck, [["note", "queued"]]);
  const other = await openTab(context, primary.origin, "room");
  await waitForInSync(other);
  expect((await statusOf(other)).persisted).not.toBeNull();
  await waitForEmptyOutbox(other);
  await waitForEmptyOutbox(stuck);
  expect(await primary.readStore("room")).toEqual(new Map([["note", "queued"]]));
  expect(await statusOf(stuck)).toMatchObject({ persisted: null, inSync: false });
  expect((await statusOf(stuck)).lastError).toMatch(/another replica keeps the local copy/);
});

test("a replica that keeps nothing has no outbox", async ({ context, primary }) => {
  const page = await openTab(context, primary.origin, "nothing");
  const refused = await page.evaluate(async () => {
    const { openReplica } = window.headwater as unknown as {
      openReplica(this: void, options: object): Promise<QueueingReplica>;
    };
    const replica = await openReplica({ url: "/v1/stores/nothing", durability: "memory" });
    return replica.insert("a", 1, { queue: true }).then(
      () => "kept",
      (error: unknown) => (error as { code: string }).code,
    );
  });
  expect(refused).toBe("bad-request");
  const names = await page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name));
  expect(names.filter((name) => name?.includes("outbox"))).toEqual([]);
});
