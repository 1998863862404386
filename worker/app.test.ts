import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import {
  BATCH_BYTES_MAX,
  BATCH_CHECKS_MAX,
  BATCH_OPERATIONS_MAX,
  KEY_BYTES_MAX,
  LINE_BYTES_MAX,
  LIST_LIMIT_MAX,
  METRICS_STORES_MAX,
  NAME_LENGTH_MAX,
  VALUE_BYTES_MAX,
  REST_BYTES_MAX,
} from "../src/limits.ts";
import { createApp } from "./app.ts";
import type { AppEnv, AppOptions } from "./app.ts";

import { Peer } from "./testing/peer.ts";

interface Answer {
  status: number;
  body: unknown;
  headers: Headers;
}

const OPEN: AppEnv = { ...(env as AppEnv), ALLOW_ANONYMOUS: "true" };
let storesUsed = 0;

/** The app in front of a store of the test's own. Paths that begin with `/` go into that store. */
class Client {
  readonly store: string;
  readonly #app;
  readonly #env: AppEnv;

  constructor(options: AppOptions = {}, env: AppEnv = OPEN) {
    storesUsed += 1;
    this.store = `app-${storesUsed}`;
    this.#app = createApp(options);
    this.#env = env;
  }

  url(path: string): string {
    return `http://headwater/v1/stores/${this.store}${path}`;
  }

  async fetch(request: Request): Promise<Response> {
    return await this.#app.fetch(request, this.#env);
  }

  async ask(method: string, url: string, body?: BodyInit, headers: Record<string, string> = {}): Promise<Answer> {
    const target = url.startsWith("/") ? this.url(url) : url;
    const init = body === undefined ? { method, headers } : { method, headers, body };
    const response = await this.fetch(new Request(target, init));
    const text = await response.text();
    const isJson = response.headers.get("Content-Type")?.includes("json") ?? false;
    return {
      status: response.status,
      body: isJson && text !== "" ? JSON.parse(text) : text,
      headers: response.headers,
    };
  }

  async get(url: string, headers?: Record<string, string>): Promise<unknown> {
    return (await this.ask("GET", url, undefined, headers)).body;
  }

  /** The status and body of an answer, the usual two to look at. */
  async do(...request: Parameters<Client["ask"]>): Promise<[number, unknown]> {
    const { status, body } = await this.ask(...request);
    return [status, body];
  }
}

const batchOf = (ops: unknown, checks?: unknown): string => JSON.stringify({ ops, checks });
const insertOf = (key: string, value: unknown): unknown => ({ insert: { key, value } });

/** The lines of a stream as they come. */
async function* linesOf(response: Response): AsyncGenerator<string, void> {
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const lines = text.split("\n");
    text = lines.pop()!;
    yield* lines;
  }
}

async function nextJson(lines: AsyncGenerator<string, void>): Promise<unknown> {
  const { value } = await lines.next();
  return JSON.parse(value ?? "null");
}

