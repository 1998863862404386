// One browser and its primary, under one seed: workers that share an outbox, pages, a disk, a network and a lock, all of
// which fail. The outbox and the pages' side of it are the real ones, and so is the way of operations in the secondary;
// the primary is a model of rules A3, A4 and I1 to I4, and time is virtual.

import type { SecondaryEffect, Settled } from "../../src/effects.ts";
import { CLIENT_LEASE_MS, OUTCOMES_PER_CLIENT_MAX } from "../../src/limits.ts";
import { Outbox } from "../../src/outbox.ts";
import { nameOf, writesOf } from "../../src/protocol.ts";
import type { OperationAck, OperationFailed, Update } from "../../src/protocol.ts";
import { Random } from "../../src/testing/random.ts";
import { OperationFailedError, OutcomeUnknownError } from "../errors.ts";
import type { FromPage, ToPage } from "../feed.ts";
import { PendingUpdates } from "../pending-updates.ts";
import type { PendingEvent, PendingUpdate } from "../pending-updates.ts";
import { DurableOutbox } from "../replica/durable-outbox.ts";
import type { Tenure } from "../replica/lock.ts";
import type {
  Added,
  Conclusion,
  Kept,
  Marked,
  OutboxMemory,
  OutboxPersistence,
  Sending,
} from "../replica/outbox-persistence.ts";
import { MemoryOutbox, newMemoryOutboxDisk, wipeOutboxDisk } from "./memory-outbox.ts";

const START_AT = 1_700_000_000_000;
const HOUR_MS = 60 * 60 * 1000;
const realImmediate = setImmediate;

/** What a planted bug puts in the place of the real parts. */
export interface Plant {
  outbox?: typeof DurableOutbox;
  /** The disk's calls, as a worker sees them. */
  disk?: (disk: OutboxPersistence) => OutboxPersistence;
  /** What leaves for the primary. */
  send?: (updates: Update[]) => Update[];
}

/** Virtual time: what is due runs one by one, each with all that follows from it at once. */
class Clock {
  now = 0;
  #nextId = 1;
  readonly #due = new Map<number, { at: number; run: () => void }>();

  after(delayMs: number, run: () => void): number {
    const id = this.#nextId++;
    this.#due.set(id, { at: this.now + Math.max(0, delayMs), run });
    return id;
  }

  clear(id: number | undefined): void {
    if (id !== undefined) this.#due.delete(id);
  }

