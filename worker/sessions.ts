// The sessions of the primary machine as its driver serves them: a WebSocket, or one operation of an HTTP request.
// The third kind, a stream for a reader, stands in stream.ts; hibernating-session.ts is a socket that outlives memory.

import { LineReader, decodeUpstream, packFrames } from "../src/codec.ts";
import type { Refusal } from "../src/codec.ts";
import type { Memo, SessionId } from "../src/effects.ts";
import type { Json } from "../src/kv.ts";
import { LINE_PATIENCE_MS, MESSAGES_WAITING_MAX } from "../src/limits.ts";
import { CLOSE } from "../src/protocol.ts";
import type { Downstream, Reply, Upstream } from "../src/protocol.ts";
import { Deflater } from "./deflate.ts";
import type { Grant } from "./grant.ts";

/** What the driver does with a session, whatever is behind it. */
export interface Session {
  readonly kind: "socket" | "stream" | "request";
  /** What its peer may do, and for how long; undefined: everything, for as long as it lasts. */
  readonly grant: Grant | undefined;
  /** Takes all that one turn has for it, in order. `encode` gives a message's line of the protocol. */
  send(messages: readonly Downstream<Json>[], encode: (message: Downstream<Json>) => string): void;
  remember(memo: Memo | undefined): void;
  close(code: number, reason: string): void;
}

/** A WebSocket, as far as a session uses it. */
export interface Socket {
  readonly readyState: number;
  send(frame: string | Uint8Array): void;
  close(code: number, reason: string): void;
}

/** Who is at the other end of a socket. */
export interface Peer {
  grant: Grant | undefined;
  /** Takes compressed frames. */
  deflates: boolean;
}

const OPEN = 1;

/** A piece of the walk of a secondary that joins. */
export const isPart = (message: Downstream<Json>): boolean =>
  message.type === "snapshot" && message.seq < message.until;

/** A WebSocket that lives no longer than the memory of its host. */
export class SocketSession implements Session {
  readonly kind = "socket";
  readonly id: SessionId;
  readonly grant: Grant | undefined;
  /** It takes compressed frames. */
  readonly deflates: boolean;
  readonly #socket: Socket;
  readonly #lines = new LineReader();
  readonly #deflater = new Deflater();
  #patience: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: Socket, id: SessionId, { grant, deflates }: Peer) {
    this.#socket = socket;
    this.id = id;
    this.grant = grant;
    this.deflates = deflates;
  }

  /** The messages that a frame completes and, if it is not of the protocol, why; then the socket is of no more use. */
  read(frame: string | ArrayBuffer): { messages: Upstream[]; refusal?: Refusal } {
    const messages: Upstream[] = [];
    if (typeof frame !== "string") {
      return { messages, refusal: { ok: false, code: "bad-request", detail: "frames of the protocol are text" } };
    }
    const lines = this.#lines.push(frame);
    this.#awaitEndOfLine();
    if (!lines.ok) return { messages, refusal: lines };
    if (lines.value.length > MESSAGES_WAITING_MAX) {
      const detail = `a frame has more than ${MESSAGES_WAITING_MAX} messages (MESSAGES_WAITING_MAX)`;
      return { messages, refusal: { ok: false, code: "too-large", detail } };
    }
    for (const line of lines.value) {
      const message = decodeUpstream(line);
      if (!message.ok) return { messages, refusal: message };
      messages.push(message.value);
    }
    return { messages };
  }

  /** A timer keeps the object awake, and with it the line that has begun; a line that does not end is not waited for. */
  #awaitEndOfLine(): void {
    if (this.#patience !== undefined) clearTimeout(this.#patience);
    this.#patience = undefined;
    if (!this.#lines.isAmidLine) return;
    this.#patience = setTimeout(
      () => this.close(CLOSE.badMessage, "a message was begun and not ended"),
      LINE_PATIENCE_MS,
    );
  }

  send(messages: readonly Downstream<Json>[], encode: (message: Downstream<Json>) => string): void {
    // Its end may not have been heard of yet; the close event that follows ends the session.
    if (this.#socket.readyState !== OPEN) return;
    const lines: string[] = [];
    for (const message of messages) {
      const line = encode(message);
      const frame = this.deflates && isPart(message) ? this.#deflater.deflate(line) : undefined;
      if (!frame) {
        lines.push(line);
        continue;
      }
      this.#sendLines(lines.splice(0));
      this.#socket.send(frame);
    }
    this.#sendLines(lines);
  }

  #sendLines(lines: readonly string[]): void {
    if (lines.length > 0) for (const frame of packFrames(lines)) this.#socket.send(frame);
  }

  remember(_memo: Memo | undefined): void {
    // What is told here would be lost together with the socket.
  }

  close(code: number, reason: string): void {
    if (this.#socket.readyState === OPEN) this.#socket.close(code, toCloseReason(reason));
  }
}

const CLOSE_REASON_BYTES_MAX = 123;

/** As much of a sentence as a close frame has room for, without half a character at its end. */
function toCloseReason(sentence: string): string {
  const { read } = new TextEncoder().encodeInto(sentence, new Uint8Array(CLOSE_REASON_BYTES_MAX));
  return sentence.slice(0, read);
}

/** An operation that came by HTTP or RPC: a session that ends with its reply. */
export class RequestSession implements Session {
  readonly kind = "request";
  readonly grant: Grant | undefined;
  /** Rejects when its primary ends without an answer. */
  readonly reply: Promise<Reply>;
  #resolve: (reply: Reply) => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor(grant: Grant | undefined) {
    this.grant = grant;
    this.reply = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  send(messages: readonly Downstream<Json>[]): void {
    for (const message of messages) {
      const isReply = message.type === "operation-ack" || message.type === "operation-failed";
      if (isReply || message.type === "get-result") this.#resolve(message);
    }
  }

  remember(): void {
    // It is never a member.
  }

  close(_code: number, reason: string): void {
    this.#reject(new Error(reason));
  }
}