describe("entries", () => {
  it("are inserted, read with their seq as ETag, and removed", async () => {
    const client = new Client();
    expect(await client.do("PUT", "/entries/a", ' {"x": [1, null]} ')).toEqual([200, { seq: 1, replicas: 0 }]);
    const read = await client.ask("GET", "/entries/a");
    expect([read.status, read.body, read.headers.get("ETag")]).toEqual([200, { x: [1, null] }, '"1"']);
    expect(read.headers.get("Content-Type")).toBe("application/json");
    expect((await client.ask("GET", "/entries/a", undefined, { "If-None-Match": '"1"' })).status).toBe(304);
    expect((await client.ask("HEAD", "/entries/a")).headers.get("ETag")).toBe('"1"');
    expect(await client.do("DELETE", "/entries/a")).toEqual([200, { seq: 2, replicas: 0 }]);
    expect(await client.do("GET", "/entries/a")).toEqual([404, expect.objectContaining({ code: "not-found" })]);
  });

  it("are for the app's own pages and for what is no browser, not for other people's pages", async () => {
    const client = new Client();
    const put = (origin: string): Promise<unknown> => client.do("PUT", "/entries/a", "1", { Origin: origin });
    expect(await put("http://evil.example")).toEqual([
      403,
      expect.objectContaining({ code: "forbidden", applied: false }),
    ]);
    expect(await put("null")).toEqual([403, expect.objectContaining({ code: "forbidden" })]);
    expect(await client.get("/status")).toMatchObject({ head: 0 });
    expect(await put(new URL(client.url("")).origin)).toEqual([200, { seq: 1, replicas: 0 }]);
  });

  it("that are absent are removed without a change: seq is head", async () => {
    const client = new Client();
    await client.ask("PUT", "/entries/a", "1");
    expect(await client.do("DELETE", "/entries/b")).toEqual([200, { seq: 1, replicas: 0 }]);
    expect(await client.get("/status")).toMatchObject({ head: 1, entries: 1 });
  });

  it("may have any key that one percent-encoded segment can hold", async () => {
    const client = new Client();
    const keys = ["a/b", "a b", "ü😀", "%", "%2F", "?#&=+", "\0", "\n", "a.b", "ops:*", "~", "😀".repeat(256)];
    for (const key of keys) {
      const path = `/entries/${encodeURIComponent(key)}`;
      expect((await client.ask("PUT", path, JSON.stringify(key))).status).toBe(200);
      expect(await client.do("GET", path)).toEqual([200, key]);
    }
    const { entries } = (await client.get("/entries")) as { entries: { key: string }[] };
    expect(new Set(entries.map(({ key }) => key))).toEqual(new Set(keys));
  });

  it("are written only if a precondition holds; else 412 says what the key has", async () => {
    const client = new Client();
    const conflict = (seq: number | null): unknown =>
      expect.objectContaining({ code: "conflict", applied: false, check: { key: "a", seq } });
    expect((await client.ask("PUT", "/entries/a", "1", { "If-None-Match": "*" })).status).toBe(200);
    expect(await client.do("PUT", "/entries/a", "2", { "If-None-Match": "*" })).toEqual([412, conflict(1)]);
    expect(await client.do("PUT", "/entries/a", "2", { "If-Match": '"7"' })).toEqual([412, conflict(1)]);
    expect(await client.do("DELETE", "/entries/a", undefined, { "If-Match": '"7"' })).toEqual([412, conflict(1)]);
    expect((await client.ask("PUT", "/entries/a", "2", { "If-Match": '"1"' })).body).toEqual({ seq: 2, replicas: 0 });
    expect((await client.ask("DELETE", "/entries/a", undefined, { "If-Match": '"2"' })).status).toBe(200);
    expect(await client.do("PUT", "/entries/a", "3", { "If-Match": '"2"' })).toEqual([412, conflict(null)]);
    expect(await client.get("/status")).toMatchObject({ head: 3, entries: 0 });
  });

  it("written under an Idempotency-Key are written once, and the repeat gets the first outcome", async () => {
    const client = new Client();
    const name = { "Idempotency-Key": "me:1" };
    const first = await client.do("PUT", "/entries/a", "1", name);
    expect(await client.do("PUT", "/entries/a", "2", name)).toEqual(first);
    expect(await client.get("/entries/a")).toBe(1);
    const failed = await client.do("PUT", "/entries/a", "2", { "Idempotency-Key": "me:2", "If-None-Match": "*" });
    await client.ask("DELETE", "/entries/a");
    const again = await client.do("PUT", "/entries/a", "2", { "Idempotency-Key": "me:2", "If-None-Match": "*" });
    expect([again, failed[0]]).toEqual([failed, 412]);
    const batch = { "Idempotency-Key": "me:3" };
    const done = await client.do("POST", "/batch", batchOf([insertOf("b", 1)]), batch);
    expect(await client.do("POST", "/batch", batchOf([insertOf("c", 1)]), batch)).toEqual(done);
    expect(await client.get("/status")).toMatchObject({ head: 3, entries: 1 });
  });
});

describe("a batch", () => {
  it("is one atomic write under one seq", async () => {
    const client = new Client();
    await client.ask("PUT", "/entries/a", "1");
    const ops = [insertOf("b", 2), { remove: { key: "a" } }];
    expect(await client.do("POST", "/batch", batchOf(ops, [{ key: "a", seq: 1 }]))).toEqual([
      200,
      { seq: 2, replicas: 0 },
    ]);
    expect(await client.get("/entries")).toEqual({ entries: [{ key: "b", value: 2, seq: 2 }], seq: 2 });
  });

  it("changes nothing if one check fails, and says which", async () => {
    const client = new Client();
    await client.ask("PUT", "/entries/a", "1");
    const checks = [
      { key: "a", seq: 1 },
      { key: "a2", seq: null },
      { key: "a", seq: null },
    ];
    expect(await client.do("POST", "/batch", batchOf([insertOf("b", 2)], checks))).toEqual([
      412,
      expect.objectContaining({ code: "conflict", applied: false, check: { key: "a", seq: 1 } }),
    ]);
    expect(await client.get("/status")).toMatchObject({ head: 1, entries: 1 });
  });

  it("may be as large as its limits", async () => {
    const client = new Client();
    const ops = Array.from({ length: BATCH_OPERATIONS_MAX }, (_, i) => insertOf(`key-${i}`, i));
    expect(await client.do("POST", "/batch", batchOf(ops))).toEqual([200, { seq: 1, replicas: 0 }]);
    const value = "x".repeat(VALUE_BYTES_MAX - 2);
    const large = ["a", "b", "c"].map((key) => insertOf(key, value));
    expect(await client.do("POST", "/batch", batchOf(large))).toEqual([200, { seq: 2, replicas: 0 }]);
    expect(await client.get("/entries/c")).toBe(value);
  });
});

