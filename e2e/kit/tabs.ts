// Tabs with replicas in them, as Playwright sees them. Every open replica of a page is found by a name that the library gives
// it there, so the app under test need not show any.

import type { Browser, BrowserContext, Page } from "@playwright/test";

/** Which replica of a page: that of this store; left out, the one that was opened first. */
export interface Which {
  /** The store's name. */
  store?: string;
}

/** What a replica says of itself; `ReplicaStatus` of the library. */
export interface TabStatus {
  /** Where it stands. */
  state: "offline" | "joining" | "catching-up" | "following" | "paused";
  /** The history that it shows; null while it shows none. */
  epoch: string | null;
  /** What it shows is the primary's state at this seq. */
  seq: number;
  /** The latest seq of the primary that it has heard of. */
  head: number;
  /** For how long `seq` has been below `head`, in milliseconds. */
  lagMs: number;
  /** The name by which the primary's status tells of it; null before it has one. */
  secondaryId: string | null;
  /** Writers wait for its disk. */
  inSync: boolean;
  /** The seq up to which it is on disk; null when it is kept in memory only. */
  persisted: number | null;
  /** Operations without an answer, and what is in the outbox. */
  pending: number;
  /** What went wrong last, and is not right again. */
  lastError: string | null;
}

/** By the clock and not by the frame: hidden pages have no frames. */
const POLLING = { polling: 50 };

/** Opens a page so many times as tabs of one browser, which share one replica, and waits until it can be read. */
export async function openTabs(
  context: BrowserContext,
  url: string,
  count: number,
  which: Which = {},
): Promise<Page[]> {
  const pages: Page[] = [];
  for (let tab = 0; tab < count; tab++) {
    const page = await context.newPage();
    await page.goto(url);
    pages.push(page);
  }
  for (const page of pages) await waitForReplica(page, which);
  return pages;
}

/** Opens a page in so many browsers of their own, each with a replica on its own disk. */
export async function openBrowsers(browser: Browser, url: string, count: number, which: Which = {}): Promise<Page[]> {
  const pages: Page[] = [];
  for (let context = 0; context < count; context++) {
    pages.push(...(await openTabs(await browser.newContext(), url, 1, which)));
  }
  return pages;
}

/** Waits until the page's replica can be read. */
export async function waitForReplica(page: Page, which: Which = {}): Promise<void> {
  await page.waitForFunction(readStatus, which, POLLING);
}

/** What the page's replica says of itself; throws if the page has none. */
export async function statusOf(page: Page, which: Which = {}): Promise<TabStatus> {
  const status = await page.evaluate(readStatus, which);
  if (!status) throw new Error("the page has no open replica of that store");
  return status;
}

/** Waits until the page's replica is in the in-sync set, so that writers wait for its disk. */
export async function waitForInSync(page: Page, which: Which = {}): Promise<void> {
  await waitForStatus(page, ({ inSync }) => inSync, which);
}

/**
 * Waits until the page's replica says of itself what you wait for; returns it. After an end of the primary or the network, wait
 * for `state` to be `"offline"` before you bring it back: what a replica has not noticed yet, it does not tell.
 */
export async function waitForStatus(
  page: Page,
  isAwaited: (status: TabStatus) => boolean,
  which: Which = {},
): Promise<TabStatus> {
  for (;;) {
    const status = await statusOf(page, which);
    if (isAwaited(status)) return status;
    await waitForChange(page, which);
  }
}

/** Waits until all pages show one state of one history, with nothing on its way and nothing left to write; returns its seq. */
export async function waitUntilConverged(pages: readonly Page[], which: Which = {}): Promise<number> {
  for (;;) {
    const all = await Promise.all(pages.map((page) => statusOf(page, which)));
    const [first] = all;
    if (!first) throw new Error("no pages were given");
    const hasConverged = all.every(
      ({ state, epoch, seq, head, pending, persisted }) =>
        state === "following" &&
        epoch === first.epoch &&
        seq === first.seq &&
        seq === head &&
        pending === 0 &&
        (persisted ?? seq) === seq,
    );
    if (hasConverged) return first.seq;
    await Promise.race(pages.map((page) => waitForChange(page, which)));
  }
}

/** Freezes a tab that is not in front, as browsers do to save power, or lets it go on. Chromium only. */
export async function setFrozen(page: Page, isFrozen: boolean): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send("Page.setWebLifecycleState", { state: isFrozen ? "frozen" : "active" });
  await session.detach();
}

/** Crashes a tab: its renderer ends at once, and whatever shares that process. Chromium only. */
export async function crash(page: Page): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const crashed = page.waitForEvent("crash");
  void session.send("Page.crash").catch(() => {}); // It has no answer any more.
  await crashed;
}

interface Registered {
  url: string;
  replica: { status: TabStatus; subscribeStatus(changed: () => void): () => void };
}

/** Runs in the page. */
function readStatus({ store }: Which): TabStatus | undefined {
  const all = (globalThis as { [name: symbol]: Iterable<Registered> | undefined })[Symbol.for("headwater.replicas")];
  for (const { url, replica } of all ?? []) {
    if (store === undefined || url.endsWith(`/${encodeURIComponent(store)}`)) return replica.status;
  }
  return undefined;
}

/** Resolves when the replica's status has changed, or soon. */
async function waitForChange(page: Page, which: Which): Promise<void> {
  await page.evaluate(
    ([{ store }, patienceMs]) =>
      new Promise<void>((resolve) => {
        const all = (globalThis as { [name: symbol]: Iterable<Registered> | undefined })[
          Symbol.for("headwater.replicas")
        ];
        const found = [...(all ?? [])].find(
          ({ url }) => store === undefined || url.endsWith(`/${encodeURIComponent(store)}`),
        );
        const timer = setTimeout(resolve, patienceMs);
        const leave = found?.replica.subscribeStatus(() => {
          leave?.();
          clearTimeout(timer);
          resolve();
        });
      }),
    [which, POLLING.polling] as const,
  );
}
