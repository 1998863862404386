// The browser's own storage, as the replica's store and the outbox use it: their contracts in a real page, and kill -9 of the
// whole browser amid writes. The page is built here and is no part of the product.

import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test as base } from "@playwright/test";
import type { Page } from "@playwright/test";
import { build } from "vite";
import { OwnBrowser, hasDiscardedStorage } from "./own-browser.ts";

const PAGE = join(import.meta.dirname, "..", "web", "testing", "replica-store-page.ts");
const ROUNDS = 4;

type Durability = "relaxed" | "strict";

/** What the page offers; these specs see it from outside, so it is written down here again. */
interface StorePage {
  runContract(durability: Durability): Promise<{ title: string; failure?: string }[]>;
  writeEndlessly(name: string, durability: Durability): Promise<never>;
  verify(name: string): Promise<number>;
  runOutboxContract(): Promise<{ title: string; failure?: string }[]>;
  queueEndlessly(): Promise<never>;
  readOutbox(): Promise<number[]>;
}
type StoreWindow = Window & { storePage: StorePage };

const test = base.extend<object, { storeOrigin: string }>({
  /** Where the page is served: an origin of its own, so that it has storage of its own. */
  storeOrigin: [
    async ({}, use) => {
      const code = await bundle();
      const server = createServer(({ url }, response) => {
        const isScript = url === "/page.js";
        response.setHeader("Content-Type", isScript ? "text/javascript" : "text/html");
        response.end(isScript ? code : '<!doctype html><script type="module" src="/page.js"></script>');
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      await use(`http://localhost:${(server.address() as AddressInfo).port}/`);
      server.closeAllConnections();
      server.close();
    },
    { scope: "worker" },
  ],
});

async function bundle(): Promise<string> {
  const lib = { entry: PAGE, formats: ["es" as const], fileName: "page" };
  const built = await build({ configFile: false, logLevel: "warn", build: { write: false, target: "es2023", lib } });
  const [output] = [built].flat();
  if (!output || !("output" in output)) throw new Error("nothing was built");
  return output.output[0].code;
}

async function openPage(page: Page, origin: string): Promise<void> {
  await page.goto(origin);
  await page.waitForFunction(() => "storePage" in window);
}

for (const durability of ["relaxed", "strict"] as const) {
  test(`IndexedDB keeps the contract of a replica's store, ${durability}`, async ({ page, storeOrigin }) => {
    await openPage(page, storeOrigin);
    const results = await page.evaluate(
      (asked) => (window as unknown as StoreWindow).storePage.runContract(asked),
      durability,
    );
    expect(results.filter(({ failure }) => failure !== undefined)).toEqual([]);
    expect(results.length).toBeGreaterThan(5);
  });

  test(`kill -9 of the browser amid writes loses nothing that was durable, ${durability}`, async ({ storeOrigin }) => {
    const profile = await mkdtemp(join(tmpdir(), "headwater-profile-"));
    let durable = 0;
    let discarded = 0;
    /** How often something was durable when the browser was killed. */
    let rounds = 0;
    for (let round = 0; round <= ROUNDS; round++) {
      const browser = await OwnBrowser.start(profile);
      try {
        const { page } = browser;
        await openPage(page, storeOrigin);
        const seq = await page.evaluate(() => (window as unknown as StoreWindow).storePage.verify("endless"));
        if (seq === 0 && durable > 0 && (await hasDiscardedStorage(profile))) {
          discarded += 1;
          durable = 0;
        }
        expect(seq).toBeGreaterThanOrEqual(durable);
        if (round < ROUNDS) {
          const end = page.evaluate(
            (asked) => (window as unknown as StoreWindow).storePage.writeEndlessly("endless", asked),
            durability,
          );
          durable = await durableAfter(page, end, 3 + Math.floor(Math.random() * 60));
          if (durable > 0) rounds += 1;
        }
      } finally {
        await browser.kill();
      }
    }
    expect(rounds).toBe(ROUNDS);
    expect(discarded).toBeLessThanOrEqual(1);
    await rm(profile, { recursive: true, force: true });
  });
}

test("IndexedDB keeps the contract of an outbox", async ({ page, storeOrigin }) => {
  await openPage(page, storeOrigin);
  const results = await page.evaluate(() => (window as unknown as StoreWindow).storePage.runOutboxContract());
  expect(results.filter(({ failure }) => failure !== undefined)).toEqual([]);
  expect(results.length).toBeGreaterThan(5);
});

test("kill -9 of the browser loses nothing that was in the outbox", async ({ storeOrigin }) => {
  const profile = await mkdtemp(join(tmpdir(), "headwater-profile-"));
  let durable = 0;
  let discarded = 0;
  let rounds = 0;
  for (let round = 0; round <= ROUNDS; round++) {
    const browser = await OwnBrowser.start(profile);
    try {
      const { page } = browser;
      await openPage(page, storeOrigin);
      const ids = await page.evaluate(() => (window as unknown as StoreWindow).storePage.readOutbox());
      if (ids.length === 0 && durable > 0 && (await hasDiscardedStorage(profile))) {
        discarded += 1;
        durable = 0;
      }
      const [first = 1, last = 0] = [ids[0], ids.at(-1)];
      expect(last).toBeGreaterThanOrEqual(durable);
      expect(ids).toEqual(Array.from({ length: ids.length }, (_, index) => first + index));
      if (round < ROUNDS) {
        const end = page.evaluate(() => (window as unknown as StoreWindow).storePage.queueEndlessly());
        durable = await durableAfter(page, end, 3 + Math.floor(Math.random() * 60));
        if (durable > 0) rounds += 1;
      }
    } finally {
      await browser.kill();
    }
  }
  expect(rounds).toBe(ROUNDS);
  expect(discarded).toBeLessThanOrEqual(1);
  await rm(profile, { recursive: true, force: true });
});

/** Waits until a page that writes has said so many times that something is durable; returns the last that it said. */
async function durableAfter(page: Page, writing: Promise<never>, times: number): Promise<number> {
  let durable = 0;
  let left = times;
  const isTime = new Promise<void>((resolve) => {
    page.on("console", (message) => {
      durable = Number(/^durable (\d+)$/.exec(message.text())?.[1] ?? durable);
      left -= 1;
      if (left === 0) resolve();
    });
  });
  const end = writing.catch((error: unknown) => String(error));
  await Promise.race([isTime, end.then((error) => Promise.reject(new Error(`it ended by itself: ${error}`)))]);
  return durable;
}
