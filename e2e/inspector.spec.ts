// The inspector on the board: what it shows of a store, what its faults do to the guarantees, and whether people can use it.

import { AxeBuilder } from "@axe-core/playwright";
import { expect } from "@playwright/test";
import type { Browser, BrowserContextOptions, Locator, Page, TestInfo } from "@playwright/test";
import { test } from "./fixtures.ts";
import { statusOf, waitForInSync, waitForReplica, waitForStatus } from "./kit/index.ts";
import { insert, openTab, readAll } from "./tab.ts";

const outcome = (page: Page, key: string, value: unknown): Promise<unknown> =>
  page.evaluate(
    ([key, value]) =>
      window.headwater.replica.insert(key, value).then(
        ({ replicas }) => ({ replicas }),
        ({ code, applied }: { code: string; applied?: boolean }) => ({ code, applied }),
      ),
    [key, value] as const,
  );

/** Opens a store's board in a browser of its own, with its inspector. */
async function openInspected(
  browser: Browser,
  origin: string,
  store: string,
  options: BrowserContextOptions = {},
): Promise<Page> {
  const page = await (await browser.newContext(options)).newPage();
  await page.goto(`${origin}/?store=${store}&inspect`);
  await page.waitForFunction(() => window.headwater?.replica.status.inSync, null, { polling: 50 });
  return page;
}

const ownCard = (page: Page): Locator => page.locator('[data-testid="secondary"][data-own="true"]');

test("it shows the primary, every secondary and who is waited for, as they are", async ({ browser, primary }) => {
  const page = await openInspected(browser, primary.origin, "shown");
  await expect(ownCard(page)).toHaveAttribute("data-state", "in-sync");
  const other = await openTab(await browser.newContext(), primary.origin, "shown");
  await waitForInSync(other);
  await expect(page.getByTestId("in-sync-count")).toHaveText("2");
  await expect(page.getByTestId("secondary")).toHaveCount(2);
  await expect(page.getByTestId("event").first()).toContainText("is in the in-sync set");

  const { seq } = await insert(other, "a", "first");
  await expect(page.getByTestId("primary-head")).toHaveText(`${seq}`);
  await expect(page.getByTestId("primary-entries")).toHaveText("1");
  await expect(page.getByTestId("secondary-acked")).toHaveText([`${seq}`, `${seq}`]);
  await other.context().close();
  await expect(page.getByTestId("secondary")).toHaveCount(1);
  await expect(page.getByTestId("event").first()).toContainText("has left the in-sync set");

  await primary.kill();
  await expect(page.getByTestId("primary-state")).toHaveText("unreachable");
  await expect(ownCard(page)).toHaveAttribute("data-state", "offline");
  await primary.restart();
  await expect(ownCard(page)).toHaveAttribute("data-state", "in-sync");
  await expect(page.getByTestId("primary-head")).toHaveText(`${seq}`);
});

test("offline: what is here is read, what is written fails, and all is well again afterwards", async ({
  browser,
  primary,
}) => {
  const page = await openInspected(browser, primary.origin, "offline");
  const other = await openTab(await browser.newContext(), primary.origin, "offline");
  await waitForInSync(other);
  await insert(page, "a", 1);
  const offline = page.getByTestId("fault-offline");
  await offline.click();
  await waitForStatus(page, ({ state }) => state === "offline");
  await expect(ownCard(page)).toHaveAttribute("data-state", "offline");
  expect(await outcome(page, "a", 2)).toEqual({ code: "offline", applied: false });
  expect(await readAll(page)).toEqual(new Map([["a", 1]]));
  await expect(page.getByTestId("in-sync-count")).toHaveText("1");
  expect(await outcome(other, "a", 3)).toEqual({ replicas: 1 });

  await offline.click();
  await waitForInSync(page);
  expect(await readAll(page)).toEqual(new Map([["a", 3]]));
  expect(await outcome(page, "a", 4)).toEqual({ replicas: 2 });
});

