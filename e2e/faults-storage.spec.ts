// What can happen to a browser's storage: the browser is killed amid writes, the database is deleted under a running replica,
// the disk is full.

import { expect } from "@playwright/test";
import type { Page } from "@playwright/test";
import { test } from "./faults.ts";
import { OwnBrowser, hasDiscardedStorage } from "./own-browser.ts";
import { waitForInSync } from "./kit/index.ts";
import { POLLING } from "./tab.ts";

/** A browser that starts again reads its disk and joins. */
const RESTARTED_MS = 10_000;
/** A replica whose database has gone notices it at once, and writes everything again. */
const REWRITTEN_MS = 5000;
/** Refusals are suffered for 2 s. */
const GIVEN_UP_MS = 10_000;
/** The first attempt follows after 5 s, the next one 10 s later. */
const TRIED_AGAIN_MS = 20_000;
const ROUNDS = 2;
/** Enough for the page and little more. */
const QUOTA_BYTES = 700_000;

test("kill -9 of a whole browser amid writes: it starts again with everything that was acknowledged", async ({
  context,
  profile,
  witness,
  network,
}) => {
  const near = await witness.open(context);
  await witness.keepWriting(near, "near");
  for (let round = 0; round < ROUNDS; round++) {
    const own = await OwnBrowser.start(profile);
    try {
      const page = await witness.open(own.context, { port: network.port });
      await waitForInSync(page);
      await page.waitForFunction(async () => (await navigator.serviceWorker.ready).active?.state === "activated");
      await witness.keepWriting(page, `round${round}`);
      await witness.progress(page, 10 + Math.floor(Math.random() * 30));
    } finally {
      await own.kill();
    }
    const acked = Math.max(
      0,
      ...witness.outcomes(`round${round}`).map((one) => (one.result === "acked" ? one.seq : 0)),
    );

    // Without network it can show only what its disk has kept.
    network.cut();
    const next = await OwnBrowser.start(profile);
    try {
      const page = await witness.open(next.context, { port: network.port });
      if ((await witness.statusOf(page)).seq < acked) expect(await hasDiscardedStorage(profile)).toBe(true);
      network.heal();
      await waitForInSync(page);
      if (round < ROUNDS - 1) continue;
      await witness.stopWriting(near);
      await witness.recovered(RESTARTED_MS);
      await witness.verify();
    } finally {
      await next.kill();
    }
  }
});

test("the database is deleted under a running replica, which comes back as a new one", async ({
  browser,
  context,
  witness,
}) => {
  const near = await witness.open(context);
  const page = await witness.open(await browser.newContext());
  await Promise.all([near, page].map((page) => waitForInSync(page)));
  await witness.keepWriting(near, "near");
  await witness.keepWriting(page, "page");
  const before = await witness.inSyncAtPrimary();
  await page.evaluate(async () => {
    for (const { name } of await indexedDB.databases()) {
      await new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase(name!);
        request.onsuccess = resolve;
        request.onerror = reject;
      });
    }
  });
  await expect(async () => {
    const now = await witness.inSyncAtPrimary();
    expect(now).toHaveLength(2);
    expect(now.filter((id) => before.includes(id))).toHaveLength(1);
  }).toPass({ timeout: REWRITTEN_MS, intervals: [50] });
  await Promise.all([near, page].map((one) => witness.progress(one)));
  await Promise.all([near, page].map((one) => witness.stopWriting(one)));
  await witness.recovered(REWRITTEN_MS);
  await witness.verify();

  // The new database holds everything, what was written before included.
  const shown = await page.evaluate(() => window.witness.entries());
  await page.reload();
  await witness.follow(page);
  expect(await page.evaluate(() => window.witness.entries())).toEqual(shown);
  await witness.recovered(RESTARTED_MS);
});

test("the disk is full: the replica goes on in memory, says so, and becomes durable again", async ({
  context,
  own,
  witness,
}) => {
  const near = await witness.open(context);
  // The limit must be there before the database is, because the browser looks at it only now and then.
  const session = await own.context.newCDPSession(own.page);
  const { origin } = new URL(near.url());
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: QUOTA_BYTES });
  const page = await witness.open(own.context);
  await Promise.all([near, page].map((page) => waitForInSync(page)));
  await witness.keepWriting(near, "near");
  await witness.keepWriting(page, "page");

  const LETTERS = 50_000;
  for (let size = 0; size < 2 * QUOTA_BYTES; size += LETTERS) await witness.write(near, `large/${size}`, LETTERS);
  await waitForStorage(page, false, GIVEN_UP_MS);
  expect((await witness.statusOf(page)).lastError).toMatch(/storage/);
  expect(await witness.inSyncAtPrimary()).toHaveLength(1);
  // It is waited for no more, and is served as before.
  await Promise.all([near, page].map((one) => witness.progress(one)));

  await session.send("Storage.overrideQuotaForOrigin", { origin });
  await waitForStorage(page, true, TRIED_AGAIN_MS);
  await Promise.all([near, page].map((one) => witness.stopWriting(one)));
  await witness.recovered(RESTARTED_MS);
  expect((await witness.statusOf(page)).lastError).toBeNull();
  await witness.verify();
});

/** Waits until the replica follows, durable and in sync or in memory only. */
async function waitForStorage(page: Page, isUsable: boolean, limitMs: number): Promise<void> {
  await page.waitForFunction(
    (isUsable) => {
      const { state, inSync, persisted } = window.witness.status();
      return state === "following" && inSync === isUsable && (persisted !== null) === isUsable;
    },
    isUsable,
    { ...POLLING, timeout: limitMs },
  );
}
