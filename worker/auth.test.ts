import { evictDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { afterEach, describe, expect, it, vi } from "vitest";
import { CLOSE, SUBPROTOCOL } from "../src/protocol.ts";
import type { TokenClaim } from "../src/rights.ts";
import { createApp } from "./app.ts";
import type { AppEnv } from "./app.ts";
import { Peer } from "./testing/peer.ts";

const SECRET = "a secret of at least thirty-two bytes";
const { ALLOW_ANONYMOUS: _, ...closed } = env as AppEnv;
const WITH_SECRET: AppEnv = { ...closed, JWT_SECRET: SECRET };
let storesUsed = 0;

afterEach(() => {
  vi.restoreAllMocks();
});

function mint(claim: unknown, expiresIn: string | number = "1h", secret = SECRET, sub?: string): Promise<string> {
  return new SignJWT({ headwater: claim, ...(sub !== undefined && { sub }) })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime(expiresIn)
    .sign(new TextEncoder().encode(secret));
}

/** An app in front of a store of the test's own. */
class Door {
  readonly store = `auth-${++storesUsed}`;
  readonly #app = createApp();
  readonly #env: AppEnv;

  constructor(env: AppEnv = WITH_SECRET) {
    this.#env = env;
  }

  get claim(): TokenClaim {
    return { stores: [this.store] };
  }

  async fetch(request: Request): Promise<Response> {
    return this.#app.fetch(request, this.#env);
  }

  async ask(method: string, path: string, token?: string, body?: string): Promise<[status: number, body: unknown]> {
    const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const init = body === undefined ? { method, headers } : { method, headers, body };
    const response = await this.fetch(new Request(`http://headwater/v1/stores/${this.store}${path}`, init));
    const text = await response.text();
    return [response.status, text === "" ? undefined : JSON.parse(text)];
  }

  async connect(token: string): Promise<Peer> {
    const door = {
      fetch: (request: Request) => {
        const headers = new Headers(request.headers);
        headers.set("Sec-WebSocket-Protocol", `${SUBPROTOCOL}, token.${token}`);
        return this.fetch(new Request(request.url, { headers }));
      },
    };
    return Peer.connect(door, `http://headwater/v1/stores/${this.store}/replicate`);
  }

  get object(): DurableObjectStub {
    return (env as AppEnv).PRIMARY.getByName(this.store);
  }
}

const statusOf = async (answer: Promise<[number, unknown]>): Promise<number> => (await answer)[0];

describe("a door with a secret", () => {
  it("lets in whoever shows a token for the store, and nobody else", async () => {
    const door = new Door();
    expect(await door.ask("GET", "/status")).toMatchObject([401, { code: "unauthorized" }]);
    const others: unknown[] = [
      { stores: [] },
      { stores: ["other"] },
      { stores: [`${door.store}x`] },
      { stores: ["x*"] },
    ];
    for (const claim of others) expect(await statusOf(door.ask("GET", "/status", await mint(claim)))).toBe(403);
    for (const stores of [[door.store], ["*"], ["auth-*"]]) {
      expect(await statusOf(door.ask("GET", "/status", await mint({ stores })))).toBe(200);
    }
  });

  it("takes no token that is forged, of a wrong form, without an end or past it", async () => {
    const door = new Door();
    const { claim } = door;
    const flawed = [
      null,
      {},
      { stores: "*" },
      { ...claim, read: [""] },
      { ...claim, write: "x" },
      { ...claim, sync: 1 },
    ];
    const endless = await new SignJWT({ headwater: claim })
      .setProtectedHeader({ alg: "HS256" })
      .sign(new TextEncoder().encode(SECRET));
    const unsigned = `${btoa('{"alg":"none"}')}.${btoa(JSON.stringify({ exp: 4e9, headwater: claim }))}.`;
    const tokens = [
      await mint(claim, "1h", "another secret of thirty-two bytes and more"),
      await mint(claim, Math.floor(Date.now() / 1000) - 60),
      ...(await Promise.all(flawed.map((one) => mint(one)))),
      endless,
      unsigned.replaceAll("=", ""),
      "nonsense",
    ];
    for (const token of tokens) {
      const [status, body] = await door.ask("GET", "/status", token);
      expect([status, body]).toMatchObject([401, { code: "unauthorized" }]);
      expect(JSON.stringify(body)).not.toContain(token);
    }
  });

  it("says how to open it, and does not open with a secret that can be guessed", async () => {
    const [status, body] = await new Door(closed).ask("GET", "/status");
    expect(status).toBe(401);
    for (const name of ["JWT_SECRET", "JWKS_URL", "ALLOW_ANONYMOUS", "authorize"]) {
      expect((body as { detail: string }).detail).toContain(name);
    }
    const log = vi.spyOn(console, "error").mockImplementation(() => {});
    const weak = new Door({ ...closed, JWT_SECRET: "short" });
    expect(await statusOf(weak.ask("GET", "/status", await mint(weak.claim, "1h", "short")))).toBe(401);
    expect(String(log.mock.calls[0])).toContain("JWT_SECRET has less than 32 bytes");
  });

  it("demands issuer and audience where they are set", async () => {
    const door = new Door({ ...WITH_SECRET, JWT_ISSUER: "us", JWT_AUDIENCE: "headwater" });
    const sign = (iss: string, aud: string): Promise<string> =>
      new SignJWT({ headwater: door.claim, iss, aud })
        .setProtectedHeader({ alg: "HS256" })
        .setExpirationTime("1h")
        .sign(new TextEncoder().encode(SECRET));
    expect(await statusOf(door.ask("GET", "/status", await sign("us", "headwater")))).toBe(200);
    expect(await statusOf(door.ask("GET", "/status", await sign("them", "headwater")))).toBe(401);
    expect(await statusOf(door.ask("GET", "/status", await sign("us", "other")))).toBe(401);
  });
});

describe("a door with public keys", () => {
  it("fetches them once, takes what is signed with them, and nothing that the other kind of key has signed", async () => {
    const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
    const jwk = { ...(await exportJWK(publicKey)), kid: "1", alg: "ES256" };
    const fetched = vi
      .spyOn(globalThis, "fetch")
      .mockImplementation(async () => Response.json({ keys: [jwk] }, { headers: { "Cache-Control": "max-age=600" } }));
    const door = new Door({ ...closed, JWKS_URL: "https://id.example/keys" });
    const token = await new SignJWT({ headwater: door.claim })
      .setProtectedHeader({ alg: "ES256", kid: "1" })
      .setExpirationTime("1h")
      .sign(privateKey);
    for (let round = 0; round < 3; round++) expect(await statusOf(door.ask("GET", "/status", token))).toBe(200);
    expect(fetched).toHaveBeenCalledTimes(1);
    // A public key is no secret: signed with its text, a token is worth nothing.
    const forged = await mint(door.claim, "1h", JSON.stringify(jwk));
    expect(await statusOf(door.ask("GET", "/status", forged))).toBe(401);
  });

  it("does not blame the token when the keys cannot be had", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    vi.spyOn(globalThis, "fetch").mockRejectedValue(new Error("no network"));
    const door = new Door({ ...closed, JWKS_URL: "https://id.example/keys" });
    const { privateKey } = await generateKeyPair("ES256");
    const token = await new SignJWT({ headwater: door.claim })
      .setProtectedHeader({ alg: "ES256", kid: "1" })
      .setExpirationTime("1h")
      .sign(privateKey);
    expect(await door.ask("GET", "/status", token)).toMatchObject([503, { code: "unavailable" }]);
  });
});

