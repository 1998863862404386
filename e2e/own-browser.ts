// A browser as a person has it: with a profile on disk, with pages that are hidden, frozen and kept for going back, none of
// which a driver's own browser does. It can be killed with everything it has started, like by a power cut.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "@playwright/test";
import type { Browser, BrowserContext, Page } from "@playwright/test";
import { CHROMIUM_ARGS, locateBrowser } from "./browser.ts";
import { busyTicks, findFamily, findRenderers, signal, waitForEnd } from "./processes.ts";
import { setFrozen } from "./kit/index.ts";

const BUSY_MS = 400;

export class OwnBrowser {
  readonly browser: Browser;
  readonly page: Page;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, browser: Browser, page: Page) {
    this.#process = process;
    this.browser = browser;
    this.page = page;
  }

  /** Starts it on a profile, with one empty page. */
  static async start(profile: string): Promise<OwnBrowser> {
    const path = process.env.HEADWATER_CHROMIUM ?? locateBrowser();
    if (path === undefined) throw new Error("there is no browser");
    const args = ["--headless=new", ...CHROMIUM_ARGS];
    args.push(`--user-data-dir=${profile}`, "--remote-debugging-port=0", "about:blank");
    // A group of its own, so that it can be ended as a whole.
    const started = spawn(path, args, { detached: true, stdio: ["ignore", "ignore", "pipe"] });
    for await (const line of createInterface({ input: started.stderr })) {
      const endpoint = /DevTools listening on (\S+)/.exec(line)?.[1];
      if (endpoint === undefined) continue;
      // What it says from now on is not needed, but must be taken.
      started.stderr.resume();
      // The driver's defaults would keep every page visible and awake.
      const browser = await chromium.connectOverCDP(endpoint, { noDefaults: true });
      return new OwnBrowser(started, browser, await browser.contexts()[0]!.newPage());
    }
    throw new Error("the browser did not start");
  }

  get context(): BrowserContext {
    return this.browser.contexts()[0]!;
  }

  /** To all of its processes. */
  signal(name: NodeJS.Signals): void {
    for (const pid of findFamily(this.#process.pid!)) signal(pid, name);
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    const family = findFamily(this.#process.pid!);
    process.kill(-this.#process.pid!, "SIGKILL");
    await ended;
    // The one that has the storage open must have let it go before the next browser comes.
    await waitForEnd(family);
  }

  /** The process that a page lives in, which no driver tells: the one that is busy when the page is. */
  async rendererOf(page: Page): Promise<number> {
    const renderers = findRenderers(this.#process.pid!);
    const before = renderers.map(busyTicks);
    await page.evaluate((busyMs) => {
      const end = performance.now() + busyMs;
      while (performance.now() < end);
    }, BUSY_MS);
    const busy = renderers.map((pid, index) => busyTicks(pid) - before[index]!);
    return renderers[busy.indexOf(Math.max(...busy))]!;
  }

  /** Freezes a page that is not the one in front, as browsers do to save power, or lets it go on. */
  async setFrozen(page: Page, isFrozen: boolean): Promise<void> {
    await setFrozen(page, isFrozen);
  }

  /** Ends the SharedWorkers whose script is at a path that begins so; returns how many there were. */
  async endSharedWorkers(path: string): Promise<number> {
    const session = await this.browser.newBrowserCDPSession();
    const { targetInfos } = await session.send("Target.getTargets");
    const workers = targetInfos.filter(
      ({ type, url }) => type === "shared_worker" && new URL(url).pathname.startsWith(path),
    );
    for (const { targetId } of workers) await session.send("Target.closeTarget", { targetId });
    await session.detach();
    return workers.length;
  }
}

/**
 * Whether the browser itself found nothing usable of an origin's storage and began it anew. That happens in about one
 * of 200 kills and is out of a page's reach, which can only delete what is in the storage. What must hold then is that
 * a replica finds nothing, rather than something that is not whole.
 */
export async function hasDiscardedStorage(profile: string): Promise<boolean> {
  const folder = join(profile, "Default", "IndexedDB");
  const logs = (await readdir(folder))
    .filter((name) => name.endsWith(".leveldb"))
    .map((name) => join(folder, name, "LOG"));
  const texts = await Promise.all(logs.map((log) => readFile(log, "utf8")));
  return texts.some((text) => text.includes("since it was missing"));
}