describe("a list", () => {
  const keys = ["a", "b/1", "b/2", "b/3", "c", "é", "\uffff", "😀"];

  async function filled(): Promise<Client> {
    const client = new Client();
    await client.ask("POST", "/batch", batchOf(keys.map((key) => insertOf(key, key))));
    return client;
  }

  interface Page {
    entries: { key: string }[];
    cursor?: string;
    seq: number;
  }

  it("shows the range that was asked for, in the order of UTF-8, either way", async () => {
    const client = await filled();
    const shown = async (query: string): Promise<string[]> =>
      ((await client.get(`/entries${query}`)) as Page).entries.map(({ key }) => key);
    expect(await shown("")).toEqual(keys);
    expect(await shown("?prefix=&start=&end=&limit=&reverse=&cursor=")).toEqual(keys);
    expect(await shown("?reverse=true")).toEqual(keys.toReversed());
    expect(await shown("?prefix=b/")).toEqual(["b/1", "b/2", "b/3"]);
    expect(await shown("?prefix=b%2F&start=b/2")).toEqual(["b/2", "b/3"]);
    expect(await shown("?start=b/3&end=%C3%A9")).toEqual(["b/3", "c"]);
    expect(await shown("?prefix=b/&reverse=1&limit=2")).toEqual(["b/3", "b/2"]);
    expect(await shown("?prefix=none")).toEqual([]);
  });

  it("comes in pages that the cursor joins without a gap, whatever the range", async () => {
    const client = await filled();
    for (const query of ["", "&reverse=true", "&prefix=b/", "&prefix=b/&reverse=true", "&start=b&end=d"]) {
      const whole = ((await client.get(`/entries?limit=100${query}`)) as Page).entries;
      for (const limit of [1, 3]) {
        const paged = [];
        let cursor: string | undefined = "";
        while (cursor !== undefined) {
          const page = (await client.get(`/entries?limit=${limit}${query}&cursor=${cursor}`)) as Page;
          paged.push(...page.entries);
          ({ cursor } = page);
        }
        expect(paged).toEqual(whole);
      }
    }
  });
});

