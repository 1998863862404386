// What specs can ask for besides a browser.

import { test as base } from "@playwright/test";
import { BarePrimary } from "./bare-primary.ts";

interface Shared {
  /** Variables of the worker. */
  vars: Record<string, string>;
  /** One for all tests of a kind: to bundle the worker takes longer than most of them. */
  shared: BarePrimary;
}

export const test = base.extend<{ primary: BarePrimary }, Shared>({
  vars: [{ ALLOW_ANONYMOUS: "true" }, { option: true, scope: "worker" }],
  shared: [
    async ({ vars }, use) => {
      const primary = await BarePrimary.start(vars);
      await use(primary);
      await primary.stop();
    },
    { scope: "worker" },
  ],
  /** As if it were the test's own: running, and with empty stores. */
  primary: async ({ browser, shared }, use) => {
    await shared.reset();
    await use(shared);
    // Replicas that a test has left open would join the next one's stores.
    await Promise.all(browser.contexts().map((context) => context.close()));
  },
});
