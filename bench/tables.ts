// The results as tables for people at a terminal.

import type { Results } from "./results.ts";
import { WORKLOADS } from "./system.ts";
import type { Row } from "./system.ts";
import { TARGETS, findIn } from "./targets.ts";

export const TITLES = {
  W1: "sequential writes, one writer",
  W2: "pipelined writes until visible at all replicas",
  W3: "bootstrap of entries of 100 B into a fresh Chromium",
  W4: "warm start of the same",
  W5: "local reads in a page, by how many entries it holds",
  W6: "fan-out: one writer, 1,000 sockets",
  W7: "memory",
  W8: "bundle size, minified",
  W9: "rows and bytes per operation",
} as const;

export function formatTables(results: Results): string {
  const parts: string[] = [];
  for (const workload of WORKLOADS) {
    const rows = results.rows.filter((row) => row.workload === workload);
    if (rows.length === 0) continue;
    const systems = [...new Set(rows.map(({ system }) => system))];
    const metrics = [...new Set(rows.map(({ metric }) => metric))];
    const lines = [[workload, ...systems, "unit", "runs"]];
    for (const metric of metrics) {
      const found = rows.filter((row) => row.metric === metric);
      const cells = systems.map((system) => cellOf(found, system));
      const runs = [...new Set(found.map((row) => row.runs.length))].sort((a, b) => a - b);
      const counts = runs.length === 1 ? String(runs[0]) : `${runs[0]}-${runs.at(-1)}`;
      lines.push([metric, ...cells, found[0]!.unit, counts]);
    }
    parts.push(`${workload}: ${TITLES[workload]}; in brackets: times bare\n${align(lines)}`);
  }
  const targets = judgeTargets(results.rows);
  if (targets.length > 0) parts.push(`Targets\n${align(targets.map((line) => [line[3], ...line.slice(0, 3)]))}`);
  if (results.left.length > 0) {
    parts.push(`Not measured\n${align(results.left.map(({ cell, system, reason }) => [cell, system, reason]))}`);
  }
  if (results.failures.length > 0) {
    const lines = results.failures.map(({ cell, system, reason }) => [cell, system, reason.split("\n")[0]!]);
    parts.push(`FAILED\n${align(lines)}`);
  }
  return `\n${parts.join("\n\n")}\n`;
}

/**
 * Each target for which everything was measured: workload, what is wanted, what was found, verdict. Ratios may miss it by
 * the factor `slack`.
 */
export function judgeTargets(rows: readonly Row[], slack = 1): [string, string, string, string][] {
  return TARGETS.flatMap(({ workload, wanted, judge }) => {
    const verdict = judge(findIn(rows, workload), slack);
    if (!verdict) return [];
    return [[workload, wanted, verdict.found, verdict.isMet ? "met" : "MISSED"] as [string, string, string, string]];
  });
}

function cellOf(found: readonly Row[], system: string): string {
  const row = found.find((row) => row.system === system);
  if (!row) return "-";
  const bare = found.find(({ system }) => system === "bare");
  const ratio = bare && bare !== row && bare.median > 0 ? ` (${formatNumber(row.median / bare.median)})` : "";
  return `${formatNumber(row.median)}${ratio}`;
}

export function formatNumber(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function align(lines: readonly string[][]): string {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) =>
      line
        .map((text, column) => text.padEnd(widths[column]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
