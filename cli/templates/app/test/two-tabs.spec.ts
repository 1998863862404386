import { expect, test as base } from "@playwright/test";
import { DevPrimary, openBrowsers, openTabs, waitForInSync, waitUntilConverged } from "headwater/testing/playwright";

/** This app in `wrangler dev`, with stores of its own. */
const test = base.extend<{ primary: DevPrimary }>({
  // Playwright reads from the pattern which fixtures one wants.
  // oxlint-disable-next-line no-empty-pattern
  primary: async ({}, use) => {
    const primary = await DevPrimary.start({ vars: { ALLOW_ANONYMOUS: "true" } });
    await use(primary);
    await primary.stop();
  },
});

test("what is added in one tab is in the other, and is there after a restart", async ({ context, primary }) => {
  const [mine, theirs] = await openTabs(context, primary.origin, 2);
  await mine.getByLabel("Add an item").fill("Tea");
  await mine.getByRole("button", { name: "Add" }).click();
  await expect(theirs.getByRole("listitem")).toContainText(["Tea"]);
  await primary.restart();
  await theirs.getByRole("button", { name: "Done" }).click();
  await waitUntilConverged([mine, theirs]);
  await expect(mine.getByRole("listitem")).toHaveCount(0);
});

test("what is added without a connection arrives when there is one", async ({ browser, primary }) => {
  const [mine, theirs] = await openBrowsers(browser, primary.origin, 2);
  await waitForInSync(mine);
  await primary.kill();
  await mine.getByLabel("Add an item").fill("Milk");
  await mine.getByRole("button", { name: "Add" }).click();
  await expect(mine.locator("li.pending")).toContainText(["Milk"]);
  await primary.restart();
  await expect(theirs.getByRole("listitem")).toContainText(["Milk"]);
  await expect(mine.locator("li.pending")).toHaveCount(0);
});
