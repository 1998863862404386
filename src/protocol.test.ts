import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  decodeDownstream,
  decodeUpstream,
  encodeDownstream,
  encodeExportEnd,
  encodeExportHeader,
  encodeExportLine,
  encodeUpstream,
  readExportHeader,
  readExportLine,
} from "./codec.ts";
import { PROTOCOL_VERSION } from "./protocol.ts";
import type { Downstream } from "./protocol.ts";
import type { Json } from "./kv.ts";

const page = readFileSync(new URL("../docs/protocol.md", import.meta.url), "utf8");
const examples = (direction: "up" | "down"): string[] =>
  [...page.matchAll(/```json (up|down)\n([^]*?)```/g)]
    .filter(([, to]) => to === direction)
    .flatMap(([, , lines]) => lines!.trim().split("\n"));

describe("docs/protocol.md shows the wire as it is", () => {
  test.each(examples("up"))("%s", (line) => {
    const read = decodeUpstream(line);
    expect(read).toMatchObject({ ok: true });
    if (read.ok) expect(encodeUpstream(read.value)).toBe(`${line}\n`);
  });

  test.each(examples("down"))("%s", (line) => {
    const read = decodeDownstream(line);
    expect(read).toMatchObject({ ok: true });
    if (read.ok) expect(encodeDownstream(toText(read.value))).toBe(`${line}\n`);
  });

  test("every message has an example", () => {
    const types = new Set(
      [...examples("up"), ...examples("down")].map(
        (line) => (JSON.parse(line) as { type?: string }).type ?? "snapshot",
      ),
    );
    const all = [
      "batch",
      "get",
      "get-result",
      "insert",
      "join",
      "joined-secondary",
      "leave",
      "membership",
      "operation-ack",
      "operation-failed",
      "part-ack",
      "remove",
      "resend",
      "snapshot",
      "snapshot-ack",
    ];
    expect([...types].sort()).toEqual(all);
  });
});

test("docs/backup.md shows an export as it is", () => {
  const page = readFileSync(new URL("../docs/backup.md", import.meta.url), "utf8");
  const [header, ...lines] = /```json export\n([^]*?)```/.exec(page)![1]!.trim().split("\n");
  const begun = readExportHeader(header!);
  expect(begun.ok && encodeExportHeader(begun.value)).toBe(`${header}\n`);
  for (const [index, line] of lines.entries()) {
    const read = readExportLine(line);
    if (!read.ok) throw new Error(read.detail);
    const isEnd = "entries" in read.value;
    expect([line, isEnd]).toEqual([line, index === lines.length - 1]);
    expect("entries" in read.value ? encodeExportEnd(read.value) : encodeExportLine(read.value)).toBe(`${line}\n`);
  }
});

// If this fails, old and new tabs no longer understand each other: raise PROTOCOL_VERSION, then write down the new digest.
test("a change of the wire raises the version", () => {
  const digest = createHash("sha256")
    .update([...examples("up"), ...examples("down")].join("\n"))
    .digest("hex")
    .slice(0, 16);
  expect({ version: PROTOCOL_VERSION, digest }).toEqual({ version: 1, digest: "9ec6cf2467d70efd" });
});

/** A primary's messages hold values as text. */
function toText(message: Downstream): Downstream<Json> {
  if (message.type !== "snapshot") return message;
  return {
    ...message,
    changes: message.changes.map((change) =>
      "value" in change ? { ...change, value: JSON.stringify(change.value) } : change,
    ),
  };
}
