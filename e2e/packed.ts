// What the specs of the package and of the docs share, as packing and installing take longer than most of their tests: the
// tarball, and the apps that are made once.

import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test as base } from "@playwright/test";
import { FreshApp, cloneInto, pack } from "./fresh-app.ts";
import { DevPrimary, freePort } from "./kit/index.ts";
import { readSamples } from "./samples.ts";

export const INSTALL_MS = 180_000;
export const QUICK_START = "docs/quick-start.md";
/** With which the docs sign, and which the app that they make is started with. */
const SECRET = "any text of at least thirty-two bytes";
const PORT_IN_DOCS = "localhost:8787";

/** An app that runs. */
interface Site {
  app: FreshApp;
  origin: string;
}

interface Packed {
  tarball: string;
  /** An app of plain TypeScript, with nothing but a bundler and a library of schemas. */
  plain: FreshApp;
  /** One with everything that a sample may use. */
  app: FreshApp;
  /** Where a worker of three lines serves stores. */
  primary: DevPrimary;
  /** What who follows the quick start has in the end: the app that was made, and the one that was written by hand. */
  quickStart: { groceries: Site; board: Site };
}

export const test = base.extend<object, Packed>({
  tarball: [
    async ({}, use) => {
      const tarball = await pack();
      await use(tarball);
      await rm(dirname(tarball), { recursive: true, force: true });
    },
    { scope: "worker", timeout: INSTALL_MS },
  ],
  plain: [
    async ({ tarball }, use) => {
      const app = await FreshApp.create("vanilla", tarball, ["vite", "zod"]);
      await use(app);
      await app.remove();
    },
    { scope: "worker", timeout: INSTALL_MS },
  ],
  app: [
    async ({ tarball }, use) => {
      const packages = ["vite", "wrangler", "react", "react-dom", "vue", "@tanstack/db", "zod", "@playwright/test"];
      const types = ["@types/react", "@types/react-dom", "@types/node", "@cloudflare/workers-types"];
      const app = await FreshApp.create("samples", tarball, [...packages, ...types]);
      await use(app);
      await app.remove();
    },
    { scope: "worker", timeout: INSTALL_MS },
  ],
  primary: [
    async ({ app }, use) => {
      const primary = await DevPrimary.start({ folder: app.folder, vars: { ALLOW_ANONYMOUS: "true" } });
      await use(primary);
      await primary.stop();
    },
    { scope: "worker", timeout: INSTALL_MS },
  ],
  quickStart: [
    async ({}, use) => {
      const app = await FreshApp.empty("quick-start");
      try {
        await cloneInto(join(app.folder, "headwater"));
        const sites: Site[] = [];
        for (const { mark, text } of readSamples().filter(({ page }) => page === QUICK_START)) {
          if (mark === "run") app.type(lines(sites.at(-1)?.origin ?? `http://${PORT_IN_DOCS}`, text));
          else if (mark !== "start") await app.write(mark, text);
          else sites.push({ app: app.here(), origin: await app.start(await quiet(), 0, "sh", "-c", text) });
        }
        const [groceries, board] = sites;
        await use({ groceries: groceries!, board: board! });
      } finally {
        await app.remove();
      }
    },
    { scope: "worker", timeout: INSTALL_MS },
  ],
});

/** Where the docs say 8787, and something else may be there on this machine. */
export const at = (origin: string, text: string): string =>
  text.replaceAll(PORT_IN_DOCS, origin.replace("http://", ""));

/** The same for lines of a shell, whose commands may not name it. */
export const lines = (origin: string, text: string): string => `export HEADWATER_URL=${origin}\n${at(origin, text)}`;

async function quiet(): Promise<Record<string, string>> {
  const port = String(await freePort());
  const silence = { WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true", CI: "1" };
  return { ...silence, PORT: port, JWT_SECRET: SECRET };
}
