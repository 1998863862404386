// A store that is deleted, exported and imported under the eyes of a page: what its replica makes of it.

import { request } from "node:http";
import { expect } from "@playwright/test";
import { SignJWT } from "jose";
import type { BarePrimary } from "./bare-primary.ts";
import { test } from "./fixtures.ts";
import { statusOf, waitForInSync, waitForReplica } from "./kit/index.ts";
import { POLLING, insert, openTab, readAll } from "./tab.ts";

const SECRET = "a secret of at least thirty-two bytes";
const STORE = "board";

test.use({ vars: { ALLOW_ANONYMOUS: "true", JWT_SECRET: SECRET } });

/** Asks for what takes `admin`. */
async function ask(primary: BarePrimary, method: string, path = "", body?: string): Promise<Response> {
  const url = `${primary.origin}/v1/stores/${STORE}${path}`;
  return fetch(url, { method, headers: await adminHeaders(), ...(body !== undefined && { body }) });
}

async function adminHeaders(): Promise<{ Authorization: string }> {
  const token = await new SignJWT({ headwater: { stores: [STORE], admin: true } })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(SECRET));
  return { Authorization: `Bearer ${token}` };
}

test("E3, E4: a page's replica follows a deletion and an import, on its disk, too", async ({ context, primary }) => {
  const page = await openTab(context, primary.origin, STORE);
  await waitForInSync(page);
  const entries = Array.from({ length: 300 }, (_, i) => [`card/${i}`, { text: `ü😀 ${i}` }] as const);
  await page.evaluate(
    (all) => Promise.all(all.map(([key, value]) => window.headwater.replica.insert(key, value))),
    entries,
  );
  const expected = new Map<string, unknown>(entries);
  const file = await (await ask(primary, "GET", "/export")).text();
  const epochs = new Set([(await statusOf(page)).epoch]);

  expect((await ask(primary, "DELETE")).status).toBe(200);
  await page.waitForFunction(() => window.headwater.replica.list().length === 0, null, POLLING);
  await waitForInSync(page);
  epochs.add((await statusOf(page)).epoch);
  expect(await insert(page, "alone", 1)).toMatchObject({ replicas: 1 });
  await page.reload();
  await waitForReplica(page);
  expect(await readAll(page)).toEqual(new Map([["alone", 1]]));

  expect((await ask(primary, "POST", "/import", file)).status).toBe(409);
  expect((await ask(primary, "DELETE")).status).toBe(200);
  const imported = await ask(primary, "POST", "/import", file);
  expect([imported.status, await imported.json()]).toMatchObject([200, { entries: 300 }]);
  await page.waitForFunction((count) => window.headwater.replica.list().length === count, entries.length, POLLING);
  await waitForInSync(page);
  expect(await readAll(page)).toEqual(expected);
  const { epoch, seq, persisted } = await statusOf(page);
  epochs.add(epoch);
  expect(epochs.size).toBe(3);
  expect([seq, persisted]).toEqual([(await primary.status(STORE)).head, seq]);

  // The history that was begun is the one that a restart finds, on both sides.
  await primary.kill();
  await page.reload();
  await waitForReplica(page);
  expect(await readAll(page)).toEqual(expected);
  await primary.restart();
  await waitForInSync(page);
  expect(await statusOf(page)).toMatchObject({ epoch, seq });
  expect(await insert(page, "card/0", "new")).toEqual({ seq: seq + 1, replicas: 1 });
});

test("E2, E5: a page goes on while an import runs, and shows what it has brought when it has ended", async ({
  context,
  primary,
}) => {
  const page = await openTab(context, primary.origin, STORE);
  await waitForInSync(page);
  const { epoch } = await statusOf(page);
  const lines = Array.from({ length: 3000 }, (_, i) => JSON.stringify({ key: `card/${i}`, value: i, seq: i + 1 }));
  const url = `${primary.origin}/v1/stores/${STORE}/import?replace=true`;
  const asked = request(url, { method: "POST", headers: await adminHeaders() });
  const answered = new Promise<number | undefined>((resolve) => {
    asked.on("response", (response) => resolve(response.resume().statusCode));
  });
  asked.write(['{"headwater":1,"store":"board","epoch":"e-1"}', ...lines, ""].join("\n"));
  const { seq } = await insert(page, "meanwhile", true);
  expect(await statusOf(page)).toMatchObject({ state: "following", epoch });
  asked.end('{"seq":3000,"entries":3000}\n');
  expect(await answered).toBe(200);
  await page.waitForFunction((old) => window.headwater.replica.status.epoch !== old, epoch, POLLING);
  await waitForInSync(page);
  expect(await readAll(page)).toEqual(new Map<string, unknown>([...lines.keys()].map((i) => [`card/${i}`, i])));
  const { head } = await primary.status(STORE);
  expect(head).toBe(Math.max(3000, seq + 1));
  expect(await insert(page, "card/0", "new")).toEqual({ seq: head + 1, replicas: 1 });
});
