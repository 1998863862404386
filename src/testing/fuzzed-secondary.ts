// A secondary whose primary may say anything in any order. It is held to the rules of SPEC.md after every input; the
// commands that drive it are plain values, so that they can be shrunk.

import * as fc from "fast-check";
import type { SecondaryEffect, SecondaryInput, Step } from "../effects.ts";
import { OUTCOME_PATIENCE_MS, UNSENT_LIMIT_MS } from "../limits.ts";
import type { Join, Operation, Upstream } from "../protocol.ts";
import { nameOf } from "../protocol.ts";
import { Secondary } from "../secondary.ts";
import type { SecondarySettings } from "../secondary.ts";
import { decodeDownstream } from "../codec.ts";
import { demand } from "./oracle.ts";

const CLIENT = "me";
const IDS = 6;

export type SecondaryCommand =
  | { type: "line"; text: string }
  /** It is connected and awake, and its Join is answered. */
  | { type: "admit"; isReset: boolean; epoch: string; ahead: number }
  /** A snapshot that follows the last one, or overlaps it, or leaves a gap. */
  | { type: "follow"; back: number; step: number; ahead: number }
  /** One of the operations without an end is answered. */
  | { type: "reply"; which: number; fields: object }
  | { type: "operate"; kind: Operation["type"]; key: string }
  | { type: "disk"; does: "obey" | "wait" | "refuse" }
  | { type: "pass"; ms: number }
  | { type: "input"; input: SecondaryInput };

export interface SecondaryCase {
  mode: "durable" | "memory";
  prefixes: string[] | null;
  /** What is on its disk when it starts, and how many commands come before that. */
  disk: { epoch: string; seq: number } | null;
  startsAfter: number;
  commands: SecondaryCommand[];
}

const seq = fc.oneof({ weight: 10, arbitrary: fc.nat(10) }, { weight: 1, arbitrary: fc.constant(2 ** 53 - 1) });
const epoch = fc.constantFrom("e1", "e2");
const key = fc.constantFrom("a", "b", "__proto__");
const own = fc.record({ clientId: fc.constantFrom(CLIENT, "x"), id: fc.integer({ min: 1, max: IDS }) });
const change = fc.oneof(
  fc.record({ key, value: fc.jsonValue({ maxDepth: 1 }) }),
  fc.record({ key, removed: fc.constant(true) }),
);
const message: fc.Arbitrary<object> = fc.oneof(
  fc.record({ type: fc.constant("joined-secondary"), epoch, head: seq, reset: fc.boolean() }),
  {
    weight: 6,
    arbitrary: fc
      .tuple(seq, fc.nat(4), fc.array(change, { maxLength: 2 }), fc.nat(3))
      .map(([prev, step, changes, ahead]) => ({ prev, seq: prev + step, changes, until: prev + step + ahead })),
  },
  fc.record({ type: fc.constant("membership"), inSync: fc.boolean() }),
  fc.tuple(own, seq).map(([name, at]) => ({ type: "operation-ack", ...name, seq: at, replicas: 1 })),
  own.map((name) => ({ type: "operation-failed", ...name, code: "conflict", applied: false })),
  fc.tuple(own, seq).map(([name, at]) => ({ type: "operation-failed", ...name, code: "unconfirmed", seq: at })),
  fc.tuple(own, key, seq).map(([name, one, at]) => ({
    type: "get-result",
    ...name,
    entry: { key: one, value: 1, seq: at },
    seq: at,
  })),
);
/** Now and then a field is anything. */
const spoiled = fc
  .tuple(message, fc.constantFrom("seq", "prev", "until", "epoch", "head", "changes", "id", "code"), fc.jsonValue())
  .map(([fields, name, value]) => ({ ...fields, [name]: value }));
const line = fc
  .oneof({ weight: 9, arbitrary: message }, { weight: 1, arbitrary: spoiled })
  .map((fields) => ({ type: "line" as const, text: JSON.stringify(fields) }));

