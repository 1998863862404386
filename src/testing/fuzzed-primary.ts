// A primary among hostile sessions, each of which may say anything at any time, beside one honest secondary. It is held
// to the rules of SPEC.md after every input; the commands that drive it are plain values, so that they can be shrunk.

import * as fc from "fast-check";
import type { Memo, PrimaryEffect, PrimaryInput, SecondaryEffect, SecondaryInput, SessionId } from "../effects.ts";
import { isCovered } from "../kv.ts";
import type { Json } from "../kv.ts";
import { DEADLINE_MS, OPERATIONS_IN_FLIGHT_MAX } from "../limits.ts";
import { PRIMARY_DEFAULTS, Primary } from "../primary.ts";
import type { PrimarySettings } from "../primary.ts";
import { CLOSE, PROTOCOL_VERSION, nameOf } from "../protocol.ts";
import type { Downstream, Operation, Snapshot, Update, Upstream } from "../protocol.ts";
import type { Rights } from "../rights.ts";
import { Secondary } from "../secondary.ts";
import { MemoryStore } from "../store.ts";
import type { Commit } from "../store.ts";
import { decodeDownstream, decodeUpstream, encodeDownstream, encodeUpstream } from "../codec.ts";
import { demandEqual } from "./equality.ts";
import { demand } from "./oracle.ts";

// --- commands

const HOSTILE_SLOTS = 4;
const KEYS = ["a", "a/1", "b", "b/2", "c", "__proto__"];
/** Small, so that walks, full windows and compactions happen within a few commands. */
const WINDOW = { bytes: 400, frames: 3 };
const PAGE = { changes: 3, bytes: 200 };
const SETTINGS: PrimarySettings = { ...PRIMARY_DEFAULTS, window: WINDOW, tombstonesKept: 1 };
const EPOCH = "e1";
/** Reads under a name of its own, so that its answers are not taken for those of updates. */
const GETTER = "g1";

export type PrimaryCommand =
  | { type: "connect"; slot: number; rights: Rights | null; isRestored: boolean }
  | { type: "disconnect"; slot: number }
  /** What it claims of seqs is made true, or left as it is. */
  | { type: "say"; slot: number; message: Upstream; isTrue: boolean }
  /** Someone writes so many keys, and removes every third. */
  | { type: "fill"; count: number }
  | { type: "operate"; operation: Operation }
  | { type: "drop" }
  | { type: "deliver"; count: number }
  | { type: "commit" }
  | { type: "disk"; does: "obey" | "wait" | "refuse" }
  | { type: "pass"; ms: number }
  | { type: "compact" }
  | { type: "evict" };

const slot = fc.nat(HOSTILE_SLOTS - 1);
const key = fc.constantFrom(...KEYS);
const json = fc.constantFrom("1", '"x"', "null", '{"__proto__":1}', `"${"v".repeat(150)}"`);
const seq = fc.oneof(
  { weight: 8, arbitrary: fc.nat(12) },
  { weight: 1, arbitrary: fc.constantFrom(1000, Number.MAX_SAFE_INTEGER) },
);
const ack = fc.oneof(fc.constantFrom("all" as const, "primary" as const), fc.nat(3));
const write = fc.oneof(
  fc.record({ key, json }),
  key.map((one) => ({ key: one, removed: true as const })),
);
const header = fc.record({
  clientId: fc.constantFrom("h1", "h2"),
  id: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.constant(Number.MAX_SAFE_INTEGER)),
  ack,
  settled: fc.oneof(fc.constant(0), seq),
  repeat: fc.boolean(),
});
const deed = fc.oneof(
  fc.record({ type: fc.constant("insert" as const), key, json }),
  fc.record({ type: fc.constant("remove" as const), key }),
  fc.record({
    type: fc.constant("batch" as const),
    writes: fc.uniqueArray(write, { selector: (one) => one.key, maxLength: 4 }),
    checks: fc.array(fc.record({ key, seq: fc.option(seq) }), { maxLength: 2 }),
  }),
);
const update = fc.tuple(header, deed).map(([own, what]): Update => ({ ...own, ...what }));
const prefixes = fc.array(fc.constantFrom("a", "b", "a/", "c"), { minLength: 1, maxLength: 2 });

