import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as codec from "./codec.ts";
import type { Json } from "./kv.ts";
import {
  BATCH_OPERATIONS_MAX,
  FRAME_BYTES_MAX,
  KEY_BYTES_MAX,
  LINE_BYTES_MAX,
  LINE_FRAMES_MAX,
  VALUE_BYTES_MAX,
  VALUE_DEPTH_MAX,
} from "./limits.ts";
import type { Downstream } from "./protocol.ts";
import { downstream, upstream } from "./testing/messages.ts";

describe("what is written is read as it was", () => {
  test("to the primary", () => {
    fc.assert(
      fc.property(upstream, (message) => {
        const line = codec.encodeUpstream(message);
        expect(line.indexOf("\n")).toBe(line.length - 1);
        expect(codec.decodeUpstream(line.slice(0, -1))).toEqual({ ok: true, value: message });
      }),
    );
  });

  test("to a secondary, whose snapshots hold parsed values", () => {
    const parsed = (message: Downstream<Json>): unknown =>
      message.type === "snapshot"
        ? {
            ...message,
            changes: message.changes.map((one) =>
              "value" in one ? { ...one, value: JSON.parse(one.value) as unknown } : one,
            ),
          }
        : message;
    fc.assert(
      fc.property(downstream, (message) => {
        const line = codec.encodeDownstream(message);
        expect(line.indexOf("\n")).toBe(line.length - 1);
        expect(codec.decodeDownstream(line.slice(0, -1))).toEqual({ ok: true, value: parsed(message) });
      }),
    );
  });

  test("through frames cut anywhere", () => {
    fc.assert(
      fc.property(fc.array(upstream, { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 8 }), (messages, cuts) => {
        const text = messages.map(codec.encodeUpstream).join("");
        const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
        const reader = new codec.LineReader();
        const lines = places.slice(1).flatMap((end, index) => {
          const read = reader.push(text.slice(places[index], end));
          return read.ok ? read.value : [];
        });
        expect(lines.map((line) => codec.decodeUpstream(line))).toEqual(messages.map((value) => ({ ok: true, value })));
      }),
    );
  });
});

describe("L1 frames", () => {
  test("hold many small messages, and a large message spans several, none over the limit", () => {
    expect(codec.packFrames(["a\n", "b\n"])).toEqual(["a\nb\n"]);
    const long = `${"😀".repeat(400_000)}\n`;
    const frames = codec.packFrames(["a\n", long]);
    expect(frames.join("")).toBe(`a\n${long}`);
    for (const frame of frames) {
      expect(Buffer.byteLength(frame)).toBeLessThanOrEqual(FRAME_BYTES_MAX);
      expect(Buffer.from(frame).toString()).toBe(frame);
    }
  });

  test("that end a message letter by letter are refused, too", () => {
    const reader = new codec.LineReader();
    let read = reader.push("x");
    expect(reader.isAmidLine).toBe(true);
    for (let count = 0; read.ok && count < 2 * LINE_FRAMES_MAX; count++) read = reader.push("x");
    expect(read).toMatchObject({ ok: false, code: "too-large" });
  });

  test("that never end a message are refused before they fill the memory", () => {
    const reader = new codec.LineReader();
    const frame = "x".repeat(FRAME_BYTES_MAX);
    let read = reader.push(frame);
    for (let sent = frame.length; read.ok && sent < 2 * LINE_BYTES_MAX; sent += frame.length) read = reader.push(frame);
    expect(read).toMatchObject({ ok: false, code: "too-large" });
  });
});

