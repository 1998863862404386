// A WebSocket of a Durable Object. It outlives the object's memory, and what is kept beside it does, too.

import type { Memo, SessionId } from "../src/effects.ts";
import { SocketSession } from "./sessions.ts";

/**
 * What is kept beside a socket while the object sleeps, as JSON in UTF-8: the platform has 16 kB for it, and would take
 * two bytes for every letter of a text in which one letter needs them.
 */
interface Attachment {
  session: SessionId;
  memo?: Memo;
}

const encoder = new TextEncoder();

export class HibernatingSession extends SocketSession {
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket, id: SessionId) {
    super(socket, id);
    this.#socket = socket;
  }

  /** A socket that has just been accepted. */
  static open(socket: WebSocket, id: SessionId): HibernatingSession {
    const session = new HibernatingSession(socket, id);
    session.remember(undefined);
    return session;
  }

  /** A socket that has outlived the memory of the object that accepted it, and what was kept beside it. */
  static reopen(socket: WebSocket): { session: HibernatingSession; memo: Memo | undefined } {
    const { session, memo } = JSON.parse(new TextDecoder().decode(socket.deserializeAttachment())) as Attachment;
    return { session: new HibernatingSession(socket, session), memo };
  }

  override remember(memo: Memo | undefined): void {
    const attachment: Attachment = memo ? { session: this.id, memo } : { session: this.id };
    this.#socket.serializeAttachment(encoder.encode(JSON.stringify(attachment)));
  }
}
