// Knows everything that ever became durable at the simulated primary, and holds the nodes to the rules of SPEC.md.
// A broken rule throws a Violation that names it.

import { isCovered } from "../kv.ts";
import type { Json } from "../kv.ts";
import type { Update } from "../protocol.ts";
import { keysOf, nameOf } from "../protocol.ts";
import type { Settled } from "../effects.ts";
import type { Commit } from "../store.ts";

class Violation extends Error {
  constructor(rule: string, what: string) {
    super(`${rule}: ${what}`);
    this.name = "Violation";
  }
}

export function demand(condition: boolean, rule: string, what: () => string): void {
  if (!condition) throw new Violation(rule, what());
}

interface Version {
  seq: number;
  value: Json | null;
}

/** The value that an update writes: it tells who wrote it, so that every version can be traced to one update. */
export const valueOf = (name: string, padding: number): Json =>
  JSON.stringify({ by: name, padding: "x".repeat(padding) });
const writerOf = (value: Json): string => (JSON.parse(value) as { by: string }).by;

export class Oracle {
  epoch: string;
  head = 0;
  #versions = new Map<string, Version[]>();
  /** Where each update that writes a value took effect. */
  #effects = new Map<string, number>();
  readonly #neverHappens = new Set<string>();

  constructor(epoch: string) {
    this.epoch = epoch;
  }

  /** A commit has become durable. */
  committed(commit: Commit): void {
    let last = this.head;
    for (const change of commit.changes) {
      demand(
        change.seq > this.head && change.seq >= last && change.seq <= commit.seq,
        "O1",
        () => `seq ${change.seq} after ${this.head}`,
      );
      last = change.seq;
      const value = "value" in change ? change.value : null;
      const versions = this.#versions.get(change.key) ?? [];
      this.#versions.set(change.key, [...versions, { seq: change.seq, value }]);
      if (value !== null) this.#tookEffect(writerOf(value), change.seq);
    }
    demand(commit.seq >= this.head, "O1", () => `head fell from ${this.head} to ${commit.seq}`);
    this.head = commit.seq;
  }

  #tookEffect(name: string, seq: number): void {
    demand(!this.#neverHappens.has(name), "A3", () => `${name} failed for good and took effect at ${seq}`);
    const before = this.#effects.get(name);
    demand(before === undefined || before === seq, "I1", () => `${name} took effect at ${before} and at ${seq}`);
    this.#effects.set(name, seq);
  }

  /** The primary begins a new history from what it was at `head`. */
  restored(epoch: string, head: number): void {
    this.epoch = epoch;
    this.head = head;
    for (const [key, versions] of this.#versions)
      this.#versions.set(
        key,
        versions.filter((version) => version.seq <= head),
      );
    for (const [name, seq] of this.#effects) if (seq > head) this.#effects.delete(name);
  }

  /** Another history has begun with nothing in it, at the next seq. What took effect before has done so for good (E3). */
  cleared(epoch: string): void {
    this.epoch = epoch;
    this.head += 1;
    for (const versions of this.#versions.values()) versions.push({ seq: this.head, value: null });
  }

  stateAt(seq: number, prefixes: readonly string[] | undefined): Map<string, Version> {
    const state = new Map<string, Version>();
    for (const [key, versions] of this.#versions) {
      if (!isCovered(key, prefixes)) continue;
      const version = versions.findLast((one) => one.seq <= seq);
      if (version && version.value !== null) state.set(key, version);
    }
    return state;
  }

  /** The latest write up to `seq` under these prefixes. */
  latestSeq(seq: number, prefixes: readonly string[] | undefined): number {
    if (prefixes === undefined) return seq;
    let latest = 0;
    for (const [key, versions] of this.#versions) {
      if (!isCovered(key, prefixes)) continue;
      latest = Math.max(latest, versions.findLast((one) => one.seq <= seq)?.seq ?? 0);
    }
    return latest;
  }

  /** V1: what a secondary shows is the primary's state at the seq that it names. */
  checkVisible(
    who: string,
    seq: number,
    prefixes: readonly string[] | undefined,
    mirror: ReadonlyMap<string, Version>,
  ): void {
    const state = this.stateAt(seq, prefixes);
    demand(
      mirror.size === state.size,
      "V1",
      () => `${who} shows ${mirror.size} entries at ${seq}, the primary had ${state.size}`,
    );
    for (const [key, version] of state) {
      const shown = mirror.get(key);
      demand(
        shown?.seq === version.seq && shown.value === version.value,
        "V1",
        () => `${who} shows ${key} = ${JSON.stringify(shown)} at ${seq}, the primary had ${JSON.stringify(version)}`,
      );
    }
  }

  /** R1: a read at the primary shows its state at one seq between the read's begin and its end. */
  checkRead(key: string, entry: Version | null, seq: number, headBefore: number): void {
    demand(seq >= headBefore && seq <= this.head, "R1", () => `read at ${seq}, head was ${headBefore} to ${this.head}`);
    const version = this.stateAt(seq, undefined).get(key);
    demand(version?.seq === entry?.seq && version?.value === entry?.value, "R1", () => `read of ${key} at ${seq}`);
  }

  /** An update has got an answer; holds what it says against what happened. `epoch` is the history it was given in. */
  answered(update: Update, settled: Settled, epoch: string): void {
    const name = nameOf(update);
    const writesValue = update.type !== "remove";
    const effect = this.#effects.get(name);
    if (settled.type === "operation-ack" && epoch === this.epoch) {
      demand(settled.seq <= this.head, "O2", () => `${name} was acked at ${settled.seq}, head is ${this.head}`);
      if (writesValue)
        demand(
          this.isSuperseded(update, settled.seq) || effect === settled.seq,
          "A2",
          () => `${name} was acked at ${settled.seq}, took effect at ${effect}`,
        );
    }
    if (settled.type !== "operation-failed") return;
    if (settled.applied === false) {
      demand(
        effect === undefined,
        "A3",
        () => `${name} failed for good (${settled.code}) and took effect at ${effect}`,
      );
      this.#neverHappens.add(name);
    }
    if (settled.applied === true && writesValue && epoch === this.epoch) {
      demand(
        this.isSuperseded(update, settled.seq!) || effect === settled.seq,
        "A4",
        () => `${name} is said to be applied at ${settled.seq}, took effect at ${effect}`,
      );
    }
  }

  /** Whether a group has replaced all that this update wrote before it became durable: then no version tells of it. */
  isSuperseded(update: Update, seq: number): boolean {
    return keysOf(update).every((key) => {
      const version = this.#versions.get(key)?.find((one) => one.seq >= seq);
      return version !== undefined && version.seq > seq;
    });
  }
}
