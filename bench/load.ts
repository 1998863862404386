// Load and soak: a thousand sockets with mixed traffic on one primary on local workerd, then kill -9 of it under that load,
// again and again. The replicas are the product's own, reconnecting socket included, in Node.
//
//   npm run load                                 some ten minutes: 1,000 sockets, 4 minutes of soak, 50 kills
//   npm run load -- --quick                      under a minute: what the test command demands
//   npm run load -- --sockets 1000 --minutes 4 --kills 50 --seed 1 --json FILE
//
// The seed decides what is done; what comes of it is decided by real clocks and processes.

import { randomInt } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { formatReport } from "./load/report.ts";
import type { Report } from "./load/report.ts";
import { Load } from "./load/run.ts";
import type { Plan } from "./load/run.ts";
import { demandFlat, demandNone, demandReturn, demandSpread, demandTraffic } from "./load/verdicts.ts";
import type { Verdict } from "./load/verdicts.ts";
import { describeRun } from "./run.ts";

const FULL = { sockets: 1000, minutes: 4, kills: 50 };
const QUICK = { sockets: 200, minutes: 0.3, kills: 5 };

function readPlan(): { plan: Plan; json: string | undefined } {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      sockets: { type: "string" },
      minutes: { type: "string" },
      kills: { type: "string" },
      seed: { type: "string", default: String(randomInt(1_000_000)) },
      json: { type: "string" },
    },
  });
  const usual = values.quick ? QUICK : FULL;
  const plan = {
    sockets: Number(values.sockets ?? usual.sockets),
    soakMs: Number(values.minutes ?? usual.minutes) * 60_000,
    kills: Number(values.kills ?? usual.kills),
    seed: Number(values.seed),
  };
  return { plan, json: values.json };
}

async function measure(plan: Plan): Promise<Report> {
  const load = await Load.start(plan);
  try {
    const soak = await load.soak(plan.soakMs);
    const kills = await load.kill(plan.kills, (round) => process.stderr.write(round < plan.kills ? "." : ".\n"));
    const unequal = await load.settle();
    const { losses, readers, crowd } = load;
    const gaps = readers.flatMap(({ gaps }) => gaps);
    const verdicts: Verdict[] = [
      demandTraffic(soak.figures.count("acked"), soak.figures.count()),
      demandNone("acknowledged writes lost, failed ones found", losses),
      demandNone("replicas and readers unequal to the primary in the end", unequal),
      demandNone("gaps in the readers' chains", gaps),
      ...(soak.memoryMb.length > 0 ? [demandFlat(soak.memoryMb)] : []),
      demandReturn(kills.rounds, plan.kills),
      demandSpread(kills.rounds, crowd.size),
    ];
    const run = describeRun([], plan.sockets < FULL.sockets);
    return { run, plan, soak, kills, coming: crowd.coming, steps: readers.map(({ steps }) => steps), verdicts };
  } finally {
    await load.stop();
  }
}

const { plan, json } = readPlan();
console.log(`${plan.sockets} sockets, seed ${plan.seed}`);
const report = await measure(plan);
console.log(formatReport(report));
if (json !== undefined) {
  const plain = (_: string, value: unknown): unknown => (value instanceof Map ? Object.fromEntries(value) : value);
  await writeFile(json, `${JSON.stringify(report, plain, 2)}\n`);
}
if (report.verdicts.some(({ isMet }) => !isMet)) {
  const { sockets, soakMs, kills, seed } = plan;
  console.log(
    `again: npm run load -- --sockets ${sockets} --minutes ${soakMs / 60_000} --kills ${kills} --seed ${seed}`,
  );
  process.exitCode = 1;
}
