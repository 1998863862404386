// Another seed, more cases: FUZZ_SEED=7 FUZZ_RUNS=10000 npx vitest run --project=workerd worker/fuzz

import { env } from "cloudflare:workers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LIST_LIMIT_MAX } from "../src/limits.ts";
import { demandEqual } from "../src/testing/equality.ts";
import { budgetOf, faultFound } from "../src/testing/fuzzing.ts";
import { demand } from "../src/testing/oracle.ts";
import { createApp } from "./app.ts";
import type { AppEnv } from "./app.ts";
import { Model, TOKEN, demandDocumented, requests, toRequest } from "./testing/fuzzed-requests.ts";
import type { Answer, FuzzedRequest } from "./testing/fuzzed-requests.ts";

const OPEN: AppEnv = { ...(env as AppEnv), ALLOW_ANONYMOUS: "true" };
const { ALLOW_ANONYMOUS: _, ...closed } = env as AppEnv;
const WITH_SECRET: AppEnv = { ...closed, JWT_SECRET: "a secret of at least thirty-two bytes" };

type Door = (request: Request, env: AppEnv) => Promise<Response>;

const app = createApp();
const theApp: Door = async (request, env) => app.fetch(request, env);
let storesUsed = 0;

async function ask(door: Door, env: AppEnv, request: Request): Promise<Answer> {
  const response = await door(request, env);
  const { status, headers } = response;
  if (response.webSocket) {
    response.webSocket.accept();
    response.webSocket.close();
  }
  // A stream has no end.
  const isStream = /ndjson|event-stream/.test(headers.get("Content-Type") ?? "");
  if (!isStream) return { status, headers, text: await response.text() };
  await response.body?.cancel();
  return { status, headers, text: "" };
}

async function readJson(door: Door, url: string): Promise<unknown> {
  return JSON.parse((await ask(door, OPEN, new Request(url))).text);
}

/** Sends all of it to a fresh store, and looks whether the store is what the answers have said. */
async function demandTruth(all: readonly FuzzedRequest[], door: Door): Promise<void> {
  storesUsed += 1;
  const store = `fuzz-${storesUsed}`;
  const url = `http://headwater/v1/stores/${store}`;
  const model = new Model();
  for (const one of all) {
    const request = toRequest(one, store);
    if (!request) continue;
    const answer = await ask(door, OPEN, request);
    demandDocumented(request, answer);
    model.take(one, request, store, answer);
  }
  const { head } = (await readJson(door, `${url}/status`)) as { head: number };
  demand(head === model.head, "O1", () => `head is ${head}, answered were ${model.head} changes`);
  const { entries } = (await readJson(door, `${url}/entries?limit=${LIST_LIMIT_MAX}`)) as {
    entries: { key: string; value: unknown; seq: number }[];
  };
  const expected = [...model.entries].map(([key, { value, seq }]) => ({ key, value, seq }));
  demandEqual(entries.toSorted(byKey), expected.toSorted(byKey), "A2 the store's entries");
}

const byKey = (a: { key: string }, b: { key: string }): number => (a.key < b.key ? -1 : 1);

/** Sends all of it to an app that wants a token, which nobody here has. */
async function demandClosed(all: readonly FuzzedRequest[], door: Door): Promise<void> {
  for (const one of all) {
    const request = toRequest(one, "fuzz-closed");
    if (!request) continue;
    const answer = await ask(door, WITH_SECRET, request);
    demandDocumented(request, answer);
    const isOpen = answer.status < 400 && answer.status !== 204;
    const isOfStore = new URL(request.url).pathname.startsWith("/v1/");
    demand(!isOpen || !isOfStore, "S3", () => `${request.method} ${request.url} is let in: ${answer.status}`);
  }
}

const holds = (door = theApp) =>
  fc.asyncProperty(requests, async (all) => {
    await demandTruth(all, door);
    await demandClosed(all.slice(0, 2), door);
  });

describe("L2 whatever is asked over HTTP", () => {
  const budget = budgetOf("http", env);
  it(
    `is answered as documented, and the answers are true (${budget.numRuns} cases)`,
    { timeout: budget.timeout },
    async () => {
      await fc.assert(holds(), budget);
    },
  );
});

const planted: [rule: string, name: string, door: Door][] = [
  [
    "L2",
    "fails where a key is not well-formed",
    async (request, env) => {
      const response = await theApp(request, env);
      return response.status === 400 ? new Response("oops", { status: 500 }) : response;
    },
  ],
  [
    "A3",
    "does not say that nothing has happened",
    async (request, env) => {
      const response = await theApp(request, env);
      if (response.status !== 412) return response;
      const { applied: _, ...rest } = (await response.json()) as Record<string, unknown>;
      return new Response(JSON.stringify(rest), response);
    },
  ],
  [
    "A2",
    "acknowledges what it leaves out",
    async (request, env) => {
      // What cannot be read is refused by any door.
      const isJson =
        request.method === "PUT" &&
        (await request
          .clone()
          .json()
          .then(Boolean, () => null)) !== null;
      if (!isJson) return theApp(request, env);
      return theApp(new Request(request, { method: "PUT", body: '"something else"' }), env);
    },
  ],
  [
    "S3",
    "shows a token",
    async (request, env) => {
      const response = await theApp(request, env);
      if (!request.headers.get("Authorization")?.includes(TOKEN) || response.webSocket) return response;
      return new Response(response.body, { status: response.status, headers: { "X-Seen": TOKEN } });
    },
  ],
];

describe("the property of the door", () => {
  for (const [rule, name, door] of planted)
    it(`${rule} catches one that ${name}`, async () => expect(await faultFound(holds(door), 100)).toContain(rule));
});
