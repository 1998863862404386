import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync, watch, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run, start } from "./testing/command.ts";
import type { Ended } from "./testing/command.ts";
import { ServedPrimary, answer } from "./testing/primary.ts";

const ENTRIES = 100_000;

let primary: ServedPrimary;
let folder: string;
beforeAll(async () => {
  primary = await ServedPrimary.start();
  folder = mkdtempSync(join(tmpdir(), "headwater-backup-"));
});
afterAll(async () => {
  await primary.stop();
  rmSync(folder, { recursive: true, force: true });
});

const headwater = (...args: string[]): Promise<Ended> => run([...args, "--json"], primary);
const jsonOf = ({ stdout, stderr }: Ended): unknown => JSON.parse(stdout || stderr);

test("a store of 100,000 entries is imported, exported, deleted and imported again", async () => {
  const [one, other] = [join(folder, "one.ndjson"), join(folder, "other.ndjson")];
  const lines = Array.from({ length: ENTRIES }, (_, i) => `{"key":"key/${i}","value":"ü ${i}","seq":${i + 1}}`);
  const end = `{"seq":${ENTRIES},"entries":${ENTRIES}}`;
  writeFileSync(one, ['{"headwater":1,"store":"big","epoch":"e-1"}', ...lines, end, ""].join("\n"));
  expect(jsonOf(await headwater("import", "big", one))).toMatchObject({ seq: ENTRIES, entries: ENTRIES });
  expect(jsonOf(await headwater("export", "big", other))).toMatchObject({
    file: other,
    seq: ENTRIES,
    entries: ENTRIES,
  });
  expect(readFileSync(other, "utf8").split("\n").slice(1)).toEqual([...lines, end, ""]);
  expect(readdirSync(folder).sort()).toEqual(["one.ndjson", "other.ndjson"]);

  const refused = await headwater("import", "big", other);
  expect([refused.code, jsonOf(refused)]).toMatchObject([1, { code: "not-empty", applied: false }]);
  expect(jsonOf(await headwater("delete", "big", "--yes"))).toMatchObject({ entries: 0 });
  const again = await run(["import", "big", "-"], { url: primary.url, input: readFileSync(other, "utf8") });
  expect(again).toMatchObject({ code: 0, stdout: expect.stringMatching(/^big: 100,000 entries at seq \d+\n$/) });
  await headwater("put", "big", "other", "1");
  const replaced = jsonOf(await headwater("import", "big", other, "--replace"));
  expect(replaced).toMatchObject({ entries: ENTRIES });
  expect((await headwater("get", "big", "other")).code).toBe(1);
});

test("an export to stdout is the file; where no file can be, none is begun", async () => {
  await headwater("put", "small", "a", "1");
  expect((await headwater("export", "small", join(folder, "no", "such", "folder"))).code).toBe(2);
  const lines = (await run(["export", "small"], primary)).stdout.split("\n");
  expect(lines.slice(1)).toEqual(['{"key":"a","value":1,"seq":1}', '{"seq":1,"entries":1}', ""]);
});

const HALF = '{"headwater":1,"store":"s","epoch":"e-1"}\n{"key":"a","value":1,"seq":1}\n';

test.each([
  ["breaks off", (end: () => void, cut: () => void) => cut()],
  ["ends before its last line", (end: () => void) => end()],
])("an export that %s leaves the file that was there", async (_, stop) => {
  const file = join(folder, "kept.ndjson");
  writeFileSync(file, "what was there");
  const { url, server } = await answer((request, response) => {
    if (request.url!.endsWith("/status")) response.end('{"entries":2}');
    else
      response.write(HALF, () =>
        stop(
          () => response.end(),
          () => response.destroy(),
        ),
      );
  });
  const before = readdirSync(folder);
  const ended = await run(["export", "s", file, "--json"], { url });
  expect([ended.code, jsonOf(ended)]).toMatchObject([3, { code: "cut-off" }]);
  expect(readFileSync(file, "utf8")).toBe("what was there");
  expect(readdirSync(folder)).toEqual(before);
  server.close();
});

test("an export that is interrupted leaves nothing", async () => {
  const { url, server } = await answer((request, response) => {
    if (request.url!.endsWith("/status")) response.end('{"entries":2}');
    else response.write(HALF);
  });
  const before = readdirSync(folder);
  const watcher = watch(folder);
  const begun = once(watcher, "change");
  const exporting = start(["export", "s", join(folder, "interrupted.ndjson")], { url });
  await begun;
  watcher.close();
  const ended = once(exporting, "close");
  exporting.kill("SIGINT");
  expect(await ended).toEqual([130, null]);
  expect(readdirSync(folder)).toEqual(before);
  server.closeAllConnections();
  server.close();
});
