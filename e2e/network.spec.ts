// The bad network itself: that it does to connections what chaos counts on.

import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test as base } from "@playwright/test";
import { Network } from "./kit/network.ts";

interface Wire {
  network: Network;
  browser: Socket;
  primary: Socket;
  /** What has come to either end. */
  heard: { browser: string; primary: string };
}

const test = base.extend<{ wire: Wire }>({
  wire: async ({}, use) => {
    const server: Server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const network = await Network.start((server.address() as AddressInfo).port);
    const browser = connect(network.port, "127.0.0.1");
    const [primary] = (await once(server, "connection")) as [Socket];
    const heard = { browser: "", primary: "" };
    browser.on("data", (text: Buffer) => (heard.browser += text.toString())).on("error", () => {});
    primary.on("data", (text: Buffer) => (heard.primary += text.toString())).on("error", () => {});
    await use({ network, browser, primary, heard });
    await network.stop();
    browser.destroy();
    primary.destroy();
    server.close();
  },
});

const SOON_MS = 60;

test("a network passes everything on, both ways and in order", async ({ wire: { browser, primary, heard } }) => {
  for (const text of ["1", "2", "3"]) browser.write(text);
  primary.write("4");
  await expect.poll(() => heard).toEqual({ browser: "4", primary: "123" });
});

test("one direction can be held back and slowed down", async ({ wire: { network, browser, primary, heard } }) => {
  network.up.isHeld = true;
  network.down.delayMs = 3 * SOON_MS;
  browser.write("1");
  primary.write("2");
  await sleep(SOON_MS);
  expect(heard).toEqual({ browser: "", primary: "" });
  await expect.poll(() => heard).toEqual({ browser: "2", primary: "" });
  network.heal();
  await expect.poll(() => heard).toEqual({ browser: "2", primary: "1" });
});

test("a dropped connection ends for both, and a refused one does not begin", async ({ wire }) => {
  const { network, browser, primary } = wire;
  const ended = Promise.all([once(browser, "close"), once(primary, "close")]);
  network.isRefusing = true;
  network.drop();
  await ended;
  const refused = connect(network.port, "127.0.0.1").on("error", () => {});
  await once(refused, "close");
});

test("a half-open connection has ended for one side only, until it is healed", async ({ wire }) => {
  const { network, browser, primary, heard } = wire;
  const ended = once(primary, "close");
  network.halfOpen("primary");
  await ended;
  browser.write("into the void");
  await sleep(SOON_MS);
  expect(browser.closed).toBe(false);
  expect(heard).toEqual({ browser: "", primary: "" });
  const healed = once(browser, "close");
  network.heal();
  await healed;
});