test("no acks: one write is unconfirmed, the replica leaves the in-sync set, and others go on", async ({
  browser,
  primary,
}) => {
  const page = await openInspected(browser, primary.origin, "stalled");
  const other = await openTab(await browser.newContext(), primary.origin, "stalled");
  await waitForInSync(other);
  const stall = page.getByTestId("fault-stalled");
  await stall.click();
  await expect(stall).toHaveAttribute("aria-pressed", "true");
  expect(await outcome(other, "a", 1)).toEqual({ code: "unconfirmed", applied: true });
  await expect(ownCard(page)).toHaveAttribute("data-state", "lagging");
  await expect(page.getByTestId("secondary-behind").first()).toHaveText("−1");
  expect(await outcome(other, "a", 2)).toEqual({ replicas: 1 });
  // It sees everything all the same.
  await expect(page.getByTestId("entry-value")).toHaveText("2");

  await stall.click();
  await waitForInSync(page);
  expect(await outcome(other, "a", 3)).toEqual({ replicas: 2 });
  await expect(page.getByTestId("event").filter({ hasText: "this browser has left the in-sync set" })).toHaveCount(1);
});

test("a dropped socket comes back by itself", async ({ browser, primary }) => {
  const page = await openInspected(browser, primary.origin, "dropped");
  await page.getByTestId("fault-drop").click();
  const events = page.getByTestId("event");
  await expect(events.filter({ hasText: "this browser is offline" })).toHaveCount(1);
  await expect(events.filter({ hasText: "this browser is following" })).toHaveCount(1);
  await waitForInSync(page);
  expect(await outcome(page, "a", 1)).toEqual({ replicas: 1 });
});

test("a wiped copy is gone from the disk, is fetched again, and loses nothing", async ({ browser, primary }) => {
  const page = await openInspected(browser, primary.origin, "wiped");
  for (let key = 0; key < 20; key++) await insert(page, `k${key}`, key);
  const { secondaryId } = await statusOf(page);
  const stored = (): Promise<unknown> =>
    page.evaluate(() => window.headwater.readStored({ url: "/v1/stores/wiped" }, "k7"));
  expect(await stored()).toMatchObject({ value: 7 });

  await page.getByTestId("fault-offline").click();
  await page.getByTestId("fault-wipe").dblclick();
  await expect(page.getByTestId("fault-wipe")).toHaveText("Press again to wipe");
  expect(await stored()).toMatchObject({ value: 7 });
  await wipe(page);
  await expect.poll(stored).toBeUndefined();
  // Pages go on showing what they have seen.
  expect((await readAll(page)).size).toBe(20);

  await page.getByTestId("fault-offline").click();
  await waitForInSync(page);
  await expect.poll(stored).toMatchObject({ value: 7 });
  expect((await statusOf(page)).secondaryId).not.toBe(secondaryId);
  await page.reload();
  await waitForReplica(page);
  await waitForInSync(page);
  expect((await readAll(page)).size).toBe(20);
  expect(await outcome(page, "k7", 8)).toEqual({ replicas: 1 });
});

test("a disk that takes its time to be wiped leaves no half of a copy", async ({ browser, primary }) => {
  const page = await openInspected(browser, primary.origin, "slow");
  for (let key = 0; key < 20; key++) await insert(page, `k${key}`, key);
  const sibling = await openTab(page.context(), primary.origin, "slow");
  const offline = page.getByTestId("fault-offline");
  await offline.click();
  await waitForStatus(page, ({ state }) => state === "offline");
  const other = await openTab(await browser.newContext(), primary.origin, "slow");
  await insert(other, "meanwhile", true);
  const release = await holdDatabase(sibling);
  await wipe(page);
  await offline.click();
  // As long as the disk has what was wiped, the primary hears nothing.
  const isJoined = (): boolean => window.headwater.replica.status.state === "following";
  await expect(page.waitForFunction(isJoined, null, { polling: 50, timeout: 1500 })).rejects.toThrow("Timeout");
  await release();
  await waitForInSync(page);
  // Whoever comes later is told nothing before there is everything.
  const late = await openTab(page.context(), primary.origin, "slow");
  expect((await readAll(late)).size).toBe(21);
  await insert(page, "after", true);
  await page.reload();
  await waitForInSync(page);
  expect((await readAll(page)).size).toBe(22);
});

