// Lines as someone sends them who knows the protocol and means harm: valid ones, and what becomes of them when letters,
// fields and numbers are lost, doubled, moved or replaced. And the properties that any reader of them must have.

import * as fc from "fast-check";
import { LineReader, decodeDownstream, decodeUpstream, encodeDownstream, encodeUpstream } from "../codec.ts";
import type { Parsed } from "../codec.ts";
import { utf8Length } from "../kv.ts";
import type { Json } from "../kv.ts";
import { FRAME_BYTES_MAX, LINE_BYTES_MAX, LINE_FRAMES_MAX, VALUE_DEPTH_MAX } from "../limits.ts";
import type { Downstream, Upstream } from "../protocol.ts";
import { demandEqual } from "./equality.ts";
import { downstream, upstream } from "./messages.ts";
import { demand } from "./oracle.ts";

// --- lines

const FIELDS = "type id key value ops checks seq changes prefixes epoch ack clientId mode version until entry".split(
  " ",
);
const MORE_FIELDS = "prev head reset applied replicas expected check detail code settled __proto__ toJSON".split(" ");
const FRAGMENTS = [
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  '"',
  "\\",
  "\\u0000",
  "\\ud800",
  "\ud800",
  "\0",
  "\u2028",
  "-",
  "e9",
  " ",
];
const NUMBERS = ["1e999", "-1", "-0", "0.5", "9007199254740993", "1e21", "-1e999", "9".repeat(400)];
const OBJECTS = ['{"__proto__":{"type":"leave"}}', '{"constructor":null}', '{"length":1e9}', "[]", "null", '"x"'];

type Edit = (line: string) => string;

const place = fc.nat(10_000);
const at = (line: string, where: number): number => where % (line.length + 1);
const field = fc.constantFrom(...FIELDS, ...MORE_FIELDS);
const literal = fc.oneof(
  fc.constantFrom(...NUMBERS, ...OBJECTS),
  fc.json({ maxDepth: 2 }),
  fc.constantFrom(VALUE_DEPTH_MAX, VALUE_DEPTH_MAX + 1, 20_000).map((depth) => "[".repeat(depth) + "]".repeat(depth)),
  fc.constantFrom(100, 1025, 9000).map((length) => `"${"k".repeat(length)}"`),
);

const edit: fc.Arbitrary<Edit> = fc.oneof(
  // Letters are lost, doubled, changed for one another, or come from elsewhere.
  fc.tuple(place, fc.nat(4)).map(([from, count]): Edit => (line) => {
    const start = at(line, from);
    return line.slice(0, start) + line.slice(start + count);
  }),
  fc.tuple(place, fc.nat(20)).map(([from, count]): Edit => (line) => {
    const start = at(line, from);
    return line.slice(0, start + count) + line.slice(start);
  }),
  place.map((from): Edit => (line) => {
    const start = at(line, from);
    return (
      line.slice(0, start) +
      line
        .slice(start, start + 2)
        .split("")
        .reverse()
        .join("") +
      line.slice(start + 2)
    );
  }),
  fc.tuple(place, fc.constantFrom(...FRAGMENTS)).map(([from, text]): Edit => (line) => {
    const start = at(line, from);
    return line.slice(0, start) + text + line.slice(start);
  }),
  // Fields come twice: the last one counts.
  fc.tuple(field, literal).map(
    ([name, text]): Edit =>
      (line) =>
        line.replace(/\}$/, `,"${name}":${text}}`),
  ),
  fc.tuple(field, literal).map(
    ([name, text]): Edit =>
      (line) =>
        line.replace(/^\{/, `{"${name}":${text},`),
  ),
  // A number, wherever it stands, is another one.
  fc.tuple(place, literal).map(([which, text]): Edit => (line) => {
    const numbers = [...line.matchAll(/(?<=[:[,])-?\d+/g)];
    const found = numbers[which % Math.max(1, numbers.length)];
    return found ? line.slice(0, found.index) + text + line.slice(found.index + found[0].length) : line;
  }),
);

const validLine = fc.oneof(
  upstream.map((message) => encodeUpstream(message).slice(0, -1)),
  downstream.map((message) => encodeDownstream(message).slice(0, -1)),
);

/** Most of them almost right, some plain noise. */
export const hostileLine: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(validLine, fc.array(edit, { maxLength: 3 }))
      .map(([line, edits]) => edits.reduce((text, change) => change(text), line)),
  },
  { weight: 1, arbitrary: fc.string({ unit: "binary" }) },
  { weight: 1, arbitrary: fc.json() },
);

/** Both ways of reading and writing lines, so that a planted bug can take a part's place. */
export const CODEC = { decodeUpstream, encodeUpstream, decodeDownstream, encodeDownstream };
export type Codec = typeof CODEC;

