// What browsers do to pages and workers: they crash, are killed, stopped, frozen, put away and brought back; and clocks jump.
// Another browser goes on writing all the while.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "@playwright/test";
import type { BrowserContext, Page } from "@playwright/test";
import { crash, statusOf, waitForInSync, waitForStatus } from "./kit/index.ts";
import { test } from "./faults.ts";
import type { Outcome } from "./faults-page.ts";
import type { Witness } from "./faults-witness.ts";
import { signal } from "./processes.ts";
import { POLLING, insert, openTab } from "./tab.ts";

const ASSETS = join(import.meta.dirname, "..", "dist", "page", "assets");

/** A worker's death shows at once in a Web Lock. The next one has to load its script and the database, and to connect. */
const REPLACED_MS = 5000;
/** An operation that cannot be given to anyone fails after 1 s. */
const OFFLINE_MS = 3000;
/** The lock goes to the next replica at once; it reads the disk and joins anew. */
const TAKEN_OVER_MS = 5000;
/** A replica that stands still holds its lock until its heart has not beaten for 6 s. */
const SUPERSEDED_MS = 15_000;
/** The same for a worker that its pages wait for. */
const HUNG_MS = 20_000;
/** A page that comes back catches up over a new connection, or a new attachment to its worker. */
const RESUMED_MS = 10_000;
/** The primary waits for nobody longer than `lagLimitMs`, and answers within its deadline; the rest is this machine. */
const ANSWER_MS = 2500;

const slowest = (outcomes: Outcome[]): number => Math.max(...outcomes.map(({ ms }) => ms));
const notAcked = (outcomes: Outcome[]): Outcome[] => outcomes.filter(({ result }) => result !== "acked");

/** A page elsewhere that writes all the time and must not be kept waiting. */
async function openNear(witness: Witness, context: BrowserContext): Promise<Page> {
  const near = await witness.open(context);
  await waitForInSync(near);
  await witness.keepWriting(near, "near");
  return near;
}

async function end(witness: Witness, writers: Page[], limitMs: number): Promise<void> {
  await Promise.all(writers.map((page) => witness.stopWriting(page)));
  await witness.recovered(limitMs);
  await witness.verify();
  expect(slowest(witness.outcomes("near"))).toBeLessThan(ANSWER_MS);
}

/** Waits until the page's replica is durable and in sync, or in memory only. */
async function waitForMode(page: Page, isDurable: boolean, limitMs: number): Promise<void> {
  await page.waitForFunction(
    (isDurable) => {
      const { state, inSync, persisted } = window.witness.status();
      return state === "following" && inSync === isDurable && (persisted !== null) === isDurable;
    },
    isDurable,
    { ...POLLING, timeout: limitMs },
  );
}

/** Runs in the page: whether the document is the old one, or else why it could not be kept. */
function howItCameBack(): string {
  if (document.documentElement.dataset.isKept !== undefined) return "kept";
  const [navigation] = performance.getEntriesByType("navigation");
  return JSON.stringify((navigation as { notRestoredReasons?: unknown }).notRestoredReasons);
}

test("the tab that hosts the SharedWorker crashes, and the other tabs get a new one", async ({
  browser,
  context,
  witness,
}) => {
  const near = await openNear(witness, await browser.newContext());
  const host = await witness.open(context);
  const other = await witness.open(context);
  await waitForInSync(other);
  await witness.keepWriting(host, "host");
  await witness.keepWriting(other, "other");
  await crash(host);
  await witness.progress(other, 20, REPLACED_MS);
  await end(witness, [near, other], REPLACED_MS);
});

test("a tab that hosts nothing crashes, and no other one feels it", async ({ browser, context, witness }) => {
  const near = await openNear(witness, await browser.newContext());
  const host = await witness.open(context);
  const other = await witness.open(context);
  await waitForInSync(other);
  await witness.keepWriting(host, "host");
  await witness.keepWriting(other, "other");
  await crash(other);
  await witness.progress(host);
  await witness.progress(near);
  await end(witness, [near, host], REPLACED_MS);
  expect(notAcked([...witness.outcomes("host"), ...witness.outcomes("near")])).toEqual([]);
});

test("the SharedWorker is killed, and all of its tabs get a new one", async ({ context, own, witness }) => {
  const near = await openNear(witness, context);
  const tabs = [await witness.open(own.context), await witness.open(own.context)];
  for (const [index, tab] of tabs.entries()) {
    await waitForInSync(tab);
    await witness.keepWriting(tab, `tab${index}`);
  }
  for (let round = 0; round < 2; round++) {
    expect(await own.endSharedWorkers("/assets/worker-")).toBe(1);
    await Promise.all(tabs.map((tab) => witness.progress(tab, 4, REPLACED_MS)));
  }
  await end(witness, [near, ...tabs], REPLACED_MS);
});

