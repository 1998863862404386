// Reads a request's body as text, and no further than its limit.

import type { Refusal } from "../src/codec.ts";
import { LINE_BYTES_MAX, LINE_PATIENCE_MS, REST_BYTES_MAX, REST_PATIENCE_MS } from "../src/limits.ts";

const TOO_LARGE: Refusal = {
  ok: false,
  code: "too-large",
  detail: `the body is longer than ${LINE_BYTES_MAX} bytes (LINE_BYTES_MAX)`,
};
const NOT_TEXT: Refusal = { ok: false, code: "bad-request", detail: "the body is not UTF-8" };

const TOO_SLOW: Refusal = {
  ok: false,
  code: "bad-request",
  detail: `nothing more of the body has come for ${LINE_PATIENCE_MS} ms (LINE_PATIENCE_MS)`,
};

/** Nothing more of a body has come for too long. */
export class LateError extends Error {
  override readonly name = "LateError";
}

/** The body's text. One that is too long, or of which nothing more comes, is refused. */
export async function readBody(request: Request): Promise<{ ok: true; value: string } | Refusal> {
  if (Number(request.headers.get("Content-Length") ?? 0) > LINE_BYTES_MAX) return TOO_LARGE;
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });
  let text = "";
  let bytes = 0;
  try {
    for await (const chunk of chunksOf(request.body, LINE_PATIENCE_MS)) {
      bytes += chunk.byteLength;
      if (bytes > LINE_BYTES_MAX) return TOO_LARGE;
      text += decoder.decode(chunk, { stream: true });
    }
    return { ok: true, value: text + decoder.decode() };
  } catch (error) {
    if (error instanceof LateError) return TOO_SLOW;
    if (error instanceof TypeError) return NOT_TEXT;
    throw error;
  }
}

/** A body as it comes. Throws LateError when nothing has come for `patienceMs`. */
export async function* chunksOf(
  body: ReadableStream<Uint8Array> | null,
  patienceMs: number,
): AsyncGenerator<Uint8Array, void> {
  const reader = body?.getReader();
  if (!reader) return;
  let isWanted = true;
  try {
    for (;;) {
      isWanted = false;
      const { done, value } = await within(patienceMs, reader.read());
      if (done) return;
      isWanted = true;
      yield value;
    }
  } finally {
    // Whoever leaves the loop has enough; otherwise nothing more comes.
    if (isWanted) await readRest(reader);
    else reader.cancel().catch(() => {});
  }
}

/** Takes what is left of a body that nobody reads, so that its sender hears the answer. */
export async function discard(body: ReadableStream<Uint8Array> | null): Promise<void> {
  if (body && !body.locked) await readRest(body.getReader());
}

/** Who is answered amid sending may not hear it: the rest is read, as far as it is little and comes soon. */
async function readRest(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  const endAt = Date.now() + REST_PATIENCE_MS;
  try {
    for (let left = REST_BYTES_MAX; left > 0;) {
      const { done, value } = await within(endAt - Date.now(), reader.read());
      if (done) return;
      left -= value.byteLength;
    }
  } catch {
    // It was cut off, or is too slow.
  }
  reader.cancel().catch(() => {});
}

async function within<Value>(patienceMs: number, promise: Promise<Value>): Promise<Value> {
  let stop = (): void => {};
  const late = new Promise<never>((_, reject) => {
    const timer = setTimeout(() => reject(new LateError(`nothing more has come for ${patienceMs} ms`)), patienceMs);
    stop = () => clearTimeout(timer);
  });
  return Promise.race([promise, late]).finally(stop);
}
