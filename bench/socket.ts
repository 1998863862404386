// WebSockets of the clients on Node: `ws` without compression for all systems alike, each of which counts its bytes.

import type { Socket } from "node:net";
import { WebSocket } from "ws";

/** All that were opened in this process, in their order. */
const opened: CountedSocket[] = [];

export class CountedSocket extends WebSocket {
  #socket: Socket | undefined;

  constructor(url: string | URL, protocols?: string | string[]) {
    super(url, protocols, { perMessageDeflate: false });
    this.once("upgrade", ({ socket }) => {
      this.#socket = socket;
    });
    opened.push(this);
  }

  get bytes(): { sent: number; received: number } {
    return { sent: this.#socket?.bytesWritten ?? 0, received: this.#socket?.bytesRead ?? 0 };
  }
}

/** The sockets that are opened while `body` runs. */
export async function socketsOf<Result>(
  body: () => Promise<Result>,
): Promise<{ result: Result; sockets: CountedSocket[] }> {
  const before = opened.length;
  const result = await body();
  return { result, sockets: opened.slice(before) };
}

/** Bytes on the wire, framing included. */
export function bytesOf(sockets: readonly CountedSocket[]): { sent: number; received: number } {
  let sent = 0;
  let received = 0;
  for (const { bytes } of sockets) {
    sent += bytes.sent;
    received += bytes.received;
  }
  return { sent, received };
}

/** Opens a socket; `received` gets every text frame. */
export async function dial(url: string, received: (text: string) => void, protocol?: string): Promise<CountedSocket> {
  const socket = new CountedSocket(url, protocol);
  socket.on("message", (frame: Buffer) => received(frame.toString()));
  await new Promise<void>((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });
  // The end of a measurement closes sockets from either side, in any order.
  socket.on("error", () => {});
  return socket;
}

/** Opens many, some at a time. */
export async function dialMany<Opened>(count: number, open: (index: number) => Promise<Opened>): Promise<Opened[]> {
  const all: Opened[] = [];
  const atOnce = 50;
  for (let start = 0; start < count; start += atOnce) {
    const some = Array.from({ length: Math.min(atOnce, count - start) }, (_, offset) => open(start + offset));
    all.push(...(await Promise.all(some)));
  }
  return all;
}
