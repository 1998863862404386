// Writes docs/performance.md and its plots from the files that `--json` has written:
//
//   node bench/report.ts results.json

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Results } from "./results.ts";
import type { Run } from "./run.ts";
import { ROOT } from "./server.ts";
import { WORKLOADS } from "./system.ts";
import type { Row, WorkloadId } from "./system.ts";
import { SYSTEMS } from "./systems.ts";
import { TITLES, formatNumber, judgeTargets } from "./tables.ts";

type Recorded = Run & Pick<Results, "left" | "failures">;
type Plot = (panels: { title: string; bars: Bar[] }[]) => string;

interface Bar {
  system: string;
  kind: "headwater" | "bare" | "peer";
  value: number;
  label: string;
}

/** The metrics that are drawn. */
const DRAWN: Record<WorkloadId, string[]> = {
  W1: ["write -> visible in another replica, p50", "write -> acked, no replica, p50"],
  W2: ["5,000 x 1: rate", "5,000 x 10: rate", "5,000 x 100: rate", "50,000 x 1: rate", "50,000 x 10: rate"],
  W3: ["10,000: readable", "10,000: persisted", "100,000: readable", "100,000: persisted"],
  W4: ["10,000: complete", "100,000: first key", "100,000: complete"],
  W5: ["10,000: get", "10,000: list of 100 by prefix", "100,000: get", "100,000: list of 100 by prefix"],
  W6: ["one change -> at all 1,000 sockets, p50", "bursts of 100"],
  W7: ["server with 1,000 idle sockets", "tab with 100,000 entries, all renderers, above an empty page"],
  W8: ["page, gzip", "worker, gzip"],
  W9: [
    "one at a time: rows written per insert of a new key",
    "5,000 at once: rows written per insert of a new key",
    "5,000 at once: overhead to a replica",
  ],
};

const NOTES: Record<WorkloadId, string> = {
  W1: "On Node. A writer writes, waits for the answer (or, without answers, until the other replica shows it), and writes again. Headwater's writer is the page's own code for operations on a socket; its replica is the secondary machine with a Map in place of IndexedDB, so that the ack of a replica costs no disk. `over HTTP` is `connectPrimary`.",
  W2: "On Node, all writes asked for in one turn. `5,000 x 10`: 5,000 writes until 10 replicas, all in the writer's process, show every one. Headwater's writes are acked by all of its in-sync replicas (at most 64) as well.",
  W3: "In Chromium with a new profile, from the call to the moment when every entry can be read, and is on disk. These values do not compress; of 100,000 entries of ordinary JSON, 12.5 MB, 2.5 MB cross the network, for 5 % more of the primary's time (measured beside this run). Bare is `fetch` of lines of 1,000 entries into a Map, then one transaction of IndexedDB with a record per 512 entries.",
  W4: "The browser is started again on the profile of W3. From the call to the moment when a first key can be read, and every key; headwater's first key is `readStored` of one in the middle, opening of IndexedDB included. Bare is `getAll` of the same pages into a Map.",
  W5: "In the page of W4. Bare is a Map, and a sorted list of its keys.",
  W6: "Sockets that take what a replica is sent, in one Node process; headwater's are durable secondaries and ack every frame. In bursts, the writer asks for 100 changes per turn. `bare-packed` and `bare-acked` batch as headwater does, `bare-acked` answers as well.",
  W7: "Resident memory of the server's process; of the browser, the proportional share (PSS) of all renderers with page and worker, less that of an empty page.",
  W8: "Bundled and minified by esbuild. For headwater, what a page loads that only opens a replica, the whole API, and the worker. gzip -9.",
  W9: "Keys of 11 and values of 100 letters. Bytes are those of the TCP streams after the handshake, framing included; the overhead is what a replica receives beyond key and value. Rows are those that SQLite reports, indexes included.",
};

/** Why a target is missed, where it is, and what a profile says of it. */
const REASONS: Partial<Record<WorkloadId, string>> = {
  W4: "Around the bare read of the pages stand the start of a worker (its script, the lock, the claim on the database) and the reading of the whole state by that worker for itself, at the same time as the page but on a machine of two cores. Everything becomes readable at once; one entry is there sooner (`readStored`, first key), as the log behind the checkpoint is read for it first.",
  W6: "Of the primary's time in a profile of bursts, sending takes about as much per byte and frame as in bare; what is left are three things. A change takes some 20 bytes more (names of fields, the chain). There are more and smaller frames, since a replica has at most 1,000 updates unanswered (OPERATIONS_SENT_MAX). And every frame is acked by every socket, in the one process that also is the clients; compare `bare-acked`. With 20,000 changes in place of 5,000 the rates are equal.",
  W8: "The outbox and optimistic updates came after the targets were set: without them the page is 7.7 kB and the worker 12.8 kB; schemas (0.5 kB on the page) and inflating (0.3 kB in the worker) came later still. To load them later would be to have them missing when they are needed, without a network. Then come, on the page, the handle (5.8 kB minified), the mirror and its overlay (5.0), what is pending (4.0), operations (2.9) and checks of what is handed over (3.3); in the worker the codec (7.2), host (6.9), secondary (5.0), outbox (13.5), database (7.6) and idb (3.5).",
};

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("which file? node bench/report.ts results.json");
const rows = JSON.parse(await readFile(file, "utf8")) as Row[];
const run = JSON.parse(await readFile(file.replace(/(\.json)?$/, ".run.json"), "utf8")) as Recorded;
const { plot } = (await import(join(import.meta.dirname, "plot.ts"))) as { plot: Plot };
const folder = join(ROOT, "docs", "performance");
await mkdir(folder, { recursive: true });

