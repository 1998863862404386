import { defineConfig } from "@playwright/test";
import { CHROMIUM_ARGS, locateBrowser } from "./browser.ts";

// The test command has found the browser already; a person who calls Playwright directly may not have.
const executablePath = process.env.HEADWATER_CHROMIUM ?? locateBrowser();

export default defineConfig({
  testDir: ".",
  outputDir: "../reports/e2e",
  // The specs count on the whole machine: they start primaries, and they measure.
  workers: 1,
  forbidOnly: Boolean(process.env.CI),
  timeout: 120_000,
  reporter: [["list"], ["json", { outputFile: "../reports/e2e.json" }]],
  use: {
    browserName: "chromium",
    screenshot: "only-on-failure",
    launchOptions: {
      ...(executablePath === undefined ? {} : { executablePath }),
      args: CHROMIUM_ARGS,
    },
  },
});