  async runFor(ms: number): Promise<void> {
    const until = this.now + ms;
    for (;;) {
      await new Promise<void>((resolve) => realImmediate(() => resolve()));
      let first: [number, { at: number; run: () => void }] | undefined;
      for (const one of this.#due) if (!first || one[1].at < first[1].at) first = one;
      if (!first || first[1].at > until) break;
      this.#due.delete(first[0]);
      this.now = first[1].at;
      first[1].run();
    }
    this.now = until;
  }
}

type Decision = { seq: number } | { code: "conflict" | Refusal };
type Refusal = "overloaded" | "unavailable";

/** Decides updates as `src/group.ts` does, at once and for good. */
class ModelPrimary {
  head = 0;
  readonly seqs = new Map<string, number>();
  readonly clients = new Map<string, { settled: number; outcomes: Map<number, Decision>; touchedAt: number }>();
  /** Everything that took effect, by the names that pages gave, in the order in which it did. */
  readonly effects: string[] = [];
  readonly #world: World;
  readonly #firstAskedAt = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  /** Answers a frame; what it has no room for is the end of it. */
  receive(updates: readonly Update[]): (OperationAck | OperationFailed)[] {
    const { random, isFaulty } = this.#world;
    for (const [clientId, { touchedAt }] of this.clients) {
      if (this.#world.clock.now - touchedAt > CLIENT_LEASE_MS) this.clients.delete(clientId);
    }
    const room = isFaulty && random.chance(0.2) ? random.between(0, updates.length) : Infinity;
    const isDiskWell = !isFaulty || random.chance(0.97);
    return updates.map((update, index) => {
      const { clientId, id } = update;
      const failed = { type: "operation-failed", clientId, id } as const;
      const decision = this.#place(update, index >= room ? "overloaded" : isDiskWell ? undefined : "unavailable");
      if (!decision) {
        this.#world.expired.add(originOf(update));
        return { ...failed, code: "expired" };
      }
      if ("code" in decision) return { ...failed, code: decision.code, applied: false };
      if (isFaulty && random.chance(0.05)) return { ...failed, code: "in-doubt" };
      if (isFaulty && random.chance(0.02)) return { ...failed, code: "unconfirmed", applied: true, seq: decision.seq };
      return { type: "operation-ack", clientId, id, seq: decision.seq, replicas: 0 };
    });
  }

  #place(update: Update, refusal: Refusal | undefined): Decision | undefined {
    const { id, settled, repeat } = update;
    const clientId = update.clientId!;
    const name = nameOf(update);
    const { now } = this.#world.clock;
    const record = this.clients.get(clientId);
    const askedAt = this.#firstAskedAt.get(name) ?? now;
    this.#firstAskedAt.set(name, askedAt);
    if (record && id <= record.settled) {
      this.#world.demand(this.#world.ended.has(name), `${name} expired, though its end was never on disk`);
      return undefined;
    }
    if (!record && repeat && settled > 0) {
      const isLong = now - (this.#world.madeAt.get(originOf(update)) ?? now) > CLIENT_LEASE_MS / 2;
      this.#world.demand(isLong, `${name} expired, though the primary cannot have forgotten it`);
      return undefined;
    }
    const known = record?.outcomes.get(id);
    if (known) return known;
    const { settled: before, outcomes } = record ?? { settled: 0, outcomes: new Map<number, Decision>() };
    const decision = refusal ? { code: refusal } : this.#decide(update);
    outcomes.set(id, decision);
    for (const one of outcomes.keys()) if (one <= settled) outcomes.delete(one);
    this.#world.demand(outcomes.size < OUTCOMES_PER_CLIENT_MAX, "outcomes that nobody settles");
    this.clients.set(clientId, { settled: Math.max(before, settled), outcomes, touchedAt: now });
    return decision;
  }

  #decide(update: Update): Decision {
    if (update.type === "batch" && update.checks.some(({ key, seq }) => (this.seqs.get(key) ?? null) !== seq)) {
      return { code: "conflict" };
    }
    this.head += 1;
    for (const { key } of writesOf(update)) this.seqs.set(key, this.head);
    this.effects.push(originOf(update));
    return { seq: this.head };
  }
}

/** The lock of the outbox. */
class Locks {
  readonly #world: World;
  #holder: { worker: Worker; lose: () => void } | undefined;
  #waiting: { worker: Worker; give: () => void }[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  wait(worker: Worker, signal: AbortSignal): Promise<Tenure | undefined> {
    return new Promise((resolve) => {
      if (worker.isDead) return;
      const give = (): void => {
        let lose = (): void => {};
        const lost = new Promise<void>((resolve) => (lose = resolve));
        const holder = { worker, lose };
        this.#holder = holder;
        resolve({
          lost,
          release: () => {
            if (this.#holder !== holder) return;
            this.#holder = undefined;
            this.#next();
          },
        });
      };
      const waiting = { worker, give };
      this.#waiting.push(waiting);
      signal.addEventListener("abort", () => {
        this.#waiting = this.#waiting.filter((one) => one !== waiting);
        resolve(undefined);
      });
      this.#next();
    });
  }

  /** Whoever waits takes it; whoever had it was asleep, and learns of it when it wakes up. */
  steal(): void {
    const holder = this.#holder;
    if (!holder || this.#waiting.length === 0) return;
    this.#holder = undefined;
    this.#next();
    this.#world.clock.after(this.#world.random.between(0, 2000), holder.lose);
  }

  died(worker: Worker): void {
    this.#waiting = this.#waiting.filter((one) => one.worker !== worker);
    if (this.#holder?.worker === worker) this.#holder = undefined;
    this.#next();
  }

  #next(): void {
    if (!this.#holder) this.#waiting.shift()?.give();
  }
}

/** The disk as one worker has it: slow, one call after the other, now and then refusing; a dead worker hears nothing. */
class WorkerDisk implements OutboxPersistence {
  readonly #world: World;
  readonly #worker: Worker;
  readonly #store: MemoryOutbox;
  #last: Promise<unknown> = Promise.resolve();

  constructor(world: World, worker: Worker, memory: OutboxMemory) {
    this.#world = world;
    this.#worker = worker;
    this.#store = new MemoryOutbox(world.disk, {
      readKept: () => (worker.isDead ? [] : memory.readKept()),
      interrupted: () => {
        if (!worker.isDead) memory.interrupted();
      },
    });
  }