test("a worker whose script has gone cannot be replaced: operations fail as offline, and status says why", async ({
  own,
  primary,
}) => {
  const OTHER = { store: "other" };
  const page = await openTab(own.context, primary.origin, "gone");
  await waitForInSync(page);
  const script = readdirSync(ASSETS).find((name) => /^worker-.*\.js$/.test(name))!;
  await page.evaluate(
    async ([url, first]) => {
      let count = 0;
      window.headwater.replica = await window.headwater.openReplica({
        url,
        worker: (name) => new SharedWorker(count++ === 0 ? first : "/assets/gone.js", { type: "module", name }),
      });
    },
    ["/v1/stores/other", `/assets/${script}`] as const,
  );
  await waitForInSync(page, OTHER);
  await insert(page, "a", 1);
  await own.endSharedWorkers("/assets/worker-");
  await waitForStatus(page, ({ state }) => state === "offline", OTHER);
  const failed = await page.evaluate(async () => {
    const begin = performance.now();
    const code = await window.headwater.replica.insert("a", 2).then(
      () => "acked",
      (error: unknown) => (error as { code: string }).code,
    );
    return { code, ms: performance.now() - begin, shown: window.headwater.replica.get("a") };
  });
  expect(failed).toMatchObject({ code: "offline", shown: 1 });
  expect(failed.ms).toBeLessThan(OFFLINE_MS);
  expect((await statusOf(page, OTHER)).lastError).toMatch(/could not be started|has died/);
});

test("the lock's holder is closed while others write, and the next one becomes durable", async ({
  browser,
  context,
  witness,
}) => {
  const near = await openNear(witness, await browser.newContext());
  const tabs: Page[] = [];
  for (let count = 0; count < 3; count++) tabs.push(await witness.open(context, { worker: "dedicated" }));
  await waitForMode(tabs[0]!, true, TAKEN_OVER_MS);
  for (const tab of tabs.slice(1)) {
    await waitForMode(tab, false, TAKEN_OVER_MS);
    await witness.keepWriting(tab, `tab${tabs.indexOf(tab)}`);
  }
  await tabs[0]!.close();
  await expect(async () => {
    const statuses = await Promise.all(tabs.slice(1).map((tab) => witness.statusOf(tab)));
    expect(statuses.filter(({ inSync, persisted }) => inSync && persisted !== null)).toHaveLength(1);
    expect(statuses.filter(({ inSync, persisted }) => !inSync && persisted === null)).toHaveLength(1);
  }).toPass({ timeout: TAKEN_OVER_MS, intervals: [50] });
  await Promise.all(tabs.slice(1).map((tab) => witness.progress(tab)));
  await end(witness, [near, ...tabs.slice(1)], TAKEN_OVER_MS);
});

test("two builds of an app are open at once: one replica is durable, the other one follows in memory", async ({
  browser,
  context,
  witness,
}) => {
  const near = await openNear(witness, await browser.newContext());
  const old = await witness.open(context);
  const fresh = await witness.open(context, { worker: "other build" });
  await waitForMode(old, true, TAKEN_OVER_MS);
  await waitForMode(fresh, false, TAKEN_OVER_MS);
  await witness.keepWriting(old, "old");
  await witness.keepWriting(fresh, "fresh");
  await old.close();
  // Its worker lingers for the page that might come next.
  await waitForMode(fresh, true, 2 * TAKEN_OVER_MS);
  await witness.progress(fresh);
  await end(witness, [near, fresh], TAKEN_OVER_MS);
});

test("a frozen page that holds the lock is superseded, and is right when it thaws", async ({
  context,
  own,
  witness,
}) => {
  const near = await witness.open(context);
  const holder = await witness.open(own.context, { worker: "dedicated" });
  await waitForMode(holder, true, TAKEN_OVER_MS);
  const other = await witness.open(own.context, { worker: "dedicated" });
  await waitForMode(other, false, TAKEN_OVER_MS);
  await other.bringToFront();

  // Something is always on its way to the disk.
  await witness.keepWriting(near, "near");
  await witness.keepWriting(other, "other");
  await witness.progress(other);
  witness.suspend(holder);
  await own.setFrozen(holder, true);
  await waitForMode(other, true, SUPERSEDED_MS);
  await witness.progress(other);
  await own.setFrozen(holder, false);
  witness.resume(holder);
  await waitForMode(holder, false, RESUMED_MS);
  await end(witness, [near, other], RESUMED_MS);

  // It waits for the lock like any other.
  await other.close();
  await waitForMode(holder, true, TAKEN_OVER_MS);
});

test("a frozen page delays nobody, and its worker goes on for the others", async ({ context, own, witness }) => {
  const near = await openNear(witness, context);
  const host = await witness.open(own.context);
  const other = await witness.open(own.context);
  await waitForInSync(other);
  await other.bringToFront();
  await witness.keepWriting(other, "other");
  witness.suspend(host);
  await own.setFrozen(host, true);
  await witness.progress(other, 50);
  await own.setFrozen(host, false);
  witness.resume(host);
  await end(witness, [near, other], RESUMED_MS);
  expect(notAcked([...witness.outcomes("other"), ...witness.outcomes("near")])).toEqual([]);
});