describe("replication over HTTP", () => {
  it("upgrades to a session of which only our subprotocol is echoed", async () => {
    const client = new Client();
    const headers = { Upgrade: "websocket", "Sec-WebSocket-Protocol": "headwater.v1, token.secret" };
    const response = await client.fetch(new Request(client.url("/replicate"), { headers }));
    expect([response.status, response.headers.get("Sec-WebSocket-Protocol")]).toEqual([101, "headwater.v1"]);
    response.headers.set("X-Middleware", "may change headers");
    response.webSocket!.accept();
    response.webSocket!.close();
    const plain = await client.fetch(new Request(client.url("/replicate"), { headers: { Upgrade: "WebSocket" } }));
    expect([plain.status, plain.headers.has("Sec-WebSocket-Protocol")]).toEqual([101, false]);
    plain.webSocket!.accept();
    plain.webSocket!.close();
  });

  it("streams everything, then each change as it comes, as lines of JSON", async () => {
    const client = new Client();
    await client.ask("PUT", "/entries/a", "1");
    const response = await client.fetch(new Request(client.url("/replicate")));
    expect(response.headers.get("Content-Type")).toBe("application/x-ndjson");
    const lines = linesOf(response);
    const next = (): Promise<unknown> => nextJson(lines);
    const { epoch } = (await client.get("/status")) as { epoch: string };
    expect(await next()).toEqual({ reset: true, epoch, prev: 0, seq: 1, changes: [{ key: "a", value: 1 }] });
    await client.ask("PUT", "/entries/b", "2");
    expect(await next()).toEqual({ prev: 1, seq: 2, changes: [{ key: "b", value: 2 }] });
    await client.ask("POST", "/batch", batchOf([insertOf("c", 3), { remove: { key: "a" } }]));
    expect(await next()).toEqual({
      prev: 2,
      seq: 3,
      changes: [
        { key: "c", value: 3 },
        { key: "a", removed: true },
      ],
    });
    await lines.return(undefined);
  });

  it("tells a reader of an empty store that whatever it had is void", async () => {
    const client = new Client();
    const lines = linesOf(await client.fetch(new Request(client.url("/replicate"))));
    expect(await nextJson(lines)).toMatchObject({ reset: true, prev: 0, seq: 0, changes: [] });
    await lines.return(undefined);
  });

  it("continues after `since` with what changed, and says nothing when nothing has", async () => {
    const client = new Client();
    for (const key of ["a", "b", "c"]) await client.ask("PUT", `/entries/${key}`, "1");
    await client.ask("DELETE", "/entries/a");
    const behind = linesOf(await client.fetch(new Request(client.url("/replicate?since=2"))));
    const changes = [
      { key: "c", value: 1, seq: 3 },
      { key: "a", removed: true },
    ];
    expect(await nextJson(behind)).toEqual({ prev: 2, seq: 4, changes });
    const abreast = linesOf(await client.fetch(new Request(client.url("/replicate?since=4"))));
    await client.ask("PUT", "/entries/d", "1");
    const live = { prev: 4, seq: 5, changes: [{ key: "d", value: 1 }] };
    expect(await nextJson(abreast)).toEqual(live);
    expect(await nextJson(behind)).toEqual(live);
    await Promise.all([behind.return(undefined), abreast.return(undefined)]);
  });

  it("begins anew where `since` is of another history", async () => {
    const client = new Client();
    await client.ask("PUT", "/entries/a", "1");
    for (const query of ["?since=9", "?since=1&epoch=another"]) {
      const lines = linesOf(await client.fetch(new Request(client.url(`/replicate${query}`))));
      expect(await nextJson(lines)).toMatchObject({ reset: true, prev: 0, seq: 1 });
      await lines.return(undefined);
    }
  });

  it("streams server-sent events that Last-Event-ID resumes", async () => {
    const client = new Client();
    for (const key of ["a", "b"]) await client.ask("PUT", `/entries/${key}`, "1");
    const headers = { Accept: "text/event-stream", "Last-Event-ID": "1" };
    const response = await client.fetch(new Request(client.url("/replicate?since=0"), { headers }));
    expect(response.headers.get("Content-Type")).toBe("text/event-stream");
    const lines = linesOf(response);
    expect((await lines.next()).value).toBe("id: 2");
    expect((await lines.next()).value).toBe('data: {"prev":1,"seq":2,"changes":[{"key":"b","value":1}]}');
    expect((await lines.next()).value).toBe("");
    await lines.return(undefined);
  });

  it("opens no stream for a HEAD", async () => {
    const client = new Client();
    expect((await client.ask("HEAD", "/replicate")).status).toBe(200);
    expect(await client.get("/status")).toMatchObject({ secondaries: [] });
  });
});

describe("a write that waits for secondaries", () => {
  it("is 504 unconfirmed, with what is known, when one of them stays silent", async () => {
    const client = new Client();
    const peers = [
      await Peer.connect(client, client.url("/replicate")),
      await Peer.connect(client, client.url("/replicate")),
    ];
    for (const [i, peer] of peers.entries()) await peer.enter(`peer-${i}`);
    const answer = client.ask("PUT", "/entries/a", "1");
    peers[0]!.ack((await peers[0]!.expect("snapshot")).seq);
    const { status, body, headers } = await answer;
    expect(headers.get("Content-Type")).toBe("application/problem+json");
    expect([status, body]).toEqual([
      504,
      {
        type: "urn:headwater:problem:unconfirmed",
        title: expect.any(String),
        status: 504,
        code: "unconfirmed",
        applied: true,
        seq: 1,
        replicas: 1,
        expected: 2,
      },
    ]);
    expect(await client.get("/entries/a")).toBe(1);
    for (const peer of peers) peer.close();
  });

  it("is 503 not-enough-replicas before anything is written when fewer are in sync", async () => {
    const client = new Client();
    expect(await client.do("PUT", "/entries/a?ack=1", "1")).toEqual([
      503,
      expect.objectContaining({ code: "not-enough-replicas", applied: false }),
    ]);
    expect(await client.do("PUT", "/entries/a?ack=0", "1")).toEqual([200, { seq: 1, replicas: 0 }]);
    expect(await client.do("DELETE", "/entries/a?ack=primary")).toEqual([200, { seq: 2, replicas: 0 }]);
  });
});

