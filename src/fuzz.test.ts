// Another seed, more cases: FUZZ_SEED=7 FUZZ_RUNS=10000 npx vitest run --project=core src/fuzz

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { PrimaryEffect, PrimaryInput, SecondaryEffect, SecondaryInput } from "./effects.ts";
import { LineReader } from "./codec.ts";
import { Primary } from "./primary.ts";
import { Secondary } from "./secondary.ts";
import { CODEC, demandBounded, demandLines, demandReadable, frameRuns, hostileLine } from "./testing/fuzzed-codec.ts";
import type { Codec } from "./testing/fuzzed-codec.ts";
import { FuzzedPrimary, primaryCommands } from "./testing/fuzzed-primary.ts";
import type { PrimaryClass } from "./testing/fuzzed-primary.ts";
import { FuzzedSecondary, secondaryCase } from "./testing/fuzzed-secondary.ts";
import type { SecondaryClass } from "./testing/fuzzed-secondary.ts";
import { budgetOf, faultFound } from "./testing/fuzzing.ts";

const primaryHolds = (make?: PrimaryClass) =>
  fc.property(primaryCommands, (commands) => new FuzzedPrimary(make).run(commands));
const secondaryHolds = (make?: SecondaryClass) =>
  fc.property(secondaryCase, (one) => new FuzzedSecondary(one, make).run());

const linesHold = (codec?: Codec) =>
  fc.property(
    fc.array(hostileLine, { minLength: 1, maxLength: 2 }),
    fc.array(fc.nat(), { maxLength: 6 }),
    (lines, cuts) => {
      for (const line of lines) demandReadable(line, codec);
      demandLines(lines, cuts);
    },
  );
const framesHold = (makeReader = () => new LineReader()) =>
  fc.property(frameRuns, (runs) => demandBounded(runs, makeReader()));

describe("whatever comes over the wire", () => {
  const lines = budgetOf("lines", process.env);
  test(
    `L2 is read and means one thing, or is refused for a reason (${lines.numRuns} cases)`,
    { timeout: lines.timeout },
    () => {
      fc.assert(linesHold(), lines);
    },
  );

  const frames = budgetOf("frames", process.env);
  test(`L1 is held up to its limits and no further (${frames.numRuns} cases)`, { timeout: frames.timeout }, () => {
    fc.assert(framesHold(), frames);
  });
});

describe("L2 whatever is said to a machine, in whatever order", () => {
  const primary = budgetOf("primary", process.env);
  test(
    `a primary keeps every rule among hostile sessions (${primary.numRuns} cases)`,
    { timeout: primary.timeout },
    () => {
      fc.assert(primaryHolds(), primary);
    },
  );

  const secondary = budgetOf("secondary", process.env);
  test(
    `a secondary keeps every rule before a hostile primary (${secondary.numRuns} cases)`,
    { timeout: secondary.timeout },
    () => {
      fc.assert(secondaryHolds(), secondary);
    },
  );
});

/** A primary whose inputs and effects pass through something that errs. */
const erring = (
  alter: (effects: PrimaryEffect[], input: PrimaryInput) => PrimaryEffect[],
  alterInput = (input: PrimaryInput) => input,
): PrimaryClass =>
  class extends Primary {
    override step(input: PrimaryInput, now: number): PrimaryEffect[] {
      return alter(super.step(alterInput(input), now), input);
    }
  };

const isAnswer = (effect: PrimaryEffect): boolean =>
  effect.type === "send" && (effect.message.type === "operation-ack" || effect.message.type === "operation-failed");

const plantedPrimaries: [rule: string, name: string, make: PrimaryClass][] = [
  [
    "S2",
    "forgets what sessions may read",
    erring(
      (effects) => effects,
      (input) => {
        if (input.type !== "connect" || !input.rights) return input;
        return { ...input, rights: { ...input.rights, read: null } };
      },
    ),
  ],
  [
    "A1",
    "answers twice",
    erring((effects) => effects.flatMap((effect) => (isAnswer(effect) ? [effect, effect] : [effect]))),
  ],
  [
    "A1",
    "never answers a conflict",
    erring((effects) =>
      effects.filter((effect) => !(isAnswer(effect) && JSON.stringify(effect).includes('"conflict"'))),
    ),
  ],
  [
    "D6",
    "believes every ack",
    erring((effects, input) => effects.filter((effect) => effect.type !== "close" || input.type !== "receive")),
  ],
  [
    "V3",
    "loses a snapshot's changes",
    erring((effects) =>
      effects.map((effect) =>
        effect.type === "send" && effect.message.type === "snapshot" && effect.message.changes.length > 1
          ? { ...effect, message: { ...effect.message, changes: effect.message.changes.slice(1) } }
          : effect,
      ),
    ),
  ],
];

const erringSecondary = (
  alter: (effects: SecondaryEffect[], input: SecondaryInput) => SecondaryEffect[],
): SecondaryClass =>
  class extends Secondary {
    override step(input: SecondaryInput, now: number): SecondaryEffect[] {
      return alter(super.step(input, now), input);
    }
  };

const plantedSecondaries: [rule: string, name: string, make: SecondaryClass][] = [
  [
    "D3",
    "acks what it has only applied",
    erringSecondary((effects) =>
      effects.flatMap((effect): SecondaryEffect[] =>
        effect.type === "apply"
          ? [effect, { type: "send", message: { type: "snapshot-ack", seq: effect.step.seq } }]
          : [effect],
      ),
    ),
  ],
  [
    "V2",
    "shows each step twice",
    erringSecondary((effects) =>
      effects.flatMap((effect): SecondaryEffect[] => (effect.type === "apply" ? [effect, effect] : [effect])),
    ),
  ],
  [
    "U1",
    "forgets the outcome of what it gave up",
    erringSecondary((effects) =>
      effects.filter((effect) => effect.type !== "settle" || effect.settled.type !== "outcome-unknown"),
    ),
  ],
];

/** Takes numbers as they come. */
const credulous: Codec = {
  ...CODEC,
  decodeUpstream: (line) => {
    const read = CODEC.decodeUpstream(line);
    if (read.ok || !line.includes('"snapshot-ack"')) return read;
    try {
      return { ok: true, value: { type: "snapshot-ack", seq: Number((JSON.parse(line) as { seq: unknown }).seq) } };
    } catch {
      return read;
    }
  },
};

class ForgetfulReader extends LineReader {
  override push(frame: string): ReturnType<LineReader["push"]> {
    const read = super.push(frame);
    return read.ok ? read : { ok: true, value: [] };
  }
}

describe("the properties catch", () => {
  test("L2 a codec that takes numbers as they come", async () =>
    expect(await faultFound(linesHold(credulous))).toContain("L2"));
  test("L1 a reader without limits", async () =>
    expect(await faultFound(framesHold(() => new ForgetfulReader()))).toContain("L1"));
  for (const [rule, name, make] of plantedPrimaries)
    test(`${rule} a primary that ${name}`, async () => expect(await faultFound(primaryHolds(make))).toContain(rule));
  for (const [rule, name, make] of plantedSecondaries)
    test(`${rule} a secondary that ${name}`, async () =>
      expect(await faultFound(secondaryHolds(make))).toContain(rule));
});
