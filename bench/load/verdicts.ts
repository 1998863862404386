// What a run must show, judged from its figures alone, so that a test can show that each verdict can be the other one.

import { median, quantile } from "../statistics.ts";

export interface Verdict {
  demand: string;
  found: string;
  isMet: boolean;
}

/** One kill -9: times in milliseconds since then. */
export interface Round {
  /** The primary answered again. */
  answeredMs: number;
  /** Attempts of all sockets to connect. */
  attempts: number[];
  /** One socket after the other was back. */
  returns: number[];
}

/** A heap breathes: what grows by less than this is no leak that shows in minutes. */
const MEMORY_FACTOR = 1.2;
const MEMORY_SLACK_MB = 16;
const SLOT_MS = 100;
/**
 * The waits of a crowd that was cut off together overlap: with full jitter over 500, 1000, 2000 ms some 31 % of it are due in
 * the fullest slot. A busy machine makes that more; a crowd without jitter, or with a first wait of 100 ms, comes as a whole.
 */
const SLOT_SHARE_MAX = 0.6;

/** Nothing of this kind may have happened. */
export function demandNone(demand: string, complaints: readonly string[]): Verdict {
  const [first] = complaints;
  const found = first === undefined ? "none" : `${complaints.length}, the first: ${first}`;
  return { demand, found, isMet: complaints.length === 0 };
}

/** A run in which little came through shows nothing. */
export function demandTraffic(acked: number, all: number): Verdict {
  const share = all === 0 ? 0 : acked / all;
  const found = `${acked} of ${all}`;
  return { demand: "most updates were acked", found, isMet: share > 0.5 };
}

/**
 * Memory at the end beside memory after warming up: the medians of the last and of the second quarter of the samples, which
 * were taken at even intervals.
 */
export function demandFlat(samplesMb: readonly number[]): Verdict {
  const quarter = Math.floor(samplesMb.length / 4);
  const early = median(samplesMb.slice(quarter, 2 * quarter));
  const late = median(samplesMb.slice(3 * quarter));
  return {
    demand: `memory stays below ${MEMORY_FACTOR} x + ${MEMORY_SLACK_MB} MiB`,
    found: `${early.toFixed(0)} -> ${late.toFixed(0)} MiB`,
    isMet: quarter > 0 && late <= early * MEMORY_FACTOR + MEMORY_SLACK_MB,
  };
}

/** The share of all sockets that tried to connect in the fullest slot of any round. */
export function demandSpread(rounds: readonly Round[], sockets: number): Verdict {
  const fullest = Math.max(0, ...rounds.map(({ attempts }) => fullestSlot(attempts))) / sockets;
  return {
    demand: `no stampede: at most ${SLOT_SHARE_MAX * 100} % of the sockets within ${SLOT_MS} ms`,
    found: `${(fullest * 100).toFixed(0)} %`,
    isMet: fullest <= SLOT_SHARE_MAX,
  };
}

function fullestSlot(attempts: readonly number[]): number {
  const slots: number[] = [];
  for (const at of attempts) {
    const slot = Math.floor(at / SLOT_MS);
    slots[slot] = (slots[slot] ?? 0) + 1;
  }
  return Math.max(0, ...slots.filter((count) => count !== undefined));
}

/** Every round must have ended with all sockets back; how long that took is told, and not judged. */
export function demandReturn(rounds: readonly Round[], wanted: number): Verdict {
  const show = (times: number[], share: number): string => (quantile(times, share) / 1000).toFixed(1);
  const returns = rounds.flatMap(({ returns }) => returns);
  const lasts = rounds.map(({ returns }) => Math.max(0, ...returns));
  const times = `a socket after p50 ${show(returns, 0.5)}, p99 ${show(returns, 0.99)} s, the last of a round after p50 ${show(lasts, 0.5)}, max ${show(lasts, 1)} s`;
  return {
    demand: "all sockets were back after each kill -9",
    found: `${rounds.length} of ${wanted} rounds${rounds.length > 0 ? `; ${times}` : ""}`,
    isMet: rounds.length === wanted,
  };
}