describe("bad input", () => {
  const long = "k".repeat(KEY_BYTES_MAX + 1);
  const ops = (length: number): unknown[] => Array.from({ length }, (_, i) => insertOf(`${i}`, 1));
  const tooWide = Array.from({ length: 5 }, (_, i) => insertOf(`${i}`, "x".repeat(BATCH_BYTES_MAX / 5)));
  type Case = [what: string, status: number, code: string, ...request: Parameters<Client["ask"]>];
  const cases: Case[] = [
    ["malformed JSON", 400, "bad-request", "PUT", "/entries/a", "{"],
    ["an empty body", 400, "bad-request", "PUT", "/entries/a", ""],
    ["no body", 400, "bad-request", "PUT", "/entries/a"],
    ["a body that is not UTF-8", 400, "bad-request", "PUT", "/entries/a", new Uint8Array([0x22, 0xff, 0x22])],
    ["a malformed key", 400, "bad-request", "PUT", "/entries/%zz", "1"],
    ["a key cut off in a character", 400, "bad-request", "PUT", "/entries/%C3", "1"],
    ["an over-long key", 413, "too-large", "PUT", `/entries/${long}`, "1"],
    ["an over-long key to remove", 413, "too-large", "DELETE", `/entries/${long}`],
    ["an over-large value", 413, "too-large", "PUT", "/entries/a", `"${"x".repeat(VALUE_BYTES_MAX - 1)}"`],
    ["an over-large body", 413, "too-large", "PUT", "/entries/a", " ".repeat(LINE_BYTES_MAX + 1)],
    ["a word as ack", 400, "bad-request", "PUT", "/entries/a?ack=some", "1"],
    ["a negative ack", 400, "bad-request", "PUT", "/entries/a?ack=-1", "1"],
    ["a fraction as ack", 400, "bad-request", "DELETE", "/entries/a?ack=1.5"],
    ["an Idempotency-Key without id", 400, "bad-request", "PUT", "/entries/a", "1", { "Idempotency-Key": "me" }],
    ["an Idempotency-Key of id 0", 400, "bad-request", "PUT", "/entries/a", "1", { "Idempotency-Key": "me:0" }],
    [
      "an over-long Idempotency-Key",
      413,
      "too-large",
      "DELETE",
      "/entries/a",
      undefined,
      { "Idempotency-Key": `${"m".repeat(NAME_LENGTH_MAX + 1)}:1` },
    ],
    ["an If-Match without quotes", 400, "bad-request", "PUT", "/entries/a", "1", { "If-Match": "1" }],
    ["an If-Match of many", 400, "bad-request", "PUT", "/entries/a", "1", { "If-Match": '"1", "2"' }],
    ["an If-None-Match of one", 400, "bad-request", "PUT", "/entries/a", "1", { "If-None-Match": '"1"' }],
    [
      "both preconditions",
      400,
      "bad-request",
      "DELETE",
      "/entries/a",
      undefined,
      { "If-Match": '"1"', "If-None-Match": "*" },
    ],
    ["a batch that is no object", 400, "bad-request", "POST", "/batch", "[]"],
    ["a batch without ops", 400, "bad-request", "POST", "/batch", "{}"],
    ["an op of no kind", 400, "bad-request", "POST", "/batch", batchOf([{ key: "a" }])],
    ["an insert without value", 400, "bad-request", "POST", "/batch", batchOf([{ insert: { key: "a" } }])],
    ["an empty key in a batch", 400, "bad-request", "POST", "/batch", batchOf([insertOf("", 1)])],
    ["an over-long key in a batch", 413, "too-large", "POST", "/batch", batchOf([insertOf(long, 1)])],
    ["one key twice in a batch", 400, "bad-request", "POST", "/batch", batchOf([insertOf("a", 1), insertOf("a", 2)])],
    ["half a batch that is wrong", 400, "bad-request", "POST", "/batch", batchOf([insertOf("a", 1), 7])],
    ["a check without seq", 400, "bad-request", "POST", "/batch", batchOf([insertOf("a", 1)], [{ key: "a" }])],
    ["too many operations", 413, "too-large", "POST", "/batch", batchOf(ops(BATCH_OPERATIONS_MAX + 1))],
    [
      "too many checks",
      413,
      "too-large",
      "POST",
      "/batch",
      batchOf(
        [],
        Array.from({ length: BATCH_CHECKS_MAX + 1 }, () => ({ key: "a", seq: null })),
      ),
    ],
    ["too many bytes in a batch", 413, "too-large", "POST", "/batch", batchOf([...tooWide, insertOf("z", 1)])],
    ["an unknown route that writes", 404, "not-found", "PUT", "/entry/a", "1"],
    ["an entry without key", 404, "not-found", "PUT", "/entries/", "1"],
    ["a key of two segments", 404, "not-found", "PUT", "/entries/a/b", "1"],
    ["an unknown version", 404, "not-found", "DELETE", "http://headwater/v2/stores/a/entries/b"],
    ["an unknown method", 405, "method-not-allowed", "PATCH", "/entries/a", "1"],
    ["a write to a list", 405, "method-not-allowed", "PUT", "/entries", "1"],
    ["a write to the status", 405, "method-not-allowed", "POST", "/status", "1"],
    ["a store's name with a blank", 400, "bad-request", "PUT", "http://headwater/v1/stores/a%20b/entries/c", "1"],
    [
      "a store's name of letters elsewhere",
      400,
      "bad-request",
      "PUT",
      "http://headwater/v1/stores/%C3%A9/entries/c",
      "1",
    ],
    [
      "an over-long store's name",
      413,
      "too-large",
      "PUT",
      `http://headwater/v1/stores/${"s".repeat(NAME_LENGTH_MAX + 1)}/entries/c`,
      "1",
    ],
    ["an unknown route", 404, "not-found", "GET", "http://headwater/v1"],
    ["the key of a read", 413, "too-large", "GET", `/entries/${long}`],
    ["a limit of 0", 400, "bad-request", "GET", "/entries?limit=0"],
    ["a limit beyond the limit", 400, "bad-request", "GET", `/entries?limit=${LIST_LIMIT_MAX + 1}`],
    ["a word as limit", 400, "bad-request", "GET", "/entries?limit=ten"],
    ["a word as reverse", 400, "bad-request", "GET", "/entries?reverse=maybe"],
    ["a made-up cursor", 400, "bad-request", "GET", "/entries?cursor=a~zz"],
    ["a cursor of other letters", 400, "bad-request", "GET", "/entries?cursor=%25"],
    ["a cursor of no key", 413, "too-large", "GET", `/entries?cursor=${long}`],
    ["an over-long prefix", 413, "too-large", "GET", `/entries?prefix=${long}`],
    ["a word as since", 400, "bad-request", "GET", "/replicate?since=now"],
    ["a bad Last-Event-ID", 400, "bad-request", "GET", "/replicate", undefined, { "Last-Event-ID": "x" }],
    ["a bad epoch", 400, "bad-request", "GET", "/replicate?since=1&epoch=%20"],
    [
      "a subprotocol that is not ours",
      400,
      "bad-request",
      "GET",
      "/replicate",
      undefined,
      { Upgrade: "websocket", "Sec-WebSocket-Protocol": "headwater.v0, token.x" },
    ],
    ["a bad store in metrics", 400, "bad-request", "GET", "http://headwater/metrics?store=a/b"],
    [
      "too many stores in metrics",
      400,
      "bad-request",
      "GET",
      `http://headwater/metrics?${"store=a&".repeat(METRICS_STORES_MAX + 1)}`,
    ],
  ];

  it.each(cases)("is answered and changes nothing: %s", async (_what, status, code, method, url, ...rest) => {
    const client = new Client();
    await client.ask("PUT", "/entries/a", '"before"');
    const answer = await client.ask(method, url, ...rest);
    expect(answer.headers.get("Content-Type")).toBe("application/problem+json");
    const isRead = method === "GET";
    expect(answer.body).toEqual({
      type: `urn:headwater:problem:${code}`,
      title: expect.any(String),
      status,
      code,
      detail: expect.any(String),
      ...(!isRead && { applied: false }),
    });
    expect(answer.status).toBe(status);
    if (status === 405) expect(answer.headers.get("Allow")).toContain("GET");
    if (code === "too-large") expect((answer.body as { detail: string }).detail).toMatch(/[A-Z]+_[A-Z_]+_MAX/);
    expect(await client.get("/entries")).toEqual({ entries: [{ key: "a", value: "before", seq: 1 }], seq: 1 });
  });

  it("of a body without a stated length is refused at the limit, and cut off soon after", async () => {
    const client = new Client();
    let pulled = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled += 1;
        controller.enqueue(new Uint8Array(64 * 1024).fill(0x20));
      },
    });
    expect(await client.do("PUT", "/entries/a", body)).toEqual([
      413,
      expect.objectContaining({ code: "too-large", applied: false }),
    ]);
    expect(pulled).toBeLessThan((2 * LINE_BYTES_MAX + REST_BYTES_MAX) / (64 * 1024));
  });
});

