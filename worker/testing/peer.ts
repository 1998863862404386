// A secondary's end of a replication socket, for tests that say message by message what it does.

import { LineReader, decodeDownstream, encodeUpstream } from "../../src/codec.ts";
import { PROTOCOL_VERSION, SUBPROTOCOL } from "../../src/protocol.ts";
import type { Downstream, Join, Snapshot, Upstream } from "../../src/protocol.ts";
import type { JsonValue } from "../../src/kv.ts";

/** Something that opens replication sockets: an app, or a primary's stub. */
interface Door {
  fetch(request: Request): Response | Promise<Response>;
}

export class Peer {
  readonly closed: Promise<{ code: number; reason: string }>;
  /** How many frames have come. */
  frames = 0;
  readonly #socket: WebSocket;
  readonly #lines = new LineReader();
  readonly #texts: string[] = [];
  readonly #messages: Downstream[] = [];
  #signal: (() => void) | undefined;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => {
      socket.addEventListener("close", ({ code, reason }) => resolve({ code, reason }));
    });
    socket.addEventListener("message", ({ data }) => this.#take(data as string));
  }

  static async connect(door: Door, url = "http://primary/"): Promise<Peer> {
    const headers = { Upgrade: "websocket", "Sec-WebSocket-Protocol": SUBPROTOCOL };
    const response = await door.fetch(new Request(url, { headers }));
    if (!response.webSocket) throw new Error(`not upgraded: ${response.status} ${await response.text()}`);
    const peer = new Peer(response.webSocket);
    response.webSocket.accept();
    return peer;
  }

  /** Over the network. Rejects if there is no primary that lets it in. */
  static async dial(url: string): Promise<Peer> {
    const socket = new WebSocket(url, SUBPROTOCOL);
    const peer = new Peer(socket);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve());
      socket.addEventListener("error", () => reject(new Error(`no socket to ${url}`)));
    });
    return peer;
  }

  send(...messages: Upstream[]): void {
    this.sendText(messages.map(encodeUpstream).join(""));
  }

  sendText(frame: string | ArrayBuffer): void {
    this.#socket.send(frame);
  }

  join(secondaryId: string, join: Partial<Join> = {}): void {
    const fresh = { secondaryId, mode: "durable", epoch: null, since: 0 } as const;
    this.send({ type: "join", version: PROTOCOL_VERSION, ...fresh, ...join });
  }

  insert(clientId: string, id: number, key: string, value: JsonValue, ack: "all" | "primary" | number = "all"): void {
    this.send({ type: "insert", clientId, id, ack, settled: 0, repeat: false, key, json: JSON.stringify(value) });
  }

  ack(seq: number): void {
    this.send({ type: "snapshot-ack", seq });
  }

  /** The next message, whatever it is. */
  async next(): Promise<Downstream> {
    await this.#until(() => this.#messages.length > 0);
    return this.#messages.shift()!;
  }

  /** The next frame that is not of the protocol. */
  async nextText(): Promise<string> {
    await this.#until(() => this.#texts.length > 0);
    return this.#texts.shift()!;
  }

  /** The next message, which must be of this type. */
  async expect<Type extends Downstream["type"]>(type: Type): Promise<Extract<Downstream, { type: Type }>> {
    const message = await this.next();
    if (message.type !== type) throw new Error(`expected ${type}, but got ${JSON.stringify(message)}`);
    return message as Extract<Downstream, { type: Type }>;
  }

  /** Joins as a durable secondary that holds nothing, and acks until it is in sync; returns what it was sent. */
  async enter(secondaryId: string): Promise<Snapshot[]> {
    this.join(secondaryId);
    await this.expect("joined-secondary");
    const snapshots: Snapshot[] = [];
    for (let message = await this.next(); message.type !== "membership"; message = await this.next()) {
      if (message.type !== "snapshot") throw new Error(`expected a snapshot, but got ${JSON.stringify(message)}`);
      snapshots.push(message);
      this.send({ type: message.until > message.seq ? "part-ack" : "snapshot-ack", seq: message.seq });
    }
    return snapshots;
  }

  close(code = 1000): void {
    this.#socket.close(code);
  }

  #take(frame: string): void {
    this.frames += 1;
    if (frame === "pong") this.#texts.push(frame);
    else {
      const lines = this.#lines.push(frame);
      for (const line of lines.ok ? lines.value : []) {
        const message = decodeDownstream(line);
        if (!message.ok) throw new Error(`not of the protocol: ${line}`);
        this.#messages.push(message.value);
      }
    }
    this.#signal?.();
  }

  async #until(isReached: () => boolean): Promise<void> {
    while (!isReached()) {
      await new Promise<void>((resolve) => {
        this.#signal = resolve;
      });
    }
  }
}
