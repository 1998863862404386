// The workloads that need a browser, W3, W4, W5 and the tab's half of W7, come from one session: a fresh Chromium fills its
// profile from the server, and another one starts warm on what is there. What a session finds beyond the workload that
// asked for it is kept for the others.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "@playwright/test";
import type { BrowserContext, Page } from "@playwright/test";
import { CHROMIUM_ARGS, findBrowser } from "../e2e/browser.ts";
import { findProcess, findRenderers } from "../e2e/processes.ts";
import type { Bench, OutsideWorkload } from "./measure.ts";
import type { PageKit } from "./page.ts";
import type { Figure, System } from "./system.ts";

type BrowserWorkload = "W3" | "W4" | "W5" | "W7";

/** Long enough for a peer that stores 10,000 rows. */
const LIMIT_MS = { quick: 30_000, full: 90_000 };

/** Figures of finished sessions by system, cell and workload; each round takes one. */
const kept = new Map<string, Figure[][]>();

export function browserWorkload(workload: BrowserWorkload, cells: OutsideWorkload["cells"]): OutsideWorkload {
  return {
    cells,
    async prepare(bench, system, cell) {
      await bench.workshop.bundlePage(system);
      await storeWith(countOf(cell), bench, system);
    },
    async run(bench, system, cell) {
      const opener = `${system.name} ${cell}`;
      // A workload that comes later has as many rounds as the one that opened the sessions.
      const isOpener = (openers.get(opener) ?? workload) === workload;
      openers.set(opener, openers.get(opener) ?? workload);
      const queue = queueOf(system, cell, workload);
      if (queue.length === 0 && isOpener) await session(bench, system, cell);
      return queue.shift();
    },
  };
}

/** Which workload opens the sessions of a system's cell. */
const openers = new Map<string, BrowserWorkload>();

function queueOf(system: System, cell: string, workload: BrowserWorkload): Figure[][] {
  const name = `${system.name} ${cell} ${workload}`;
  const queue = kept.get(name) ?? [];
  kept.set(name, queue);
  return queue;
}

const countOf = (cell: string): number => Number(cell.replace(/\D/g, ""));

const filled = new Map<string, string>();

/** A store with so many entries, filled once for as long as its server lives. */
async function storeWith(count: number, bench: Bench, system: System): Promise<string> {
  const { server, driver } = await bench.driverOf(system);
  const name = `${server.origin} ${count}`;
  const present = filled.get(name);
  if (present !== undefined) return present;
  const store = bench.newStore();
  await driver.order({ type: "fill", store, count }, 120_000);
  filled.set(name, store);
  return store;
}

async function session(bench: Bench, system: System, cell: string): Promise<void> {
  const count = countOf(cell);
  const label = count.toLocaleString("en");
  const figures: Record<BrowserWorkload, Figure[]> = { W3: [], W4: [], W5: [], W7: [] };
  const store = await storeWith(count, bench, system);
  const { server } = await bench.driverOf(system);
  const profile = await mkdtemp(join(tmpdir(), "headwater-bench-profile-"));
  const limitMs = LIMIT_MS[bench.isQuick ? "quick" : "full"];
  try {
    await inChromium(profile, limitMs, async (page) => {
      await open(page, server.origin, system);
      const { readable, persisted } = await page.evaluate(
        ([store, count]) => (globalThis as unknown as { bench: PageKit }).bench.bootstrap(store, count),
        [store, count] as const,
      );
      figures.W3.push({ metric: `${label}: readable`, unit: "ms", value: readable });
      if (persisted !== undefined) figures.W3.push({ metric: `${label}: persisted`, unit: "ms", value: persisted });
      // What is written in the background is let come to its end, so that the next browser finds it.
      await sleep(system.settleMs ?? 0);
    });
    await inChromium(profile, limitMs, async (page, context) => {
      const emptyBytes = await memoryOf(profile, page, context);
      await open(page, server.origin, system);
      const { firstKey, complete } = await page.evaluate(
        ([store, count]) => (globalThis as unknown as { bench: PageKit }).bench.warm(store, count),
        [store, count] as const,
      );
      await sleep(300);
      const longestTask = await page.evaluate(() => (globalThis as unknown as { bench: PageKit }).bench.longestTask());
      figures.W4.push(
        { metric: `${label}: first key`, unit: "ms", value: firstKey },
        { metric: `${label}: complete`, unit: "ms", value: complete },
        { metric: `${label}: longest task (below 50: 0)`, unit: "ms", value: longestTask },
      );
      const megabytes = ((await memoryOf(profile, page, context)) - emptyBytes) / 2 ** 20;
      figures.W7.push({
        metric: `tab with ${label} entries, all renderers, above an empty page`,
        unit: "MiB",
        value: megabytes,
      });
      const { get, list } = await page.evaluate(
        (count) => (globalThis as unknown as { bench: PageKit }).bench.reads(count),
        count,
      );
      figures.W5.push(
        { metric: `${label}: get`, unit: "reads/s", value: get },
        { metric: `${label}: list of 100 by prefix`, unit: "lists/s", value: list },
      );
    });
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
  for (const workload of ["W3", "W4", "W5", "W7"] as const) queueOf(system, cell, workload).push(figures[workload]);
}

async function open(page: Page, origin: string, system: System): Promise<void> {
  await page.goto(`${origin}/bench/${system.folder}/index.html`);
  await page.waitForFunction(() => "bench" in globalThis);
}

async function inChromium(
  profile: string,
  limitMs: number,
  body: (page: Page, context: BrowserContext) => Promise<void>,
): Promise<void> {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.HEADWATER_CHROMIUM ?? findBrowser(),
    args: CHROMIUM_ARGS,
  });
  const errors: string[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    page.on("pageerror", (error) => errors.push(String(error)));
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not finished after ${limitMs / 1000} s ${errors.join()}`)), limitMs);
    });
    await Promise.race([body(page, context), late]);
  } finally {
    clearTimeout(timer);
    await context.close();
  }
}

/** What the renderers of a browser hold, shared pages by their share, after the page's garbage has been collected. */
async function memoryOf(profile: string, page: Page, context: BrowserContext): Promise<number> {
  const devtools = await context.newCDPSession(page);
  await devtools.send("HeapProfiler.collectGarbage");
  await devtools.detach();
  await sleep(200);
  const browser = findProcess(`--user-data-dir=${profile}`);
  let bytes = 0;
  for (const pid of browser === undefined ? [] : findRenderers(browser)) {
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8").catch(() => "");
    bytes += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0) * 1024;
  }
  return bytes;
}
