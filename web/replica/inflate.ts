// Frames of the protocol that come compressed.

import { LINE_BYTES_MAX } from "../../src/limits.ts";

/** Whether this browser can read them. */
export const canInflate = typeof DecompressionStream !== "undefined";

/** The text of a frame in raw deflate (RFC 1951). Rejects if it is not that, or longer than a line of the protocol may be. */
export async function inflate(frame: ArrayBuffer): Promise<string> {
  const decoder = new TextDecoder();
  const stream = new Blob([frame]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const reader = stream.getReader();
  let text = "";
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    text += decoder.decode(read.value, { stream: true });
    if (text.length > LINE_BYTES_MAX) throw new Error(`a frame has more than ${LINE_BYTES_MAX} bytes (LINE_BYTES_MAX)`);
  }
  return text + decoder.decode();
}