/** Keeps everyone from writing to the page's database until what is returned is called. */
async function holdDatabase(page: Page): Promise<() => Promise<void>> {
  const isHeld = await page.evaluateHandle(async () => {
    const hold = { isOver: false };
    const [found] = (await indexedDB.databases()).filter(({ name }) => name?.includes("/v1/stores/slow"));
    const database = await new Promise<IDBDatabase>((resolve, reject) => {
      const opening = indexedDB.open(found!.name!);
      opening.onsuccess = () => resolve(opening.result);
      opening.onerror = () => reject(opening.error);
    });
    const store = database.transaction("pages", "readonly").objectStore("pages");
    const read = (): void => {
      store.count().onsuccess = () => (hold.isOver ? database.close() : read());
    };
    read();
    return hold;
  });
  return () => isHeld.evaluate((hold) => void (hold.isOver = true));
}

/** Presses twice, with time for a second thought. */
async function wipe(page: Page): Promise<void> {
  const button = page.getByTestId("fault-wipe");
  await expect(async () => {
    await button.click();
    await expect(button).toHaveText("Wipe local copy", { timeout: 1 });
  }).toPass({ intervals: [300] });
}

test("faults end with the page that has caused them", async ({ browser, primary }) => {
  const page = await openInspected(browser, primary.origin, "left");
  const sibling = await openTab(page.context(), primary.origin, "left");
  await page.getByTestId("fault-offline").click();
  await waitForStatus(sibling, ({ state }) => state === "offline");
  await page.getByTestId("inspect").click();
  await expect(page.getByTestId("inspector")).toHaveCount(0);
  await waitForInSync(sibling);

  await page.getByTestId("inspect").click();
  await page.getByTestId("fault-offline").click();
  await waitForStatus(sibling, ({ state }) => state === "offline");
  await page.close();
  await waitForInSync(sibling);
});

test("entries tell the changes that were seen of them", async ({ browser, primary }) => {
  const page = await openInspected(browser, primary.origin, "changes");
  for (const text of ["one", "two", "three"]) await insert(page, "card", text);
  await insert(page, "other", 1);
  await page.evaluate(() => window.headwater.replica.remove("other"));
  const row = page.locator('[data-testid="entry"][data-key="card"]');
  await row.getByTestId("entry-history").click();
  await expect(row.getByTestId("change").locator("span")).toHaveText(["three", "two", "one"]);
  // Edited in place, it is a change like any other.
  await row.getByTestId("entry-value").click();
  await row.getByTestId("entry-editor-value").fill("four");
  await row.getByTestId("entry-editor-save").click();
  await expect(row.getByTestId("change").locator("span")).toHaveText(["four", "three", "two", "one"]);

  await page.getByTestId("all-changes").locator("summary").click();
  const all = page.getByTestId("all-changes-list").getByTestId("change").locator("span");
  await expect(all).toHaveText(["card four", "other removed", "other 1", "card three", "card two", "card one"]);
  await page.getByTestId("prefix").fill("oth");
  await expect(all).toHaveText(["other removed", "other 1"]);
});

test("the charts move: lag, in-sync set, throughput and how this page's updates ended", async ({
  browser,
  primary,
}) => {
  const page = await openInspected(browser, primary.origin, "moving");
  await page.getByTestId("writer").click();
  const latest = (chart: string): Locator => page.getByTestId(chart).getByTestId("now");
  await expect(latest("chart-rate")).toHaveText(/^[3-6] \/s$/);
  await expect(latest("chart-acks")).toHaveText(/^median \d+ ms$/);
  await expect(latest("chart-in-sync")).toHaveText("1");
  for (const chart of ["chart-lag", "chart-in-sync", "chart-rate", "chart-acks"]) {
    await expect.poll(() => countInk(page.getByTestId(chart).locator("canvas"))).toBeGreaterThan(10);
  }
  await page.getByTestId("fault-stalled").click();
  await expect
    .poll(async () => Number((await latest("chart-lag").textContent())?.replaceAll(/\D/g, "")))
    .toBeGreaterThan(500);
  await expect(latest("chart-in-sync")).toHaveText("0");
  await page.getByTestId("writer").click();
  await expect(latest("chart-rate")).toHaveText("0 /s");

  const canvas = page.getByTestId("chart-rate").locator("canvas");
  expect(await brightnessOf(canvas)).toBeLessThan(128);
  await page.locator("headwater-inspector").evaluate((element) => (element.style.colorScheme = "dark"));
  await expect.poll(() => brightnessOf(canvas)).toBeGreaterThan(128);
});

