// The engines that browsers are made of, driven alike: what a spec needs of them, and no more. Chromium and Firefox are
// Playwright's, WebKit is ours.

import { chromium, firefox } from "@playwright/test";
import type { Browser } from "@playwright/test";
import { CHROMIUM_ARGS, describeLack, locateBrowser } from "./browser.ts";
import type { EngineName } from "./browser.ts";
import { WebKitSession } from "./webdriver.ts";

/** A browser with storage of its own, which is gone when it ends. */
export interface Engine {
  newTab(): Promise<EngineTab>;
  end(): Promise<void>;
}

export interface EngineTab {
  /** Resolves when the page has loaded. */
  open(url: string): Promise<void>;
  /** Resolves when the page has loaded again. */
  reload(): Promise<void>;
  /** The value of an expression in the page, or what its promise resolves to. It must be JSON. */
  evaluate(expression: string): Promise<unknown>;
  close(): Promise<void>;
}

/** Starts an engine; throws one sentence if it cannot be had on this machine. */
export async function startEngine(name: EngineName): Promise<Engine> {
  // The test command may have tried to install it, and knows more than can be seen.
  const refusal = process.env[`HEADWATER_WITHOUT_${name.toUpperCase()}`];
  const executablePath = refusal ? undefined : locateBrowser(name);
  if (executablePath === undefined) throw new Error(refusal || describeLack(name));
  try {
    switch (name) {
      case "chromium":
        return await openWindow(await chromium.launch({ executablePath, args: CHROMIUM_ARGS }));
      case "firefox":
        // Without arguments of its own it would get those that the configuration has for Chromium.
        return await openWindow(await firefox.launch({ executablePath, channel: "moz-firefox", args: [] }));
      case "webkit":
        return await WebKitSession.start(executablePath);
    }
  } catch (error) {
    const [reason] = String(error).split("\n");
    throw new Error(`${executablePath} does not start: ${reason}`, { cause: error });
  }
}

async function openWindow(browser: Browser): Promise<Engine> {
  const context = await browser.newContext().catch(async (error: unknown) => {
    await browser.close();
    throw error;
  });
  return {
    async newTab() {
      const page = await context.newPage();
      return {
        open: async (url) => void (await page.goto(url)),
        reload: async () => void (await page.reload()),
        evaluate: (expression) => page.evaluate(expression),
        close: () => page.close(),
      };
    },
    end: () => browser.close(),
  };
}

/** Calls a function in the page. It stands alone, and its arguments and result are JSON. */
export async function callIn<Args extends unknown[], Result>(
  tab: EngineTab,
  code: (...args: Args) => Result | Promise<Result>,
  ...args: Args
): Promise<Result> {
  return (await tab.evaluate(`(${code.toString()})(...${JSON.stringify(args)})`)) as Result;
}
