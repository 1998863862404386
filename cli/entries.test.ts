import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run, start } from "./testing/command.ts";
import type { Ended } from "./testing/command.ts";
import { ServedPrimary } from "./testing/primary.ts";

let primary: ServedPrimary;
beforeAll(async () => {
  primary = await ServedPrimary.start();
});
afterAll(() => primary.stop());

const headwater = (...args: string[]): Promise<Ended> => run(args, { url: primary.url });
const withInput = (input: string, ...args: string[]): Promise<Ended> => run(args, { url: primary.url, input });
const jsonOf = ({ stdout }: Ended): unknown => JSON.parse(stdout);

test("what is put is got, removed, and then not found", async () => {
  expect(await headwater("put", "a", "title", '{"text":"Tea"}')).toEqual({
    code: 0,
    stdout: "seq 1, on 0 replicas\n",
    stderr: "",
  });
  expect(await headwater("get", "a", "title")).toEqual({ code: 0, stdout: '{"text":"Tea"}\n', stderr: "" });
  expect(jsonOf(await headwater("get", "a", "title", "--json"))).toEqual({
    key: "title",
    value: { text: "Tea" },
    seq: 1,
  });
  expect(jsonOf(await headwater("--json", "rm", "a", "title"))).toEqual({ seq: 2, replicas: 0 });
  const missing = await headwater("get", "a", "title", "--json");
  expect([missing.code, missing.stdout]).toEqual([1, ""]);
  expect(JSON.parse(missing.stderr)).toMatchObject({ code: "not-found" });
});

test("values come as JSON, as text, from stdin, and below zero", async () => {
  const puts = await Promise.all([
    withInput('"piped"', "put", "b", "piped", "-"),
    withInput("two\nlines", "put", "b", "text", "-", "--text"),
    headwater("put", "b", "number", "-5"),
  ]);
  expect(puts.map(({ code }) => code)).toEqual([0, 0, 0]);
  expect((await headwater("list", "b")).stdout).toBe('number\t-5\npiped\t"piped"\ntext\t"two\\nlines"\n');
  expect((await headwater("get", "b", "text", "--text")).stdout).toBe("two\nlines\n");
});

test("a condition that does not hold changes nothing, and says what does", async () => {
  expect((await headwater("put", "c", "a", "1", "--if-absent")).code).toBe(0);
  const refused = await headwater("put", "c", "a", "2", "--if-absent", "--json");
  expect(refused.code).toBe(1);
  expect(JSON.parse(refused.stderr)).toMatchObject({ code: "conflict", applied: false, check: { key: "a", seq: 1 } });
  expect((await headwater("put", "c", "a", "2", "--if-seq", "1")).code).toBe(0);
  expect((await headwater("rm", "c", "a", "--if-seq", "1")).code).toBe(1);
  expect((await headwater("put", "c", "a", "3", "--ack", "3")).stderr).toContain("not-enough-replicas");
  expect((await headwater("get", "c", "a")).stdout).toBe("2\n");
});

test("a batch is done as one, from a file and from stdin", async () => {
  const file = join(primary.folder, "batch.json");
  writeFileSync(
    file,
    JSON.stringify({ ops: [{ insert: { key: "a", value: 1 } }, { insert: { key: "b", value: 2 } }] }),
  );
  expect(jsonOf(await headwater("batch", "d", file, "--json"))).toMatchObject({ seq: 1 });
  const checked = '{"ops":[{"remove":{"key":"a"}}],"checks":[{"key":"b","seq":7}]}';
  expect((await withInput(checked, "batch", "d", "-")).code).toBe(1);
  const wrong = ["{", "[]", '{"ops":[{}]}'].map((body) => withInput(body, "batch", "d", "-"));
  wrong.push(headwater("batch", "d", join(primary.folder, "no-such-file")));
  expect((await Promise.all(wrong)).map(({ code }) => code)).toEqual([2, 2, 2, 2]);
  expect((await headwater("list", "d")).stdout).toBe("a\t1\nb\t2\n");
});

test("a list goes through all pages, and as far as it is read", async () => {
  const keys = Array.from({ length: 2500 }, (_, i) => `key/${String(i).padStart(4, "0")}`);
  for (let at = 0; at < keys.length; at += 1000) {
    const ops = keys.slice(at, at + 1000).map((key) => ({ insert: { key, value: "x".repeat(100) } }));
    expect((await withInput(JSON.stringify({ ops }), "batch", "e", "-")).code).toBe(0);
  }
  const keysOf = ({ stdout }: Ended): string[] =>
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { key: string }).key);
  expect(keysOf(await headwater("list", "e", "--json"))).toEqual(keys);
  const last = await headwater("list", "e", "--json", "--prefix", "key/", "--reverse", "--limit", "1001");
  expect(keysOf(last)).toEqual(keys.toReversed().slice(0, 1001));
  expect(keysOf(await headwater("list", "e", "--json", "--start", "key/0007", "--end", "key/0009"))).toEqual(
    keys.slice(7, 9),
  );

  const cut = start(["list", "e"], { url: primary.url });
  const closed = once(cut, "close");
  await once(createInterface({ input: cut.stdout }), "line");
  cut.stdout.destroy();
  expect((await cut.stderr.toArray()).join("")).toBe("");
  expect(await closed).toEqual([0, null]);
});

test("a key or a value cannot steer the terminal", async () => {
  const key = "\u001B[2J a\u009Bb";
  expect((await headwater("put", "f", key, '"\\u009b2J"')).code).toBe(0);
  expect((await headwater("list", "f")).stdout).toBe('"\\u001b[2J a\\u{9b}b"\t"\\u{9b}2J"\n');
  expect((await headwater("get", "f", `${key}!`)).stderr).not.toContain("\u001B");
});

test("status says where the primary stands", async () => {
  await headwater("put", "g", "a", "1");
  expect(jsonOf(await headwater("status", "g", "--json"))).toMatchObject({ head: 1, entries: 1, secondaries: [] });
  expect((await headwater("status", "g")).stdout).toMatch(/^store +g\nepoch +\S+\nhead +1, floor 0\n/);
});
