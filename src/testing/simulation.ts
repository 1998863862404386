// One seed draws a whole cluster and its bad luck, runs it, heals it, and demands that everything comes right.

import type { Ack, Operation } from "../protocol.ts";
import type { Write } from "../kv.ts";
import { PRIMARY_DEFAULTS } from "../primary.ts";
import type { RecordedOperation, Recorder } from "./history.ts";
import { DirectClient } from "./direct-client.ts";
import type { DiskHealth } from "./disk.ts";
import type { Weather } from "./link.ts";
import { demand, valueOf } from "./oracle.ts";
import { PrimaryNode } from "./primary-node.ts";
import { Random } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import { toRecordedEntries } from "./recording.ts";
import { SecondaryNode } from "./secondary-node.ts";

const FAIR_WEATHER: Weather = { delayMax: 5, clog: 0, clogMax: 0, loss: 0, duplication: 0 };
const GOOD_HEALTH: DiskHealth = { delayMax: 5, refuse: 0, stall: 0, stallMax: 0 };

/** How long the cluster is in trouble, and how long it then has to come right. In ms of virtual time. */
const TROUBLE_MS = 15_000;
const RECOVERY_MS = 15_000;

/** Every so many seeds, processes die amid their steps. */
const STRIKING_SEEDS = 5;
/** Every so many seeds, the store is deleted now and then. */
const DELETING_SEEDS = 9;
const DELETE_EVERY_MS = 3000;

export interface Report {
  seed: number;
  steps: number;
  faults: Map<string, number>;
  outcomes: Map<string, number>;
  answers: Map<string, number>;
}

/** Runs one seed to its end. Throws a Violation if a rule is broken; what users and replicas see goes to `record`. */
export function simulate(seed: number, record?: Recorder): Report {
  const world = new World(seed, record);
  world.trouble();
  world.recover();
  return world.report();
}

class World {
  readonly #seed: number;
  readonly #record: Recorder | undefined;
  readonly #random: Random;
  readonly #scheduler = new Scheduler();
  readonly #primary: PrimaryNode;
  readonly #secondaries: SecondaryNode[] = [];
  readonly #direct: DirectClient;
  readonly #keys: string[];
  readonly #faults = new Map<string, number>();
  readonly #acks: Ack[];
  readonly #padding: number;
  /** How often a fault may be the return of an old backup. */
  readonly #restoring: number;
  #isTroubled = true;
  #nextId = 1;

  constructor(seed: number, record: Recorder | undefined) {
    this.#seed = seed;
    this.#record = record;
    record?.({ type: "header", version: 1, statusLagMs: 0 });
    const random = (this.#random = new Random(seed));
    this.#keys = ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3", "c/é", "c/😀"].slice(0, random.between(2, 8));
    this.#acks = random.pick<Ack[]>([["all"], ["all", "primary"], ["all", "primary", 1, 2], ["all", 0]]);
    this.#padding = random.pick([0, 0, 40]);
    this.#restoring = random.pick([0, 0.05, 0.05, 1]);
    const isLossy = random.chance(0.3);
    const settings = {
      ...PRIMARY_DEFAULTS,
      lagLimitMs: random.pick([200, 400, 1000]),
      isLossy,
      tombstonesKept: random.pick([0, 2, 10_000]),
      clientLeaseMs: random.pick([12_000, 60_000]),
      window: random.pick([PRIMARY_DEFAULTS.window, { bytes: 300, frames: 4 }, { bytes: 2000, frames: 2 }]),
    };
    const pageLimit = random.pick([
      { changes: 1000, bytes: 100_000 },
      { changes: 2, bytes: 100 },
      { changes: 1, bytes: 1 },
    ]);
    this.#primary = new PrimaryNode(
      this.#scheduler,
      random,
      this.#badHealth(),
      settings,
      pageLimit,
      random.pick([0, 2, 20]),
      {
        holds: (secondaryId, seq, keys) =>
          this.#secondaries.find((node) => node.options.secondaryId === secondaryId)?.holds(seq, keys),
      },
    );
    this.#direct = new DirectClient(this.#scheduler, random, this.#primary, this.#badWeather(), record);
    const count = random.between(0, random.pick([2, 4, 12]));
    for (let i = 0; i < count; i++) {
      const options = {
        secondaryId: `s${i}`,
        mode: random.chance(0.8) ? ("durable" as const) : ("memory" as const),
        prefixes: random.chance(0.2) ? [random.pick(["a/", "b/", "c/"])] : undefined,
        isLossy,
        record,
      };
      this.#secondaries.push(
        new SecondaryNode(this.#scheduler, random, this.#primary, this.#badWeather(), this.#badHealth(), options),
      );
    }
  }

