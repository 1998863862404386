// What a replica finds where it keeps its copy: what an older version has left, what somebody has spoilt, or no storage
// at all.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import type { Page } from "@playwright/test";
import { test } from "./fixtures.ts";
import { statusOf, waitForInSync, waitForReplica } from "./kit/index.ts";
import { insert, openTab, readAll, waitForValue } from "./tab.ts";

const ASSETS = join(import.meta.dirname, "..", "dist", "page", "assets");
/** What came before the present format. */
const OLD_VERSION = 1;

function databases(page: Page): Promise<(string | undefined)[]> {
  return page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name));
}

/** Runs in the page: makes an empty database. */
function makeDatabase(name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onsuccess = () => resolve(request.result.close());
    request.onerror = () => reject(request.error!);
  });
}

test("what an older version of the format has left is deleted, unless that version is still open", async ({
  context,
  primary,
}) => {
  const blank = await context.newPage();
  await blank.goto(primary.url("/healthz"));
  const nameOf = (store: string): string => `headwater:${OLD_VERSION}:${primary.url(`/v1/stores/${store}`)}`;
  await blank.evaluate(makeDatabase, nameOf("left"));
  await blank.evaluate(makeDatabase, nameOf("used"));
  await blank.evaluate((name) => {
    return new Promise<void>((resolve) => {
      void navigator.locks.request(name, () => {
        resolve();
        return new Promise(() => {});
      });
    });
  }, nameOf("used"));
  for (const store of ["left", "used"]) await waitForInSync(await openTab(context, primary.origin, store));
  await expect.poll(() => databases(blank)).not.toContain(nameOf("left"));
  expect(await databases(blank)).toContain(nameOf("used"));
});

test("records that are damaged are discarded, and the replica comes back as a new one with everything", async ({
  context,
  primary,
}) => {
  const page = await openTab(context, primary.origin, "damaged");
  await waitForInSync(page);
  await insert(page, "a", 1);
  const [before] = (await primary.status("damaged")).secondaries;
  const [name] = (await databases(page)).filter((one) => one?.endsWith("/damaged"));
  // The worker must let go first: it lingers for the page that might come next.
  await page.goto(primary.url("/healthz"));
  await page.waitForFunction(async (lock) => {
    return !(await navigator.locks.query()).held?.some((held) => held.name === lock);
  }, name);
  await page.evaluate((database) => {
    return new Promise<void>((resolve, reject) => {
      const opening = indexedDB.open(database!);
      opening.onsuccess = () => {
        const tx = opening.result.transaction(["pages", "log"], "readwrite");
        tx.objectStore("pages").put("[not a page", 0);
        tx.oncomplete = () => resolve(opening.result.close());
        tx.onerror = () => reject(tx.error!);
      };
    });
  }, name);
  await page.goto(`${primary.origin}/?store=damaged`);
  await waitForReplica(page);
  await waitForInSync(page);
  expect(await readAll(page)).toEqual(new Map([["a", 1]]));
  const [after] = (await primary.status("damaged")).secondaries;
  expect(after!.id).not.toBe(before!.id);
  // What is on the disk now is whole.
  await page.reload();
  await waitForReplica(page);
  await waitForInSync(page);
  expect((await primary.status("damaged")).secondaries).toMatchObject([{ id: after!.id }]);
});

test("without usable storage the replica works in memory, is not waited for, and says why", async ({
  browser,
  context,
  primary,
}) => {
  const writer = await openTab(await browser.newContext(), primary.origin, "none");
  await waitForInSync(writer);
  const page = await openTab(context, primary.origin, "elsewhere");
  const script = readdirSync(ASSETS).find((name) => /^worker-.*\.js$/.test(name))!;
  await page.evaluate(
    async ([url, worker]) => {
      const code = `import ${JSON.stringify(worker)};
        IDBFactory.prototype.open = () => { throw new DOMException("none here", "InvalidStateError"); };`;
      const blob = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
      window.headwater.replica = await window.headwater.openReplica({
        url,
        worker: (name) => new SharedWorker(blob, { type: "module", name }),
      });
    },
    ["/v1/stores/none", primary.url(`/assets/${script}`)] as const,
  );
  await insert(writer, "a", 1);
  await waitForValue(page, "a", 1);
  const status = await statusOf(page, { store: "none" });
  expect(status).toMatchObject({ state: "following", inSync: false, persisted: null });
  expect(status.lastError).toMatch(/local storage cannot be used: .*none here/);
  expect(await insert(page, "b", 2)).toMatchObject({ replicas: 1 });
  const refused = await page.evaluate(() =>
    window.headwater.replica.insert("c", 3, { queue: true } as object).then(
      () => "kept",
      (error: unknown) => {
        const { code, applied } = error as { code: string; applied: boolean };
        return { code, applied };
      },
    ),
  );
  expect(refused).toEqual({ code: "unavailable", applied: false });
});

test("the browser is asked to keep what it stores, and says whether it will", async ({ context, primary }) => {
  const page = await openTab(context, primary.origin, "kept");
  const answers = await page.evaluate(async () => {
    const { replica } = window.headwater as unknown as { replica: { requestPersistence(): Promise<boolean> } };
    return [await replica.requestPersistence(), await navigator.storage.persisted()];
  });
  expect(answers[0]).toBe(answers[1]);
});