describe("who may use a store", () => {
  it("is nobody until the app is told: 401 says how to tell it", async () => {
    const { ALLOW_ANONYMOUS: _, ...closed } = OPEN;
    for (const ALLOW_ANONYMOUS of [undefined, "false", "1", ""]) {
      const client = new Client({}, ALLOW_ANONYMOUS === undefined ? closed : { ...closed, ALLOW_ANONYMOUS });
      for (const [method, path] of [
        ["GET", "/entries/a"],
        ["GET", "/entries"],
        ["GET", "/status"],
        ["GET", "/replicate"],
        ["GET", "/no-such-route"],
      ] as const) {
        const { status, body, headers } = await client.ask(method, path);
        expect([status, body]).toEqual([401, expect.objectContaining({ code: "unauthorized" })]);
        expect((body as { detail: string }).detail).toContain("ALLOW_ANONYMOUS");
        expect(headers.get("WWW-Authenticate")).toBe("Bearer");
      }
      const write = await client.ask("PUT", "/entries/a", "1");
      expect([write.status, write.body]).toEqual([401, expect.objectContaining({ applied: false })]);
      expect((await client.ask("GET", `http://headwater/metrics?store=${client.store}`)).status).toBe(401);
      expect((await client.ask("GET", "http://headwater/healthz")).status).toBe(200);
    }
  });

  it("is decided by `authorize`, which is told the store and sees the request", async () => {
    const seen: string[] = [];
    const client = new Client(
      {
        authorize: (request, { store }) => {
          seen.push(store);
          return request.headers.get("Authorization") === "Bearer good";
        },
      },
      env as AppEnv,
    );
    const good = { Authorization: "Bearer good" };
    expect((await client.ask("PUT", "/entries/a", "1", good)).status).toBe(200);
    expect(await client.do("PUT", "/entries/a", "2")).toEqual([
      403,
      expect.objectContaining({ code: "forbidden", applied: false }),
    ]);
    const metrics = `http://headwater/metrics?store=${client.store}`;
    expect((await client.ask("GET", metrics)).status).toBe(403);
    expect((await client.ask("GET", metrics, undefined, good)).status).toBe(200);
    expect(await client.get("http://headwater/metrics")).not.toContain(client.store);
    expect(await client.get("/entries/a", good)).toBe(1);
    expect(new Set(seen)).toEqual(new Set([client.store]));
  });
});

