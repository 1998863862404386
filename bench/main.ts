// Measures headwater, the bare platform and the peers side by side: each part of a workload round after round, and in each
// round one system after the other, so that what else the machine does falls on all of them alike.
//
//   npm run bench                                everything
//   npm run bench -- --quick                     less of everything
//   npm run bench -- --only W1,W3 --systems headwater,bare
//   npm run bench -- --json FILE                 writes the results, and beside them FILE.run.json: when, where, with what

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Results } from "./results.ts";
import { SYSTEMS } from "./systems.ts";

const PLAIN = { type: "string" } as const;
const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: PLAIN,
    systems: PLAIN,
    json: PLAIN,
    rounds: PLAIN,
    cells: PLAIN,
    slack: PLAIN,
  },
});
const list = (text: string | undefined): string[] | undefined => text?.split(",");

if (SYSTEMS.some(({ name, packages }) => packages.length > 0 && (list(options.systems)?.includes(name) ?? true)))
  install();
const { measure } = await import("./measure.ts");
const { describeRun } = await import("./run.ts");
const { formatTables, judgeTargets } = await import("./tables.ts");

const results: Results = await measure({
  isQuick: options.quick,
  workloads: list(options.only),
  systems: list(options.systems),
  rounds: options.rounds === undefined ? undefined : Number(options.rounds),
  cells: options.cells,
});
console.log(formatTables(results));
if (options.json !== undefined) {
  await writeFile(options.json, `[\n${results.rows.map((row) => JSON.stringify(row)).join(",\n")}\n]\n`);
  const run = { ...describeRun(results.systems, options.quick), failures: results.failures, left: results.left };
  await writeFile(options.json.replace(/(\.json)?$/, ".run.json"), `${JSON.stringify(run, null, 2)}\n`);
}
if (options.slack !== undefined) demandTargets(Number(options.slack));
if (results.failures.length > 0) process.exitCode = 1;

/** For machines that run other things as well: a target that is missed by more than this factor is a failure. */
function demandTargets(slack: number): void {
  const judged = judgeTargets(results.rows, slack);
  for (const [workload, wanted, found, verdict] of judged) {
    if (verdict !== "met") console.log(`missed by more than ${slack} x: ${workload} ${wanted}, found ${found}`);
  }
  if (judged.length === 0 || judged.some(([, , , verdict]) => verdict !== "met")) process.exitCode = 1;
}

/** The packages of the benchmark are its own, so that the project does not depend on its peers. */
function install(): void {
  const folder = import.meta.dirname;
  const installed = join(folder, "node_modules", ".package-lock.json");
  if (existsSync(installed) && isInstalled(folder)) return;
  console.log("installing what the benchmark needs");
  const { status } = spawnSync("npm", ["ci", "--prefix", folder], { stdio: "inherit" });
  if (status !== 0) throw new Error("npm ci --prefix bench has failed");
}

function isInstalled(folder: string): boolean {
  return spawnSync("npm", ["ls", "--prefix", folder], { stdio: "ignore" }).status === 0;
}
