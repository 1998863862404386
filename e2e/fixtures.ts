// What a spec can ask for besides a browser.

import { test as base } from "@playwright/test";
import { Server } from "./server.ts";

export const test = base.extend<{ server: Server }>({
  /** A primary of the test's own. */
  server: async ({}, use) => {
    const server = await Server.start();
    await use(server);
    await server.stop();
  },
});
