// What specs do with a tab that shows the board, besides what the kit can: read and write through `window.headwater`, and wait
// for what it shows.

import type { BrowserContext, Page } from "@playwright/test";
import { openTabs } from "./kit/index.ts";
import type { TabStatus } from "./kit/index.ts";

/** The part of the public API that specs use; they see the product from outside, so it is written down here again. */
export interface BoardReplica {
  get(key: string): unknown;
  entry(key: string): { seq: number } | undefined;
  list(options?: { prefix?: string }): { key: string; value: unknown; seq: number }[];
  insert(key: string, value: unknown, options?: { ack?: unknown }): Promise<{ seq: number; replicas: number }>;
  remove(key: string): Promise<{ seq: number; replicas: number }>;
  caughtUp(options?: { atLeast?: number }): Promise<void>;
  subscribe(interest: object, subscriber: () => void): () => void;
  readonly status: TabStatus;
  subscribeStatus(subscriber: () => void): () => void;
}

declare global {
  interface Window {
    headwater: {
      replica: BoardReplica;
      openReplica(options: {
        url: string;
        token?: string;
        identity?: string;
        prefixes?: string[];
        worker?: (name: string) => SharedWorker | Worker;
      }): Promise<BoardReplica>;
      readStored(options: { url: string; identity?: string }, key: string): Promise<{ value: unknown; seq: number }>;
    };
  }
}

/** By the clock and not by the frame: hidden pages have no frames. */
export const POLLING = { polling: 50 };

/** Opens the board of a store in a new tab and waits until its replica can be read. */
export async function openTab(context: BrowserContext, origin: string, store: string): Promise<Page> {
  const [page] = await openTabs(context, `${origin}/?store=${store}`, 1);
  return page!;
}

/** Everything that the tab's replica shows, by key. */
export async function readAll(page: Page): Promise<Map<string, unknown>> {
  const entries = await page.evaluate(() =>
    window.headwater.replica.list().map(({ key, value }) => [key, value] as const),
  );
  return new Map(entries);
}

export async function insert(page: Page, key: string, value: unknown): Promise<{ seq: number; replicas: number }> {
  return page.evaluate(([k, v]) => window.headwater.replica.insert(k as string, v), [key, value]);
}

/** Waits until the tab's replica shows the primary's state at `seq` or a later one. */
export async function waitForSeq(page: Page, seq: number): Promise<void> {
  await page.evaluate((atLeast) => window.headwater.replica.caughtUp({ atLeast }), seq);
}

/** Waits until the tab shows this value. */
export async function waitForValue(page: Page, key: string, value: unknown): Promise<void> {
  await page.waitForFunction(
    ([k, text]) => JSON.stringify(window.headwater.replica.get(k as string)) === text,
    [key, JSON.stringify(value)],
  );
}