  /** Safety: operations and faults at random, and no rule may be broken meanwhile. */
  trouble(): void {
    const faultEveryMs = this.#random.pick([150, 500, 3000, 60_000]);
    const operationEveryMs = this.#random.pick([5, 40, 300]);
    this.#repeat(faultEveryMs, () => this.#fault());
    if (this.#seed % STRIKING_SEEDS === 0) this.#strike();
    this.#repeat(operationEveryMs, () => this.#operate());
    if (this.#seed % DELETING_SEEDS === 0) this.#repeat(DELETE_EVERY_MS, () => this.#deleteStore());
    this.#scheduler.runUntil(TROUBLE_MS);
  }

  /** Liveness: once faults have healed, everything is answered and equal (V3). */
  recover(): void {
    this.#isTroubled = false;
    this.#primary.health = GOOD_HEALTH;
    this.#primary.restart();
    Object.assign(this.#direct.weather, FAIR_WEATHER);
    for (const node of this.#secondaries) {
      Object.assign(node.weather, FAIR_WEATHER);
      node.health = GOOD_HEALTH;
      node.start();
      node.thaw();
    }
    // Whoever was too slow comes back by keeping up with a few writes.
    for (const delayMs of [RECOVERY_MS - 4000, RECOVERY_MS - 3000])
      this.#scheduler.after(delayMs, () => this.#writeEverywhere());
    this.#scheduler.runUntil(TROUBLE_MS + RECOVERY_MS);
    this.#recordEnd();
    const { oracle, head, operationsInFlight } = this.#primary;
    demand(head === oracle.head, "O2", () => `head is ${head}, durable is ${oracle.head}`);
    demand(operationsInFlight === 0, "A1", () => `${operationsInFlight} operations have no answer`);
    for (const node of this.#secondaries) {
      const { secondaryId, prefixes, mode, isLossy } = node.options;
      const status = node.status()!;
      demand(node.unsettled === 0, "A1", () => `users of ${secondaryId} wait for ${node.unsettled} operations`);
      demand(
        status.state === "following" && status.epoch === oracle.epoch,
        "V3",
        () => `${secondaryId} is ${JSON.stringify(status)}`,
      );
      oracle.checkVisible(secondaryId, head, prefixes, node.mirror);
      const { state } = this.#primary.members().find((member) => member.id === secondaryId) ?? {};
      demand((state === "in-sync") === (mode === "durable"), "M2", () => `${secondaryId} is ${state}`);
      // Where frames can get lost or overtake each other, a secondary may have heard otherwise last.
      if (!isLossy)
        demand(status.inSync === (mode === "durable"), "M2", () => `${secondaryId} is ${JSON.stringify(status)}`);
    }
  }

  /** The history's end: everything that is there when everything has come right. */
  #recordEnd(): void {
    const { oracle, head } = this.#primary;
    const entries = toRecordedEntries(oracle.stateAt(head, undefined));
    const replicas = this.#secondaries.map(({ options }) => options.secondaryId);
    this.#record?.({ type: "final", at: this.#scheduler.now, epoch: oracle.epoch, head, entries, replicas });
  }

  report(): Report {
    const outcomes = new Map<string, number>();
    for (const node of [...this.#secondaries, this.#direct]) {
      for (const [kind, count] of node.outcomes) outcomes.set(kind, (outcomes.get(kind) ?? 0) + count);
    }
    const steps = this.#secondaries.reduce((sum, node) => sum + node.steps, this.#primary.steps);
    return { seed: this.#seed, steps, faults: this.#faults, outcomes, answers: this.#primary.answers };
  }

  #repeat(everyMs: number, run: () => void): void {
    this.#scheduler.after(this.#random.between(1, 2 * everyMs), () => {
      if (!this.#isTroubled) return;
      run();
      this.#repeat(everyMs, run);
    });
  }

  #badWeather(): Weather {
    const random = this.#random;
    return {
      delayMax: random.pick([2, 20, 80]),
      clog: random.pick([0, 0.02]),
      clogMax: random.pick([500, 3000]),
      loss: random.pick([0, 0.02, 0.2]),
      duplication: random.pick([0, 0.1]),
    };
  }

  #badHealth(): DiskHealth {
    const random = this.#random;
    return {
      delayMax: random.pick([0, 5, 50]),
      refuse: random.pick([0, 0, 0.1]),
      stall: random.pick([0, 0.02]),
      stallMax: 2500,
    };
  }

  // --- operations