  load(): Promise<Kept[]> {
    return this.#queue(() => this.#store.load());
  }

  add(updates: readonly Omit<Kept, "place">[]): Promise<Added> {
    return this.#queue(async () => {
      if (this.#world.isDiskFull) throw new DOMException("full", "QuotaExceededError");
      const added = await this.#store.add(updates);
      for (const { update, place } of added.kept) {
        const name = nameOf(update);
        // A disk that was emptied counts its places anew.
        if (!this.#world.places.has(name)) this.#world.places.set(name, this.#world.disk.wipes * 1e6 + place);
      }
      return added;
    });
  }

  markSent(sendings: readonly Sending[], sentAt: number): Promise<Marked[]> {
    return this.#queue(() => this.#store.markSent(sendings, sentAt));
  }

  conclude(conclusions: readonly Conclusion[]): Promise<string[]> {
    return this.#queue(async () => {
      const ended = await this.#store.conclude(conclusions);
      for (const { sentAs } of conclusions) this.#world.ended.add(sentAs);
      return ended;
    });
  }

  dismiss(name: string): Promise<boolean> {
    return this.#queue(async () => {
      const isOut = await this.#store.dismiss(name);
      if (isOut) this.#world.ended.add(name);
      return isOut;
    });
  }

  async close(): Promise<void> {
    const last = this.#last;
    this.#last = last.then(() => this.#store.close());
    await last;
  }

  #queue<Value>(work: () => Promise<Value>): Promise<Value> {
    const run = async (): Promise<Value> => {
      const { random, isFaulty } = this.#world;
      await this.#wait(random.between(0, isFaulty ? 40 : 5));
      if (isFaulty && random.chance(0.1)) throw new Error("the disk refuses");
      const value = await work();
      await this.#wait(random.between(0, 10));
      return value;
    };
    const done = this.#last.then(run, run);
    this.#last = done.catch(() => {});
    return done;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#world.clock.after(ms, () => {
        if (!this.#worker.isDead) resolve();
      });
    });
  }
}

/** A channel between workers: what is told arrives later, in the order of whoever told it. */
class Channel {
  onmessage: ((event: { data: unknown }) => void) | undefined;
  readonly #world: World;
  readonly #worker: Worker;
  #arrivesAt = 0;

  constructor(world: World, worker: Worker) {
    this.#world = world;
    this.#worker = worker;
    world.channels.add(this);
  }

