// A simulated replica host: its disk, its mirror, its connection, its users, and what can go wrong with them.

import { decodeDownstream, encodeUpstream } from "../codec.ts";
import type { SecondaryEffect, SecondaryInput, SecondaryStatus, Settled, Step } from "../effects.ts";
import { isCovered } from "../kv.ts";
import { OUTCOME_PATIENCE_MS } from "../limits.ts";
import type { Operation, Update } from "../protocol.ts";
import { keysOf, nameOf } from "../protocol.ts";
import { Secondary } from "../secondary.ts";
import { drawFate } from "./disk.ts";
import type { DiskHealth } from "./disk.ts";
import { Link } from "./link.ts";
import type { Weather } from "./link.ts";
import type { Recorder } from "./history.ts";
import { demand } from "./oracle.ts";
import type { PrimaryNode } from "./primary-node.ts";
import type { Random } from "./random.ts";
import { toRecordedEntries, toRecordedOperation, toRecordedOutcome } from "./recording.ts";
import type { Scheduler } from "./scheduler.ts";

interface Shown {
  seq: number;
  value: string;
}

/** What is on the disk: replaced as a whole by each transaction. */
interface Disk {
  epoch: string | null;
  seq: number;
  entries: ReadonlyMap<string, Shown>;
}

const EMPTY: Disk = { epoch: null, seq: 0, entries: new Map() };

export interface SecondaryOptions {
  secondaryId: string;
  mode: "durable" | "memory";
  prefixes: string[] | undefined;
  isLossy: boolean;
  /** Takes down what users and this replica see. */
  record?: Recorder | undefined;
}

export class SecondaryNode {
  readonly options: SecondaryOptions;
  weather: Weather;
  health: DiskHealth;
  steps = 0;
  /** Asked after each effect: whether the process dies there, with the rest of the step undone. */
  strike: (() => boolean) | undefined;
  outcomes = new Map<string, number>();
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #primary: PrimaryNode;
  #machine: Secondary | undefined;
  #disk = EMPTY;
  #olderDisks: Disk[] = [];
  #mirror = new Map<string, Shown>();
  #visible: { epoch: string | null; seq: number } = { epoch: null, seq: 0 };
  #link: Link | undefined;
  #life = 0;
  #wakeAt: number | undefined;
  #frozen: (() => void)[] | undefined;
  /** What was ever on the disk, by epoch. */
  readonly #everPersisted = new Map<string, number>();
  #lives = 0;
  /** The primary has answered one of the users' updates, so it has a record of them. */
  #isKnown = false;
  readonly #given = new Map<string, { operation: Operation; headBefore: number; settle: () => void }>();

