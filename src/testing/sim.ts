// `npm run sim -- --runs N --seed S`: runs N seeds from S on and says what they did. A broken rule names its seed;
// `--bail` stops at the first.

import { parseArgs } from "node:util";
import { simulate } from "./simulation.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
    bail: { type: "boolean", default: false },
  },
});
const runs = Number(values.runs);
const first = Number(values.seed);
const totals = {
  steps: 0,
  faults: new Map<string, number>(),
  outcomes: new Map<string, number>(),
  answers: new Map<string, number>(),
};

function add(into: Map<string, number>, from: ReadonlyMap<string, number>): void {
  for (const [name, count] of from) into.set(name, (into.get(name) ?? 0) + count);
}

const show = (counts: ReadonlyMap<string, number>): string =>
  [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${count} ${name}`)
    .join(", ");

const startedAt = performance.now();
let failures = 0;
for (let seed = first; seed < first + runs; seed++) {
  try {
    const report = simulate(seed);
    totals.steps += report.steps;
    add(totals.faults, report.faults);
    add(totals.outcomes, report.outcomes);
    add(totals.answers, report.answers);
  } catch (error) {
    failures += 1;
    console.error(
      `seed ${seed}: ${error instanceof Error ? (failures === 1 ? error.stack : error.message) : String(error)}`,
    );
    console.error(`  again: npm run sim -- --runs 1 --seed ${seed}`);
    if (values.bail || failures >= 20) break;
  }
}
const seconds = (performance.now() - startedAt) / 1000;
console.log(`${runs} seeds from ${first}, ${totals.steps} steps, ${Math.round(totals.steps / seconds)} steps/s`);
console.log(`faults: ${show(totals.faults)}`);
console.log(`answers of the primary: ${show(totals.answers)}`);
console.log(`outcomes for users: ${show(totals.outcomes)}`);
console.log(failures === 0 ? "no rule broken" : `${failures} seeds broke a rule`);
process.exitCode = failures === 0 ? 0 : 1;