  postMessage(data: unknown): void {
    if (!this.#world.channels.has(this)) throw new Error("the channel is closed");
    const { clock, random } = this.#world;
    if (this.#worker.isDead) return;
    this.#arrivesAt = Math.max(this.#arrivesAt, clock.now + random.between(0, 5));
    for (const other of this.#world.channels) {
      if (other === this) continue;
      const copy = structuredClone(data);
      clock.after(this.#arrivesAt - clock.now, () => {
        if (!other.#worker.isDead && this.#world.channels.has(other)) other.onmessage?.({ data: copy });
      });
    }
  }

  close(): void {
    this.#world.channels.delete(this);
  }
}

/** A worker as `replica-host.ts` is one, as far as the outbox is concerned. */
class Worker {
  isDead = false;
  isConnected = false;
  readonly outbox: DurableOutbox;
  readonly feeds = new Map<Page, (item: ToPage) => void>();
  readonly #world: World;
  #isListening = false;
  #waitingPages: (() => void)[] = [];
  #machine: Outbox;
  #frame: Update[] = [];
  #connection = 0;
  #wake: number | undefined;

  constructor(world: World) {
    this.#world = world;
    this.#machine = this.#newMachine();
    const { outbox: Kind = DurableOutbox, disk = (one: OutboxPersistence) => one } = world.plant;
    world.constructing = this;
    this.outbox = new Kind("outbox", (memory) => disk(new WorkerDisk(world, this, memory)), {
      operate: (updates) => this.#turn((now) => updates.forEach((update) => this.#machine.operate(update, now))),
      publish: (item) => {
        if (!this.isDead) for (const feed of this.feeds.values()) feed(item);
      },
      isYetToShow: () => false,
      waitForTurn: (signal) => world.locks.wait(this, signal),
    });
    world.constructing = undefined;
    void this.outbox.start().then(() => {
      this.#isListening = true;
      for (const listen of this.#waitingPages.splice(0)) listen();
    });
  }

  attach(page: Page, feed: (item: ToPage) => void): void {
    const listen = (): void => {
      this.feeds.set(page, feed);
      const { queued } = this.outbox;
      if (queued) feed({ type: "outbox", queued });
    };
    if (this.#isListening) listen();
    else this.#waitingPages.push(listen);
  }

  /** The messages of a page wait until the worker listens. */
  heard(message: FromPage): void {
    if (this.isDead) return;
    if (!this.#isListening) return void this.#waitingPages.push(() => this.heard(message));
    if (message.type === "queue") void this.outbox.take(message.updates);
    else if (message.type === "dismiss") void this.outbox.dismiss(message.name);
  }

  connect(): void {
    if (this.isConnected || this.isDead) return;
    this.isConnected = true;
    this.#connection += 1;
    this.#turn((now) => this.#machine.open(now));
    this.outbox.setOpen(true);
  }

  disconnect(): void {
    if (!this.isConnected) return;
    this.isConnected = false;
    this.#turn((now) => this.#machine.close(now));
    this.outbox.setOpen(false);
  }

  /** The machine begins anew, without a connection. */
  begin(): void {
    this.disconnect();
    this.#machine = this.#newMachine();
    this.outbox.askAgain();
  }

  die(): void {
    this.isDead = true;
    this.#world.locks.died(this);
  }

  async stop(): Promise<void> {
    this.feeds.clear();
    this.disconnect();
    await this.outbox.stop();
    this.isDead = true;
  }

  #newMachine(): Outbox {
    const machine: Outbox = new Outbox((effect) => {
      if (machine === this.#machine) this.#carryOut(effect);
    });
    return machine;
  }

  #carryOut(effect: SecondaryEffect): void {
    if (effect.type === "send") this.#frame.push(effect.message as Update);
    else if (effect.type === "settle") this.#settle(effect.settled);
    else if (effect.type === "late") this.#settle(effect.reply);
  }

  #settle(settled: Settled): void {
    if (!this.isDead) this.outbox.settled(settled);
  }

  #turn(body: (now: number) => void): void {
    if (this.isDead) return;
    const { clock } = this.#world;
    body(clock.now);
    if (this.#frame.length > 0) this.#send(this.#frame.splice(0));
    clock.clear(this.#wake);
    const at = this.#machine.nextWakeAt;
    this.#wake =
      at === Infinity ? undefined : clock.after(at - clock.now, () => this.#turn((now) => this.#machine.expire(now)));
  }

  /** A frame arrives whole or not at all; one whose connection is lost may arrive all the same. */
  #send(frame: Update[]): void {
    const { clock, random, primary, plant } = this.#world;
    const updates = structuredClone(plant.send?.(frame) ?? frame);
    const connection = this.#connection;
    const isThere = (): boolean => this.isConnected && this.#connection === connection && !this.isDead;
    clock.after(random.between(5, 30), () => {
      if (!isThere() && random.chance(0.5)) return;
      const replies = primary.receive(updates);
      // The answers come in several turns, but what the primary turns away is told at once.
      const room = replies.findIndex((reply) => reply.type === "operation-failed" && reply.code === "overloaded");
      const cut = random.between(0, room < 0 ? replies.length : room);
      for (const [delayMs, some] of [
        [random.between(5, 40), replies.slice(0, cut)],
        [random.between(5, 40), replies.slice(cut)],
      ] as const) {
        clock.after(delayMs, () => {
          if (!isThere()) return;
          this.#turn((now) => some.forEach((reply) => this.#machine.answer(reply, () => false, now)));
        });
      }
    });
  }
}

/** A page with a program that queues updates, and notes what it is told. */
export class Page {
  readonly pending: PendingUpdates;
  /** What has come of each update that it has made. */
  readonly ends = new Map<string, OperationAck | Error>();
  readonly made: string[] = [];
  /** What its subscriber was told of each update. */
  readonly told = new Map<string, PendingEvent["type"][]>();
  readonly dismissed: string[] = [];
  /** What had been overtaken by others when its end was told. */
  readonly overtaken = new Set<string>();
  isDisturbed = false;
  readonly #world: World;
  readonly #clientId: string;
  #worker: Worker | undefined;
  #link = 0;

  constructor(world: World, clientId: string) {
    this.#world = world;
    this.#clientId = clientId;
    this.pending = new PendingUpdates(clientId, {
      send: (message) => this.#send(message),
      shown: () => {},
      hidden: () => {},
      changed: () => {},
    });
    this.pending.subscribe(({ type, update }) => {
      this.told.set(update.id, [...(this.told.get(update.id) ?? []), type]);
    });
  }

  get worker(): Worker | undefined {
    return this.#worker?.isDead ? undefined : this.#worker;
  }

  link(worker: Worker): void {
    this.unlink();
    this.#worker = worker;
    const link = this.#link;
    let arrivesAt = 0;
    const { clock, random } = this.#world;
    worker.attach(this, (item) => {
      arrivesAt = Math.max(arrivesAt, clock.now + random.between(0, 3));
      const copy = structuredClone(item);
      clock.after(arrivesAt - clock.now, () => {
        if (link === this.#link && (!worker.isDead || random.chance(0.5))) this.#received(copy);
      });
    });
    this.pending.askAgain();
  }

  unlink(): void {
    this.#link += 1;
    this.#worker?.feeds.delete(this);
    this.#worker = undefined;
    if (this.made.length > 0) this.isDisturbed = true;
  }

  queue(key: string, check: number | null | undefined): void {
    const name = `${this.#clientId}:${this.made.length + 2}`;
    this.made.push(name);
    this.#world.madeAt.set(name, this.#world.clock.now);
    const writes = [{ key, json: JSON.stringify(name) }];
    const checks = check === undefined ? [] : [{ key, seq: check }];
    this.pending.submit({ type: "batch", writes, checks, ack: "all" }, false).then(
      (ack) => this.#end(name, ack),
      (error: Error) => this.#end(name, error),
    );
  }

  dismiss({ id }: PendingUpdate): void {
    void this.pending.dismiss(id).then((isOut) => {
      // Of what has expired nobody knows whether it was done.
      if (isOut && !this.#world.expired.has(id)) this.dismissed.push(id);
    });
  }

  #end(name: string, end: OperationAck | Error): void {
    this.#world.demand(!this.ends.has(name), `${name} has ended twice`);
    this.ends.set(name, end);
    if (this.#world.isOvertaken(name)) this.overtaken.add(name);
  }

  #received(item: ToPage): void {
    if (item.type === "outbox" || item.type === "queued" || item.type === "unqueued") this.pending.received(item);
  }

  #send(message: FromPage): void {
    const { clock } = this.#world;
    const worker = this.#worker;
    const copy = structuredClone(message);
    // A worker that is slow to read it reads it even if the page has gone meanwhile.
    clock.after(1, () => worker?.heard(copy));
  }
}

export class World {
  readonly random: Random;
  readonly clock = new Clock();
  readonly disk = newMemoryOutboxDisk();
  readonly channels = new Set<Channel>();
  readonly locks = new Locks(this);
  readonly primary = new ModelPrimary(this);
  readonly plant: Plant;
  /** The first place of each update that was ever on disk. */
  readonly places = new Map<string, number>();
  /** What was ended on disk. */
  readonly expired = new Set<string>();
  /** What was on the disk when it was emptied, also ends, and known to nobody who could put it back. */
  readonly lost = new Set<string>();
  readonly ended = new Set<string>();
  readonly madeAt = new Map<string, number>();
  readonly pages: Page[];
  readonly faults: string[] = [];
  constructing: Worker | undefined;
  isFaulty = true;
  isDiskFull = false;
  /** There is never more than one worker. */
  readonly #isAlone: boolean;
  #workers: Worker[] = [];

  constructor(seed: number, plant: Plant = {}) {
    this.random = new Random(seed);
    this.plant = plant;
    this.#isAlone = this.random.chance(0.3);
    this.pages = ["a", "b", "c"].map((clientId) => new Page(this, clientId));
  }

  /** Everything that the code under test takes from its surroundings. */
  get globals(): Record<string, unknown> {
    const { clock } = this;
    const world = this as World;
    return {
      setTimeout: (run: () => void, ms = 0) => clock.after(ms, run),
      clearTimeout: (id: number | undefined) => clock.clear(id),
      Date: class extends Date {
        static override now(): number {
          return START_AT + clock.now;
        }
      },
      BroadcastChannel: function NewChannel() {
        return new Channel(world, world.constructing!);
      },
      navigator: { locks: {} },
    };
  }

  demand(isTrue: boolean, what: string): void {
    if (!isTrue) this.faults.push(`${what} (at ${this.clock.now} ms)`);
  }

  /** Lets things happen and fail for a while, then only happen; throws if what is left at the end is not right. */
  async run(): Promise<void> {
    const { random, clock } = this;
    this.#workers = Array.from({ length: this.#isAlone ? 1 : 2 }, () => new Worker(this));
    for (const page of this.pages) page.link(random.pick(this.#workers));
    const steps = random.between(10, 80);
    for (let step = 0; step < steps; step++) {
      await this.#act();
      await clock.runFor(random.chance(0.8) ? random.between(0, 60) : random.between(0, 3000));
    }
    this.isFaulty = this.isDiskFull = false;
    this.#heal();
    await clock.runFor(200_000);
    this.#verify();
    for (const worker of this.#workers) void worker.stop();
    await clock.runFor(1000);
    if (this.faults.length > 0) throw new Error(this.faults.join("\n"));
  }

  async #act(): Promise<void> {
    const { random } = this;
    const page = random.pick(this.pages);
    const index = random.between(0, this.#workers.length - 1);
    const worker = this.#workers[index]!;
    const chance = random.next();
    if (chance < 0.45) {
      for (let left = random.between(1, 4); left > 0; left--) {
        const key = random.pick(["x", "y", "z"]);
        page.queue(key, random.chance(0.25) ? (random.chance(0.5) ? this.primary.head : null) : undefined);
      }
    } else if (chance < 0.6) {
      if (worker.isConnected) worker.disconnect();
      else worker.connect();
    } else if (chance < 0.66) {
      this.#replace(index, this.#isAlone || random.chance(0.7));
    } else if (chance < 0.72) {
      this.locks.steal();
    } else if (chance < 0.77) {
      worker.begin();
    } else if (chance < 0.84) {
      const [one] = page.pending.list();
      if (one) page.dismiss(one);
    } else if (chance < 0.9) {
      if (page.worker) page.unlink();
      else page.link(random.pick(this.#workers));
    } else if (chance < 0.94) {
      this.isDiskFull = !this.isDiskFull;
    } else if (chance < 0.955) {
      this.#wipe();
    } else if (chance < 0.97) {
      for (const one of this.#workers) one.disconnect();
      await this.clock.runFor(random.pick([1, 13, 25]) * HOUR_MS);
    }
  }

  /** A person clears the site's data under everything that is open. */
  #wipe(): void {
    // What has ended and is put back all the same, by one who had not heard of it, nobody can tell from what has not.
    for (const name of this.disk.ends.keys()) this.lost.add(name);
    this.#losing(() => wipeOutboxDisk(this.disk));
  }

  /** What nobody has any more after this, neither the disk nor a worker who could put it back, is lost. */
  #losing(run: () => void): void {
    const readAll = (): Set<string> => {
      const inMemory = [...this.disk.openers].flatMap((memory) => memory.readKept());
      const kept = [...this.disk.kept.values(), ...inMemory].map(({ update }) => nameOf(update));
      return new Set(kept);
    };
    const before = readAll();
    run();
    const after = readAll();
    for (const name of before) if (!after.has(name)) this.lost.add(name);
  }

  /** Another worker in the place of one that dies or ends; its pages notice after a while. */
  #replace(index: number, isDeath: boolean): void {
    const old = this.#workers[index]!;
    const pages = this.pages.filter((page) => page.worker === old);
    if (isDeath) this.#losing(() => old.die());
    else void old.stop();
    const next = new Worker(this);
    this.#workers[index] = next;
    for (const page of pages) {
      page.unlink();
      this.clock.after(this.random.between(0, 50), () => {
        if (!page.worker) page.link(this.#workers[index]!);
      });
    }
  }

  #heal(): void {
    for (const worker of this.#workers) worker.connect();
    for (const page of this.pages) if (!page.worker) page.link(this.random.pick(this.#workers));
  }

  #verify(): void {
    const { effects } = this.primary;
    const twice = effects.filter((name, index) => effects.indexOf(name) !== index && !this.lost.has(name));
    this.demand(twice.length === 0, `done twice: ${twice.join()} of ${effects.join()}`);
    for (const names of [effects, ...this.pages.map(({ made }) => effects.filter((name) => made.includes(name)))]) {
      // What a page has been told is unknown may come at any time.
      this.#verifyOrder(
        names.filter(
          (name) =>
            !this.lost.has(name) && !this.pages.some(({ ends }) => ends.get(name) instanceof OutcomeUnknownError),
        ),
      );
    }
    const left = [...this.disk.kept.values()];
    for (const { update, failure } of left) this.demand(failure !== undefined, `${nameOf(update)} was never ended`);
    const names = left.map(({ update }) => nameOf(update));
    for (const page of this.pages) {
      const isKnown = (name: string): boolean => !this.lost.has(name);
      const listed = page.pending.list().filter(({ id }) => isKnown(id));
      const shown = listed.map(({ id, state }) => `${id} ${state}`);
      const expected = names.filter(isKnown).map((name) => `${name} failed`);
      // Pages hear of other pages' updates a little later.
      for (const list of [shown, expected]) list.sort();
      this.demand(shown.join() === expected.join(), `a page shows ${shown.join()} instead of ${expected.join()}`);
      for (const name of page.made) this.#verifyEnd(name, page);
      for (const [name, types] of page.told) {
        // Who was away asks again, and then all hear once more.
        if (!this.pages.some(({ isDisturbed, made }) => isDisturbed && made.includes(name)))
          this.#verifyTold(name, types);
      }
      for (const name of page.dismissed) {
        this.demand(!effects.includes(name) || this.lost.has(name), `${name} was dismissed, and done`);
      }
    }
  }

  /** Two workers that are given updates in the same moment may send them in either order, but those of one page in theirs. */
  #verifyOrder(effects: readonly string[]): void {
    if (!this.#isAlone && (this.disk.wipes > 0 || new Set(effects.map((name) => name[0])).size > 1)) return;
    const places = effects.map((name) => this.places.get(name)!);
    this.demand(isRising(places), `not in the queued order: ${effects.join()} at ${places.join()}`);
  }

  #verifyEnd(name: string, page: Page): void {
    const end = page.ends.get(name);
    const isDone = this.primary.effects.includes(name);
    if (!end) this.demand(false, `${name} was never told`);
    else if (end instanceof OperationFailedError) {
      const isTrue = end.applied === undefined || end.applied === isDone || this.lost.has(name);
      this.demand(isTrue, `${name}: told applied ${end.applied}`);
      // What the primary has no room for is tried again, unless something later was done first. (Disks say more.)
      const isFinal = ["conflict", "expired", "unconfirmed"].includes(end.code) || end.detail !== undefined;
      if (!isFinal) this.demand(page.overtaken.has(name), `${name} was given up as ${end.code}`);
      if (end.applied === undefined) this.demand(end.code === "expired", `${name} failed as ${end.code}`);
    } else if (end instanceof Error)
      this.demand(page.isDisturbed || this.isSlow(name) || this.lost.has(name), `${name} is unknown to its page`);
    else this.demand(isDone, `${name} was acked, and not done`);
  }

  /** Whether something behind it has been done already. */
  isOvertaken(name: string): boolean {
    const place = this.places.get(name)!;
    return this.primary.effects.some((other) => this.places.get(other)! > place);
  }

  /** Whether it is old enough to have been given up. */
  isSlow(name: string): boolean {
    return this.clock.now - this.madeAt.get(name)! > 20_000;
  }

  #verifyTold(name: string, types: readonly PendingEvent["type"][]): void {
    for (const type of ["acked", "dismissed"] as const) {
      this.demand(types.filter((one) => one === type).length <= 1, `${name} was told as ${types.join()}`);
    }
    this.demand(!(types.includes("acked") && types.includes("dismissed")), `${name} was told as ${types.join()}`);
  }
}

/** The name that its page gave to an update, whatever it is sent as: it is what the update writes. */
function originOf(update: Update): string {
  const [write] = writesOf(update);
  return write && "json" in write ? (JSON.parse(write.json) as string) : nameOf(update);
}

const isRising = (numbers: readonly number[]): boolean =>
  numbers.every((number, index) => index === 0 || number > numbers[index - 1]!);
