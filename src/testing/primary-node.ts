// A simulated host of the primary: its disk, its sessions, and what can go wrong with them.

import { decodeUpstream, encodeDownstream } from "../codec.ts";
import type { Memo, PrimaryEffect, PrimaryInput, SessionId } from "../effects.ts";
import type { Json } from "../kv.ts";
import { DEADLINE_MS } from "../limits.ts";
import { Primary } from "../primary.ts";
import type { PrimarySettings } from "../primary.ts";
import { keysOf, nameOf } from "../protocol.ts";
import type { Downstream, OperationAck, Update } from "../protocol.ts";
import { MemoryStore } from "../store.ts";
import type { Commit, Compaction, PageLimit } from "../store.ts";
import { drawFate } from "./disk.ts";
import type { DiskHealth } from "./disk.ts";
import { Oracle, demand } from "./oracle.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import { doStep } from "./store-steps.ts";
import type { StoreStep } from "./store-steps.ts";

export interface Peer {
  send: (line: string) => void;
  close: () => void;
  /** Only sockets outlive the primary's memory. */
  isSocket: boolean;
}

/** What the primary asks of the rest of the world to check its answers. */
export interface Witness {
  /** Whether the named secondary has had everything up to `seq` on disk; undefined if the keys do not concern it. */
  holds: (secondaryId: string, seq: number, keys: readonly string[]) => boolean | undefined;
}

export class PrimaryNode {
  readonly oracle: Oracle;
  health: DiskHealth;
  steps = 0;
  /** Asked after each effect: whether the process dies there, with the rest of the step undone. */
  strike: (() => boolean) | undefined;
  answers = new Map<string, number>();
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #settings: PrimarySettings;
  readonly #pageLimit: PageLimit;
  readonly #witness: Witness;
  readonly #gatherMax: number;
  #machine: Primary | undefined;
  #store: MemoryStore;
  #history: StoreStep[] = [];
  // Counts restarts and losses of memory: whatever was asked for by an older life is void.
  #life = 0;
  #epochs = 1;
  #nextSession: SessionId = 1;
  readonly #peers = new Map<SessionId, Peer>();
  readonly #memos = new Map<SessionId, Memo>();
  // When each update arrived, by session and name: every arrival is owed one answer.
  readonly #owed = new Map<string, { update: Update; at: number }[]>();
  #isGathering = false;
  #wakeAt: number | undefined;