const parts = [head(), targets(), systems()];
for (const workload of WORKLOADS) {
  const own = rows.filter((row) => row.workload === workload);
  if (own.length === 0) continue;
  const panels = DRAWN[workload].flatMap((metric) => {
    const bars = own.filter((row) => row.metric === metric).map(toBar);
    return bars.length > 0 ? [{ title: `${metric} (${own.find((row) => row.metric === metric)!.unit})`, bars }] : [];
  });
  await writeFile(join(folder, `${workload}.svg`), plot(panels));
  parts.push(
    `## ${workload}: ${TITLES[workload]}\n${NOTES[workload]}\n\n![${workload}](performance/${workload}.svg)\n\n${table(own)}`,
  );
}
parts.push(left());
await writeFile(join(ROOT, "docs", "performance.md"), `${parts.join("\n\n")}\n`);

function head(): string {
  const versions = Object.entries(run.versions).map(([name, version]) => `${name} ${version}`);
  return `# Performance, measured side by side

Generated by \`node bench/report.ts\` from a ${run.mode} run of \`npm run bench\` on ${run.date}, commit ${run.commit}.
Machine: ${run.machine}; load ${run.load.toFixed(1)} at the end of the run. Clients, servers and browsers share it, all on loopback.
Versions: ${versions.join(", ")}.

Each figure is the median of its runs. Systems take turns: in every round each is measured once, so that whatever else the
machine does falls on all alike. Ratios between systems of one run hold better than any figure alone. A deployed primary
commits over a network and its sockets pass an edge: what is compared here is the price of the software.

\`\`\`sh
npm run bench                                 # everything; installs what it needs into bench/
npm run bench -- --quick                      # less of everything
npm run bench -- --only W1,W2 --systems headwater,bare --json results.json
npm run perf                                  # what the test command demands: W1, W2 and W9 beside bare, with a factor of 3 to spare
\`\`\``;
}

function targets(): string {
  const judged = judgeTargets(rows);
  const lines = judged.map(
    ([workload, wanted, found, verdict]) => `| ${workload} | ${wanted} | ${found} | ${verdict} |`,
  );
  const missed = new Set(
    judged.filter(([, , , verdict]) => verdict !== "met").map(([workload]) => workload as WorkloadId),
  );
  const reasons = [...missed].map((workload) => `**${workload}**: ${REASONS[workload] ?? "not looked into yet."}`);
  const why = reasons.length > 0 ? `\n\nWhy those that are missed are:\n\n${reasons.join("\n\n")}` : "";
  return `## Targets\n| | wanted | found | |\n|---|---|---|---|\n${lines.join("\n")}${why}`;
}

function systems(): string {
  const present = new Set(rows.map(({ system }) => system));
  const lines = SYSTEMS.filter(({ name }) => present.has(name)).map(
    ({ name, description, isDurable }) => `| ${name} | ${description} | ${isDurable ? "yes" : "no"} |`,
  );
  return `## Systems\nDurable: what another replica shows outlives the end of the server.\n\n| system | what was measured | durable |\n|---|---|---|\n${lines.join("\n")}`;
}

function table(own: readonly Row[]): string {
  const names = [...new Set(own.map(({ system }) => system))];
  const metrics = [...new Set(own.map(({ metric }) => metric))];
  const lines = metrics.map((metric) => {
    const found = own.filter((row) => row.metric === metric);
    const cells = names.map((name) => {
      const row = found.find(({ system }) => system === name);
      return row ? `${formatNumber(row.median)}${row.runs.length === 1 ? "" : ` (${row.runs.length})`}` : "-";
    });
    return `| ${metric} | ${found[0]!.unit} | ${cells.join(" | ")} |`;
  });
  return `In brackets: the number of runs, where there was more than one.\n\n| | unit | ${names.join(" | ")} |\n|---|---|${names.map(() => "---:|").join("")}\n${lines.join("\n")}`;
}

function left(): string {
  const lines = [
    ...run.left.map(({ system, cell, reason }) => `| ${cell} | ${system} | ${reason} |`),
    ...run.failures.map(({ system, cell, reason }) => `| ${cell} | ${system} | failed: ${reason.split("\n")[0]} |`),
  ];
  return `## Not measured\n| | system | why |\n|---|---|---|\n${lines.join("\n")}`;
}

function toBar(row: Row): Bar {
  const folder = SYSTEMS.find(({ name }) => name === row.system)?.folder;
  const kind = folder === "headwater" || folder === "bare" ? folder : "peer";
  return { system: row.system, kind, value: row.median, label: formatNumber(row.median) };
}
