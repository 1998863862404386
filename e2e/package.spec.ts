// The package as its users get it: packed, installed into fresh apps outside of this project, built there, and run in a
// browser against the worker of another fresh app, as it is developed and as it is deployed.

import { join } from "node:path";
import { expect } from "@playwright/test";
import type { Browser, Page } from "@playwright/test";
import { undocumentedOf } from "./declarations.ts";
import { FreshApp } from "./fresh-app.ts";
import { freePort, openBrowsers, waitForInSync, waitForStatus, waitUntilConverged } from "./kit/index.ts";
import { INSTALL_MS, test } from "./packed.ts";
import { insert } from "./tab.ts";

/** The part of a package's own that is read here. */
interface Manifest {
  exports: Record<string, string | { types: string }>;
}

/** How a careful app is compiled, declarations of what it uses included. */
const OPTIONS = "--noEmit --strict --skipLibCheck false --target es2023 --module esnext --moduleResolution bundler";
const compile = (app: FreshApp, file: string, lib: string, types: string): void =>
  void app.run("tsc", ...OPTIONS.split(" "), "--jsx", "react-jsx", "--lib", lib, "--types", types, file);
const PAGE_LIB = "es2023,dom,dom.iterable";

/** The two ways in which Vite serves an app. */
const WAYS = ["dev", "preview"] as const;

test("what is packed can be imported and typed from everywhere it is for", ({ tarball, plain }) => {
  // Both are tools of this project.
  plain.run("publint", "--strict", "node_modules/headwater");
  plain.run("attw", tarball, "--profile", "esm-only");
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
  const said = plain.run("node", "--input-type=module", "--eval", script);
  expect(said.trim()).toBe('function [{"key":"a","value":1,"seq":1}]');
});

test("every public name has a comment in the declarations that an editor shows", async ({ plain }) => {
  const { exports } = JSON.parse(await plain.read("node_modules/headwater/package.json")) as Manifest;
  const entries = Object.values(exports).flatMap((entry) => (typeof entry === "string" ? [] : entry.types));
  expect(entries.length).toBeGreaterThan(3);
  for (const entry of entries) expect(undocumentedOf(join(plain.folder, "node_modules/headwater", entry))).toEqual([]);
});

test("a worker of three lines compiles, and can be deployed", ({ app }) => {
  compile(app, "worker.ts", "es2023", "@cloudflare/workers-types");
  app.run("wrangler", "deploy", "--dry-run");
});

test("a page of plain TypeScript", async ({ browser, plain, primary }) => {
  test.setTimeout(INSTALL_MS);
  compile(plain, "main.ts", PAGE_LIB, "");
  plain.run("vite", "build");
  for (const way of WAYS) {
    const origin = await serve(plain, way, primary.origin);
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
    // The schema knows no such keys.
    await one.getByTestId("writer").click();
    await expect(one.getByTestId("writer-trouble")).toContainText("inspector/");
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
});

test("a page goes on when the primary was killed and is back", async ({ browser, plain, primary }) => {
  plain.run("vite", "build");
  const origin = await serve(plain, "preview", primary.origin);
  const [one, other] = await openTwo(browser, `${origin}#killed`);
  await primary.kill();
  await Promise.all([one, other].map((page) => waitForStatus(page, ({ state }) => state === "offline")));
  await primary.restart();
  await Promise.all([waitForInSync(one), waitForInSync(other)]);
  await insert(one, "title", "here again");
  await waitUntilConverged([one, other]);
  await expect(other.locator("#title")).toHaveText("here again");
  await closeAll(one, other);
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
  await expect(row.getByTestId("entry-value")).toBeFocused();
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