  constructor(
    scheduler: Scheduler,
    random: Random,
    health: DiskHealth,
    settings: PrimarySettings,
    pageLimit: PageLimit,
    gatherMax: number,
    witness: Witness,
  ) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.health = health;
    this.#settings = settings;
    this.#pageLimit = pageLimit;
    this.#gatherMax = gatherMax;
    this.#witness = witness;
    this.#store = new MemoryStore("epoch-1", pageLimit);
    this.oracle = new Oracle("epoch-1");
    this.#begin();
  }

  get isUp(): boolean {
    return this.#machine !== undefined;
  }

  get head(): number {
    return this.#store.head;
  }

  get operationsInFlight(): number {
    return this.#machine?.operationsInFlight ?? 0;
  }

  members(): ReturnType<Primary["members"]> {
    return this.#machine?.members(this.#scheduler.now) ?? [];
  }

  /** A peer has connected; undefined while the primary is down. */
  connect(peer: Peer): SessionId | undefined {
    if (!this.#machine) return undefined;
    const session = this.#nextSession++;
    this.#peers.set(session, peer);
    this.#feed({ type: "connect", session });
    return session;
  }

  disconnect(session: SessionId): void {
    if (!this.#peers.delete(session)) return;
    this.#memos.delete(session);
    for (const owed of this.#owed.keys()) if (owed.startsWith(`${session}/`)) this.#owed.delete(owed);
    this.#feed({ type: "disconnect", session });
  }

  receive(session: SessionId, line: string): void {
    if (!this.#peers.has(session)) return;
    const parsed = decodeUpstream(line.trimEnd());
    demand(parsed.ok, "L2", () => `the codec refused its own line: ${line}`);
    if (!parsed.ok) return;
    const message = parsed.value;
    if (message.type === "insert" || message.type === "remove" || message.type === "batch") {
      const owed = `${session}/${nameOf(message)}`;
      this.#owed.set(owed, [...(this.#owed.get(owed) ?? []), { update: message, at: this.#scheduler.now }]);
    }
    this.#feed({ type: "receive", session, message });
    this.#gather();
  }

  /** kill -9: memory and sockets are gone; what was on its way to the disk may or may not have arrived. */
  crash(): void {
    if (!this.#machine) return;
    this.#loseMemory();
    for (const peer of this.#peers.values()) peer.close();
    this.#peers.clear();
    this.#memos.clear();
    this.#owed.clear();
  }

  restart(): void {
    if (!this.#machine) this.#begin();
  }

  /** Memory is gone, sockets stay: only while nothing is in flight and no timer is set. False if that is not so. */
  hibernate(): boolean {
    if (!this.#machine || this.operationsInFlight > 0 || this.#isGathering || this.#wakeAt !== undefined) return false;
    this.#loseMemory();
    this.#begin();
    return true;
  }

  /** E3: the store is deleted by a host that lives on: every session ends, and the next history begins at once. */
  deleteStore(): void {
    this.crash();
    this.#epochs += 1;
    const epoch = `epoch-${this.#epochs}`;
    this.#do({ clear: epoch });
    this.oracle.cleared(epoch);
    this.#begin();
  }

  /** The disk is replaced by what it held some commits ago: a new history begins there. */
  restoreBackup(): void {
    this.crash();
    const kept = this.#random.between(0, this.#history.length);
    this.#history = this.#history.slice(0, kept);
    this.#epochs += 1;
    const epoch = `epoch-${this.#epochs}`;
    this.#store = new MemoryStore(epoch, this.#pageLimit);
    for (const step of this.#history) doStep(this.#store, step);
    this.#store.epoch = epoch;
    this.oracle.restored(epoch, this.#store.head);
    this.#begin();
  }

  #begin(): void {
    this.#machine = new Primary(this.#store, this.#settings);
    const before = [...this.#memos];
    for (const [session, memo] of before) this.#feed({ type: "connect", session, memo });
    for (const session of this.#peers.keys()) if (!this.#memos.has(session)) this.#feed({ type: "connect", session });
    this.#feed({ type: "start" });
  }

  #loseMemory(): void {
    this.#machine = undefined;
    this.#life += 1;
    this.#isGathering = false;
    this.#wakeAt = undefined;
  }

  #gather(): void {
    if (this.#isGathering) return;
    this.#isGathering = true;
    this.#inThisLife(this.#random.between(0, this.#gatherMax), () => {
      this.#isGathering = false;
      this.#feed({ type: "commit" });
    });
  }

  #inThisLife(delayMs: number, run: () => void): void {
    const life = this.#life;
    this.#scheduler.after(delayMs, () => {
      if (life === this.#life) run();
    });
  }

  #feed(input: PrimaryInput): void {
    if (!this.#machine) return;
    this.steps += 1;
    for (const effect of this.#machine.step(input, this.#scheduler.now)) {
      this.#carryOut(effect);
      if (this.strike?.()) return this.crash();
    }
  }

  #carryOut(effect: PrimaryEffect): void {
    switch (effect.type) {
      case "persist":
        return this.#persist(effect.commit);
      case "compact":
        return this.#compact(effect.compaction);
      case "send":
        this.#check(effect.session, effect.message);
        return this.#peers.get(effect.session)?.send(encodeDownstream(effect.message));
      case "close": {
        const peer = this.#peers.get(effect.session);
        this.#peers.delete(effect.session);
        this.#memos.delete(effect.session);
        return peer?.close();
      }
      case "remember":
        if (effect.memo && this.#peers.get(effect.session)?.isSocket) this.#memos.set(effect.session, effect.memo);
        else this.#memos.delete(effect.session);
        return;
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

  /** Ends the memory of what is long gone, as an alarm does. */
  compact(): void {
    this.#feed({ type: "compact" });
  }

  #compact(compaction: Compaction): void {
    this.#do({ compaction });
  }

  #do(step: StoreStep): void {
    doStep(this.#store, step);
    this.#history.push(step);
  }

  #persist(commit: Commit): void {
    const { delayMs, isRefused, survivesCrash } = drawFate(this.health, this.#random);
    const life = this.#life;
    this.#scheduler.after(delayMs, () => {
      const isAlive = life === this.#life;
      if (isRefused || !(isAlive || survivesCrash)) {
        if (isAlive) this.#feed({ type: "refused", code: "unavailable" });
        return;
      }
      // After a crash only what comes before the next life begins can still reach the disk.
      if (!isAlive && (this.#machine || life !== this.#life - 1)) return;
      this.#do({ commit, now: this.#scheduler.now });
      this.oracle.committed(commit);
      if (isAlive) this.#feed({ type: "persisted" });
    });
  }

  /** A1, A2: one answer for each arrival, in time, and an ack only when it is true. */
  #check(session: SessionId, message: Downstream<Json>): void {
    if (message.type !== "operation-ack" && message.type !== "operation-failed") return;
    const owed = `${session}/${nameOf(message)}`;
    const arrival = this.#owed.get(owed)?.shift();
    demand(arrival !== undefined, "A1", () => `${owed} was answered twice`);
    const { update, at } = arrival!;
    const took = this.#scheduler.now - at;
    demand(took <= DEADLINE_MS, "A1", () => `${owed} was answered after ${took} ms`);
    const kind = message.type === "operation-ack" ? "ack" : message.code;
    this.answers.set(kind, (this.answers.get(kind) ?? 0) + 1);
    if (message.type === "operation-ack") this.#checkAck(update, message);
  }

  #checkAck(update: Update, { seq }: OperationAck): void {
    demand(
      seq <= this.oracle.head,
      "O2",
      () => `${nameOf(update)} was acked at ${seq}, durable is ${this.oracle.head}`,
    );
    const keys = keysOf(update);
    const inSync = this.members().filter(({ state }) => state === "in-sync");
    const holds = inSync.map(({ id }) => this.#witness.holds(id, seq, keys));
    const holders = holds.filter((has) => has === true);
    if (update.ack === "all") {
      demand(
        !holds.includes(false),
        "A2",
        () => `${nameOf(update)} was acked at ${seq}: ${JSON.stringify(inSync)} hold it ${JSON.stringify(holds)}`,
      );
    } else if (typeof update.ack === "number") {
      demand(
        holders.length >= update.ack,
        "A6",
        () => `${nameOf(update)} wanted ${update.ack}, ${holders.length} have it`,
      );
    }
  }
}