describe("rights over HTTP", () => {
  it("S1 cover reading, writing and checking, key by key", async () => {
    const door = new Door();
    const owner = await mint({ ...door.claim, write: true });
    const limited = await mint({ ...door.claim, read: ["pub/", "ann/"], write: ["ann/"] });
    for (const key of ["ann%2Fa", "pub%2Fa", "secret%2Fa"]) {
      expect(await statusOf(door.ask("PUT", `/entries/${key}`, owner, "1"))).toBe(200);
    }
    expect(await door.ask("GET", "/entries/pub%2Fa", limited)).toEqual([200, 1]);
    expect(await door.ask("GET", "/entries/secret%2Fa", limited)).toMatchObject([403, { code: "forbidden" }]);
    expect(await statusOf(door.ask("PUT", "/entries/ann%2Fb", limited, "2"))).toBe(200);
    const refused = [403, { code: "forbidden", applied: false }];
    expect(await door.ask("PUT", "/entries/pub%2Fa", limited, "2")).toMatchObject(refused);
    expect(await door.ask("DELETE", "/entries/pub%2Fa", limited)).toMatchObject(refused);
    const batchOf = (key: string, checked: string): string =>
      JSON.stringify({ ops: [{ insert: { key, value: 3 } }], checks: [{ key: checked, seq: 99 }] });
    expect(await door.ask("POST", "/batch", limited, batchOf("pub/a", "ann/a"))).toMatchObject(refused);
    expect(await door.ask("POST", "/batch", limited, batchOf("ann/a", "secret/a"))).toMatchObject(refused);
    expect(await statusOf(door.ask("POST", "/batch", limited, batchOf("ann/a", "pub/a")))).toBe(412);
    // One that says nothing of writing writes nothing.
    expect(await door.ask("PUT", "/entries/ann%2Fb", await mint(door.claim), "2")).toMatchObject(refused);
  });

  it("S2 cover lists, page by page and in both directions, and streams", async () => {
    const door = new Door();
    const owner = await mint({ ...door.claim, write: true });
    const keys = ["a/1", "a/2", "b/1", "c/1", "c/2", "c/x/1", "d/1"];
    const ops = keys.map((key) => ({ insert: { key, value: key } }));
    await door.ask("POST", "/batch", owner, JSON.stringify({ ops }));
    const limited = await mint({ ...door.claim, read: ["c/", "a/", "c/x", "z/"] });
    const readable = ["a/1", "a/2", "c/1", "c/2", "c/x/1"];
    for (const [reverse, expected] of [
      [false, readable],
      [true, readable.toReversed()],
    ] as const) {
      for (const limit of [1, 2, 3, 5, 100]) {
        const listed: string[] = [];
        let cursor: string | undefined = "";
        while (cursor !== undefined) {
          const query = `limit=${limit}&reverse=${reverse}&cursor=${encodeURIComponent(cursor)}`;
          const [, page] = (await door.ask("GET", `/entries?${query}`, limited)) as [
            number,
            { entries: { key: string }[]; cursor?: string },
          ];
          expect(page.entries.length).toBeGreaterThan(0);
          listed.push(...page.entries.map(({ key }) => key));
          ({ cursor } = page);
        }
        expect(listed).toEqual(expected);
      }
    }
    const listOf = async (query: string): Promise<string[]> => {
      const [, page] = await door.ask("GET", `/entries?${query}`, limited);
      return (page as { entries: { key: string }[] }).entries.map(({ key }) => key);
    };
    expect(await listOf("prefix=c/x")).toEqual(["c/x/1"]);
    expect(await listOf("prefix=b")).toEqual([]);
    expect(await listOf("start=a/2&end=c/2")).toEqual(["a/2", "c/1"]);

    const url = `http://headwater/v1/stores/${door.store}/replicate`;
    const response = await door.fetch(new Request(url, { headers: { Authorization: `Bearer ${limited}` } }));
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    const { value } = await reader.read();
    const { changes } = JSON.parse(value!) as { changes: { key: string }[] };
    expect(changes.map(({ key }) => key).toSorted()).toEqual(readable);
    await reader.cancel();
  });
});

