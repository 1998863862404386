// What a joining secondary is sent, compressed: state is text with much repetition, and a network's bytes take longer
// than the compressor's. What follows live is not: there a frame is small, and many sockets wait for theirs.

import { FRAME_BYTES_MAX } from "../src/limits.ts";
import { DEFLATE_SUBPROTOCOL } from "../src/protocol.ts";

/** Less than this fits into a few packets as it is. */
const LETTERS_MIN = 2000;
/** Not worth its while unless so many times smaller. */
const GAIN_MIN = 2;
/** After one that was not, so many are sent as they are. */
const SKIPPED = 15;

/** The one function that is needed of `node:zlib`; a runtime without it sends everything as it is. */
const zlib = process.getBuiltinModule("node:zlib") as
  | { deflateRawSync(text: string, options: { level: number }): Uint8Array }
  | undefined;

/** Whether who opens a socket takes compressed frames. */
export const offersDeflate = (headers: Headers): boolean =>
  (headers.get("Sec-WebSocket-Protocol") ?? "").split(",").some((name) => name.trim() === DEFLATE_SUBPROTOCOL);

/** Compresses what is sent over one socket, as far as that pays. */
export class Deflater {
  #toSkip = 0;

  /** The lines as one binary frame (raw deflate, RFC 1951); undefined if they are to be sent as they are. */
  deflate(lines: string): Uint8Array | undefined {
    if (!zlib || lines.length < LETTERS_MIN) return undefined;
    if (this.#toSkip > 0) {
      this.#toSkip -= 1;
      return undefined;
    }
    const frame = zlib.deflateRawSync(lines, { level: 1 });
    const isWorthIt = frame.length * GAIN_MIN <= lines.length;
    if (!isWorthIt) this.#toSkip = SKIPPED;
    return isWorthIt && frame.length <= FRAME_BYTES_MAX ? frame : undefined;
  }
}
