import { expect, it, vi } from "vitest";
import { LINE_PATIENCE_MS } from "../src/limits.ts";
import { readBody } from "./body.ts";

const requestWith = (body: ReadableStream<Uint8Array>): Request =>
  new Request("http://primary/", { method: "PUT", body, duplex: "half" } as RequestInit);

it("L1: waits for a body that comes slowly, and not for one of which nothing more comes", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const body = readBody(requestWith(readable));
    for (const piece of ['"sl', 'ow"']) {
      await writer.write(new TextEncoder().encode(piece));
      await vi.advanceTimersByTimeAsync(LINE_PATIENCE_MS - 1);
    }
    await writer.close();
    expect(await body).toEqual({ ok: true, value: '"slow"' });

    const endless = new TransformStream<Uint8Array, Uint8Array>();
    const begun = endless.writable.getWriter();
    const refused = readBody(requestWith(endless.readable));
    await begun.write(new TextEncoder().encode('"'));
    await vi.advanceTimersByTimeAsync(LINE_PATIENCE_MS);
    expect(await refused).toMatchObject({ ok: false, code: "bad-request" });
    await expect(begun.closed).rejects.toBeUndefined();
  } finally {
    vi.useRealTimers();
  }
});
