// What a running `npm start` answers: the HTTP contract as `curl` would see it, every route once; that nothing breaks the primary;
// and the page, as it is served.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test as base } from "@playwright/test";
import { freePort, waitForInSync } from "./kit/index.ts";
import { Served } from "./served.ts";
import { openTab } from "./tab.ts";

const ROOT = join(import.meta.dirname, "..");

const test = base.extend<object, { origin: string }>({
  origin: [
    async ({}, use) => {
      const state = await mkdtemp(join(tmpdir(), "headwater-start-"));
      const port = await freePort();
      const env = { ...process.env, PORT: String(port), HEADWATER_STATE: state };
      const served = await Served.start({ folder: ROOT, env, port }, "npm", "start");
      await use(served.origin);
      await served.stop();
      await rm(state, { recursive: true, force: true, maxRetries: 5 });
    },
    { scope: "worker" },
  ],
});

interface Answer {
  status: number;
  type: string | null;
  body: unknown;
  headers: Headers;
}

async function ask(origin: string, path: string, init?: RequestInit): Promise<Answer> {
  const answer = await fetch(`${origin}${path}`, init);
  const type = answer.headers.get("content-type");
  const text = await answer.text();
  return {
    status: answer.status,
    type,
    body: type?.includes("json") ? JSON.parse(text) : text,
    headers: answer.headers,
  };
}

test("every route answers as the contract says", async ({ origin }) => {
  const store = "/v1/stores/curl";
  const put = (key: string, body: string, headers: Record<string, string> = {}): Promise<Answer> =>
    ask(origin, `${store}/entries/${encodeURIComponent(key)}`, { method: "PUT", body, headers });

  expect(await put("a/b ü?", '{"x":1}')).toMatchObject({ status: 200, body: { seq: 1, replicas: 0 } });
  const got = await ask(origin, `${store}/entries/${encodeURIComponent("a/b ü?")}`);
  expect(got).toMatchObject({ status: 200, body: { x: 1 } });
  expect(got.headers.get("etag")).toBe('"1"');
  expect(await ask(origin, `${store}/entries/none`)).toMatchObject({ status: 404, body: { code: "not-found" } });
  expect(await put("a/b ü?", "2", { "If-Match": '"9"' })).toMatchObject({
    status: 412,
    body: { code: "conflict", applied: false, check: { seq: 1 } },
  });
  expect(await put("new", "2", { "If-None-Match": "*" })).toMatchObject({ status: 200, body: { seq: 2 } });

  const ops = [{ insert: { key: "c", value: null } }, { remove: { key: "new" } }];
  const body = JSON.stringify({ ops, checks: [{ key: "new", seq: 2 }] });
  const repeatable = { method: "POST", body, headers: { "Idempotency-Key": "me:1" } };
  for (let count = 0; count < 2; count++) {
    expect(await ask(origin, `${store}/batch`, repeatable)).toMatchObject({
      status: 200,
      body: { seq: 3, replicas: 0 },
    });
  }
  expect(await ask(origin, `${store}/entries?limit=1&reverse=true`)).toMatchObject({
    body: { entries: [{ key: "c", value: null, seq: 3 }], seq: 3 },
  });
  expect(await ask(origin, `${store}/entries/absent?ack=primary`, { method: "DELETE" })).toMatchObject({
    status: 200,
    body: { seq: 3 },
  });
  expect(await ask(origin, `${store}/status`)).toMatchObject({
    body: { head: 3, floor: 0, entries: 2, secondaries: [] },
  });

  expect(await ask(origin, "/healthz")).toMatchObject({ status: 200 });
  expect((await ask(origin, "/metrics?store=curl")).body).toContain("headwater_");
  const { paths } = (await ask(origin, "/openapi.json")).body as { paths: object };
  expect(Object.keys(paths)).toContain("/v1/stores/{store}/entries/{key}");
});

test("the stream tells each snapshot as a line or an event, and resumes", async ({ origin }) => {
  const store = `${origin}/v1/stores/stream`;
  const put = async (key: string): Promise<void> =>
    void (await fetch(`${store}/entries/${key}`, { method: "PUT", body: `"${key}"` }));
  await put("a");
  const lines = await follow(`${store}/replicate?since=0`);
  expect(JSON.parse(await lines.next())).toMatchObject({ prev: 0, seq: 1, changes: [{ key: "a", value: "a" }] });
  await put("b");
  expect(JSON.parse(await lines.next())).toEqual({ prev: 1, seq: 2, changes: [{ key: "b", value: "b" }] });
  lines.stop();

  const events = await follow(`${store}/replicate`, { Accept: "text/event-stream", "Last-Event-ID": "1" });
  expect(await events.next()).toBe("id: 2");
  expect(JSON.parse((await events.next()).slice("data: ".length))).toMatchObject({ prev: 1, seq: 2 });
  events.stop();
});

