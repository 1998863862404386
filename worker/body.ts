// Reads a request's body as text, and no further than its limit.

import type { Refusal } from "../src/codec.ts";
import { LINE_BYTES_MAX, LINE_PATIENCE_MS } from "../src/limits.ts";

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

/** The body's text. A body that is too long, or of which nothing more comes, is not read to its end. */
export async function readBody(request: Request): Promise<{ ok: true; value: string } | Refusal> {
  if (Number(request.headers.get("Content-Length") ?? 0) > LINE_BYTES_MAX) return TOO_LARGE;
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });
  let text = "";
  let bytes = 0;
  const reader = request.body?.getReader();
  try {
    for (let read = await next(reader); !read?.done; read = await next(reader)) {
      if (!read) return TOO_SLOW;
      bytes += read.value.byteLength;
      if (bytes > LINE_BYTES_MAX) return TOO_LARGE;
      text += decoder.decode(read.value, { stream: true });
    }
    return { ok: true, value: text + decoder.decode() };
  } catch (error) {
    if (error instanceof TypeError) return NOT_TEXT;
    throw error;
  } finally {
    void reader?.cancel().catch(() => {});
  }
}

type Reader = ReadableStreamDefaultReader<Uint8Array>;

/** The next piece; undefined if none comes for a long time. */
async function next(reader: Reader | undefined): Promise<ReadableStreamReadResult<Uint8Array> | undefined> {
  if (!reader) return { done: true, value: undefined };
  let stop = (): void => {};
  const late = new Promise<undefined>((resolve) => {
    const timer = setTimeout(() => resolve(undefined), LINE_PATIENCE_MS);
    stop = () => clearTimeout(timer);
  });
  return Promise.race([reader.read(), late]).finally(stop);
}
