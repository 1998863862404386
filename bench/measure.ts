// Runs the workloads: part after part, round after round, and in each round system after system.

import { Driver } from "./drive.ts";
import type { Results } from "./results.ts";
import { SystemServer, Workshop } from "./server.ts";
import { median } from "./statistics.ts";
import { WORKLOADS } from "./system.ts";
import type { Figure, Row, System, WorkloadId } from "./system.ts";
import { SYSTEMS } from "./systems.ts";
import { NODE_WORKLOADS } from "./workloads/index.ts";
import { outside } from "./workloads/outside.ts";

export interface Wanted {
  isQuick: boolean;
  workloads: string[] | undefined;
  systems: string[] | undefined;
  rounds: number | undefined;
  /** Only the parts whose name contains this. */
  cells: string | undefined;
}

/** One measurement may take so long; a system that has used up its budget for a part gets no further round of it. */
const LIMIT_MS = { quick: 60_000, full: 120_000 };
const BUDGET_MS = { quick: 6_000, full: 40_000 };
const ROUNDS = 3;

/** What a part of a workload is measured with, besides the systems themselves. */
export interface Bench {
  workshop: Workshop;
  isQuick: boolean;
  /** The system's long-lived server and client. */
  driverOf(system: System): Promise<{ server: SystemServer; driver: Driver }>;
  newStore(): string;
}

/** A workload that is not done by a system's client on Node. */
export interface OutsideWorkload {
  cells(isQuick: boolean): string[];
  /** One round is enough: it gives the same each time. */
  isExact?: boolean;
  /** What need not be done in each round, and is not charged to it. */
  prepare?(bench: Bench, system: System, cell: string): Promise<void>;
  /** Undefined where there is no further round. */
  run(bench: Bench, system: System, cell: string): Promise<Figure[] | undefined>;
}

export async function measure(wanted: Wanted): Promise<Results> {
  const { isQuick } = wanted;
  const mode = isQuick ? "quick" : "full";
  const workloads = choose(WORKLOADS, wanted.workloads);
  const names = choose(
    SYSTEMS.map(({ name }) => name),
    wanted.systems,
  );
  const systems = SYSTEMS.filter(({ name }) => names.includes(name));
  const results: Results = { rows: [], systems, left: [], failures: [] };
  const workshop = await Workshop.open();
  const fleet = new Fleet(workshop);
  let stores = 0;
  const bench: Bench = {
    workshop,
    isQuick,
    driverOf: (system) => fleet.get(system),
    newStore: () => `bench-${process.pid}-${++stores}`,
  };
  try {
    for (const workload of workloads) {
      const own = outside[workload];
      const cells = (own ?? NODE_WORKLOADS[workload]!)
        .cells(isQuick)
        .filter((cell) => cell.includes(wanted.cells ?? ""));
      for (const cell of cells) {
        const name = cell === "" ? workload : `${workload} ${cell}`;
        const able = systems.filter((system) => {
          const reason = system.lacks[workload] ?? system.lacks[name];
          if (reason !== undefined) results.left.push({ system: system.name, cell: name, reason });
          return reason === undefined;
        });
        const rounds = own?.isExact ? 1 : (wanted.rounds ?? ROUNDS);
        const spentMs = new Map<System, { total: number; last: number }>();
        const found = new Map<string, Row>();
        const failed = new Set<System>();
        for (let round = 0; round < rounds; round++) {
          for (const system of able) {
            const spent = spentMs.get(system) ?? { total: 0, last: 0 };
            if (failed.has(system) || (round > 0 && spent.total + spent.last > BUDGET_MS[mode])) continue;
            let begin = performance.now();
            process.stderr.write(`${name}, round ${round + 1} of ${rounds}: ${system.name}`);
            try {
              if (!own) await fleet.get(system);
              if (round === 0) await own?.prepare?.(bench, system, cell);
              // Nobody is charged for what is done once.
              begin = performance.now();
              const figures = await (own
                ? own.run(bench, system, cell)
                : runInDriver(bench, system, workload, cell, LIMIT_MS[mode]));
              for (const figure of figures ?? []) note(found, system, workload, figure);
            } catch (error) {
              failed.add(system);
              const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
              results.failures.push({ system: system.name, cell: name, reason });
              process.stderr.write(` FAILED: ${reason}`);
              await fleet.drop(system);
            }
            const tookMs = performance.now() - begin;
            spentMs.set(system, { total: spent.total + tookMs, last: tookMs });
            process.stderr.write(`, ${(tookMs / 1000).toFixed(1)} s\n`);
          }
        }
        for (const row of found.values()) results.rows.push({ ...row, median: median(row.runs) });
      }
    }
  } finally {
    await fleet.close();
    await workshop.close();
  }
  return results;
}

async function runInDriver(
  bench: Bench,
  system: System,
  workload: WorkloadId,
  cell: string,
  limitMs: number,
): Promise<Figure[]> {
  const { driver } = await bench.driverOf(system);
  return driver.order({ type: "run", workload, cell, store: bench.newStore(), isQuick: bench.isQuick }, limitMs);
}

function note(found: Map<string, Row>, system: System, workload: WorkloadId, { metric, unit, value }: Figure): void {
  const name = `${system.name}\n${metric}`;
  const row = found.get(name) ?? { system: system.name, workload, metric, unit, median: value, runs: [] };
  row.runs.push(value);
  found.set(name, row);
}

function choose<Name extends string>(all: readonly Name[], wanted: readonly string[] | undefined): Name[] {
  const unknown = wanted?.filter((name) => !all.includes(name as Name)) ?? [];
  if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(", ")}; there are ${all.join(", ")}`);
  return all.filter((name) => wanted?.includes(name) ?? true);
}

/** One server and one driver per system, started when they are first needed. */
class Fleet {
  readonly #workshop: Workshop;
  readonly #members = new Map<System, { server: SystemServer; driver: Driver }>();

  constructor(workshop: Workshop) {
    this.#workshop = workshop;
    // Whatever ends the run, nothing of it is left.
    process.on("exit", () => this.#kill());
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(1));
  }

  async get(system: System): Promise<{ server: SystemServer; driver: Driver }> {
    const present = this.#members.get(system);
    if (present) return present;
    const server = await SystemServer.start(system, this.#workshop);
    try {
      const member = { server, driver: await Driver.start(system, server.origin) };
      this.#members.set(system, member);
      return member;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  async drop(system: System): Promise<void> {
    const member = this.#members.get(system);
    this.#members.delete(system);
    member?.driver.stop();
    await member?.server.stop();
  }

  async close(): Promise<void> {
    for (const system of this.#members.keys()) await this.drop(system);
  }

  #kill(): void {
    for (const { server, driver } of this.#members.values()) {
      driver.stop();
      server.kill();
    }
  }
}
