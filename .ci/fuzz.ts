// `npm run fuzz`: fuzzes codec, machines and HTTP door in as many cases as are wanted, from another seed each time. A broken
// property names its seed and the smallest case that breaks it; with `--seed` the same cases come again.
//
//   npm run fuzz                               100,000 cases
//   npm run fuzz -- --runs 1000000 --seed 7    others

import { spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { delimiter, join } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dirname, "..");
const { values } = parseArgs({
  options: { runs: { type: "string", default: "100000" }, seed: { type: "string", default: `${randomInt(2 ** 31)}` } },
});
const { runs, seed } = values;
const PATH = [join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter);

console.log(`${runs} cases from seed ${seed}; again: npm run fuzz -- --runs ${runs} --seed ${seed}`);
const { status } = spawnSync("vitest", ["run", "src/fuzz.test.ts", "worker/fuzz.test.ts", "--reporter=verbose"], {
  cwd: root,
  env: { ...process.env, PATH, FUZZ_RUNS: runs, FUZZ_SEED: seed },
  shell: process.platform === "win32",
  stdio: "inherit",
});
process.exitCode = status ?? 1;