describe("L2 what a peer sends never throws", () => {
  test("any text", () => {
    const fragment = fc.constantFrom(
      "{",
      "}",
      '"type"',
      ":",
      '"insert"',
      ",",
      '"key"',
      "null",
      "1e999",
      "[",
      "]",
      '"value"',
      "\\u0000",
    );
    const garbage = fc.oneof(
      fc.string(),
      fc.array(fragment).map((parts) => parts.join("")),
      fc.json(),
    );
    fc.assert(
      fc.property(garbage, (text) => {
        codec.decodeUpstream(text);
        codec.decodeDownstream(text);
        codec.readBatch(text);
        codec.readValue(text);
        codec.readIdempotencyKey(text);
      }),
      { numRuns: 2000 },
    );
  });

  test("any message with some fields replaced by anything", () => {
    const spoiled = fc.tuple(
      fc.oneof(upstream, downstream),
      fc.dictionary(
        fc.constantFrom(
          "type",
          "id",
          "key",
          "value",
          "ops",
          "checks",
          "seq",
          "changes",
          "prefixes",
          "epoch",
          "ack",
          "clientId",
          "mode",
          "version",
          "until",
          "entry",
        ),
        fc.jsonValue(),
      ),
    );
    fc.assert(
      fc.property(spoiled, ([message, fields]) => {
        const text = JSON.stringify({ ...message, ...fields });
        codec.decodeUpstream(text);
        codec.decodeDownstream(text);
      }),
      { numRuns: 2000 },
    );
  });

  const NAME = '"clientId":"c","id":1';
  const DEEP = "[".repeat(VALUE_DEPTH_MAX + 1) + "]".repeat(VALUE_DEPTH_MAX + 1);
  test.each([
    ["a failure's seq that is no number", `{"type":"operation-failed",${NAME},"code":"unconfirmed","seq":["",null]}`],
    ["a failure's `applied` that is a word", `{"type":"operation-failed",${NAME},"code":"in-doubt","applied":"no"}`],
    ["a change's seq that is no number", '{"prev":0,"seq":1,"changes":[{"key":"a","value":1,"seq":"x"}]}'],
    [
      "a change with a value that is removed, too",
      '{"prev":0,"seq":1,"changes":[{"key":"a","value":1,"removed":true}]}',
    ],
    [
      "a value that nests deeper than any may",
      `{"type":"get-result",${NAME},"seq":1,"entry":{"key":"a","seq":1,"value":${DEEP}}}`,
    ],
  ])("and never passes on what nobody could mean: %s", (_, line) => {
    expect(codec.decodeDownstream(line)).toMatchObject({ ok: false });
  });

  test("L1 nesting that another engine's parser might not survive is refused", () => {
    const nested = (depth: number): string => "[".repeat(depth) + '"]]"'.repeat(depth > 0 ? 1 : 0) + "]".repeat(depth);
    expect(codec.readValue(nested(VALUE_DEPTH_MAX)).ok).toBe(true);
    expect(codec.readValue(nested(VALUE_DEPTH_MAX + 1))).toMatchObject({ ok: false, code: "too-large" });
    expect(codec.readValue(nested(200_000)).ok).toBe(false);
    expect(codec.readValue(JSON.stringify("[{\\".repeat(1000))).ok).toBe(true);
  });
});

describe("L1 refusals name the limit", () => {
  const refusal = (read: codec.Parsed<unknown>): string => (read.ok ? "ok" : `${read.code}: ${read.detail}`);
  test.each([
    [codec.readKey(""), "bad-request: the key is empty"],
    [codec.readKey("k".repeat(KEY_BYTES_MAX + 1)), "too-large: the key is longer than 1024 bytes (KEY_BYTES_MAX)"],
    [codec.encodeValue("v".repeat(VALUE_BYTES_MAX)), "VALUE_BYTES_MAX"],
    [codec.encodeValue("v".repeat(VALUE_BYTES_MAX - 2)), "ok"],
    [codec.readValue('{"a":[1e999,null]}'), "bad-request: the value has a number that JSON numbers cannot hold"],
    [codec.encodeValue({ a: NaN }), "bad-request: the value has a number that JSON numbers cannot hold"],
    [codec.readValue('{"a":null}'), "ok"],
    [codec.encodeValue(undefined), "bad-request: a value cannot be undefined"],
    [codec.encodeValue(1n), "bad-request: the value cannot be written as JSON"],
    [
      codec.readBatch(
        `{"ops":[${Array(BATCH_OPERATIONS_MAX + 1)
          .fill('{"remove":{"key":"a"}}')
          .join(",")}]}`,
      ),
      "BATCH_OPERATIONS_MAX",
    ],
    [
      codec.readBatch('{"ops":[{"remove":{"key":"a"}},{"insert":{"key":"a","value":1}}]}'),
      'bad-request: the batch names "a" twice',
    ],
    [codec.readBatch('{"ops":[{"insert":{"key":"a"}}]}'), "bad-request: an insert needs a value"],
    [codec.readBatch("[]"), "bad-request: the body must be a JSON object"],
    [codec.readAck("some"), "bad-request: ack must be"],
    [codec.readAck("-1"), "bad-request: ack must be"],
    [codec.readIdempotencyKey("abc"), "bad-request: Idempotency-Key must be"],
    [codec.readIdempotencyKey("a:0"), "bad-request: ids begin at 1"],
    [codec.readInteger("1001", "limit", 1, 1000), "bad-request: limit must be a whole number from 1 to 1000"],
  ])("%#", (read, expected) => expect(refusal(read)).toContain(expected));
});
