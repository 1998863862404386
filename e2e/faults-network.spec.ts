// A bad network between one browser and the primary, while another browser with a good one goes on writing; and a primary
// that dies and comes back.

import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "@playwright/test";
import type { BrowserContext, Page } from "@playwright/test";
import { test } from "./faults.ts";
import type { Outcome } from "./faults-page.ts";
import type { Witness } from "./faults-witness.ts";
import type { Network } from "./kit/index.ts";
import { waitForInSync, waitForStatus } from "./kit/index.ts";
import { POLLING, openTab } from "./tab.ts";

/** A connection that ends is noticed at once and made anew, after some failures with a wait of up to 10 s. */
const RECONNECT_MS = 10_000;
/** A connection is asked every 5 s whether it is there; it is silent, and does not answer. */
const WATCHDOG_MS = 20_000;
/** One that brings other things, but not the answer, gets more time. */
const UPWARD_MS = 30_000;
/** And then one that does not open is given up after 10 s more. */
const BLACK_HOLE_MS = 20_000;
/** What takes longer to pass than a connection may be silent at first; the next one may be for twice as long. */
const LARGE = 1_000_000;
const SLOW_BYTES_PER_S = 90_000;
const SLOW_MS = 50_000;
/** The primary waits for nobody longer than `lagLimitMs`, and answers within its deadline; the rest is this machine. */
const ANSWER_MS = 2500;
/** An answer for which nobody had to be waited for in vain. */
const UNDELAYED_MS = 800;

/** Two browsers in sync, of which one has the bad network, and both write. */
async function begin(witness: Witness, contexts: BrowserContext[], port: number): Promise<[near: Page, far: Page]> {
  const near = await witness.open(contexts[0]!);
  const far = await witness.open(contexts[1]!, { port });
  await Promise.all([near, far].map((page) => waitForInSync(page)));
  await witness.keepWriting(near, "near");
  await witness.keepWriting(far, "far");
  return [near, far];
}

async function end(witness: Witness, pages: Page[], limitMs: number): Promise<void> {
  await Promise.all(pages.map((page) => witness.stopWriting(page)));
  await witness.recovered(limitMs);
  await witness.verify();
}

/** Waits until the page says that it does not follow. */
async function waitForTruth(page: Page, limitMs: number): Promise<void> {
  await page.waitForFunction(() => window.witness.status().state !== "following", null, {
    ...POLLING,
    timeout: limitMs,
  });
}

const slowest = (outcomes: Outcome[]): number => Math.max(...outcomes.map(({ ms }) => ms));
const isOffline = (outcome: Outcome): boolean =>
  outcome.result === "failed" && outcome.code === "offline" && outcome.applied === false;

test("connections that are dropped are made again, and nothing is lost", async ({
  browser,
  context,
  witness,
  network,
}) => {
  const pages = await begin(witness, [context, await browser.newContext()], network.port);
  for (let round = 0; round < 5; round++) {
    network.drop();
    await witness.progress(pages[1], 20, RECONNECT_MS);
  }
  await end(witness, pages, RECONNECT_MS);
  expect(slowest(witness.outcomes("near"))).toBeLessThan(ANSWER_MS);
});

test("a browser without network fails its writes as offline, delays nobody, and comes back", async ({
  browser,
  context,
  witness,
  network,
}) => {
  const [near, far] = await begin(witness, [context, await browser.newContext()], network.port);
  network.cut();
  await waitForTruth(far, ANSWER_MS);
  await expect.poll(() => witness.outcomes("far").filter(isOffline).length).toBeGreaterThan(3);
  expect(await witness.statusOf(far)).toMatchObject({ state: "offline", inSync: false });
  await witness.progress(near, 50);
  network.heal();
  await witness.progress(far, 1, RECONNECT_MS);
  await end(witness, [near, far], RECONNECT_MS);
  expect(slowest(witness.outcomes("near"))).toBeLessThan(ANSWER_MS);
});

test("connections that fall silent are given up by the watchdog, cost others one deadline, and are left behind", async ({
  browser,
  context,
  openNetwork,
  witness,
}) => {
  witness.claimLimitMs = WATCHDOG_MS;
  const near = await witness.open(context);
  const open = async (name: string): Promise<{ name: string; network: Network; page: Page }> => {
    const network = await openNetwork();
    const page = await witness.open(await browser.newContext(), { port: network.port });
    await waitForInSync(page);
    await witness.keepWriting(page, name);
    return { name, network, page };
  };
  const hole = await open("black hole");
  const deaf = await open("nothing comes down");
  const half = await open("half-open");
  const all = [hole, deaf, half];
  await waitForInSync(near);
  await witness.keepWriting(near, "near");

  const before = await Promise.all(all.map(({ page }) => page.evaluate(() => window.witness.departures())));
  hole.network.up.isHeld = hole.network.down.isHeld = true;
  deaf.network.down.isHeld = true;
  half.network.halfOpen("primary");
  // Nobody waits for what does not answer, once it has been found out.
  await expect.poll(() => witness.inSyncAtPrimary(), { timeout: 2 * ANSWER_MS }).toHaveLength(1);
  const late = witness.outcomes("near").length;
  // Where a new connection can be made, that takes less than the blink of an eye.
  await Promise.all(
    all.map(({ page }, index) =>
      page.waitForFunction((count) => window.witness.departures() > count, before[index]!, {
        ...POLLING,
        timeout: WATCHDOG_MS,
      }),
    ),
  );
  expect(slowest(witness.outcomes("near").slice(late + 8))).toBeLessThan(UNDELAYED_MS);
  // What was on its way has ended: as unknown, or as never sent.
  for (const { name } of all) {
    const ended = witness.outcomes(name).filter((outcome) => outcome.result === "unknown" || isOffline(outcome));
    expect(ended.length, name).toBeGreaterThan(0);
  }
  // Where a new connection can be made, it is made.
  await witness.progress(half.page, 1, RECONNECT_MS);
  for (const { network } of all) network.heal();
  await Promise.all(all.map(({ page }) => witness.progress(page, 1, BLACK_HOLE_MS)));
  await end(witness, [near, ...all.map(({ page }) => page)], RECONNECT_MS);
  expect(slowest(witness.outcomes("near"))).toBeLessThan(ANSWER_MS);
});

