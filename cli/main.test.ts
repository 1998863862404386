import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { afterEach, describe, expect, test } from "vitest";
import { run, start } from "./testing/command.ts";
import type { Ended } from "./testing/command.ts";
import { ServedPrimary, answer } from "./testing/primary.ts";

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0)) await end();
});

const failureOf = ({ stderr }: Ended): unknown => JSON.parse(stderr);

/** Reads lines of JSON one by one, as they come. */
function linesOf(input: Readable): () => Promise<unknown> {
  const lines = createInterface({ input })[Symbol.asyncIterator]();
  return async () => JSON.parse(String((await lines.next()).value));
}

describe("exit codes", () => {
  test("2: a command line that cannot be meant, and --json holds for that, too", async () => {
    const wrong = [["put", "s"], ["git"], ["get", "..", "a"], ["put", "s", "a", "{"], ["list", "s", "--limit", "x"]];
    wrong.push(["delete", "s"], ["get", "s", "a", "--url", "ftp://host"]);
    const ended = await Promise.all(wrong.map((args) => run([...args, "--json"])));
    expect(ended.map(({ code, stdout }) => [code, stdout])).toEqual(wrong.map(() => [2, ""]));
    for (const one of ended) expect(failureOf(one)).toMatchObject({ code: "usage" });
  });

  test("3: nobody is there, which is said at once, by every command", async () => {
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const url = `http://127.0.0.1:${(probe.address() as AddressInfo).port}`;
    probe.close();
    await once(probe, "close");
    const all = [
      ["get", "s", "a"],
      ["put", "s", "a", "1"],
      ["watch", "s"],
      ["status", "s"],
      ["delete", "s", "--yes"],
    ];
    const ended = await Promise.all(all.map((args) => run([...args, "--json"], { url })));
    for (const one of ended) {
      expect(one.code).toBe(3);
      expect(failureOf(one)).toMatchObject({
        code: "offline",
        applied: false,
        message: expect.stringMatching(/^http/),
      });
    }
  });

  test("4: applied and not confirmed, or cut off before the answer", async () => {
    const unconfirmed = await answer((_, response) => {
      response.writeHead(504).end('{"code":"unconfirmed","applied":true,"seq":7,"replicas":1,"expected":2}');
    });
    const silent = await answer((request) => request.socket.destroy());
    endings.push(
      () => unconfirmed.server.close(),
      () => silent.server.close(),
    );
    const [put, gone] = await Promise.all([
      run(["put", "s", "a", "1", "--json"], unconfirmed),
      run(["delete", "s", "--yes", "--json"], silent),
    ]);
    expect([put.code, failureOf(put)]).toMatchObject([4, { code: "unconfirmed", applied: true, seq: 7 }]);
    expect([gone.code, failureOf(gone)]).toMatchObject([4, { code: "outcome-unknown" }]);
  });

  test("1: who may not is told so, and who it is goes with the request and nowhere else", async () => {
    const token = "a.secret.token";
    const shown = new Set<string | undefined>();
    const closed = await answer((request, response) => {
      shown.add(request.headers.authorization);
      response.writeHead(403).end('{"code":"forbidden","detail":"only for others"}');
    });
    endings.push(() => closed.server.close());
    const env = { HEADWATER_TOKEN: token };
    const all = [run(["get", "s", "a"], { url: closed.url, env }), run(["export", "s"], { url: closed.url, env })];
    for (const ended of await Promise.all(all)) {
      expect(ended).toEqual({ code: 1, stdout: "", stderr: "forbidden: only for others\n" });
    }
    expect(shown).toEqual(new Set([`Bearer ${token}`]));
    expect((await run(["--help"], { env })).stdout).not.toContain(token);
  });
});

test("a watch survives the death of the primary, says so, and misses nothing", async () => {
  const primary = await ServedPrimary.start();
  endings.push(() => primary.stop());
  const write = async (key: string, value: string): Promise<void> =>
    expect((await run(["put", "board", key, value], primary)).code).toBe(0);
  await write("card/1", "1");
  await write("other", "1");
  const watching = start(["watch", "board", "--prefix", "card/", "--json"], primary);
  const nextStep = linesOf(watching.stdout);
  const nextNote = linesOf(watching.stderr);
  expect(await nextStep()).toMatchObject({ reset: true, seq: 2, changes: [{ key: "card/1", value: 1 }] });
  await write("other", "2");
  await write("card/1", "2");
  expect(await nextStep()).toMatchObject({ reset: false, prev: 3, seq: 4, changes: [{ key: "card/1", value: 2 }] });

  await primary.kill();
  expect(await nextNote()).toMatchObject({ code: "connection-lost" });
  await primary.restart();
  expect(await nextNote()).toMatchObject({ code: "connected-again" });
  expect((await run(["rm", "board", "card/1"], primary)).code).toBe(0);
  expect(await nextStep()).toMatchObject({ reset: false, seq: 5, changes: [{ key: "card/1", removed: true }] });
  const ended = once(watching, "close");
  watching.kill("SIGINT");
  expect(await ended).toEqual([130, null]);

  const since = start(["watch", "board", "--since", "3"], primary);
  const [line] = (await once(since.stdout, "data")) as [Buffer];
  expect(line.toString()).toBe("seq 5  card/1 removed\n");
  since.kill();
});
