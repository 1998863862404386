// What the project wants to reach, as ratios of medians within one run.

import { median } from "./statistics.ts";
import type { Row, WorkloadId } from "./system.ts";
import { SYSTEMS } from "./systems.ts";

interface Target {
  workload: WorkloadId;
  wanted: string;
  /** What was found, and whether that will do; undefined where something that it takes was not measured. */
  judge(this: void, find: Find, slack: number): { found: string; isMet: boolean } | undefined;
}

type Find = (system: string, metric: string) => number | undefined;

const ACKED = "write -> acked, no replica, p50";
const VISIBLE = "write -> visible in another replica, p50";

const peers = SYSTEMS.filter(({ folder }) => folder !== "headwater" && folder !== "bare");

export const TARGETS: readonly Target[] = [
  atMost("W1", `${ACKED}: at most 1.3 x bare`, 1.3, ACKED, "bare"),
  atMost("W1", `${VISIBLE}: at most 1.4 x bare`, 1.4, VISIBLE, "bare"),
  better("W1", `${VISIBLE}: better than every durable peer`, VISIBLE, "least", ({ isDurable }) => isDurable),
  atLeast("W2", "5,000 x 1: at least 10 x the rate of one commit per message", 10, "5,000 x 1: rate", "bare-each"),
  atLeast("W2", "5,000 x 1: at least 0.8 x the rate of the bare group commit", 0.8, "5,000 x 1: rate", "bare"),
  atMost("W3", "100,000 persisted: at most 1.5 x raw fetch and raw page writes", 1.5, "100,000: persisted", "bare"),
  {
    workload: "W3",
    wanted: "10,000 persisted: at least 10 x faster than peers that store rows",
    judge: (find) => {
      const own = find("headwater", "10,000: persisted");
      const theirs = peers.filter((peer) => peer.storesRows).map(({ name }) => find(name, "10,000: persisted"));
      const least = Math.min(...theirs.filter((value) => value !== undefined));
      if (own === undefined || least === Infinity) return undefined;
      return { found: `${(least / own).toFixed(1)} x`, isMet: least / own >= 10 };
    },
  },
  atMost("W4", "100,000 complete: at most 1.5 x raw bulk read of pages", 1.5, "100,000: complete", "bare"),
  atLeast("W5", "get: at least 0.5 x Map.get", 0.5, "10,000: get", "bare"),
  better("W5", "get: at least as fast as the fastest peer", "10,000: get", "most", () => true),
  atLeast("W6", "bursts of 100: at least 0.8 x bare, same batching", 0.8, "bursts of 100", "bare-packed"),
  limit("W8", "page: at most 7 kB gzip", 7000, "page, gzip"),
  limit("W8", "worker: at most 16 kB gzip", 16_000, "worker, gzip"),
  limit(
    "W9",
    "at most 2 rows per insert of a new key, pipelined",
    2.1,
    "5,000 at once: rows written per insert of a new key",
  ),
  limit("W9", "at most 3 rows per insert, dedup included", 3, "one at a time: rows written per insert of a new key"),
  limit("W9", "at most 60 bytes of overhead per change in a full frame", 60, "5,000 at once: overhead to a replica"),
];

export function findIn(rows: readonly Row[], workload: WorkloadId): Find {
  return (system, metric) =>
    rows.find((row) => row.system === system && row.workload === workload && row.metric === metric)?.median;
}

/** The middle of the ratios of the rounds is steadier than the ratio of the middles where rounds differ as a whole. */
export function ratioTo(rows: readonly Row[], row: Row, base: string): number | undefined {
  const other = rows.find(
    ({ system, workload, metric }) => system === base && workload === row.workload && metric === row.metric,
  );
  if (!other) return undefined;
  const count = Math.min(row.runs.length, other.runs.length);
  return median(row.runs.slice(0, count).map((value, round) => value / other.runs[round]!));
}

function atMost(workload: WorkloadId, wanted: string, factor: number, metric: string, base: string): Target {
  return ratio(workload, wanted, metric, base, (found, slack) => found <= factor * slack);
}

function atLeast(workload: WorkloadId, wanted: string, factor: number, metric: string, base: string): Target {
  return ratio(workload, wanted, metric, base, (found, slack) => found >= factor / slack);
}

function ratio(
  workload: WorkloadId,
  wanted: string,
  metric: string,
  base: string,
  isMet: (found: number, slack: number) => boolean,
): Target {
  return {
    workload,
    wanted,
    judge(find, slack) {
      const own = find("headwater", metric);
      const other = find(base, metric);
      if (own === undefined || other === undefined) return undefined;
      return { found: `${(own / other).toFixed(2)} x`, isMet: isMet(own / other, slack) };
    },
  };
}

function limit(workload: WorkloadId, wanted: string, max: number, metric: string): Target {
  return {
    workload,
    wanted,
    judge(find) {
      const own = find("headwater", metric);
      return own === undefined ? undefined : { found: own.toFixed(own < 100 ? 1 : 0), isMet: own <= max };
    },
  };
}

function better(
  workload: WorkloadId,
  wanted: string,
  metric: string,
  best: "least" | "most",
  isCompared: (peer: (typeof peers)[number]) => boolean,
): Target {
  return {
    workload,
    wanted,
    judge(find) {
      const own = find("headwater", metric);
      const theirs = peers
        .filter(isCompared)
        .flatMap(({ name }) => {
          const value = find(name, metric);
          return value === undefined ? [] : [{ name, value }];
        })
        .toSorted((a, b) => (best === "least" ? a.value - b.value : b.value - a.value));
      const [first] = theirs;
      if (own === undefined || !first) return undefined;
      const isMet = best === "least" ? own < first.value : own >= first.value;
      return { found: `${(own / first.value).toFixed(2)} x ${first.name}`, isMet };
    },
  };
}