test("nothing goes up while news come down: the watchdog notices it, and writes work again", async ({
  browser,
  context,
  witness,
  network,
}) => {
  const [near, far] = await begin(witness, [context, await browser.newContext()], network.port);
  witness.claimLimitMs = UPWARD_MS;
  network.up.isHeld = true;
  await waitForTruth(far, UPWARD_MS);
  await witness.progress(near, 20);
  network.heal();
  await witness.progress(far, 1, BLACK_HOLE_MS);
  await end(witness, [near, far], BLACK_HOLE_MS);
  expect(slowest(witness.outcomes("near"))).toBeLessThan(ANSWER_MS);
});

test("M5 a connection that only the primary still has is superseded", async ({
  browser,
  context,
  witness,
  network,
}) => {
  const pages = await begin(witness, [context, await browser.newContext()], network.port);
  network.halfOpen("browser");
  await witness.progress(pages[1], 20, RECONNECT_MS);
  await end(witness, pages, RECONNECT_MS);
  expect(slowest(witness.outcomes("near"))).toBeLessThan(ANSWER_MS);
});

test("M4 a slow network is waited for up to the limit and not beyond it", async ({
  browser,
  context,
  witness,
  network,
}) => {
  const [near, far] = await begin(witness, [context, await browser.newContext()], network.port);
  for (const flow of [network.up, network.down]) flow.delayMs = 150;
  await witness.progress(far, 20);
  await expect.poll(() => witness.inSyncAtPrimary(), { timeout: RECONNECT_MS }).toHaveLength(2);

  for (const flow of [network.up, network.down]) flow.delayMs = 900;
  await expect.poll(() => witness.inSyncAtPrimary(), { timeout: 4 * ANSWER_MS }).toHaveLength(1);
  const late = witness.outcomes("near").length;
  await witness.progress(near, 50);
  expect(slowest(witness.outcomes("near").slice(late + 8))).toBeLessThan(UNDELAYED_MS);
  network.heal();
  await end(witness, [near, far], RECONNECT_MS);
});

test("kill -9 of the primary: writes fail or wait truthfully, and all come back to the same state", async ({
  browser,
  context,
  primary,
  witness,
  network,
}) => {
  const pages = await begin(witness, [context, await browser.newContext()], network.port);
  for (const awayMs of [0, 2500]) {
    await primary.kill();
    if (awayMs > 0) await Promise.all(pages.map((page) => waitForTruth(page, ANSWER_MS)));
    await sleep(awayMs);
    await primary.restart();
    await Promise.all(pages.map((page) => witness.progress(page, 20, RECONNECT_MS)));
  }
  await end(witness, pages, RECONNECT_MS);
});

test("a frame that takes longer than the watchdog waits comes through in the end, down and up", async ({
  browser,
  context,
  primary,
  openNetwork,
}) => {
  const openSlow = async (store: string): Promise<{ near: Page; far: Page; network: Network }> => {
    const network = await openNetwork();
    const near = await openTab(context, primary.origin, store);
    const far = await openTab(await browser.newContext(), `http://localhost:${network.port}`, store);
    await Promise.all([near, far].map((page) => waitForInSync(page)));
    for (const flow of [network.down, network.up]) flow.bytesPerSecond = SLOW_BYTES_PER_S;
    return { near, far, network };
  };
  const [down, up] = [await openSlow("down"), await openSlow("up")];
  await Promise.all([sendLarge(down.near, down.far), sendLarge(up.far, up.near)]);
  up.network.heal();
  await waitForStatus(up.far, ({ pending }) => pending === 0);
});

/** Queues a large value in one page, and resolves when the other one shows it. */
async function sendLarge(from: Page, to: Page): Promise<void> {
  await from.evaluate((length) => {
    void window.headwater.replica.insert("large", "x".repeat(length), { queue: true } as object);
  }, LARGE);
  await to.waitForFunction((length) => window.headwater.replica.get("large")?.toString().length === length, LARGE, {
    ...POLLING,
    timeout: SLOW_MS,
  });
}