describe("rights to the store as a whole", () => {
  it("S4 are those of tokens with `admin`, and of nobody who shows none", async () => {
    const door = new Door({ ...WITH_SECRET, ALLOW_ANONYMOUS: "true" });
    const strict = new Door();
    const routes = [
      ["GET", "/export"],
      ["HEAD", "/export"],
      ["POST", "/import"],
      ["DELETE", ""],
    ] as const;
    const plain = await mint({ ...door.claim, write: true, sync: true });
    const elsewhere = await mint({ stores: ["other"], admin: true });
    await door.ask("PUT", "/entries/a", plain, "1");
    for (const [method, path] of routes) {
      for (const token of [undefined, plain, elsewhere]) {
        expect([method, await statusOf(door.ask(method, path, token))]).toEqual([method, 403]);
      }
      expect([method, await statusOf(strict.ask(method, path))]).toEqual([method, 401]);
    }
    expect(await door.ask("DELETE", "")).toMatchObject([403, { code: "forbidden", applied: false }]);
    expect(await door.ask("GET", "/status")).toMatchObject([200, { head: 1, entries: 1 }]);

    const admin = await mint({ ...door.claim, admin: true });
    const file = await door.fetch(
      new Request(`http://headwater/v1/stores/${door.store}/export`, { headers: { Authorization: `Bearer ${admin}` } }),
    );
    const lines = await new Response(file.body).text();
    expect(await door.ask("DELETE", "", admin)).toMatchObject([200, { entries: 0 }]);
    expect(await door.ask("POST", "/import", admin, lines)).toMatchObject([200, { entries: 1 }]);
    expect(await door.ask("GET", "/entries/a")).toEqual([200, 1]);
  });

  it("S4 let nobody export who may not read all of it, since the rest would be missing from what looks whole", async () => {
    const door = new Door();
    const half = await mint({ ...door.claim, read: ["a/"], admin: true });
    expect(await door.ask("GET", "/export", half)).toMatchObject([
      403,
      { code: "forbidden", detail: expect.stringContaining('begin with "a/"') },
    ]);
  });
});