  constructor(
    scheduler: Scheduler,
    random: Random,
    primary: PrimaryNode,
    weather: Weather,
    health: DiskHealth,
    options: SecondaryOptions,
  ) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#primary = primary;
    this.weather = weather;
    this.health = health;
    this.options = options;
    this.start();
  }

  get isUp(): boolean {
    return this.#machine !== undefined;
  }

  get isFrozen(): boolean {
    return this.#frozen !== undefined;
  }

  get mirror(): ReadonlyMap<string, Shown> {
    return this.#mirror;
  }

  get unsettled(): number {
    return this.#given.size;
  }

  status(): SecondaryStatus | undefined {
    return this.#machine?.status(this.#scheduler.now);
  }

  holds(seq: number, keys: readonly string[]): boolean | undefined {
    const { prefixes } = this.options;
    if (!keys.some((key) => isCovered(key, prefixes))) return undefined;
    const { epoch } = this.#primary.oracle;
    return (this.#everPersisted.get(epoch) ?? 0) >= this.#primary.oracle.latestSeq(seq, prefixes);
  }

  // --- faults

  start(): void {
    if (this.#machine) return;
    const { secondaryId, mode, prefixes } = this.options;
    const { epoch, seq, entries } = this.#disk;
    this.#machine = new Secondary({ secondaryId, prefixes });
    this.#mirror = new Map(entries);
    this.#visible = { epoch, seq };
    this.#lives += 1;
    this.#recordState();
    this.#connectSoon();
    this.#inThisLife(this.#random.between(0, 20), () => this.#feed({ type: "start", mode, epoch, seq }));
  }

  /** The process is gone: memory, connection and users. */
  crash(): void {
    if (!this.#machine) return;
    this.#machine = undefined;
    this.#life += 1;
    this.#frozen = undefined;
    this.#wakeAt = undefined;
    this.#given.clear();
    this.#cut();
  }

  /** The disk is as it was a while ago: a crash of the whole machine under relaxed durability. */
  losePower(): void {
    this.crash();
    this.#life += 1; // No write that was on its way arrives any more.
    if (this.#olderDisks.length > 0) this.#disk = this.#random.pick(this.#olderDisks);
    this.#olderDisks = [];
    this.#recordLoss();
  }

  wipe(): void {
    this.crash();
    this.#life += 1;
    this.#disk = EMPTY;
    this.#olderDisks = [];
    this.#recordLoss();
  }

  dropConnection(): void {
    this.#cut();
  }

  block(sides: readonly ("up" | "down")[], forMs: number): void {
    this.#link?.block(sides, this.#scheduler.now + forMs);
  }

  freeze(isAnnounced: boolean): void {
    if (!this.#machine || this.#frozen) return;
    if (isAnnounced) this.#feed({ type: "pause" });
    this.#frozen = [];
  }

  thaw(): void {
    const missed = this.#frozen;
    this.#frozen = undefined;
    for (const run of missed ?? []) run();
    if (this.#machine) this.#feed({ type: "resume" });
  }

  // --- users

  operate(operation: Operation, settle: () => void): void {
    if (!this.#machine || this.#frozen) return;
    if (operation.type !== "get") operation.settled = this.#settledBefore(operation.id);
    this.#given.set(nameOf(operation), { operation, headBefore: this.#primary.oracle.head, settle });
    this.options.record?.({
      type: "invoke",
      at: this.#scheduler.now,
      client: operation.clientId ?? "",
      id: operation.id,
      operation: toRecordedOperation(operation),
    });
    this.#feed({ type: "operate", operation });
  }

  /** Users have the answers to everything before their oldest open operation, once they have had one at all. */
  #settledBefore(id: number): number {
    if (!this.#isKnown) return 0;
    for (const { operation } of this.#given.values()) return operation.id - 1;
    return id - 1;
  }

  // --- the host

  #inThisLife(delayMs: number, run: () => void): void {
    const life = this.#life;
    this.#scheduler.after(delayMs, () => {
      if (life !== this.#life) return;
      if (this.#frozen) this.#frozen.push(() => life === this.#life && run());
      else run();
    });
  }

  #connectSoon(): void {
    this.#inThisLife(this.#random.between(0, 200), () => this.#connect());
  }

  #connect(): void {
    if (this.#link || !this.#machine) return;
    const session = this.#primary.connect({
      isSocket: true,
      send: (line) => link.send("down", line),
      close: () => link.cut(0, this.#random.between(0, 300)),
    });
    if (session === undefined) return this.#connectSoon();
    const link: Link = new Link(
      this.#scheduler,
      this.#random,
      this.weather,
      this.options.isLossy,
      { receive: (line) => this.#primary.receive(session, line), closed: () => this.#primary.disconnect(session) },
      { receive: (line) => this.#receive(link, line), closed: () => this.#closed(link) },
    );
    this.#link = link;
    this.#feed({ type: "connect" });
  }

  #receive(link: Link, line: string): void {
    const life = this.#life;
    const run = (): void => {
      if (life !== this.#life || link !== this.#link) return;
      const parsed = decodeDownstream(line.trimEnd());
      demand(parsed.ok, "L2", () => `the codec refused its own line: ${line}`);
      if (parsed.ok) this.#feed({ type: "receive", message: parsed.value });
    };
    if (this.#frozen) this.#frozen.push(run);
    else run();
  }

  #closed(link: Link): void {
    const life = this.#life;
    const run = (): void => {
      if (life !== this.#life || link !== this.#link) return;
      this.#link = undefined;
      this.#feed({ type: "disconnect" });
      this.#connectSoon();
    };
    if (this.#frozen) this.#frozen.push(run);
    else run();
  }

  /** Ends the connection from this side; the primary may learn of it late. */
  #cut(): void {
    const link = this.#link;
    if (!link) return;
    link.cut(this.#random.chance(0.3) ? this.#random.between(0, 3000) : 0, this.#random.between(0, 50));
    if (!this.#machine) this.#link = undefined;
  }

  #feed(input: SecondaryInput): void {
    if (!this.#machine) return;
    this.steps += 1;
    for (const effect of this.#machine.step(input, this.#scheduler.now)) {
      this.#carryOut(effect);
      if (this.strike?.()) return this.crash();
    }
  }

  #carryOut(effect: SecondaryEffect): void {
    switch (effect.type) {
      case "send":
        return this.#link?.send("up", encodeUpstream(effect.message));
      case "apply":
        return this.#apply(effect.step);
      case "persist":
        return this.#persist(effect.steps);
      case "settle":
        return this.#settle(effect.settled);
      case "late":
        return; // Its users have stopped caring.
      case "reconnect":
        return this.#cut();
      case "wake":
        return this.#wake(effect.at);
    }
  }

  #wake(at: number | undefined): void {
    this.#wakeAt = at;
    if (at === undefined) return;
    this.#inThisLife(Math.max(0, at - this.#scheduler.now), () => {
      if (this.#wakeAt !== at) return;
      this.#wakeAt = undefined;
      this.#feed({ type: "tick" });
    });
  }

  #apply(step: Step): void {
    const { secondaryId, prefixes } = this.options;
    const isSameHistory = step.epoch === this.#visible.epoch;
    demand(
      !isSameHistory || step.seq >= this.#visible.seq,
      "V2",
      () => `${secondaryId} went from ${this.#visible.seq} to ${step.seq}`,
    );
    this.#mirror = applied(this.#mirror, step);
    this.#visible = { epoch: step.epoch, seq: step.seq };
    this.#recordState();
    // What an older history showed is not known any more once the primary has been restored.
    const { oracle } = this.#primary;
    if (step.epoch === oracle.epoch) oracle.checkVisible(secondaryId, step.seq, prefixes, this.#mirror);
  }

  #persist(steps: readonly Step[]): void {
    const { delayMs, isRefused, survivesCrash } = drawFate(this.health, this.#random);
    const life = this.#life;
    const done = (): void => {
      const isAlive = life === this.#life;
      if (isRefused || !(isAlive || survivesCrash)) {
        if (isAlive) this.#feed({ type: "refused", detail: "the disk refuses" });
        return;
      }
      if (!isAlive && (this.#machine || life !== this.#life - 1)) return;
      this.#write(steps);
      if (isAlive) this.#feed({ type: "persisted" });
    };
    this.#scheduler.after(delayMs, () => (this.#frozen ? this.#frozen.push(done) : done()));
  }

  #write(steps: readonly Step[]): void {
    this.#olderDisks = [...this.#olderDisks.slice(-4), this.#disk];
    let entries = new Map(this.#disk.entries);
    for (const step of steps) entries = applied(entries, step);
    const { epoch, seq } = steps.at(-1)!;
    this.#disk = { epoch, seq, entries };
    this.#everPersisted.set(epoch, Math.max(this.#everPersisted.get(epoch) ?? 0, seq));
    const { record, secondaryId, prefixes } = this.options;
    record?.({ type: "persisted", at: this.#scheduler.now, disk: secondaryId, epoch, seq, prefixes });
  }

  #settle(settled: Settled): void {
    const name = nameOf(settled);
    const given = this.#given.get(name);
    demand(given !== undefined, "A1", () => `${name} was settled twice`);
    this.#given.delete(name);
    const { operation, headBefore, settle } = given!;
    const { oracle } = this.#primary;
    this.#recordAnswer(settled);
    const kind = settled.type === "operation-failed" ? settled.code : settled.type;
    this.#isKnown ||= kind === "operation-ack" || kind === "conflict" || kind === "unconfirmed";
    this.outcomes.set(kind, (this.outcomes.get(kind) ?? 0) + 1);
    if (settled.type === "get-result") {
      // A history that was restored meanwhile has another head.
      if (this.#status.epoch === oracle.epoch && headBefore <= oracle.head)
        oracle.checkRead(keysOf(operation)[0]!, settled.entry, settled.seq, Math.min(headBefore, settled.seq));
    } else if (operation.type !== "get") {
      oracle.answered(operation, settled, this.#status.epoch ?? "");
      this.#checkOwnWrite(operation, settled);
    }
    settle();
  }

  // --- the history

  #recordState(): void {
    const { record, secondaryId, mode, prefixes } = this.options;
    if (!record) return;
    const { epoch, seq } = this.#visible;
    const place = { replica: secondaryId, life: this.#lives, ...(mode === "durable" && { disk: secondaryId }) };
    const entries = toRecordedEntries(this.#mirror);
    record({ type: "observe", at: this.#scheduler.now, ...place, epoch, seq, entries, prefixes });
  }

  #recordLoss(): void {
    this.options.record?.({ type: "disk-lost", at: this.#scheduler.now, disk: this.options.secondaryId });
  }

  #recordAnswer(settled: Settled): void {
    const { state, lagMs } = this.#status;
    // A replica that cannot follow any more lets its users go after a while; one of some keys shows the seqs of those alone.
    const isBound = state === "following" && lagMs < OUTCOME_PATIENCE_MS && !this.options.prefixes;
    this.options.record?.({
      type: "respond",
      at: this.#scheduler.now,
      client: settled.clientId ?? "",
      id: settled.id,
      outcome: toRecordedOutcome(settled),
      ...(isBound && { shown: { ...this.#visible } }),
    });
  }

  get #status(): SecondaryStatus {
    return this.#machine!.status(this.#scheduler.now);
  }

  /** O3: who was acked sees the write in the own replica at once. */
  #checkOwnWrite(update: Update, settled: Settled): void {
    if (settled.type !== "operation-ack" || this.#status.state === "paused") return;
    const { secondaryId, prefixes } = this.options;
    const { oracle } = this.#primary;
    if (!keysOf(update).some((key) => isCovered(key, prefixes)) || this.#visible.epoch !== oracle.epoch) return;
    const isVisible = this.#visible.seq >= oracle.latestSeq(settled.seq, prefixes);
    // A replica that cannot follow any more lets its users go after a while.
    demand(
      isVisible || this.#status.state !== "following" || this.#status.lagMs >= OUTCOME_PATIENCE_MS,
      "O3",
      () => `${secondaryId} shows ${this.#visible.seq}, its user was acked at ${settled.seq}`,
    );
  }
}

function applied(entries: ReadonlyMap<string, Shown>, step: Step): Map<string, Shown> {
  const after = new Map(step.reset ? [] : entries);
  for (const { changes } of step.parts) {
    for (const change of changes) {
      if ("removed" in change) after.delete(change.key);
      else after.set(change.key, { seq: change.seq, value: JSON.stringify(change.value) });
    }
  }
  return after;
}