test("everything can be reached and done with the keyboard", async ({ browser, primary }) => {
  const page = await openTab(await browser.newContext(), primary.origin, "keys");
  await waitForInSync(page);
  await page.getByTestId("store-open").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("inspect")).toHaveAttribute("aria-expanded", "true");
  // It is fetched only now.
  await expect(page.getByTestId("writer")).toBeVisible();
  const reached = new Set<string>();
  for (let step = 0; step < 30 && !reached.has("insert-key"); step++) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(focusedTestId));
  }
  for (const button of ["fault-offline", "fault-stalled", "fault-drop", "fault-wipe", "writer"])
    expect(reached).toContain(button);
  await page.getByTestId("fault-offline").focus();
  await page.keyboard.press("Space");
  await waitForStatus(page, ({ state }) => state === "offline");
  await page.keyboard.press("Space");
  await waitForInSync(page);
});

const LOOKS: [string, BrowserContextOptions][] = [
  ["light", { colorScheme: "light", viewport: { width: 1280, height: 1250 } }],
  ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 1250 } }],
  ["phone", { colorScheme: "light", viewport: { width: 390, height: 2000 }, isMobile: true, hasTouch: true }],
];

for (const [look, options] of LOOKS) {
  test(`it can be read by everyone, ${look}`, async ({ browser, primary }, testInfo) => {
    const page = await openInspected(browser, primary.origin, `looks-${look}`, { ...options, reducedMotion: "reduce" });
    await insert(page, "card/1", { text: "Tea" });
    await insert(page, "card/2", "Milk");
    await page.getByTestId("fault-stalled").click();
    expect(await outcome(page, "card/3", [1, 2, 3])).toMatchObject({ code: "unconfirmed" });
    await expect(ownCard(page)).toHaveAttribute("data-state", "lagging");

    const { violations } = await new AxeBuilder({ page }).analyze();
    expect(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])).toEqual([]);
    expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
    await skipOtherFonts(page, testInfo);
    await page.mouse.move(0, 0);
    const moving = page.locator(
      "data, .now, time, .plot, code, [data-testid=status-epoch], [data-testid=primary-epoch]",
    );
    await expect(page).toHaveScreenshot(`${look}.png`, { mask: [moving], maxDiffPixelRatio: 0.02 });
  });
}

/** Pictures of text can be compared where it is written in the same fonts. */
async function skipOtherFonts(page: Page, testInfo: TestInfo): Promise<void> {
  const widths = await page.evaluate(() => {
    const pen = new OffscreenCanvas(1, 1).getContext("2d")!;
    const all = ["sans-serif", "monospace"].map((font) => {
      pen.font = `100px ${font}`;
      return Math.round(pen.measureText("Headwater 0123").width);
    });
    return all.join();
  });
  testInfo.skip(widths !== "734,840", `pictures are compared with the fonts of Debian's Chromium, not with ${widths}`);
}

/** How many pixels of a canvas have a colour, and not the grey of axes and grid. */
async function countInk(canvas: Locator): Promise<number> {
  return (await inkOf(canvas)).length;
}

/** How bright they are, from 0 to 255. */
async function brightnessOf(canvas: Locator): Promise<number> {
  const ink = await inkOf(canvas);
  return ink.reduce((sum, colour) => sum + (Math.max(...colour) + Math.min(...colour)) / 2, 0) / ink.length;
}

/** The colours of those pixels. */
function inkOf(canvas: Locator): Promise<number[][]> {
  return canvas.evaluate((element: HTMLCanvasElement) => {
    const { width, height } = element;
    const pixels = element.getContext("2d")!.getImageData(0, 0, width, height).data;
    const ink: number[][] = [];
    for (let at = 0; at < pixels.length; at += 4) {
      const colour = [...pixels.subarray(at, at + 3)];
      if (pixels[at + 3]! > 128 && Math.max(...colour) - Math.min(...colour) > 60) ink.push(colour);
    }
    return ink;
  });
}

function focusedTestId(): string {
  let focused = document.activeElement;
  while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
  return (focused as HTMLElement | null)?.dataset["testid"] ?? "";
}