test("bad input is refused with its code, and changes nothing", async ({ origin }) => {
  const store = "/v1/stores/bad";
  const put = { method: "PUT", body: "1" };
  const cases: [path: string, init: RequestInit, status: number, code: string][] = [
    [`${store}/entries/a`, { method: "PUT", body: "{" }, 400, "bad-request"],
    [`${store}/entries/%ff`, put, 400, "bad-request"],
    [`${store}/entries/${"k".repeat(1025)}`, put, 413, "too-large"],
    [`${store}/entries/a`, { method: "PUT", body: `"${"v".repeat(1024 * 1024)}"` }, 413, "too-large"],
    [`${store}/entries/a?ack=most`, put, 400, "bad-request"],
    [`${store}/entries/a?ack=1`, put, 503, "not-enough-replicas"],
    [`${store}/entries/a`, { ...put, headers: { "Idempotency-Key": "nonsense" } }, 400, "bad-request"],
    [`${store}/batch`, { method: "POST", body: '{"ops":[{"insert":{"key":"a"}}]}' }, 400, "bad-request"],
    [
      `${store}/batch`,
      { method: "POST", body: JSON.stringify({ ops: Array.from({ length: 1001 }, () => ({ remove: { key: "a" } })) }) },
      413,
      "too-large",
    ],
    [`${store}/entries/a`, { method: "PATCH", body: "1" }, 405, "method-not-allowed"],
    [`${store}/nothing`, { method: "POST", body: "1" }, 404, "not-found"],
  ];
  for (const [path, init, status, code] of cases) {
    const answer = await ask(origin, path, init);
    expect(answer, `${init.method} ${path}`).toMatchObject({
      status,
      type: "application/problem+json",
      body: { code, applied: false },
    });
  }
  for (const query of ["limit=0", "limit=1001", "limit=x", "cursor=%25", "reverse=maybe"]) {
    expect(await ask(origin, `${store}/entries?${query}`), query).toMatchObject({
      status: 400,
      body: { code: "bad-request" },
    });
  }
  expect(await ask(origin, "/v1/stores/bad/status")).toMatchObject({ body: { head: 0, entries: 0 } });
});

test("who is refused amid sending a large body hears why", async ({ origin }) => {
  const large = "x".repeat(6 * 1024 * 1024);
  const ask = async (method: string, path: string): Promise<[number, string]> => {
    const answer = await fetch(`${origin}/v1/stores/large${path}`, { method, body: large });
    return [answer.status, ((await answer.json()) as { code: string }).code];
  };
  for (let round = 0; round < 5; round++) {
    expect(await ask("PUT", "/entries/a")).toEqual([413, "too-large"]);
    expect(await ask("POST", "/batch")).toEqual([413, "too-large"]);
    expect(await ask("POST", "/import")).toEqual([403, "forbidden"]);
  }
});

test("garbage on the socket closes it with a reason, and the primary goes on", async ({ origin }) => {
  const closed = await new Promise<CloseEvent>((resolve) => {
    const socket = new WebSocket(`${origin}/v1/stores/garbage/replicate`.replace("http", "ws"), "headwater.v1");
    socket.onopen = () => socket.send("]{\n");
    socket.onclose = resolve;
  });
  expect(closed).toMatchObject({ code: 4400, reason: "a message is not JSON" });
  expect(await ask(origin, "/v1/stores/garbage/entries/a", { method: "PUT", body: "1" })).toMatchObject({
    status: 200,
  });
});

test("the page and its workers live under a strict policy, and nothing of theirs offends it", async ({
  context,
  origin,
}) => {
  const response = await fetch(`${origin}/`);
  const policy = response.headers.get("Content-Security-Policy") ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toMatch(/unsafe|data:|blob:|\*/);
  const offences: string[] = [];
  context.on("console", (message) => {
    if (message.text().includes("Content Security Policy")) offences.push(message.text());
  });
  // The inspector brings styles and charts of its own.
  const page = await openTab(context, origin, "policy&inspect");
  await expect(page.getByTestId("in-sync-count")).toHaveText("1");
  await waitForInSync(page);
  await page.getByTestId("insert-key").fill("a");
  await page.getByTestId("insert-value").fill("1");
  await page.keyboard.press("Enter");
  await expect(page.locator('[data-testid="entry"][data-key="a"]')).toBeVisible();
  await page.waitForFunction(async () => (await navigator.serviceWorker.ready).active?.state === "activated");
  expect(offences).toEqual([]);
  const api = await fetch(`${origin}/healthz`);
  expect(api.headers.get("X-Content-Type-Options")).toBe("nosniff");
  expect(api.headers.get("Content-Security-Policy")).toContain("default-src 'none'");
});

/** Reads a response line by line, leaving empty lines out. */
async function follow(
  url: string,
  headers: Record<string, string> = {},
): Promise<{ next(): Promise<string>; stop(): void }> {
  const stop = new AbortController();
  const answer = await fetch(url, { headers, signal: stop.signal });
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  const lines: string[] = [];
  let rest = "";
  const next = async (): Promise<string> => {
    while (lines.length === 0) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the stream has ended");
      const parts = (rest + value).split("\n");
      rest = parts.pop()!;
      lines.push(...parts.filter((line) => line !== ""));
    }
    return lines.shift()!;
  };
  return { next, stop: () => stop.abort() };
}
