// Reads a request's body as text, and no further than its limit.

import type { Refusal } from "../src/codec.ts";
import { LINE_BYTES_MAX } from "../src/limits.ts";

const TOO_LARGE: Refusal = {
  ok: false,
  code: "too-large",
  detail: `the body is longer than ${LINE_BYTES_MAX} bytes (LINE_BYTES_MAX)`,
};
const NOT_TEXT: Refusal = { ok: false, code: "bad-request", detail: "the body is not UTF-8" };

/** The body's text. A body that is too long is not read to its end. */
export async function readBody(request: Request): Promise<{ ok: true; value: string } | Refusal> {
  if (Number(request.headers.get("Content-Length") ?? 0) > LINE_BYTES_MAX) return TOO_LARGE;
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });
  let text = "";
  let bytes = 0;
  try {
    // Leaving the loop cancels the rest.
    for await (const chunk of request.body ?? []) {
      bytes += chunk.byteLength;
      if (bytes > LINE_BYTES_MAX) return TOO_LARGE;
      text += decoder.decode(chunk, { stream: true });
    }
    return { ok: true, value: text + decoder.decode() };
  } catch (error) {
    if (error instanceof TypeError) return NOT_TEXT;
    throw error;
  }
}