  #operate(): void {
    const burst = this.#random.chance(0.1) ? 20 : 1;
    if (this.#secondaries.length === 0 || this.#random.chance(0.15)) {
      for (let i = 0; i < burst; i++) {
        const operation = this.#drawOperation("nobody");
        if (operation.type !== "get") this.#direct.operate(operation);
      }
      return;
    }
    const node = this.#random.pick(this.#secondaries);
    for (let i = 0; i < burst; i++) node.operate(this.#drawOperation(node.options.secondaryId), () => undefined);
  }

  #writeEverywhere(): void {
    for (const key of this.#keys) {
      const id = this.#nextId++;
      const header = { clientId: "user-of-nobody", id, ack: "all" as const, settled: 0, repeat: false };
      this.#direct.operate({ type: "insert", ...header, key, json: valueOf(`user-of-nobody:${id}`, 0) });
    }
  }

  #drawOperation(user: string): Operation {
    const random = this.#random;
    const clientId = `user-of-${user}`;
    const id = this.#nextId++;
    const header = { clientId, id, ack: random.pick(this.#acks), settled: 0, repeat: false };
    const value = valueOf(`${clientId}:${id}`, this.#padding);
    const key = random.pick(this.#keys);
    const kind = random.between(0, 9);
    if (kind < 5) return { type: "insert", ...header, key, json: value };
    if (kind < 7) return { type: "remove", ...header, key };
    if (kind < 8) return { type: "get", clientId, id, key };
    const writes = this.#keys.filter(() => random.chance(0.4)).map((one): Write => ({ key: one, json: value }));
    if (writes.length === 0) writes.push({ key, json: value });
    const checks = random.chance(0.5) ? [{ key, seq: random.chance(0.5) ? null : this.#primary.head }] : [];
    return { type: "batch", ...header, writes, checks };
  }

  // --- faults

  #fault(): void {
    const random = this.#random;
    const faults: Record<string, () => void> = {
      "primary crash": () => {
        this.#primary.crash();
        this.#scheduler.after(random.between(0, 2000), () => this.#primary.restart());
      },
      hibernation: () => void this.#primary.hibernate(),
      compaction: () => this.#primary.compact(),
      ...(random.chance(this.#restoring) && { "primary restored": () => this.#restoreBackup() }),
    };
    if (this.#secondaries.length > 0) {
      const node = random.pick(this.#secondaries);
      Object.assign(faults, {
        "secondary crash": () => this.#restartLater(node, () => node.crash()),
        "power loss": () => this.#restartLater(node, () => node.losePower()),
        wipe: () => this.#restartLater(node, () => node.wipe()),
        "dropped connection": () => node.dropConnection(),
        partition: () => node.block(random.pick([["up"], ["down"], ["up", "down"]] as const), random.between(10, 4000)),
        freeze: () => {
          node.freeze(random.chance(0.5));
          this.#scheduler.after(random.between(10, 5000), () => node.thaw());
        },
      });
    }
    const name = random.pick(Object.keys(faults));
    this.#count(name);
    faults[name]!();
  }

  /** In the history it is one more batch, which removes all keys: it takes a seq as that would. */
  #deleteStore(): void {
    if (!this.#primary.isUp) return;
    this.#count("store deleted");
    const writes = this.#keys.map((key) => ({ key, value: null }));
    const operation: RecordedOperation = { kind: "batch", writes, checks: [], ack: "primary" };
    const id = this.#nextId++;
    this.#record?.({ type: "invoke", at: this.#scheduler.now, client: "admin", id, operation });
    this.#primary.deleteStore();
    this.#recordReplaced();
  }

  #restoreBackup(): void {
    this.#primary.restoreBackup();
    this.#recordReplaced();
  }

  #recordReplaced(): void {
    this.#record?.({ type: "restored", at: this.#scheduler.now, epoch: this.#primary.oracle.epoch });
  }

  /** Processes die between two effects of one step, too. The chance is drawn apart, so that other seeds keep their runs. */
  #strike(): void {
    const random = new Random(-this.#seed);
    const strikes = (name: string, restart: () => void) => (): boolean => {
      if (!this.#isTroubled || !random.chance(0.002)) return false;
      this.#count(name);
      this.#scheduler.after(random.between(0, 1000), restart);
      return true;
    };
    this.#primary.strike = strikes("primary crash amid a step", () => this.#primary.restart());
    for (const node of this.#secondaries) node.strike = strikes("secondary crash amid a step", () => node.start());
  }

  #count(fault: string): void {
    this.#faults.set(fault, (this.#faults.get(fault) ?? 0) + 1);
  }

  #restartLater(node: SecondaryNode, stop: () => void): void {
    stop();
    this.#scheduler.after(this.#random.between(0, 2000), () => node.start());
  }
}