const upstream: fc.Arbitrary<Upstream> = fc.oneof(
  fc
    .record({
      type: fc.constant("join" as const),
      version: fc.constant(PROTOCOL_VERSION),
      secondaryId: fc.constantFrom("s1", "s2", "s3"),
      mode: fc.constantFrom("durable" as const, "memory" as const, "reader" as const),
      epoch: fc.constantFrom(EPOCH, "e0", null),
      since: seq,
    })
    .chain((join) => fc.option(prefixes).map((some) => (some ? { ...join, prefixes: some } : join))),
  fc.constant({ type: "leave" as const }),
  seq.map((one) => ({ type: "snapshot-ack" as const, seq: one })),
  seq.map((one) => ({ type: "part-ack" as const, seq: one })),
  seq.map((since) => ({ type: "resend" as const, since })),
  update,
  fc.record({
    type: fc.constant("get" as const),
    clientId: fc.constant(GETTER),
    id: fc.integer({ min: 1, max: 8 }),
    key,
  }),
);
const rights: fc.Arbitrary<Rights> = fc.record({
  read: fc.option(prefixes),
  write: fc.option(fc.oneof(prefixes, fc.constant([]))),
  sync: fc.boolean(),
});
/** The names are given when they are carried out, each once. */
const honest: fc.Arbitrary<Operation> = fc.oneof(
  fc
    .tuple(ack, deed)
    .map(([wanted, what]) => ({ clientId: "me", id: 1, ack: wanted, settled: 0, repeat: false, ...what })),
  key.map((one) => ({ type: "get" as const, clientId: "me", id: 1, key: one })),
);

const command: fc.Arbitrary<PrimaryCommand> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("connect" as const),
      slot,
      rights: fc.option(rights),
      isRestored: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: slot.map((one) => ({ type: "disconnect" as const, slot: one })) },
  {
    weight: 12,
    arbitrary: fc.record({ type: fc.constant("say" as const), slot, message: upstream, isTrue: fc.boolean() }),
  },
  { weight: 5, arbitrary: honest.map((operation) => ({ type: "operate" as const, operation })) },
  { weight: 1, arbitrary: fc.constant({ type: "drop" as const }) },
  { weight: 4, arbitrary: fc.nat(6).map((count) => ({ type: "deliver" as const, count })) },
  { weight: 6, arbitrary: fc.constant({ type: "commit" as const }) },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom("obey" as const, "obey" as const, "wait" as const, "refuse" as const)
      .map((does) => ({ type: "disk" as const, does })),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(0, 1, 99, 100, 500, 1000, 5000).map((ms) => ({ type: "pass" as const, ms })),
  },
  { weight: 1, arbitrary: fc.nat(8).map((count) => ({ type: "fill" as const, count })) },
  { weight: 1, arbitrary: fc.constant({ type: "compact" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "evict" as const }) },
);
export const primaryCommands: fc.Arbitrary<PrimaryCommand[]> = fc.array(command, { maxLength: 80, size: "max" });

// --- what is known of a session

/** What one session was told, by which every further message to it is judged. */
interface Known {
  rights: Rights | undefined;
  memo: Memo | undefined;
  /** Set while it is a member. */
  chain: { cursor: number; sentMax: number; unacked: number[] } | undefined;
  /** When which update came, and is not answered yet. */
  asked: Map<string, number[]>;
}

/** Takes the place of a primary, to show that the property sees what goes wrong. */
export type PrimaryClass = new (
  store: MemoryStore,
  settings: PrimarySettings,
) => Pick<Primary, "step" | "operationsInFlight">;

const TICKS_MAX = 2000;
const SETTLE_ROUNDS = 60;

export class FuzzedPrimary {
  readonly #make: PrimaryClass;
  readonly #store = new MemoryStore(EPOCH, PAGE);
  #machine: InstanceType<PrimaryClass>;
  #now = 0;
  #wakeAt: number | undefined;
  #disk: "obey" | "wait" | "refuse" = "obey";
  #commit: Commit | undefined;
  #inputs: PrimaryInput[] = [];
  #nextSession = 1;
  readonly #sessions = new Map<SessionId, Known>();
  readonly #slots: (SessionId | undefined)[] = [];
  #filler: SessionId | undefined;
  readonly #member: HonestMember;