const toInput = (input: SecondaryInput): SecondaryCommand => ({ type: "input", input });
const command: fc.Arbitrary<SecondaryCommand> = fc.oneof(
  { weight: 8, arbitrary: line },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("admit" as const),
      isReset: fc.boolean(),
      epoch,
      ahead: fc.nat(4),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      type: fc.constant("follow" as const),
      back: fc.oneof(
        { weight: 4, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: -2, max: 3 }) },
      ),
      step: fc.nat(3),
      ahead: fc.oneof(fc.constant(0), fc.nat(4)),
    }),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.nat(20), seq)
      .chain(([which, at]) =>
        fc
          .constantFrom(
            { type: "operation-ack", seq: at, replicas: 1 },
            { type: "operation-failed", code: "overloaded", applied: false },
            { type: "get-result", entry: null, seq: at },
          )
          .map((fields) => ({ type: "reply" as const, which, fields })),
      ),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("operate" as const),
      kind: fc.constantFrom("insert" as const, "remove" as const, "batch" as const, "get" as const),
      key,
    }),
  },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom("obey" as const, "wait" as const, "refuse" as const)
      .map((does) => ({ type: "disk" as const, does })),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(0, 1, 99, 100, 1000, 5000, 10_000).map((ms) => ({ type: "pass" as const, ms })),
  },
  { weight: 1, arbitrary: fc.constant(toInput({ type: "connect" })) },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom("disconnect" as const, "refresh" as const, "pause" as const, "resume" as const, "resume" as const)
      .map((type) => toInput({ type })),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom("durable" as const, "memory" as const)
      .map((mode) => toInput({ type: "change-mode", mode })),
  },
  { weight: 1, arbitrary: fc.constantFrom("s1", "s2").map((secondaryId) => toInput({ type: "rename", secondaryId })) },
);
export const secondaryCase: fc.Arbitrary<SecondaryCase> = fc.record({
  mode: fc.constantFrom("durable" as const, "memory" as const),
  prefixes: fc.option(fc.constant(["a"])),
  disk: fc.option(fc.record({ epoch, seq: fc.nat(6) })),
  startsAfter: fc.oneof(fc.constant(0), fc.nat(5)),
  commands: fc.array(command, { maxLength: 80, size: "max" }),
});

/** Takes the place of a secondary, to show that the property sees what goes wrong. */
export type SecondaryClass = new (settings: SecondarySettings) => Pick<Secondary, "step" | "status">;

interface Place {
  epoch: string | null;
  seq: number;
}

const TICKS_MAX = 2000;

export class FuzzedSecondary {
  readonly #machine: InstanceType<SecondaryClass>;
  readonly #unsettled = new Set<string>();
  #mode: "durable" | "memory";
  #isStarted = false;
  #now = 0;
  #wakeAt: number | undefined;
  #visible: Place = { epoch: null, seq: 0 };
  #disk: Place = { epoch: null, seq: 0 };
  #does: "obey" | "wait" | "refuse" = "obey";
  #persisting: Step[] | undefined;
  #inputs: SecondaryInput[] = [];
  #nextId = 1;
  /** Where the chain of what it was sent stands. */
  #cursor = 0;
  #join: Join | undefined;
  readonly #case: SecondaryCase;

  constructor(one: SecondaryCase, make: SecondaryClass = Secondary) {
    this.#case = one;
    this.#mode = one.mode;
    this.#machine = new make({ secondaryId: "s1", prefixes: one.prefixes ?? undefined });
  }

  run(): void {
    const { commands, startsAfter } = this.#case;
    for (const [index, one] of commands.entries()) {
      if (index === startsAfter) this.#start();
      this.#do(one);
    }
    this.#start();
    this.#feed({ type: "disconnect" });
    this.#pass(OUTCOME_PATIENCE_MS + UNSENT_LIMIT_MS);
    demand(this.#unsettled.size === 0, "U1", () => `${[...this.#unsettled].join(", ")} never ended`);
  }

  #start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    const { mode, disk } = this.#case;
    this.#disk = this.#visible = disk ?? { epoch: null, seq: 0 };
    this.#feed({ type: "start", mode, ...this.#disk });
  }

