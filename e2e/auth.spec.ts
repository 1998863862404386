// Who is let in: replicas with tokens that expire, and tokens that allow little.

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "@playwright/test";
import type { Page } from "@playwright/test";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { BarePrimary } from "./bare-primary.ts";
import { test } from "./fixtures.ts";
import { waitForInSync, waitForReplica, waitForStatus } from "./kit/index.ts";
import { POLLING, readAll } from "./tab.ts";

const SECRET = "a secret of at least thirty-two bytes";
/** The replica with the tokens; the board has one of its own. */
const NOTES = { store: "notes" };
/** A token that holds so long has expired, and been replaced, before a test is patient no more. */
const SHORT_S = 4;

test.use({ vars: { JWT_SECRET: SECRET } });

function mint(claim: object, seconds = 3600): Promise<string> {
  return new SignJWT({ headwater: claim })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
    .sign(new TextEncoder().encode(SECRET));
}

interface AuthWindow {
  /** Offered by the test. */
  mintToken(this: void): Promise<string>;
  headwater: {
    openReplica(this: void, options: object): Promise<Window["headwater"]["replica"]>;
    replica: Window["headwater"]["replica"];
  };
}

/** Opens a replica with tokens that the test mints, in place of the board's own, which has none. */
async function openWithTokens(page: Page, primary: BarePrimary, options: object, claim: object, seconds?: number) {
  const minted: number[] = [];
  await page.exposeFunction("mintToken", () => {
    minted.push(Date.now());
    return mint(claim, seconds);
  });
  await page.goto(`${primary.origin}/?store=closed`);
  await waitForReplica(page);
  await page.evaluate(async (asked) => {
    const { headwater, mintToken } = window as unknown as AuthWindow;
    headwater.replica = await headwater.openReplica({ ...asked, token: mintToken });
  }, options);
  return minted;
}

/** How an insert ends: `acked`, or the code of its failure. */
function tryInsert(page: Page, key: string): Promise<string> {
  return page.evaluate(
    (one) =>
      window.headwater.replica.insert(one, 1).then(
        () => "acked",
        (error: unknown) => (error as { code?: string }).code ?? String(error),
      ),
    key,
  );
}

test("S3 a token that expires is replaced by the next one, and the replica goes on", async ({ page, primary }) => {
  const claim = { stores: ["notes"], write: true, sync: true };
  const minted = await openWithTokens(page, primary, { url: "/v1/stores/notes" }, claim, SHORT_S);
  await waitForInSync(page, NOTES);
  for (let round = 0; round < 2; round++) {
    const count = minted.length;
    expect(await tryInsert(page, `round ${round}`)).toBe("acked");
    await expect.poll(() => minted.length, { timeout: SHORT_S * 3000 }).toBeGreaterThan(count);
    await waitForInSync(page, NOTES);
  }
  expect(await tryInsert(page, "last")).toBe("acked");
  expect((await readAll(page)).size).toBe(3);
  // It is asked for when one is needed, and not all the time.
  expect(minted.length).toBeLessThan(8);
});

test("S1 S2 a token that allows little shows little and takes little", async ({ page, primary }) => {
  const url = `${primary.origin}/v1/stores/notes/entries`;
  const owner = { Authorization: `Bearer ${await mint({ stores: ["notes"], write: true })}` };
  for (const key of ["ann/a", "bob/a"]) {
    await fetch(`${url}/${encodeURIComponent(key)}`, { method: "PUT", body: "1", headers: owner });
  }
  const claim = { stores: ["notes"], read: ["ann/"], write: ["ann/notes/"] };
  await openWithTokens(page, primary, { url: "/v1/stores/notes", prefixes: ["ann/"], identity: "ann" }, claim);
  await waitForStatus(page, ({ state }) => state === "following", NOTES);
  expect(await readAll(page)).toEqual(new Map([["ann/a", 1]]));
  expect(await tryInsert(page, "ann/notes/1")).toBe("acked");
  expect(await tryInsert(page, "ann/a")).toBe("forbidden");
  expect(await tryInsert(page, "bob/a")).toBe("forbidden");
  expect(await page.evaluate(() => window.headwater.replica.status.inSync)).toBe(false);

  // One that asks for more is told what it may ask for.
  await page.evaluate(
    async (asked) => {
      const { headwater, mintToken } = window as unknown as AuthWindow;
      headwater.replica = await headwater.openReplica({ ...asked, token: mintToken });
    },
    { url: "/v1/stores/notes", identity: "ann" },
  );
  await page.waitForFunction(() => window.headwater.replica.status.lastError?.includes('"ann/"'), null, POLLING);
  expect(await page.evaluate(() => window.headwater.replica.list().length)).toBe(0);
});

test("without a token nothing is shown, and writes fail as offline", async ({ page, primary }) => {
  await page.goto(`${primary.origin}/?store=closed`);
  await waitForReplica(page);
  expect(await tryInsert(page, "a")).toBe("offline");
  expect(await readAll(page)).toEqual(new Map());
});

test("tokens are checked against published keys, and nobody is let in while those cannot be had", async () => {
  const { privateKey, publicKey } = await generateKeyPair("ES256");
  const stranger = await generateKeyPair("ES256");
  const published = { keys: [{ ...(await exportJWK(publicKey)), kid: "one", alg: "ES256" }] };
  let isUp = false;
  const keyServer = createServer((_, response) => {
    response.writeHead(isUp ? 200 : 500, { "Content-Type": "application/json" }).end(JSON.stringify(published));
  }).listen(0, "127.0.0.1");
  await once(keyServer, "listening");
  const JWKS_URL = `http://127.0.0.1:${(keyServer.address() as AddressInfo).port}/keys`;
  const primary = await BarePrimary.start({ JWKS_URL, JWT_ISSUER: "https://id.example" });
  try {
    const ask = async (key: CryptoKey, issuer = "https://id.example"): Promise<number> => {
      const token = await new SignJWT({ headwater: { stores: ["notes"] } })
        .setProtectedHeader({ alg: "ES256", kid: "one" })
        .setIssuer(issuer)
        .setExpirationTime("1 hour")
        .sign(key);
      const headers = { Authorization: `Bearer ${token}` };
      return (await fetch(`${primary.origin}/v1/stores/notes/entries`, { headers })).status;
    };
    expect(await ask(privateKey)).toBe(503);
    isUp = true;
    expect(await ask(privateKey)).toBe(200);
    expect(await ask(stranger.privateKey)).toBe(401);
    expect(await ask(privateKey, "https://elsewhere.example")).toBe(401);
  } finally {
    await primary.stop();
    keyServer.close();
  }
});
