import { describe, expect, it } from "vitest";
import type { Change, Json } from "../src/kv.ts";
import { PART_BYTES_MAX, PART_CHANGES_MAX, REST_BYTES_MAX } from "../src/limits.ts";
import type { ExportEnd } from "../src/protocol.ts";
import { readExport } from "./import.ts";

const HEADER = '{"headwater":1,"store":"board","epoch":"e-1"}\n';
const lineOf = (key: string, seq: number, value: unknown = 1): string => `${JSON.stringify({ key, value, seq })}\n`;

/** A body that makes its pieces as they are asked for, and counts them. */
function bodyOf(piece: (index: number) => string | undefined) {
  const body = { pulled: 0, isCancelled: false, stream: new ReadableStream<Uint8Array>() };
  body.stream = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        const text = piece(body.pulled++);
        if (text === undefined) controller.close();
        else controller.enqueue(new TextEncoder().encode(text));
      },
      cancel: () => void (body.isCancelled = true),
    },
    { highWaterMark: 0 },
  );
  return body;
}

async function readAll(body: ReadableStream<Uint8Array>): Promise<(Change<Json>[] | ExportEnd)[]> {
  const parts = [];
  for await (const part of readExport(body)) parts.push(part);
  return parts;
}

describe("an export that is read", () => {
  it("E2: is asked for only as its parts are taken, and little more of it once it is not wanted", async () => {
    const large = "x".repeat(1024 * 1024);
    const lines = 4 * PART_CHANGES_MAX;
    const body = bodyOf((index) => (index === 0 ? HEADER : index < lines ? lineOf(`key-${index}`, index) : large));
    const parts = readExport(body.stream);
    for (let count = 1; count <= 3; count++) {
      const { value } = await parts.next();
      expect(value).toHaveLength(PART_CHANGES_MAX);
      // A few small pieces are put together.
      expect(body.pulled).toBeGreaterThan(count * PART_CHANGES_MAX);
      expect(body.pulled).toBeLessThan((count + 1) * PART_CHANGES_MAX);
    }
    await parts.return();
    expect(body.isCancelled).toBe(true);
    expect(body.pulled).toBeLessThanOrEqual(lines + REST_BYTES_MAX / large.length + 1);
  });

  it("comes in parts of a limited size, and of a key that comes twice in one the last counts", async () => {
    const large = "x".repeat(PART_BYTES_MAX / 2);
    const lines = [lineOf("a", 1, large), lineOf("b", 2), lineOf("a", 3), lineOf("c", 4, large), lineOf("b", 5)];
    const { stream } = bodyOf((index) => [HEADER, ...lines, '{"seq":5,"entries":3}\n'][index]);
    expect(await readAll(stream)).toEqual([
      [
        { key: "b", value: "1", seq: 2 },
        { key: "a", value: "1", seq: 3 },
        { key: "c", value: JSON.stringify(large), seq: 4 },
      ],
      [{ key: "b", value: "1", seq: 5 }],
      { seq: 5, entries: 3 },
    ]);
  });

  it("L1: of which nothing more comes is not waited for without an end", async () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    void writable.getWriter().write(new TextEncoder().encode(HEADER));
    await expect(readExport(readable, 20).next()).rejects.toThrow("IMPORT_PATIENCE_MS");
  });
});
