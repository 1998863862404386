// The docs, taken at their word: the quick start is done as it is written, line by line, and every sample is compiled against
// the package that is packed, and run where that can be.

import { expect } from "@playwright/test";
import type { Page } from "@playwright/test";
import { CHROMIUM_ARGS, locateBrowser } from "./browser.ts";
import { freePort, openTabs, waitForInSync } from "./kit/index.ts";
import { INSTALL_MS, QUICK_START, at, lines, test } from "./packed.ts";
import { readSamples } from "./samples.ts";
import type { Sample } from "./samples.ts";

const samples = readSamples();

test.beforeAll(async ({ app }) => {
  for (const sample of samples) await app.write(pathOf(sample), sample.text);
});

const marked = (...marks: string[]): Sample[] => samples.filter(({ mark }) => marks.includes(mark));

test("who follows the quick start has an app that was made, whose tabs share a store", async ({
  context,
  quickStart,
}) => {
  const { origin } = quickStart.groceries;
  const [one, other] = await openTabs(context, origin, 2);
  for (const page of [one!, other!]) await expect(page.getByRole("listitem")).toContainText(["Bread"]);
  await waitForInSync(one!);
  await one!.getByLabel("Add an item").fill("Tea");
  await one!.keyboard.press("Enter");
  await expect(other!.getByRole("listitem")).toContainText(["Bread", "Tea"]);
  await expect(one!.locator("output")).toHaveText("on 1 screen");
});

test("that app compiles, and its own tests pass", async ({ quickStart }) => {
  test.setTimeout(INSTALL_MS);
  const { app } = quickStart.groceries;
  app.run("npm", "run", "check");
  // Its own configuration, with the browser that is here. Each test has a primary of its own, whose starts take most of its time.
  const launchOptions = { executablePath: process.env.HEADWATER_CHROMIUM ?? locateBrowser(), args: CHROMIUM_ARGS };
  const here = JSON.stringify({ fullyParallel: true, workers: 2, use: { launchOptions } });
  await app.write(
    "here.config.ts",
    `import own from "./playwright.config.ts";\nexport default { ...own, ...${here} };\n`,
  );
  expect(app.run("npm", "test", "--", "--config", "here.config.ts")).toContain("2 passed");
});

test("the commands of the command line do what its page says", ({ quickStart }) => {
  const { app, origin } = quickStart.groceries;
  const commands = marked("run").filter(({ page }) => page !== QUICK_START);
  const said = commands.map(({ text }) => app.type(lines(origin, text))).join("");
  expect(said).toContain('"Groceries"\na longer text\ncard/1\t{"text":"Tea"}\ncard/2\t"a longer text"\n');
  expect(said).toContain("exit code 1\n");
  expect(app.run("headwater", "--url", origin, "get", "notes", "title")).toBe('"Shopping"\n');
  expect(app.run("headwater", "--url", origin, "list", "notes", "--prefix", "card/")).toBe('card/3\t{"text":"Milk"}\n');
});

test("who writes the app by hand has the same, and a second browser", async ({ browser, quickStart }) => {
  const { origin } = quickStart.board;
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

test("samples for a page run in a page", async ({ browser, app, quickStart }) => {
  app.run("vite", "build");
  const port = await freePort();
  const args = ["preview", "--host", "127.0.0.1", "--strictPort", "--port", `${port}`];
  const origin = await app.start({ PRIMARY: quickStart.board.origin }, port, "vite", ...args);
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

test("samples for Node run on Node", ({ app, quickStart }) => {
  const { origin } = quickStart.board;
  for (const sample of marked("node")) app.run("node", "--input-type=module-typescript", "-e", at(origin, sample.text));
});

test("samples of workers can be deployed", async ({ app, quickStart }) => {
  // One bundle of all takes as long as that of one. Each must have what a worker must have.
  const imports = marked("worker").map(
    (sample, index) => `import app${index}, { Primary as Primary${index} } from "./${pathOf(sample)}";`,
  );
  const names = imports.map((_, index) => `app${index}, Primary${index}`);
  const end = `export default [${names.join(", ")}];\nexport { Primary0 as Primary };\n`;
  await app.write("all.ts", `${imports.join("\n")}\n${end}`);
  app.run("wrangler", "deploy", "--dry-run", "all.ts");
  for (const { text } of marked("dry-run")) quickStart.board.app.type(`${text.trim()} --dry-run`);
});

test("samples of tests pass under Playwright", async ({ app, quickStart }, { project }) => {
  const use = { ...project.use, baseURL: quickStart.board.origin };
  await app.write(
    "playwright.config.js",
    `export default ${JSON.stringify({ testDir: "test", testMatch: "**", use })}`,
  );
  app.run("playwright", "test", "--reporter=line");
});

type Run = (name: string) => Promise<unknown>;

/** A sample's file in the app. */
const pathOf = ({ mark, name }: Sample): string => `${/^\w+$/.test(mark) ? mark : "file"}/${name}`;

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