describe("rights on a socket", () => {
  it("S2 a secondary gets what it may read, asks for no more, and is waited for only if it may be", async () => {
    const door = new Door();
    const owner = await mint({ ...door.claim, write: true });
    await door.ask("PUT", "/entries/ann%2Fa", owner, "1");
    await door.ask("PUT", "/entries/secret", owner, "1");
    const claim = { ...door.claim, read: ["ann/"], write: ["ann/"] };
    const greedy = await door.connect(await mint({ ...claim, sync: true }));
    greedy.join("greedy");
    expect(await greedy.closed).toMatchObject({
      code: CLOSE.forbidden,
      reason: expect.stringContaining("ann/") as string,
    });
    const beside = await door.connect(await mint({ ...claim, sync: true }));
    beside.join("beside", { prefixes: ["ann/", "bob/"] });
    expect((await beside.closed).code).toBe(CLOSE.forbidden);

    const peer = await door.connect(await mint({ ...claim, sync: true }));
    peer.join("peer", { prefixes: ["ann/"] });
    await peer.expect("joined-secondary");
    const first = await peer.expect("snapshot");
    expect(first.changes.map(({ key }) => key)).toEqual(["ann/a"]);
    peer.ack(first.seq);
    await peer.expect("membership");
    const follower = await door.connect(await mint(claim));
    follower.join("follower", { prefixes: ["ann/a"] });
    await follower.expect("joined-secondary");
    follower.ack((await follower.expect("snapshot")).seq);
    const { secondaries } = (await door.ask("GET", "/status", owner))[1] as { secondaries: object[] };
    expect(secondaries).toMatchObject([
      { id: "peer", state: "in-sync" },
      { id: "follower", mode: "durable", state: "following" },
    ]);
  });

  it("S2 a status tells whoever may read some keys of those and of his own secondaries", async () => {
    const door = new Door();
    const owner = await mint({ ...door.claim, write: true });
    for (const key of ["ann%2Fa", "ann%2Fb", "secret"]) await door.ask("PUT", `/entries/${key}`, owner, "1");
    const claim = { ...door.claim, read: ["ann/", "bob/"] };
    const sub = (name: string): Promise<string> => mint(claim, "1h", undefined, name);
    for (const name of ["ann", "bob"]) {
      const peer = await door.connect(await sub(name));
      peer.join(`of-${name}`, { prefixes: ["ann/"] });
      await peer.expect("joined-secondary");
    }
    const seenBy = async (token: string): Promise<unknown> => {
      const [, status] = await door.ask("GET", "/status", token);
      const { entries, secondaries } = status as { entries: number; secondaries: { id: string }[] };
      return [entries, ...secondaries.map(({ id }) => id)];
    };
    expect(await seenBy(owner)).toEqual([3, "of-ann", "of-bob"]);
    expect(await seenBy(await sub("bob"))).toEqual([2, "of-bob"]);
    expect(await seenBy(await mint(claim))).toEqual([2]);
  });

  it("S1 each message is held to them", async () => {
    const door = new Door();
    const peer = await door.connect(await mint({ ...door.claim, read: ["pub/"], write: ["ann/"] }));
    peer.insert("c", 1, "ann/a", 1);
    expect(await peer.expect("operation-ack")).toMatchObject({ id: 1 });
    peer.insert("c", 2, "pub/a", 1);
    expect(await peer.expect("operation-failed")).toMatchObject({ id: 2, code: "forbidden", applied: false });
    peer.send({ type: "get", clientId: "c", id: 3, key: "ann/a" });
    expect(await peer.expect("operation-failed")).toMatchObject({ id: 3, code: "forbidden" });
    peer.send({ type: "get", clientId: "c", id: 4, key: "pub/a" });
    expect(await peer.expect("get-result")).toMatchObject({ id: 4, entry: null });
  });

  it("S3 end with the token, also for those whose primary is asleep by then", async () => {
    const door = new Door();
    const seconds = Math.floor(Date.now() / 1000);
    const short = await mint({ ...door.claim, write: true, sync: true }, seconds + 2);
    const peers = [await door.connect(short), await door.connect(short)];
    const other = await door.connect(await mint({ ...door.claim, write: true }));
    peers[0]!.insert("t", 1, "a", 1);
    await peers[0]!.expect("operation-ack");
    await evictDurableObject(door.object);
    for (const peer of peers) {
      expect(await peer.closed).toEqual({ code: CLOSE.expired, reason: "the token has expired" });
    }
    expect(Date.now()).toBeGreaterThanOrEqual((seconds + 2) * 1000);
    other.send({ type: "get", clientId: "o", id: 1, key: "a" });
    expect(await other.expect("get-result")).toMatchObject({ entry: { key: "a" } });
  });
});