/** L2: no line throws; one that is read means the same after it was written again; a refused one is told why. */
export function demandReadable(line: string, codec: Codec = CODEC): void {
  const up = codec.decodeUpstream(line);
  if (up.ok) demandSame(up.value, codec.decodeUpstream(codec.encodeUpstream(up.value).slice(0, -1)));
  else demandReason(up);
  const down = codec.decodeDownstream(line);
  if (down.ok)
    demandSame(down.value, codec.decodeDownstream(codec.encodeDownstream(withText(down.value)).slice(0, -1)));
  else demandReason(down);
}

function demandSame(value: Upstream | Downstream, again: Parsed<Upstream | Downstream>): void {
  demand(again.ok, "L2", () => `what was read is refused when written again: ${again.ok ? "" : again.detail}`);
  // As text: JSON knows no infinity and no -0, which a value at a secondary may hold.
  if (again.ok) demandEqual(toText(again.value), toText(value), "L2 a message written again");
}

/** Of a change only what is read of it: its object is the parsed one, with whatever else stands there. */
function toText(message: Upstream | Downstream): string {
  if (message.type !== "snapshot") return JSON.stringify(message);
  const changes = message.changes.map((change) =>
    "value" in change ? [change.key, change.value, change.seq] : [change.key, change.removed, change.seq],
  );
  // A step that ends before this part ends with it.
  return JSON.stringify({ ...message, changes, until: Math.max(message.seq, message.until) });
}

function demandReason(refusal: Parsed<unknown>): void {
  if (refusal.ok) return;
  const { code, detail } = refusal;
  demand(code === "bad-request" || code === "too-large", "L2", () => "refused in another way");
  demand(detail.length > 0 && detail.length < 1000, "L2", () => `refused with ${detail.length} letters`);
  demand(code !== "too-large" || /[A-Z]+_[A-Z_]+/.test(detail), "L1", () => `no limit is named: ${detail}`);
}

function withText(message: Downstream): Downstream<Json> {
  if (message.type !== "snapshot") return message;
  const changes = message.changes.map((change) =>
    "value" in change ? { ...change, value: JSON.stringify(change.value) } : change,
  );
  return { ...message, changes };
}

// --- frames

/** Frames of one letter over and over, small, large or as many as there may be. */
export interface FrameRun {
  letter: string;
  bytes: number;
  repeat: number;
  hasEnd: boolean;
}

const frameRun: fc.Arbitrary<FrameRun> = fc.record({
  letter: fc.constantFrom("x", "é", "😀", "\0"),
  bytes: fc.oneof(fc.nat(100), fc.integer({ min: 100, max: FRAME_BYTES_MAX }), fc.constant(FRAME_BYTES_MAX)),
  repeat: fc.oneof(fc.constant(1), fc.nat(4)),
  hasEnd: fc.boolean(),
});
const smallRun: fc.Arbitrary<FrameRun> = fc.record({
  letter: fc.constantFrom("x", "é"),
  bytes: fc.nat(3),
  repeat: fc.nat(LINE_FRAMES_MAX),
  hasEnd: fc.boolean(),
});
export const frameRuns = fc.oneof(fc.array(frameRun, { maxLength: 12 }), fc.array(smallRun, { maxLength: 4 }));

/** L1: exactly what is within the limits is held, and what is refused says so at the frame that is too much. */
export function demandBounded(runs: readonly FrameRun[], reader: Pick<LineReader, "push"> = new LineReader()): void {
  let held = "";
  let bytes = 0;
  let pieces = 0;
  for (const { letter, bytes: size, repeat, hasEnd } of runs) {
    const text = letter.repeat(size / utf8Length(letter));
    for (let i = 0; i < repeat; i++) {
      const isEnding = hasEnd && i === repeat - 1;
      const read = reader.push(isEnding ? `${text}\n` : text);
      if (isEnding) {
        demand(read.ok && read.value.length === 1 && read.value[0] === held + text, "L1", () => "a line is not whole");
        held = "";
        bytes = pieces = 0;
        continue;
      }
      if (text !== "") pieces += 1;
      held += text;
      bytes += utf8Length(text);
      const isTooMuch = bytes > LINE_BYTES_MAX || pieces > LINE_FRAMES_MAX;
      demand(
        read.ok !== isTooMuch,
        "L1",
        () => `${bytes} bytes in ${pieces} frames are ${read.ok ? "held" : "refused"}`,
      );
      if (isTooMuch) return demandReason(read);
    }
  }
}

/** Lines come out as they went in, wherever frames are cut. */
export function demandLines(lines: readonly string[], cuts: readonly number[]): void {
  const text = lines.map((line) => `${line.replaceAll("\n", " ")}\n`).join("");
  const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
  const reader = new LineReader();
  const read: string[] = [];
  for (let i = 1; i < places.length; i++) {
    const part = reader.push(text.slice(places[i - 1], places[i]));
    demand(part.ok, "L1", () => "lines within the limits are refused");
    if (part.ok) read.push(...part.value);
  }
  demandEqual(read.join("\n"), lines.map((line) => line.replaceAll("\n", " ")).join("\n"), "L1 the lines of frames");
  demand(!reader.isAmidLine, "L1", () => "something is left behind the last line");
}
