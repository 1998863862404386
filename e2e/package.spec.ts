// The package as its users get it: packed, installed into fresh apps outside of this project, built there, and run in a
// browser against the worker of another fresh app, as it is developed and as it is deployed.

import { rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect, test as base } from "@playwright/test";
import type { Browser, Page } from "@playwright/test";
import { CHROMIUM_ARGS, locateBrowser } from "./browser.ts";
import { undocumentedOf } from "./declarations.ts";
import { FreshApp, pack } from "./fresh-app.ts";
import { DevPrimary, freePort, openBrowsers, waitForInSync, waitForStatus, waitUntilConverged } from "./kit/index.ts";
import { insert } from "./tab.ts";

const INSTALL_MS = 180_000;

/** The part of a package's own that is read here. */
interface Manifest {
  exports: Record<string, string | { types: string }>;
}

const test = base.extend<object, { tarball: string; primary: DevPrimary }>({
  tarball: [
    async ({}, use) => {
      const tarball = await pack();
      await use(tarball);
      await rm(dirname(tarball), { recursive: true, force: true });
    },
    { scope: "worker", timeout: INSTALL_MS },
  ],
  /** Where a worker of three lines serves stores. */
  primary: [
    async ({ tarball }, use) => {
      const app = await FreshApp.create("worker", tarball, ["wrangler", "@cloudflare/workers-types"]);
      compile(app, "worker.ts", "es2023", "@cloudflare/workers-types");
      app.run("wrangler", "deploy", "--dry-run");
      const primary = await DevPrimary.start({ folder: app.folder });
      await use(primary);
      await primary.stop();
      await app.remove();
    },
    { scope: "worker", timeout: INSTALL_MS },
  ],
});

/** How a careful app is compiled, declarations of what it uses included. */
const OPTIONS = "--noEmit --strict --skipLibCheck false --target es2023 --module esnext --moduleResolution bundler";
const compile = (app: FreshApp, file: string, lib: string, types: string): void =>
  void app.run("tsc", ...OPTIONS.split(" "), "--jsx", "react-jsx", "--lib", lib, "--types", types, file);
const PAGE_LIB = "es2023,dom,dom.iterable";

/** The two ways in which Vite serves an app. */
const WAYS = ["dev", "preview"] as const;

test("what is packed can be imported and typed from everywhere it is for", async ({ tarball }) => {
  const app = await FreshApp.create("vanilla", tarball, ["publint", "@arethetypeswrong/cli"]);
  try {
    app.run("publint", "--strict", "node_modules/headwater");
    app.run("attw", tarball, "--profile", "esm-only");
    // Node has no replica, and the client without one.
    const script = `
      import { connectPrimary } from "headwater";
      import { MemoryPrimary } from "headwater/testing";
      const primary = new MemoryPrimary();
      const replica = await primary.openReplica();
      await replica.insert("a", 1);
      console.log(typeof connectPrimary, JSON.stringify(primary.entries()));
      await primary.close();
    `;
    expect(app.run("node", "--input-type=module", "--eval", script).trim()).toBe(
      'function [{"key":"a","value":1,"seq":1}]',
    );
  } finally {
    await app.remove();
  }
});

test("every public name has a comment in the declarations that an editor shows", async ({ tarball }) => {
  const app = await FreshApp.create("vanilla", tarball, []);
  try {
    const { exports } = JSON.parse(await app.read("node_modules/headwater/package.json")) as Manifest;
    const entries = Object.values(exports).flatMap((entry) => (typeof entry === "string" ? [] : entry.types));
    expect(entries.length).toBeGreaterThan(3);
    for (const entry of entries) expect(undocumentedOf(join(app.folder, "node_modules/headwater", entry))).toEqual([]);
  } finally {
    await app.remove();
  }
});

test("a page of plain TypeScript", async ({ browser, tarball, primary }) => {
  test.setTimeout(INSTALL_MS);
  const app = await FreshApp.create("vanilla", tarball, ["vite", "zod"]);
  try {
    compile(app, "main.ts", PAGE_LIB, "");
    app.run("vite", "build");
    for (const way of WAYS) {
      const origin = await serve(app, way, primary.origin);
      const [one, other] = await openTwo(browser, `${origin}?inspect#plain-${way}`);
      await insert(one, "title", `served by ${way}`);
      for (const [index, page] of [one, other].entries()) {
        await insert(page, `card/${index}`, { text: `card ${index}` });
        await expect(other.locator("#title")).toHaveText(`served by ${way}`);
      }
      await expect(one.locator("#cards li")).toHaveText(["card 0", "card 1"]);
      await edit(one, "title", "edited in the inspector");
      await expect(other.locator("#title")).toHaveText("edited in the inspector");
      await expect(other.getByTestId("secondary")).toHaveCount(2);
      await primary.kill();
      await Promise.all([one, other].map((page) => waitForStatus(page, ({ state }) => state === "offline")));
      await primary.restart();
      await Promise.all([waitForInSync(one), waitForInSync(other)]);
      await insert(one, "title", `served by ${way}, again`);
      await waitUntilConverged([one, other]);
      await expect(other.locator("#title")).toHaveText(`served by ${way}, again`);
      const refusal = await one.evaluate(() =>
        window.headwater.replica.insert("card/2", { text: 2 }).catch((error: unknown) => {
          const { code, applied, message } = error as { code: string; applied: boolean; message: string };
          return { code, applied, message };
        }),
      );
      expect(refusal).toMatchObject({ code: "invalid-value", applied: false });
      expect(refusal).toHaveProperty("message", expect.stringContaining('"card/2": text: '));
      await closeAll(one, other);
    }
  } finally {
    await app.remove();
  }
});