describe("pages of other origins", () => {
  const env: AppEnv = { ...OPEN, ALLOWED_ORIGINS: "https://app.example, https://other.example" };
  const headersOf = async (method: string, origin: string, extra: Record<string, string> = {}): Promise<Answer> =>
    new Client({}, env).ask(method, "/status", undefined, { Origin: origin, ...extra });

  it("may read what they are answered, errors included, if they are allowed", async () => {
    const { status, headers } = await headersOf("GET", "https://app.example");
    expect(status).toBe(200);
    expect(headers.get("Access-Control-Allow-Origin")).toBe("https://app.example");
    expect(headers.get("Vary")).toContain("Origin");
    const closed = new Client({ authorize: () => false }, env);
    const refused = await closed.ask("GET", "/status", undefined, { Origin: "https://app.example" });
    expect([refused.status, refused.headers.get("Access-Control-Allow-Origin")]).toEqual([403, "https://app.example"]);
  });

  it("are told before they ask what they may send", async () => {
    const { status, headers } = await headersOf("OPTIONS", "https://other.example", {
      "Access-Control-Request-Method": "PUT",
      "Access-Control-Request-Headers": "authorization,idempotency-key",
    });
    expect(status).toBe(204);
    expect(headers.get("Access-Control-Allow-Methods")).toContain("PUT");
    expect(headers.get("Access-Control-Allow-Headers")).toContain("Idempotency-Key");
    expect(headers.get("Access-Control-Allow-Credentials")).toBeNull();
  });

  it("may not, if they are not", async () => {
    for (const origin of ["https://evil.example", "https://app.example.evil.example", "http://app.example", "null"]) {
      const { status, headers } = await headersOf("GET", origin);
      expect([status, headers.get("Access-Control-Allow-Origin")]).toEqual([403, null]);
      const preflight = await headersOf("OPTIONS", origin, { "Access-Control-Request-Method": "PUT" });
      expect(preflight.headers.get("Access-Control-Allow-Origin")).toBeNull();
    }
  });
});