test("a stopped process that holds the lock is superseded, and is right when it goes on", async ({
  context,
  own,
  witness,
}) => {
  const near = await witness.open(context);
  const holder = await witness.open(own.context, { worker: "dedicated" });
  await waitForMode(holder, true, TAKEN_OVER_MS);
  const other = await witness.open(own.context, { worker: "dedicated" });
  await waitForMode(other, false, TAKEN_OVER_MS);
  const renderer = await own.rendererOf(holder);
  expect(await own.rendererOf(other)).not.toBe(renderer);

  // Nothing is on its way to the disk: a process that is stopped while it hands a transaction over keeps it open.
  await witness.recovered(RESUMED_MS);
  witness.suspend(holder);
  signal(renderer, "SIGSTOP");
  try {
    await witness.keepWriting(near, "near");
    await witness.keepWriting(other, "other");
    await waitForMode(other, true, SUPERSEDED_MS);
    await witness.progress(other);
  } finally {
    signal(renderer, "SIGCONT");
  }
  witness.resume(holder);
  await waitForMode(holder, false, RESUMED_MS);
  await end(witness, [near, other], RESUMED_MS);
});

test("a SharedWorker that hangs is replaced, and no operation hangs with it", async ({ context, own, witness }) => {
  const near = await openNear(witness, context);
  const host = await witness.open(own.context);
  const other = await witness.open(own.context);
  await waitForInSync(other);
  const renderer = await own.rendererOf(host);
  expect(await own.rendererOf(other)).not.toBe(renderer);
  await witness.keepWriting(other, "other");

  witness.suspend(host);
  witness.claimLimitMs = HUNG_MS;
  signal(renderer, "SIGSTOP");
  try {
    await witness.progress(other, 20, HUNG_MS);
  } finally {
    signal(renderer, "SIGCONT");
  }
  witness.resume(host);
  await end(witness, [near, other], HUNG_MS);
});

test("a page that is put away for going back delays nobody, and comes back without a step back", async ({
  context,
  own,
  witness,
}) => {
  const near = await witness.open(context);
  const page = await witness.open(own.context);
  await Promise.all([near, page].map((page) => waitForInSync(page)));
  // A service worker that takes a page over, and a message that is on its way to it, keep it from being put away.
  await page.waitForFunction(() => navigator.serviceWorker.controller?.state === "activated", null, POLLING);
  await page.evaluate(() => {
    const { dataset } = document.documentElement;
    dataset.isKept = "";
    addEventListener("pageshow", ({ persisted }) => (dataset.shown = persisted ? "restored" : "loaded"));
  });
  await witness.keepWriting(near, "near");
  await witness.progress(near);
  witness.suspend(page);
  await page.goto(`${new URL(page.url()).origin}/healthz`);
  await expect.poll(() => witness.inSyncAtPrimary(), { timeout: RESUMED_MS }).toHaveLength(1);
  await witness.progress(near, 50);
  // A page that comes back is not loaded.
  await page.goBack({ waitUntil: "commit" });
  expect(await page.evaluate(howItCameBack)).toBe("kept");
  await page.waitForFunction(() => document.documentElement.dataset.shown === "restored", null, POLLING);
  witness.resume(page);
  await witness.keepWriting(page, "page");
  await end(witness, [near, page], RESUMED_MS);
  expect(notAcked(witness.outcomes("near"))).toEqual([]);
});

test("a whole browser stands still for some seconds and goes on", async ({ context, own, witness }) => {
  const near = await openNear(witness, context);
  const page = await witness.open(own.context);
  await waitForInSync(page);
  await witness.keepWriting(page, "page");
  witness.suspend(page);
  own.signal("SIGSTOP");
  try {
    await expect.poll(() => witness.inSyncAtPrimary(), { timeout: RESUMED_MS }).toHaveLength(1);
    await sleep(5000);
  } finally {
    own.signal("SIGCONT");
  }
  witness.resume(page);
  await witness.progress(page, 20, RESUMED_MS);
  await end(witness, [near, page], RESUMED_MS);
});

test("clocks jump an hour ahead and a day back, and the replica goes on", async ({ browser, context, witness }) => {
  const near = await openNear(witness, await browser.newContext());
  const page = await witness.open(context, { worker: "own clock" });
  await waitForMode(page, true, TAKEN_OVER_MS);
  await witness.keepWriting(page, "page");
  const HOUR_MS = 3_600_000;
  for (const shift of [
    { dateMs: HOUR_MS, elapsedMs: HOUR_MS },
    { dateMs: -24 * HOUR_MS, elapsedMs: HOUR_MS },
  ]) {
    await page.evaluate(async (shift) => {
      const channel = new BroadcastChannel("clock");
      const isSet = new Promise((resolve) => (channel.onmessage = resolve));
      channel.postMessage(shift);
      await isSet;
      channel.close();
    }, shift);
    await witness.progress(page, 20, RESUMED_MS);
  }
  await end(witness, [near, page], RESUMED_MS);
});
