// Runs the simulation of a copy of the core that has one bug in it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PlantedBug } from "./planted-bugs.ts";

const CORE = join(import.meta.dirname, "..");
/** A bug that makes the simulation run for ever has not been found. */
const PATIENCE_MS = 600_000;

/** The first of `runs` seeds from `first` on that shows the bug, if one does, and what the simulation said. */
export async function plant(bug: PlantedBug, first: number, runs: number): Promise<{ seed?: number; said: string }> {
  const folder = await mkdtemp(join(tmpdir(), "headwater-bug-"));
  try {
    await cp(CORE, join(folder, "src"), { recursive: true, filter: (path) => !path.endsWith(".test.ts") });
    await writeFile(join(folder, "package.json"), '{"type":"module"}');
    const path = join(folder, "src", bug.file);
    const [before, after, ...others] = (await readFile(path, "utf8")).split(bug.right);
    if (after === undefined || others.length > 0) return { said: `what is right does not stand once in ${bug.file}` };
    await writeFile(path, before + bug.wrong + after);
    return await simulate(join(folder, "src", "testing", "sim.ts"), first, runs);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function simulate(script: string, first: number, runs: number): Promise<{ seed?: number; said: string }> {
  const args = [script, "--seed", String(first), "--runs", String(runs), "--bail"];
  const run = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], timeout: PATIENCE_MS });
  let said = "";
  for (const stream of [run.stdout, run.stderr]) stream.on("data", (piece: Buffer) => (said += piece.toString()));
  await once(run, "close");
  const seed = /^seed (\d+): /m.exec(said)?.[1];
  return seed === undefined ? { said } : { seed: Number(seed), said };
}