  #do(command: SecondaryCommand): void {
    switch (command.type) {
      case "line":
        return this.#receive(command.text);
      case "admit":
        return this.#admit(command);
      case "follow": {
        const prev = Math.max(0, this.#cursor - command.back);
        this.#cursor = prev + command.step;
        const changes = [{ key: "a", value: this.#cursor }];
        return this.#receive(JSON.stringify({ prev, seq: this.#cursor, changes, until: this.#cursor + command.ahead }));
      }
      case "reply": {
        const name = [...this.#unsettled][command.which % Math.max(1, this.#unsettled.size)];
        if (name === undefined) return;
        return this.#receive(JSON.stringify({ ...command.fields, clientId: CLIENT, id: Number(name.split(":")[1]) }));
      }
      case "operate":
        return this.#operate(command.kind, command.key);
      case "disk":
        this.#does = command.does;
        return this.#answerDisk();
      case "pass":
        return this.#pass(command.ms);
      case "input":
        return this.#give(command.input);
    }
  }

  #receive(text: string): void {
    const read = decodeDownstream(text);
    if (read.ok) this.#feed({ type: "receive", message: read.value });
  }

  #admit({ isReset, epoch, ahead }: Extract<SecondaryCommand, { type: "admit" }>): void {
    this.#feed({ type: "resume" });
    this.#join = undefined;
    this.#feed({ type: "connect" });
    // Sent by the machine as it connects, if it has started.
    const join = this.#join as Join | undefined;
    if (!join) return;
    const reset = isReset || join.epoch === null;
    this.#cursor = reset ? 0 : join.since;
    const head = this.#cursor + ahead;
    this.#receive(JSON.stringify({ type: "joined-secondary", epoch: reset ? epoch : join.epoch, head, reset }));
  }

  #give(input: SecondaryInput): void {
    // Hosts tell of a mode when they have the disk, or have lost it with all that was on its way there.
    if (input.type === "change-mode") {
      if (!this.#isStarted || input.mode === this.#mode) return;
      this.#mode = input.mode;
      this.#persisting = undefined;
      this.#disk = this.#visible;
    }
    this.#feed(input);
  }

  #operate(type: Operation["type"], key: string): void {
    const name = { clientId: CLIENT, id: this.#nextId++ };
    const update = { ...name, ack: "all" as const, settled: 0, repeat: false };
    this.#unsettled.add(nameOf(name));
    if (type === "get") this.#feed({ type: "operate", operation: { type, ...name, key } });
    else if (type === "insert") this.#feed({ type: "operate", operation: { type, ...update, key, json: "1" } });
    else if (type === "remove") this.#feed({ type: "operate", operation: { type, ...update, key } });
    else this.#feed({ type: "operate", operation: { type, ...update, writes: [{ key, json: "1" }], checks: [] } });
  }

  #feed(input: SecondaryInput): void {
    this.#inputs.push(input);
    if (this.#inputs.length > 1) return;
    for (; this.#inputs[0]; this.#inputs.shift()) {
      for (const effect of this.#machine.step(this.#inputs[0], this.#now)) this.#carryOut(effect);
      if (this.#isStarted) this.#look();
    }
  }

  /** What it says of itself is true. */
  #look(): void {
    const { epoch, seq, head, lagMs, pending, persisted } = this.#machine.status(this.#now);
    const { epoch: shownEpoch, seq: shownSeq } = this.#visible;
    demand(
      epoch === shownEpoch && seq === shownSeq,
      "V1",
      () => `it says ${epoch} ${seq}, shown is ${shownEpoch} ${shownSeq}`,
    );
    demand(Number.isSafeInteger(head) && head >= 0 && lagMs >= 0, "L2", () => `head is ${head}, its lag ${lagMs}`);
    demand(pending === this.#unsettled.size, "U1", () => `${pending} pending, ${this.#unsettled.size} without an end`);
    demand(persisted === null || persisted <= seq, "D3", () => `on disk ${persisted}, visible ${seq}`);
  }

  #carryOut(effect: SecondaryEffect): void {
    demand(this.#isStarted, "B1", () => `${effect.type} before the start`);
    switch (effect.type) {
      case "send":
        return this.#sent(effect.message);
      case "apply":
        return this.#applied(effect.step);
      case "persist":
        demand(
          this.#mode === "durable" && !this.#persisting,
          "D4",
          () => "two transactions at once, or without a disk",
        );
        this.#persisting = effect.steps;
        return this.#answerDisk();
      case "settle": {
        const name = nameOf(effect.settled);
        demand(this.#unsettled.delete(name), "A1", () => `${name} ended twice`);
        return;
      }
      case "late":
        return; // A hostile primary answers what it has not been asked.
      case "wake":
        this.#wakeAt = effect.at;
        return;
      case "reconnect":
        return;
    }
  }

  #sent(message: Upstream): void {
    if (message.type === "join") this.#join = message;
    if (message.type !== "snapshot-ack") return;
    const held = this.#mode === "durable" ? this.#disk : this.#visible;
    demand(message.seq <= held.seq, "D3", () => `acked ${message.seq}, held is ${held.seq}`);
  }

  #applied(step: Step): void {
    const { epoch, seq } = this.#visible;
    if (!step.reset) {
      demand(step.epoch === epoch, "V2", () => `a step of ${step.epoch} over ${epoch}`);
      demand(step.prev <= seq && step.seq > seq, "V2", () => `a step from ${step.prev} to ${step.seq} at ${seq}`);
    }
    let cursor = step.reset ? 0 : seq;
    let until = 0;
    for (const part of step.parts) {
      demand(part.prev <= cursor, "D2", () => `a part after ${part.prev} at ${cursor}`);
      cursor = part.seq;
      until = Math.max(until, part.until);
    }
    demand(cursor === step.seq && cursor >= until, "V1", () => `a step ends at ${step.seq}, not at ${until}`);
    this.#visible = { epoch: step.epoch, seq: step.seq };
    // D3: what is on disk belongs to what was replaced.
    if (step.reset) this.#disk = { epoch: step.epoch, seq: 0 };
  }

  #answerDisk(): void {
    const steps = this.#persisting;
    if (!steps || this.#does === "wait") return;
    this.#persisting = undefined;
    if (this.#does === "refuse") return this.#feed({ type: "refused", detail: "no room" });
    const last = steps.at(-1)!;
    // A bootstrap that came meanwhile waits behind it.
    if (last.epoch === this.#disk.epoch) this.#disk = { epoch: last.epoch, seq: last.seq };
    this.#feed({ type: "persisted" });
  }

  #pass(ms: number): void {
    const end = this.#now + ms;
    for (let ticks = 0; this.#wakeAt !== undefined && this.#wakeAt <= end; ticks++) {
      demand(ticks < TICKS_MAX, "L1", () => "its timer never rests");
      this.#now = Math.max(this.#now, this.#wakeAt);
      this.#wakeAt = undefined;
      this.#feed({ type: "tick" });
    }
    this.#now = end;
  }
}