  constructor(make: PrimaryClass = Primary) {
    this.#make = make;
    this.#machine = new make(this.#store, SETTINGS);
    this.#member = new HonestMember(() => this.#now);
    this.#feed({ type: "start" });
  }

  /** Carries out all of it, lets everything come to rest, and looks whether the honest member has what the store has. */
  run(commands: readonly PrimaryCommand[]): void {
    for (const one of commands) this.#do(one);
    this.#disk = "obey";
    this.#answerDisk();
    for (let round = 0; round < SETTLE_ROUNDS; round++) {
      this.#deliver(Infinity);
      this.#feed({ type: "commit" });
      this.#pass(round < SETTLE_ROUNDS / 2 ? 50 : 500);
      if (this.#isAtRest) break;
    }
    for (const [session, { asked }] of this.#sessions)
      demand(asked.size === 0, "A1", () => `session ${session} still waits for ${[...asked.keys()].join(", ")}`);
    const entries = this.#store.list({}, 1000).entries.map((entry) => [entry.key, entry.value]);
    this.#member.demandState(this.#store.head, entries as [string, Json][]);
  }

  get #isAtRest(): boolean {
    return (
      [...this.#sessions.values()].every(({ asked }) => asked.size === 0) && this.#member.isAtRest(this.#store.head)
    );
  }

  #do(command: PrimaryCommand): void {
    switch (command.type) {
      case "connect":
        return this.#connect(command);
      case "disconnect":
        return this.#disconnect(command.slot);
      case "say":
        return this.#say(command);
      case "fill":
        return this.#fill(command.count);
      case "operate":
        return this.#member.operate(command.operation);
      case "drop":
        return this.#dropMember();
      case "deliver":
        return this.#deliver(command.count);
      case "disk":
        this.#disk = command.does;
        return this.#answerDisk();
      case "pass":
        return this.#pass(command.ms);
      case "commit":
      case "compact":
        this.#feed({ type: command.type });
        return;
      case "evict":
        return this.#evict();
    }
  }

  #connect({ slot, rights, isRestored }: Extract<PrimaryCommand, { type: "connect" }>): void {
    const before = this.#sessions.get(this.#slots[slot] ?? 0);
    this.#disconnect(slot);
    const memo = isRestored ? before?.memo : undefined;
    this.#slots[slot] = this.#open(memo ? before!.rights : (rights ?? undefined), memo);
  }

