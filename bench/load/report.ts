// What a run has found, as tables for people at a terminal.

import type { Run } from "../run.ts";
import { quantile } from "../statistics.ts";
import { align, formatNumber } from "../tables.ts";
import type { Figures } from "./figures.ts";
import type { Kills, Plan, Soak } from "./run.ts";
import type { Verdict } from "./verdicts.ts";

export interface Report {
  run: Run;
  plan: Plan;
  soak: Soak;
  kills: Kills;
  /** How often sockets came and went, and how. */
  coming: ReadonlyMap<string, number>;
  /** What each reader was sent. */
  steps: number[];
  verdicts: Verdict[];
}

export function formatReport({ run, soak, kills, coming, steps, verdicts }: Report): string {
  const { machine, load, commit, date, versions } = run;
  const parts = [
    `${date}, commit ${commit}; ${machine}, load ${load.toFixed(1)}; node ${versions.node}, workerd ${versions.workerd}`,
    `Soak\n${formatFigures(soak.figures)}`,
    `Under kill -9\n${formatFigures(kills.figures)}`,
    `sockets ${[...coming].map(([how, count]) => `${how}: ${count}`).join(", ")}; steps read: ${steps.join(", ")}`,
    align(verdicts.map(({ demand, found, isMet }) => [isMet ? "met" : "MISSED", demand, found])),
  ];
  return `\n${parts.join("\n\n")}\n`;
}

function formatFigures({ times, outcomes }: Figures): string {
  const kinds = [...new Set([...times.keys(), ...outcomes.keys()])].sort();
  const lines = kinds.map((kind) => {
    const found = times.get(kind) ?? [];
    const figures = [0.5, 0.99, 1].map((share) => (found.length > 0 ? formatNumber(quantile(found, share)) : "-"));
    const ends = [...(outcomes.get(kind) ?? [])].map(([outcome, count]) => `${count} ${outcome}`);
    return [kind, String(found.length), ...figures, ends.join(", ")];
  });
  return align([["", "timed", "p50 ms", "p99 ms", "max ms", "ended"], ...lines]);
}
