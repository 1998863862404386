// A WebSocket of a Durable Object. It outlives the object's memory, and what is kept beside it does, too.

import type { Memo, SessionId } from "../src/effects.ts";
import type { Grant } from "./grant.ts";
import { SocketSession } from "./sessions.ts";
import type { Peer } from "./sessions.ts";

/**
 * What is kept beside a socket while the object sleeps, as JSON in UTF-8: the platform has 16 kB for it, and would take
 * two bytes for every letter of a text in which one letter needs them.
 */
interface Attachment {
  session: SessionId;
  memo?: Memo;
  grant?: Grant;
  deflates?: boolean;
}

const encoder = new TextEncoder();

export class HibernatingSession extends SocketSession {
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket, id: SessionId, peer: Peer) {
    super(socket, id, peer);
    this.#socket = socket;
  }

  /** A socket that has just been accepted. */
  static open(socket: WebSocket, id: SessionId, peer: Peer): HibernatingSession {
    const session = new HibernatingSession(socket, id, peer);
    session.remember(undefined);
    return session;
  }

  /** A socket that has outlived the memory of the object that accepted it, and what was kept beside it. */
  static reopen(socket: WebSocket): { session: HibernatingSession; memo: Memo | undefined } {
    const kept = JSON.parse(new TextDecoder().decode(socket.deserializeAttachment())) as Attachment;
    const { session: id, memo, grant, deflates = false } = kept;
    return { session: new HibernatingSession(socket, id, { grant, deflates }), memo };
  }

  override remember(memo: Memo | undefined): void {
    const attachment: Attachment = {
      session: this.id,
      ...(memo && { memo }),
      ...(this.grant && { grant: this.grant }),
      ...(this.deflates && { deflates: true }),
    };
    this.#socket.serializeAttachment(encoder.encode(JSON.stringify(attachment)));
  }
}