  #open(rights: Rights | undefined, memo: Memo | undefined): SessionId {
    const session = this.#nextSession++;
    this.#sessions.set(session, { rights, memo, chain: this.#chainOf(memo), asked: new Map() });
    this.#feed({ type: "connect", session, ...(memo && { memo }), ...(rights && { rights }) });
    return session;
  }

  #chainOf(memo: Memo | undefined): Known["chain"] {
    if (!memo || memo.acked === null) return undefined;
    return { cursor: memo.acked, sentMax: Math.max(memo.acked, this.#store.head), unacked: [] };
  }

  #say({ slot, message, isTrue }: Extract<PrimaryCommand, { type: "say" }>): void {
    const session = (this.#slots[slot] ??= this.#open(undefined, undefined));
    const cursor = this.#sessions.get(session)?.chain?.cursor;
    if (isTrue && message.type === "join")
      return this.#receive(session, { ...message, epoch: EPOCH, since: Math.min(message.since, this.#store.head) });
    if (!isTrue || cursor === undefined || !isClaim(message)) return this.#receive(session, message);
    if (message.type !== "resend") return this.#receive(session, { ...message, seq: cursor });
    this.#receive(session, { ...message, since: Math.min(message.since, cursor) });
  }

  #fill(count: number): void {
    this.#filler ??= this.#open(undefined, undefined);
    const header = { clientId: null, id: 1, ack: "primary", settled: 0, repeat: false } as const;
    for (let i = 0; i < count; i++) {
      this.#receive(this.#filler, { type: "insert", ...header, key: `a/${i}`, json: "1" });
      if (i % 3 === 2) this.#receive(this.#filler, { type: "remove", ...header, key: `a/${i}` });
    }
    this.#feed({ type: "commit" });
  }

  #disconnect(slot: number): void {
    const session = this.#slots[slot];
    this.#slots[slot] = undefined;
    if (session !== undefined) this.#end(session);
  }

  #end(session: SessionId): void {
    if (this.#sessions.delete(session)) this.#feed({ type: "disconnect", session });
  }

  /** The host loses its memory, as it may whenever nothing is in flight. */
  #evict(): void {
    if (this.#commit || this.#machine.operationsInFlight > 0) return;
    this.#machine = new this.#make(this.#store, SETTINGS);
    this.#wakeAt = undefined;
    const sessions = [...this.#sessions];
    // What connects before the start is kept (B1).
    for (const [session, known] of sessions) {
      known.chain = this.#chainOf(known.memo);
      const { memo, rights } = known;
      this.#feed({ type: "connect", session, ...(memo && { memo }), ...(rights && { rights }) });
    }
    this.#feed({ type: "start" });
  }

  // --- the honest member

  #dropMember(): void {
    const { session } = this.#member;
    this.#member.lose();
    if (session !== undefined) this.#end(session);
  }

  #deliver(count: number): void {
    if (this.#member.session === undefined || !this.#sessions.has(this.#member.session)) {
      this.#member.lose();
      this.#member.session = this.#open(undefined, undefined);
      this.#member.feed({ type: "connect" });
    }
    for (let i = 0; i < count; i++) {
      const { session } = this.#member;
      if (session === undefined || !this.#sessions.has(session)) return;
      if (this.#member.wantsNew) return this.#dropMember();
      const up = this.#member.outgoing.shift();
      if (up) this.#receive(session, up);
      const down = this.#member.incoming.shift();
      if (down) this.#member.receive(down);
      if (!up && !down) return;
    }
  }

  // --- the machine

  #receive(session: SessionId, message: Upstream): void {
    const known = this.#sessions.get(session);
    if (!known) return;
    const value = session === this.#filler ? message : reread(message);
    if ("settled" in value) {
      const name = nameOf(value);
      known.asked.set(name, [...(known.asked.get(name) ?? []), this.#now]);
    }
    const { chain } = known;
    if (value.type === "leave") known.chain = undefined;
    const said = value.type === "resend" ? value.since : "seq" in value ? value.seq : 0;
    const isLie = chain !== undefined && isClaim(value) && said > chain.sentMax;
    if (chain && isClaim(value) && !isLie) {
      if (value.type === "resend") {
        chain.cursor = said;
        chain.unacked = [];
      } else {
        chain.cursor = Math.max(chain.cursor, said);
        chain.unacked = chain.unacked.filter((one) => one > said);
      }
    }
    const closed = this.#feed({ type: "receive", session, message: value }, value.type === "join" ? value.since : 0);
    for (const one of closed) {
      const isSuperseded = value.type === "join" && one.code === CLOSE.superseded;
      demand(one.session === session || isSuperseded, "L2", () => `${value.type} closed session ${one.session}`);
    }
    if (isLie)
      demand(
        closed.some(({ code }) => code !== CLOSE.superseded),
        "D6",
        () => `${value.type} ${said} was taken`,
      );
    else if (value.type === "snapshot-ack" || value.type === "part-ack")
      demand(closed.length === 0, "D6", () => `a true ${value.type} ${said} closed its session`);
  }

  /** Feeds one input and whatever follows from it; returns what was closed. */
  #feed(input: PrimaryInput, since = 0): Extract<PrimaryEffect, { type: "close" }>[] {
    const closed: Extract<PrimaryEffect, { type: "close" }>[] = [];
    this.#inputs.push(input);
    if (this.#inputs.length > 1) return closed;
    for (; this.#inputs[0]; this.#inputs.shift()) {
      for (const effect of this.#machine.step(this.#inputs[0], this.#now)) {
        this.#carryOut(effect, since);
        if (effect.type === "close") closed.push(effect);
      }
      const { operationsInFlight } = this.#machine;
      demand(operationsInFlight <= OPERATIONS_IN_FLIGHT_MAX, "L1", () => `${operationsInFlight} in flight`);
    }
    return closed;
  }

  #carryOut(effect: PrimaryEffect, since: number): void {
    if (effect.type === "send" || effect.type === "close" || effect.type === "remember")
      demand(this.#sessions.has(effect.session), "L2", () => `${effect.type} for the closed session ${effect.session}`);
    switch (effect.type) {
      case "wake":
        this.#wakeAt = effect.at;
        return;
      case "compact":
        return this.#store.compact(effect.compaction);
      case "persist":
        demand(this.#commit === undefined, "P1", () => "two commits in flight");
        this.#commit = effect.commit;
        return this.#answerDisk();
      case "remember":
        this.#sessions.get(effect.session)!.memo = effect.memo && structuredClone(effect.memo);
        return;
      case "close":
        this.#sessions.delete(effect.session);
        return;
      case "send":
        return this.#sent(effect.session, effect.message, since);
    }
  }

  #answerDisk(): void {
    const commit = this.#commit;
    if (!commit || this.#disk === "wait") return;
    this.#commit = undefined;
    if (this.#disk === "refuse") return void this.#feed({ type: "refused", code: "unavailable" });
    const { head } = this.#store;
    let last = head;
    for (const change of commit.changes) {
      const isInOrder = change.seq > head && change.seq >= last && change.seq <= commit.seq;
      demand(isInOrder, "O1", () => `${change.seq} after ${last}`);
      last = change.seq;
    }
    demand(last === commit.seq, "O1", () => `a commit up to ${commit.seq} ends with ${last}`);
    this.#store.apply(commit, this.#now);
    this.#feed({ type: "persisted" });
  }

  #pass(ms: number): void {
    const end = this.#now + ms;
    for (let ticks = 0; ; ticks++) {
      demand(ticks < TICKS_MAX, "L1", () => "the timers never rest");
      const next = Math.min(this.#wakeAt ?? Infinity, this.#member.wakeAt ?? Infinity);
      if (next > end) break;
      this.#now = Math.max(this.#now, next);
      if (this.#wakeAt !== undefined && this.#wakeAt <= this.#now) {
        this.#wakeAt = undefined;
        this.#feed({ type: "tick" });
      }
      this.#member.tick();
    }
    this.#now = end;
    for (const [session, { asked }] of this.#sessions)
      for (const [name, times] of asked)
        demand(end - times[0]! <= DEADLINE_MS, "A1", () => `${name} of session ${session} is not answered in time`);
  }

  // --- what a session is told

  #sent(session: SessionId, message: Downstream<Json>, since: number): void {
    const known = this.#sessions.get(session)!;
    const may = (keyOf: string, prefixes: readonly string[] | null | undefined): boolean =>
      isCovered(keyOf, prefixes ?? undefined);
    if (message.type === "snapshot") {
      for (const change of message.changes)
        demand(may(change.key, known.rights?.read), "S2", () => `session ${session} is sent ${change.key}`);
      this.#follows(known, message);
    } else if (message.type === "joined-secondary") {
      const start = message.reset ? 0 : since;
      known.chain = { cursor: start, sentMax: start, unacked: [] };
    } else if (message.type === "get-result") {
      const { entry } = message;
      demand(
        entry === null || may(entry.key, known.rights?.read),
        "S1",
        () => `session ${session} reads ${entry?.key}`,
      );
    } else if (message.type === "operation-ack" || message.type === "operation-failed") {
      const { check } = message as { check?: { key: string } };
      const isKnowable = !check || may(check.key, known.rights?.read) || may(check.key, known.rights?.write);
      demand(isKnowable, "S1", () => `session ${session} is told of ${check?.key}`);
      this.#answered(known, message);
    }
    if (session === this.#member.session) this.#member.incoming.push(message);
  }

  #follows({ chain }: Known, { prev, seq, until }: Snapshot<Json>): void {
    demand(chain !== undefined, "M1", () => "a snapshot for someone who has not joined");
    if (!chain) return;
    demand(prev === chain.cursor, "D2", () => `a snapshot after ${prev}, not ${chain.cursor}`);
    demand(seq >= prev && seq <= this.#store.head && until <= this.#store.head, "O2", () => `${seq} is not durable`);
    chain.cursor = seq;
    chain.sentMax = Math.max(chain.sentMax, seq);
    chain.unacked.push(seq);
    demand(chain.unacked.length <= WINDOW.frames, "D7", () => `${chain.unacked.length} snapshots are un-acked`);
  }

  #answered({ asked }: Known, answer: Extract<Downstream, { type: "operation-ack" | "operation-failed" }>): void {
    if (answer.clientId === GETTER) return;
    const name = nameOf(answer);
    if (answer.type === "operation-ack")
      demand(answer.seq <= this.#store.head, "A2", () => `${name} is acked at ${answer.seq}`);
    const times = asked.get(name);
    demand(times !== undefined, "A1", () => `${name} is answered without having been asked, or twice`);
    const at = times!.shift()!;
    if (times!.length === 0) asked.delete(name);
    demand(this.#now - at <= DEADLINE_MS, "A1", () => `${name} is answered after ${this.#now - at} ms`);
  }
}

/** As it comes over the wire. */
function reread(message: Upstream): Upstream {
  const line = decodeUpstream(encodeUpstream(message).slice(0, -1));
  demand(line.ok, "L2", () => `the codec refuses ${JSON.stringify(message)}`);
  return line.ok ? line.value : message;
}

type Claim = Extract<Upstream, { type: "snapshot-ack" | "part-ack" | "resend" }>;
const isClaim = (message: Upstream): message is Claim =>
  message.type === "snapshot-ack" || message.type === "part-ack" || message.type === "resend";

/** A secondary that does what it should, with a disk that obeys at once. */
class HonestMember {
  session: SessionId | undefined;
  wantsNew = false;
  wakeAt: number | undefined;
  outgoing: Upstream[] = [];
  incoming: Downstream<Json>[] = [];
  readonly #machine = new Secondary({ secondaryId: "honest", prefixes: undefined });
  readonly #clock: () => number;
  readonly #mirror = new Map<string, Json>();
  readonly #unsettled = new Set<string>();
  #nextId = 1;

  constructor(clock: () => number) {
    this.#clock = clock;
    this.feed({ type: "start", mode: "durable", epoch: null, seq: 0 });
  }

  operate(operation: Operation): void {
    const named = { ...operation, id: this.#nextId++ };
    this.#unsettled.add(nameOf(named));
    this.feed({ type: "operate", operation: named });
  }

  receive(message: Downstream<Json>): void {
    const line = decodeDownstream(encodeDownstream(message).slice(0, -1));
    if (line.ok) this.feed({ type: "receive", message: line.value });
  }

  tick(): void {
    if (this.wakeAt === undefined || this.wakeAt > this.#clock()) return;
    this.wakeAt = undefined;
    this.feed({ type: "tick" });
  }

  /** The connection is gone, and what was on its way with it. */
  lose(): void {
    this.session = undefined;
    this.wantsNew = false;
    this.outgoing = [];
    this.incoming = [];
    this.feed({ type: "disconnect" });
  }

  feed(input: SecondaryInput): void {
    for (const effect of this.#machine.step(input, this.#clock())) this.#carryOut(effect);
  }

  isAtRest(head: number): boolean {
    const { seq, pending } = this.#machine.status(this.#clock());
    return seq === head && pending === 0 && this.outgoing.length === 0 && this.incoming.length === 0;
  }

  demandState(head: number, entries: [string, Json][]): void {
    const { seq, pending } = this.#machine.status(this.#clock());
    demand(seq === head, "V3", () => `the honest member stands at ${seq}, the primary at ${head}`);
    demandEqual([...this.#mirror].sort(byKey), entries.sort(byKey), "V3 the honest member's state");
    demand(this.#unsettled.size === 0 && pending === 0, "U1", () => `${[...this.#unsettled].join(", ")} never ended`);
  }

  #carryOut(effect: SecondaryEffect): void {
    switch (effect.type) {
      case "send":
        this.outgoing.push(effect.message);
        return;
      case "apply":
        if (effect.step.reset) this.#mirror.clear();
        for (const change of effect.step.parts.flatMap(({ changes }) => changes)) {
          if ("value" in change) this.#mirror.set(change.key, JSON.stringify(change.value));
          else this.#mirror.delete(change.key);
        }
        return;
      case "persist":
        return this.feed({ type: "persisted" });
      case "settle": {
        const name = nameOf(effect.settled);
        demand(this.#unsettled.delete(name), "A1", () => `${name} ended twice`);
        return;
      }
      case "late": {
        const name = nameOf(effect.reply);
        demand(!this.#unsettled.has(name), "U1", () => `${name} is told late, and waited for`);
        return;
      }
      case "reconnect":
        this.wantsNew = true;
        return;
      case "wake":
        this.wakeAt = effect.at;
        return;
    }
  }
}

const byKey = ([a]: [string, Json], [b]: [string, Json]): number => (a < b ? -1 : 1);