test("a page of React, which draws again what has changed and nothing else", async ({ browser, tarball, primary }) => {
  test.setTimeout(INSTALL_MS);
  const app = await FreshApp.create("react", tarball, [
    "vite",
    "react",
    "react-dom",
    "@types/react",
    "@types/react-dom",
  ]);
  try {
    compile(app, "main.tsx", PAGE_LIB, "react");
    app.run("vite", "build");
    for (const way of WAYS) {
      const origin = await serve(app, way, primary.origin);
      const [one, other] = await openTwo(browser, `${origin}#react-${way}`);
      for (const name of ["a", "b", "c"]) await insert(one, `card/${name}`, name);
      await insert(one, "title", "before");
      await expect(other.locator("#title")).toHaveText("before");
      await expect(other.locator("#cards li")).toHaveText(["a", "b", "c"]);
      await expect(other.locator("#status")).toHaveText("following");
      const drawn = await drawsOf(other);

      await insert(one, "title", "after");
      await expect(other.locator("#title")).toHaveText("after");
      expect(await drawsOf(other)).toEqual({ ...drawn, title: drawn["title"]! + 1 });
      await insert(one, "card/b", "B");
      await expect(other.locator("#cards li")).toHaveText(["a", "B", "c"]);
      const expected = { ...drawn, title: drawn["title"]! + 1, cards: drawn["cards"]! + 1 };
      expect(await drawsOf(other)).toEqual({ ...expected, "card/b": drawn["card/b"]! + 1 });
      await one.evaluate(() => window.headwater.replica.remove("card/c"));
      await expect(other.locator("#cards li")).toHaveText(["a", "B"]);
      await closeAll(one, other);
    }
  } finally {
    await app.remove();
  }
});

test("the app that `headwater init` makes: it compiles, its own tests pass, and it runs", async ({ tarball }) => {
  test.setTimeout(2 * INSTALL_MS);
  const app = await FreshApp.init(tarball);
  try {
    app.run("npm", "run", "check");
    // Its own configuration, with the browser that is here.
    const launchOptions = { executablePath: process.env.HEADWATER_CHROMIUM ?? locateBrowser(), args: CHROMIUM_ARGS };
    const config = `import own from "./playwright.config.ts";\nexport default { ...own, use: ${JSON.stringify({ launchOptions })} };\n`;
    await writeFile(join(app.folder, "here.config.ts"), config);
    expect(app.run("npm", "test", "--", "--config", "here.config.ts")).toContain("2 passed");

    const port = await freePort();
    await app.start({}, port, "npm", "run", "dev", "--", "--port", `${port}`);
    const url = `http://localhost:${port}`;
    app.run("headwater", "--url", url, "put", "groceries", "item/1", '{"text":"Tea"}');
    expect(app.run("headwater", "--url", url, "list", "groceries")).toBe('item/1\t{"text":"Tea"}\n');
    expect(await (await fetch(url)).text()).toContain("<h1>Groceries</h1>");
  } finally {
    await app.remove();
  }
});

async function serve(app: FreshApp, way: (typeof WAYS)[number], primary: string): Promise<string> {
  await app.stop();
  const port = await freePort();
  await app.start({ PRIMARY: primary }, port, "vite", way, "--host", "127.0.0.1", "--strictPort", "--port", `${port}`);
  return `http://127.0.0.1:${port}/`;
}

/** As a person edits an entry in the inspector. */
async function edit(page: Page, key: string, text: string): Promise<void> {
  const row = page.locator(`[data-testid="entry"][data-key="${key}"]`);
  await row.getByTestId("entry-value").click();
  await row.getByTestId("entry-editor-value").fill(text);
  await row.getByTestId("entry-editor-save").click();
  await expect(row.getByTestId("entry-editor")).toHaveCount(0);
}

/** The same page in two browsers, both with a durable replica. */
async function openTwo(browser: Browser, url: string): Promise<[Page, Page]> {
  const [one, other] = await openBrowsers(browser, url, 2);
  await Promise.all([waitForInSync(one!), waitForInSync(other!)]);
  return [one!, other!];
}

const drawsOf = (page: Page): Promise<Record<string, number>> =>
  page.evaluate(() => ({ ...(window as unknown as { draws: Record<string, number> }).draws }));

async function closeAll(...pages: Page[]): Promise<void> {
  for (const page of pages) await page.context().close();
}
