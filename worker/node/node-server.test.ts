import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, describe, expect, test } from "vitest";
import { SOCKETS_PER_IDENTITY_MAX, STREAMS_PER_IDENTITY_MAX } from "../../src/limits.ts";
import { CLOSE } from "../../src/protocol.ts";
import { ANYONE } from "../grant.ts";
import type { Grant } from "../grant.ts";
import type { StoreStatus } from "../primary-driver.ts";
import { Peer } from "../testing/peer.ts";
import { NodeServer } from "./node-server.ts";
import type { NodeServerOptions } from "./node-server.ts";

const SERVING_PROCESS = join(import.meta.dirname, "testing", "serving-process.ts");

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end();
});

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "headwater-node-"));
  endings.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function serve(options: Partial<NodeServerOptions> = {}): Promise<NodeServer> {
  const server = await NodeServer.start({ folder: newFolder(), ...options });
  endings.push(() => server.stop());
  return server;
}

const storeOf = ({ origin }: { origin: string }, store = "store"): string => `${origin}/v1/stores/${store}`;
const put = (url: string, key: string, value: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${url}/entries/${key}`, { method: "PUT", body: JSON.stringify(value), headers });
const statusOf = async (url: string): Promise<StoreStatus> =>
  (await (await fetch(`${url}/status`)).json()) as StoreStatus;
const importInto = async (url: string, file: string, query = ""): Promise<[number, unknown]> => {
  const answer = await fetch(`${url}/import${query}`, { method: "POST", body: file });
  return [answer.status, await answer.json()];
};
const dial = (url: string): Promise<Peer> => Peer.dial(`${url.replace("http", "ws")}/replicate`);

/** The status and the body with which an upgrade is answered that is not let pass. */
async function upgrade(url: string, headers: Record<string, string> = {}): Promise<[number | undefined, unknown]> {
  const key = "dGhlIHNhbXBsZSBub25jZQ==";
  const handshake = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": key,
  };
  const asked = request(url, { headers: { ...handshake, ...headers } }).end();
  const [answer] = (await once(asked, "response")) as [IncomingMessage];
  return [answer.statusCode, JSON.parse((await answer.toArray()).join(""))];
}

describe("a primary on Node", () => {
  test("answers over HTTP as the worker does, and keeps everything for the next process", async () => {
    const folder = newFolder();
    const first = await serve({ folder });
    const url = storeOf(first);
    expect(await (await put(url, "a", { x: 1 })).json()).toEqual({ seq: 1, replicas: 0 });
    const repeatable = { "Idempotency-Key": "me:1" };
    for (let count = 0; count < 2; count++) {
      expect(await (await put(url, "b", 2, repeatable)).json()).toEqual({ seq: 2, replicas: 0 });
    }
    expect((await put(url, "a", 3, { "If-Match": '"9"' })).status).toBe(412);
    expect((await fetch(`${url}/entries/none`)).status).toBe(404);
    // Stores that differ in capital letters only are two.
    expect(await (await put(storeOf(first, "STORE"), "c", 1)).json()).toEqual({ seq: 1, replicas: 0 });
    const before = await statusOf(url);
    await first.stop();

    const second = await serve({ folder });
    expect(await (await fetch(`${storeOf(second)}/entries`)).json()).toEqual({
      entries: [
        { key: "a", value: { x: 1 }, seq: 1 },
        { key: "b", value: 2, seq: 2 },
      ],
      seq: 2,
    });
    expect(await statusOf(storeOf(second))).toEqual(before);
    expect(await (await put(storeOf(second), "b", 9, repeatable)).json()).toEqual({ seq: 2, replicas: 0 });
    expect(await (await fetch(`${second.origin}/metrics`)).text()).toContain('headwater_head{store="store"} 2');
  });

  test("A6, M3: replicates over a WebSocket, and answers when everybody has it", async () => {
    const url = storeOf(await serve());
    await put(url, "a", 1);
    const peers = [await dial(url), await dial(url)];
    for (const [i, peer] of peers.entries()) await peer.enter(`peer-${i}`);
    peers[0]!.insert("ann", 1, "b", 2);
    for (const peer of peers) {
      const changes = [{ key: "b", value: 2, seq: 2 }];
      expect(await peer.next()).toEqual({ type: "snapshot", prev: 1, seq: 2, changes, until: 2 });
      peer.ack(2);
    }
    expect(await peers[0]!.next()).toEqual({ type: "operation-ack", clientId: "ann", id: 1, seq: 2, replicas: 2 });
    peers[1]!.sendText("ping");
    expect(await peers[1]!.nextText()).toBe("pong");
    expect((await statusOf(url)).secondaries).toMatchObject([{ state: "in-sync" }, { state: "in-sync" }]);

    const outcome = put(url, "c", 3);
    for (const peer of peers) await peer.expect("snapshot");
    peers[0]!.ack(3);
    peers[1]!.close();
    expect(await (await outcome).json()).toEqual({ seq: 3, replicas: 1 });
  });

  test("L2: closes a socket with a reason when what it says is not of the protocol, and all when it stops", async () => {
    const server = await serve();
    const url = storeOf(server);
    const [bad, good] = [await dial(url), await dial(url)];
    bad.sendText("nonsense\n");
    expect(await bad.closed).toMatchObject({ code: 4400 });
    await good.enter("good");
    await server.stop();
    endings.pop();
    expect(await good.closed).toMatchObject({ code: 1001, reason: "the primary is shutting down" });
  });

  test("streams to a reader, and notices when it has gone", async () => {
    const url = storeOf(await serve());
    await put(url, "a", 1);
    const left = new AbortController();
    const stream = await fetch(`${url}/replicate`, { signal: left.signal });
    const reader = stream.body!.pipeThrough(new TextDecoderStream()).getReader();
    expect(JSON.parse((await reader.read()).value!)).toMatchObject({ reset: true, seq: 1 });
    await put(url, "b", 2);
    expect(JSON.parse((await reader.read()).value!)).toMatchObject({ prev: 1, seq: 2 });
    expect((await statusOf(url)).secondaries).toMatchObject([{ mode: "reader" }]);
    left.abort();
    await expect.poll(async () => (await statusOf(url)).secondaries).toEqual([]);
  });

  test("lets nobody in whom `authorize` does not, over HTTP and over WebSockets alike", async () => {
    const url = storeOf(await serve({ authorize: (asked) => asked.headers.get("authorization") === "Bearer me" }));
    expect((await fetch(`${url}/status`)).status).toBe(403);
    expect((await fetch(`${url}/status`, { headers: { Authorization: "Bearer me" } })).status).toBe(200);
    expect(await upgrade(`${url}/replicate`)).toMatchObject([403, { code: "forbidden" }]);
    const other = { Authorization: "Bearer me", "Sec-WebSocket-Protocol": "other" };
    expect(await upgrade(`${url}/replicate`, other)).toMatchObject([400, { code: "bad-request" }]);
  });

  test("L3: an identity may ask for so much a second, by whatever door, and is told when to come back", async () => {
    const rates = { identity: 1, store: 1000 };
    const authorize = ({ headers }: Request): Grant => ({
      ...ANYONE,
      identity: headers.get("authorization") ?? "nobody",
    });
    const url = storeOf(await serve({ settings: { rates }, authorize }));
    const ask = (who: string, key: string): Promise<Response> =>
      fetch(`${url}/entries${key}`, { headers: { Authorization: who } });
    // What is read is paid for by its size, and what one has not, one owes.
    expect((await put(url, "a", "x".repeat(400_000), { Authorization: "ann" })).status).toBe(200);
    for (const path of ["/a", ""]) expect((await ask("ann", path)).status).toBe(path === "/a" ? 200 : 429);
    const refused = [await put(url, "a", 9, { Authorization: "ann" }), await ask("ann", "/a"), await ask("ann", "")];
    for (const answer of refused) {
      expect([answer.status, answer.headers.get("Retry-After")]).toEqual([429, "1"]);
      expect(await answer.json()).toMatchObject({ code: "rate-limited" });
    }
    expect((await ask("bob", "/a")).status).toBe(200);
  });

  test("L1: an identity has so many sockets and streams, and others have theirs", async () => {
    let identity = "ann";
    const url = storeOf(await serve({ authorize: () => ({ ...ANYONE, identity }) }));
    const peers: Peer[] = [];
    for (let i = 0; i < SOCKETS_PER_IDENTITY_MAX; i++) peers.push(await dial(url));
    await expect(dial(url)).rejects.toThrow();
    const streams: Response[] = [];
    for (let i = 0; i < STREAMS_PER_IDENTITY_MAX; i++) streams.push(await fetch(`${url}/replicate`));
    expect(await (await fetch(`${url}/replicate`)).json()).toMatchObject({ status: 429, code: "rate-limited" });
    identity = "bob";
    (await dial(url)).close();
    identity = "ann";
    await streams.shift()!.body!.cancel();
    await expect
      .poll(async () => {
        const answer = await fetch(`${url}/replicate`);
        await answer.body!.cancel();
        return answer.status;
      })
      .toBe(200);
    for (const { body } of streams) await body!.cancel();
  });

  test("a stream that begins at head goes on with what comes", async () => {
    const url = storeOf(await serve());
    await put(url, "a", 1);
    const { body } = await fetch(`${url}/replicate?since=1`);
    const chunks = body!.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
    const next = chunks.next();
    await put(url, "b", 2);
    expect((await next).value).toBe('{"prev":1,"seq":2,"changes":[{"key":"b","value":2}]}\n');
    await chunks.return!();
  });

  test("E1, E2, E3: a store is exported, imported and deleted, and its sessions are told", async () => {
    const server = await serve({ authorize: () => ({ ...ANYONE, admin: true }) });
    const [from, to] = [storeOf(server, "from"), storeOf(server, "to")];
    for (let i = 0; i < 300; i++) await put(from, `key-${i % 200}`, "x".repeat(10_000));
    const file = await (await fetch(`${from}/export`)).text();
    const peer = await dial(to);
    await peer.enter("peer");
    expect(await importInto(to, file.slice(0, -10))).toMatchObject([400, { applied: false }]);
    expect(await statusOf(to)).toMatchObject({ entries: 0, secondaries: [{ id: "peer" }] });
    expect(await importInto(to, file)).toMatchObject([200, { seq: 300, entries: 200 }]);
    expect(await peer.closed).toMatchObject({ code: CLOSE.replaced });
    const empty = file.replace(/\n[^]*/, '\n{"seq":0,"entries":0}\n');
    expect(await importInto(to, empty)).toMatchObject([409, { code: "not-empty" }]);
    const filled = storeOf(server, "filled");
    await put(filled, "old", 1);
    expect(await importInto(filled, empty)).toMatchObject([409, { code: "not-empty" }]);
    expect(await importInto(filled, file, "?replace=true")).toMatchObject([200, { entries: 200 }]);
    const crowded = Array.from({ length: 1001 }, (_, at) => `{"key":"${at}","value":1,"seq":1}\n`).join("");
    const badFile = `{"headwater":1,"store":"to","epoch":"e-1"}\n${crowded}{"seq":1,"entries":1001}\n`;
    expect(await importInto(storeOf(server, "crowded"), badFile)).toMatchObject([413, { code: "too-large" }]);
    const listOf = async (url: string): Promise<unknown> => (await fetch(`${url}/entries?limit=1000`)).json();
    expect(await listOf(to)).toEqual(await listOf(from));
    const again = await dial(to);
    await again.enter("peer");
    const before = await statusOf(to);
    expect((await fetch(to, { method: "DELETE" })).status).toBe(200);
    expect(await again.closed).toMatchObject({ code: CLOSE.replaced });
    const after = await statusOf(to);
    expect(after).toMatchObject({ head: 301, floor: 301, entries: 0, secondaries: [] });
    expect(after.epoch).not.toBe(before.epoch);
    expect(await (await put(to, "a", 1)).json()).toEqual({ seq: 302, replicas: 0 });
  });

  test("E2: kill -9 amid an import leaves the store as it was", async () => {
    const folder = newFolder();
    const child = spawn(process.execPath, [SERVING_PROCESS, folder], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(child, "exit");
    const [origin] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    await put(storeOf({ origin }), "old", 1);
    const size = (): number => readdirSync(folder).reduce((sum, file) => sum + statSync(join(folder, file)).size, 0);
    const before = size();
    const asked = request(`${storeOf({ origin })}/import?replace=true`, { method: "POST" }).on("error", () => {});
    asked.write('{"headwater":1,"store":"store","epoch":"e-1"}\n');
    for (let seq = 1; seq <= 5000; seq++) asked.write(`{"key":"${seq}","value":1,"seq":${seq}}\n`);
    await expect.poll(size).toBeGreaterThan(before + 50_000);
    child.kill("SIGKILL");
    await ended;
    const url = storeOf(await serve({ folder, authorize: () => ({ ...ANYONE, admin: true }) }));
    expect(await statusOf(url)).toMatchObject({ entries: 1, head: 1 });
    const file =
      '{"headwater":1,"store":"store","epoch":"e-1"}\n{"key":"a","value":1,"seq":7}\n{"seq":9,"entries":1}\n';
    expect(await importInto(url, file, "?replace=true")).toMatchObject([200, { seq: 9, entries: 1 }]);
  });

  test("O2: kill -9 amid writes loses nothing that was acknowledged, and goes on in the same epoch", async () => {
    const folder = newFolder();
    const acked: string[] = [];
    const epochs = new Set<string>();
    for (let round = 0; round < 6; round++) {
      const child = spawn(process.execPath, [SERVING_PROCESS, folder], { stdio: ["ignore", "pipe", "inherit"] });
      const ended = once(child, "exit");
      const [origin] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
      const url = storeOf({ origin });
      epochs.add((await statusOf(url)).epoch);
      const { entries } = (await (await fetch(`${url}/entries?limit=1000`)).json()) as { entries: { key: string }[] };
      const held = new Set(entries.map(({ key }) => key));
      expect(acked.filter((key) => !held.has(key))).toEqual([]);
      const killAt = acked.length + 20 + round * 7;
      let count = 0;
      const write = async (): Promise<void> => {
        for (;;) {
          const key = `${round}-${count++}`;
          const answer = await put(url, key, round).catch(() => undefined);
          if (!answer) return;
          expect(answer.status).toBe(200);
          acked.push(key);
          if (acked.length === killAt) child.kill("SIGKILL");
        }
      };
      await Promise.all(Array.from({ length: 8 }, write));
      await ended;
    }
    expect(epochs.size).toBe(1);
    expect(acked.length).toBeGreaterThan(100);
  }, 60_000);
});
