// The docs, taken at their word: the quick start is done as it is written, line by line, and every sample is compiled against
// the package that is packed, and run where that can be.

import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect, test as base } from "@playwright/test";
import type { Page } from "@playwright/test";
import { FreshApp, cloneInto, pack } from "./fresh-app.ts";
import { freePort } from "./kit/index.ts";
import { readSamples } from "./samples.ts";
import type { Sample } from "./samples.ts";

const INSTALL_MS = 180_000;
const PORT_IN_DOCS = "localhost:8787";
const QUIET = { WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true", CI: "1" };

const samples = readSamples();
const marked = (...marks: string[]): Sample[] => samples.filter(({ mark }) => marks.includes(mark));

interface Board {
  app: FreshApp;
  origin: string;
}

const test = base.extend<object, { board: Board; app: FreshApp }>({
  /** The app of the quick start, as who follows it has it in the end. */
  board: [
    async ({}, use) => {
      const app = await FreshApp.empty("quick-start");
      await cloneInto(join(app.folder, "headwater"));
      let origin = "";
      for (const { mark, text } of samples.filter(({ page }) => page === "docs/quick-start.md")) {
        if (mark === "run") app.type(at(origin, text));
        else if (mark === "start") origin = await app.start(QUIET, 0, "sh", "-c", text);
        else await app.write(mark, text);
      }
      await use({ app, origin });
      await app.remove();
    },
    { scope: "worker", timeout: INSTALL_MS },
  ],
  /** Where all other samples are. */
  app: [
    async ({}, use) => {
      const tarball = await pack();
      const packages = ["vite", "wrangler", "react", "react-dom", "vue", "@tanstack/db", "zod", "@playwright/test"];
      const types = ["@types/react", "@types/react-dom", "@types/node", "@cloudflare/workers-types"];
      const app = await FreshApp.create("samples", tarball, [...packages, ...types]);
      for (const sample of samples) await app.write(pathOf(sample), sample.text);
      await use(app);
      await app.remove();
      await rm(dirname(tarball), { recursive: true, force: true });
    },
    { scope: "worker", timeout: INSTALL_MS },
  ],
});

test("who follows the quick start has two tabs that share a store", async ({ browser, board: { origin } }) => {
  const ann = await browser.newContext();
  const one = await ann.newPage();
  const other = await ann.newPage();
  for (const page of [one, other]) {
    await page.goto(origin);
    await expect(page.getByText("from the terminal")).toBeVisible();
  }
  await expect.poll(() => inSync(origin)).toBe(1);
  await write(one, "Tea");
  await expect(other.getByText("Tea")).toBeVisible();
  await expect(one.locator("output")).toContainText("on 1 replicas'");

  const bob = await (await browser.newContext()).newPage();
  await bob.goto(origin);
  await expect(bob.getByText("Tea")).toBeVisible();
  await expect.poll(() => inSync(origin)).toBe(2);
  await write(other, "Milk");
  await expect(bob.getByText("Milk")).toBeVisible();
  await expect(other.locator("output")).toContainText("on 2 replicas'");
});

test("every sample of TypeScript says what it is for, and compiles", async ({ app }) => {
  const code = samples.filter(({ language }) => language === "ts" || language === "tsx");
  const isFile = ({ mark }: Sample): boolean => mark.endsWith(".ts");
  const kinds = ["page", "node", "test", "worker", "compiled"];
  expect(code.filter((sample) => !kinds.includes(sample.mark) && !isFile(sample))).toEqual([]);

  const options = "--noEmit --strict --skipLibCheck --target es2023 --module esnext --moduleResolution bundler";
  const compile = (files: Sample[], lib: string, types: string): string =>
    app.run("tsc", ...options.split(" "), "--jsx", "react-jsx", "--lib", lib, "--types", types, ...files.map(pathOf));
  const isWorker = (sample: Sample): boolean => sample.text.includes('"headwater/worker"');
  compile(code.filter(isWorker), "es2023", "@cloudflare/workers-types");
  const others = code.filter((sample) => !isWorker(sample));
  compile(others, "es2023,dom,dom.iterable", "node,react");
});

test("samples for a page run in a page", async ({ browser, app, board }) => {
  app.run("vite", "build");
  const port = await freePort();
  const args = ["preview", "--host", "127.0.0.1", "--strictPort", "--port", `${port}`];
  const origin = await app.start({ PRIMARY: board.origin }, port, "vite", ...args);
  for (const { name } of marked("page")) {
    await test.step(name, async () => {
      const context = await browser.newContext();
      const page = await context.newPage();
      const errors: Error[] = [];
      page.on("pageerror", (error) => errors.push(error));
      await page.goto(origin);
      await page.evaluate((name) => (window as unknown as { runSample: Run }).runSample(name), name);
      if (name.endsWith(".tsx")) await expect(page.locator("#root")).toContainText("following");
      expect(errors).toEqual([]);
      await context.close();
    });
  }
});

test("samples for Node run on Node", ({ app, board: { origin } }) => {
  for (const sample of marked("node")) app.run("node", "--input-type=module-typescript", "-e", at(origin, sample.text));
});

test("samples of workers can be deployed", ({ app, board }) => {
  for (const sample of marked("worker")) app.run("wrangler", "deploy", "--dry-run", pathOf(sample));
  for (const { text } of marked("dry-run")) board.app.type(`${text.trim()} --dry-run`);
});

test("samples of tests pass under Playwright", async ({ app, board: { origin } }, { project }) => {
  const use = { ...project.use, baseURL: origin };
  await app.write(
    "playwright.config.js",
    `export default ${JSON.stringify({ testDir: "test", testMatch: "**", use })}`,
  );
  app.run("playwright", "test", "--reporter=line");
});

type Run = (name: string) => Promise<unknown>;

/** A sample's file in the app. */
const pathOf = ({ mark, name }: Sample): string => `${/^\w+$/.test(mark) ? mark : "file"}/${name}`;

/** Where the docs say 8787, and something else may be there on this machine. */
const at = (origin: string, text: string): string => text.replaceAll(PORT_IN_DOCS, origin.replace("http://", ""));

async function write(page: Page, text: string): Promise<void> {
  await page.getByLabel("What is to be done").fill(text);
  await page.keyboard.press("Enter");
}

/** How many replicas writers wait for. */
async function inSync(origin: string): Promise<number> {
  const answer = await fetch(`${origin}/v1/stores/board/status`);
  const { secondaries } = (await answer.json()) as { secondaries: { state: string }[] };
  return secondaries.filter(({ state }) => state === "in-sync").length;
}