describe("`authorize` that fails", () => {
  it("lets nobody in", async () => {
    const client = new Client({ authorize: () => Promise.reject(new Error("no key server")) });
    const refusal = expect.objectContaining({ code: "unavailable", applied: false });
    expect(await client.do("PUT", "/entries/a", "1")).toEqual([503, refusal]);
  });
});

describe("the app's own routes", () => {
  it("show a store's status", async () => {
    const client = new Client();
    await client.ask("PUT", "/entries/a", "1");
    const peer = await Peer.connect(client, client.url("/replicate"));
    await peer.enter("peer");
    expect(await client.get("/status")).toEqual({
      epoch: expect.any(String),
      head: 1,
      floor: 0,
      entries: 1,
      secondaries: [{ id: "peer", mode: "durable", state: "in-sync", acked: 1, lagMs: 0 }],
      settings: {
        lagLimitMs: 1000,
        tombstonesKept: 10_000,
        clientLeaseMs: 86_400_000,
        rates: { identity: 10_000, store: 20_000 },
      },
    });
    peer.close();
  });

  it("show the figures of the stores asked for, else of those served lately", async () => {
    const client = new Client();
    await client.ask("PUT", "/entries/a", "1");
    await client.ask("PUT", "/entries/a", "1", { "If-None-Match": "*" });
    for (const query of ["", `?store=${client.store}`]) {
      const { body, headers } = await client.ask("GET", `http://headwater/metrics${query}`);
      expect(headers.get("Content-Type")).toContain("text/plain; version=0.0.4");
      for (const line of [
        `headwater_up{store="${client.store}"} 1`,
        `headwater_operations_total{store="${client.store}",outcome="acked"} 1`,
        `headwater_operations_total{store="${client.store}",outcome="conflict"} 1`,
        `headwater_ack_latency_seconds_bucket{store="${client.store}",le="+Inf"} 1`,
        `headwater_ack_latency_seconds_count{store="${client.store}"} 1`,
        `headwater_operations_in_flight{store="${client.store}"} 0`,
        `headwater_commits_total{store="${client.store}"} 1`,
        `headwater_demotions_total{store="${client.store}",reason="overdue"} 0`,
        `headwater_lag_seconds{store="${client.store}"} 0`,
        `headwater_rows_written_total{store="${client.store}"} 2`,
        `headwater_secondaries{store="${client.store}",state="in-sync"} 0`,
        `headwater_head{store="${client.store}"} 1`,
        `headwater_entries{store="${client.store}"} 1`,
        `headwater_sockets{store="${client.store}"} 0`,
      ]) {
        expect((body as string).split("\n")).toContain(line);
      }
      for (const line of (body as string).trimEnd().split("\n"))
        expect(line).toMatch(/^(# (HELP|TYPE) .+|\w+\{.+\} \d+(\.\d+)?)$/);
    }
  });

  it("describe every route of the contract", async () => {
    const document = (await new Client().get("http://headwater/openapi.json")) as {
      openapi: string;
      paths: Record<string, Record<string, { responses: object; parameters?: { name: string }[] }>>;
    };
    expect(document.openapi).toMatch(/^3\.1/);
    const store = "/v1/stores/{store}";
    const routes: [path: string, methods: string[]][] = [
      [`${store}/entries/{key}`, ["delete", "get", "put"]],
      [`${store}/batch`, ["post"]],
      [`${store}/entries`, ["get"]],
      [`${store}/replicate`, ["get"]],
      [`${store}/status`, ["get"]],
      [`${store}/export`, ["get"]],
      [`${store}/import`, ["post"]],
      [store, ["delete"]],
      ["/healthz", ["get"]],
      ["/metrics", ["get"]],
      ["/openapi.json", ["get"]],
    ];
    for (const [path, methods] of routes) {
      const described = document.paths[path] ?? {};
      expect([path, Object.keys(described).sort()]).toEqual([path, methods]);
      for (const method of methods) expect(Object.keys(described[method]!.responses)).toContain("200");
    }
    expect(Object.keys(document.paths)).toHaveLength(routes.length);
    const named = document.paths[`${store}/entries`]!.get!.parameters!.map(({ name }) => name);
    expect(named).toEqual(["store", "prefix", "start", "end", "limit", "reverse", "cursor"]);
  });
});
