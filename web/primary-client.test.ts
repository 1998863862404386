import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { OperationFailedError } from "./errors.ts";
import { connectPrimary } from "./primary-client.ts";
import type { PrimaryClient } from "./primary-client.ts";

interface Seen {
  method: string;
  url: string;
  key: string | undefined;
  authorization: string | undefined;
  body: string;
}

type Answer = (response: ServerResponse, seen: Seen) => void;

let server: Server;
let seen: Seen[];
/** One for each request to come; the last answers all further ones. */
let answers: Answer[];
let primary: PrimaryClient;

const json =
  (body: unknown, status = 200, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
const hangUp: Answer = (response) => void response.socket?.destroy();

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  const { method = "", url = "", headers } = request;
  const key = headers["idempotency-key"] as string | undefined;
  const one = { method, url, key, authorization: headers.authorization, body };
  seen.push(one);
  (answers.length > 1 ? answers.shift()! : answers[0]!)(response, one);
}

beforeEach(async () => {
  seen = [];
  answers = [];
  server = createServer((request, response) => void serve(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  primary = connectPrimary({ url: `ws://127.0.0.1:${port}/v1/stores/board/`, token: "secret" });
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

describe("connectPrimary", () => {
  test("insert and remove name the entry in the path, each under an operation's name of its own", async () => {
    answers = [json({ seq: 7, replicas: 2 })];
    expect(await primary.insert("a/b ?é", { x: [1] }, { ack: 2 })).toEqual({ seq: 7, replicas: 2 });
    await primary.remove("a");
    expect(seen.map(({ method, url, body }) => [method, url, body])).toEqual([
      ["PUT", "/v1/stores/board/entries/a%2Fb%20%3F%C3%A9?ack=2", '{"x":[1]}'],
      ["DELETE", "/v1/stores/board/entries/a", ""],
    ]);
    expect(seen[0]!.key).toMatch(/^[\w-]{22}:1$/);
    expect(seen[1]!.key).toMatch(/^[\w-]{22}:2$/);
    expect(seen[0]!.authorization).toBe("Bearer secret");
  });

  test("the two keys that no path can name go as a batch", async () => {
    answers = [json({ seq: 1, replicas: 0 })];
    await primary.insert("..", 1);
    await primary.remove(".");
    expect(seen.map(({ url, body }) => [url, body])).toEqual([
      ["/v1/stores/board/batch", '{"ops":[{"insert":{"key":"..","value":1}}],"checks":[]}'],
      ["/v1/stores/board/batch", '{"ops":[{"remove":{"key":"."}}],"checks":[]}'],
    ]);
  });

  test("an update whose answer is lost is asked again under the same name", async () => {
    answers = [hangUp, json({ code: "unavailable" }, 503), json({ seq: 3, replicas: 1 })];
    expect(await primary.insert("a", 1)).toEqual({ seq: 3, replicas: 1 });
    expect(new Set(seen.map(({ key }) => key)).size).toBe(1);
    expect(seen).toHaveLength(3);
  });

  test("a failure tells its code, whether it was applied, and what stood in the way", async () => {
    answers = [
      json({ code: "conflict", applied: false, check: { key: "a", seq: 4 } }, 412),
      json({ code: "unconfirmed", applied: true, seq: 9, replicas: 1, expected: 2 }, 504),
      json({ code: "in-doubt" }, 504),
    ];
    const fail = (): Promise<unknown> =>
      primary.batch([{ remove: { key: "a" } }], { checks: [{ key: "a", seq: 3 }] }).catch((error: unknown) => error);
    const failures = [await fail(), await fail(), await fail()];
    expect(failures.every((error) => error instanceof OperationFailedError)).toBe(true);
    expect(failures).toMatchObject([
      { code: "conflict", applied: false, check: { key: "a", seq: 4 } },
      { code: "unconfirmed", applied: true, seq: 9, replicas: 1, expected: 2 },
      { code: "in-doubt", applied: undefined },
    ]);
  });

  test("what cannot be stored is refused without a request", async () => {
    answers = [json({ seq: 1, replicas: 0 })];
    const refused = [
      primary.insert("", 1),
      primary.insert("x".repeat(2000), 1),
      primary.insert("a", "x".repeat(2 ** 21)),
      primary.insert("a", (() => {}) as never),
      primary.insert("a", 1, { ack: -1 }),
      primary.batch([{ remove: { key: "a" } }, { remove: { key: "a" } }]),
    ];
    const ends = await Promise.allSettled(refused);
    expect(ends).toMatchObject(
      ["bad-request", "too-large", "too-large", "bad-request", "bad-request", "bad-request"].map((code) => ({
        status: "rejected",
        reason: { name: "OperationFailedError", code, applied: false },
      })),
    );
    expect(seen).toEqual([]);
  });

  test("get gives the value, entry its seq too, and undefined where there is none", async () => {
    answers = [
      json({ x: 1 }, 200, { ETag: '"12"' }),
      json({ x: 1 }, 200, { ETag: '"12"' }),
      json({ code: "not-found" }, 404),
    ];
    expect(await primary.get("a")).toEqual({ x: 1 });
    expect(await primary.entry("a")).toEqual({ key: "a", value: { x: 1 }, seq: 12 });
    expect(await primary.get("b")).toBeUndefined();
  });

  test("list asks for what it was asked for", async () => {
    const page = { entries: [{ key: "a", value: 1, seq: 1 }], cursor: "a", seq: 5 };
    answers = [json(page)];
    expect(await primary.list({ prefix: "a&b", limit: 3, reverse: true })).toEqual(page);
    expect(seen[0]!.url).toBe("/v1/stores/board/entries?prefix=a%26b&limit=3&reverse=true");
  });

  test("V1: watch gives whole steps, and goes on where it was cut off", async () => {
    const change = (key: string, value: number, seq: number) => ({ key, value, seq });
    answers = [
      (response) => {
        const lines = [
          { reset: true, epoch: "e", prev: 0, seq: 2, changes: [change("a", 1, 1), change("b", 2, 2)], until: 4 },
          { prev: 2, seq: 4, changes: [change("c", 3, 3), change("a", 4, 4)] },
          { prev: 4, seq: 6, changes: [change("d", 5, 6)], until: 7 },
        ];
        for (const line of lines) response.write(`${JSON.stringify(line)}\n`);
        setTimeout(() => response.socket?.destroy(), 50);
      },
      (response) => {
        const line = { prev: 4, seq: 7, changes: [change("d", 5, 6), { key: "a", removed: true, seq: 7 }] };
        const text = `${JSON.stringify(line)}\n`;
        response.write(text.slice(0, 20));
        setTimeout(() => response.write(text.slice(20)), 10);
      },
    ];
    const steps = [];
    for await (const step of primary.watch()) {
      steps.push(step);
      if (step.seq === 7) break;
    }
    expect(steps).toEqual([
      { reset: true, epoch: "e", prev: 0, seq: 4, changes: [change("b", 2, 2), change("c", 3, 3), change("a", 4, 4)] },
      { reset: false, epoch: "e", prev: 4, seq: 7, changes: [change("d", 5, 6), { key: "a", removed: true, seq: 7 }] },
    ]);
    expect(seen.map(({ url }) => url)).toEqual([
      "/v1/stores/board/replicate?",
      "/v1/stores/board/replicate?since=4&epoch=e",
    ]);
  });

  test("watch ends by its signal, and rejects what the primary refuses", async () => {
    answers = [() => {}];
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 20);
    for await (const step of primary.watch({ signal: stop.signal })) throw new Error(`unexpected ${step.seq}`);
    answers = [json({ code: "forbidden" }, 403)];
    await expect(primary.watch().next()).rejects.toMatchObject({ code: "forbidden" });
  });
});
