import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PLANTED_BUGS } from "./testing/planted-bugs.ts";

const RUNS = 1500;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "headwater-bugs-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** Runs the simulation of a copy of the core with one bug in it; returns what it printed and whether it found a fault. */
async function simulate(
  name: string,
  file: string,
  change: (text: string) => string,
): Promise<{ found: boolean; said: string }> {
  const copy = join(folder, name.replaceAll(/\W+/g, "-"));
  await cp(import.meta.dirname, copy, { recursive: true, filter: (path) => !path.endsWith(".test.ts") });
  await writeFile(join(folder, "package.json"), '{"type":"module"}');
  const path = join(copy, file);
  await writeFile(path, change(await readFile(path, "utf8")));
  const args = [join(copy, "testing", "sim.ts"), "--runs", String(RUNS), "--bail"];
  const run = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [run.stdout, run.stderr]) stream.on("data", (piece: Buffer) => (said += piece.toString()));
  const [code] = (await once(run, "close")) as [number];
  return { found: code === 1 && said.includes("again: npm run sim"), said };
}

describe("the simulation finds each planted bug", () => {
  test.each(PLANTED_BUGS.map((bug) => [bug.name, bug] as const))(
    "%s",
    { timeout: 180_000 },
    async (name, { file, right, wrong }) => {
      const { found, said } = await simulate(name, file, (text) => {
        expect(text.split(right), "the place of the bug").toHaveLength(2);
        return text.replace(right, () => wrong);
      });
      expect(said, "what was found").toContain("seed ");
      expect(found).toBe(true);
    },
  );
});
