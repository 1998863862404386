// A bad network between browsers and a primary: a TCP proxy that delays, holds back, cuts and half-cuts. It stands outside
// of the browser because nothing inside reaches the sockets of a SharedWorker.

import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

/** One direction: how long everything takes, and whether anything passes at all. */
interface Flow {
  delayMs: number;
  isHeld: boolean;
  /** Of each connection. */
  bytesPerSecond: number;
}

const FREE: Readonly<Flow> = { delayMs: 0, isHeld: false, bytesPerSecond: Infinity };
/** What a slow connection takes in ahead of what it has passed on: the rest is kept waiting where it comes from. */
const AHEAD_BYTES = 32 * 1024;
const PIECE_BYTES = 4096;

type Side = "browser" | "primary";

/** A bad network on a port of its own: whatever connects there is passed on, as well as the network is at the moment. */
export class Network {
  /** What goes to the primary. */
  readonly up: Flow = { ...FREE };
  /** What comes from it. */
  readonly down: Flow = { ...FREE };
  /** New connections are ended at once. */
  isRefusing = false;
  readonly #server: Server;
  readonly #target: number;
  readonly #connections = new Set<Connection>();

  private constructor(target: number) {
    this.#target = target;
    // A side that has ended is still written to: that is decided here and not by the socket.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Listens on a port of its own, and passes on to the `target` port of this machine. */
  static async start(target: number): Promise<Network> {
    const network = new Network(target);
    network.#server.listen(0, "127.0.0.1");
    await once(network.#server, "listening");
    return network;
  }

  /** Where it listens, on this machine. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Ends all connections, and lets none through until `heal`. */
  cut(): void {
    this.isRefusing = true;
    this.drop();
  }

  /** Ends all connections, for both sides to see. */
  drop(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  /** Ends all connections for one side; the other one hears nothing, not even an end. */
  halfOpen(gone: Side): void {
    for (const connection of this.#connections) connection.halfOpen(gone);
  }

  /** Lets everything through again; what was held back comes now. Connections that only one side has are ended. */
  heal(): void {
    this.isRefusing = false;
    for (const flow of [this.up, this.down]) Object.assign(flow, FREE);
    for (const connection of this.#connections) connection.heal();
  }

  /** Ends all connections and listens no more. */
  async stop(): Promise<void> {
    this.drop();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(browser: Socket): void {
    if (this.isRefusing) {
      browser.on("error", () => {}).destroy();
      return;
    }
    const primary = connect({ port: this.#target, host: "127.0.0.1", allowHalfOpen: true });
    const connection = new Connection(browser, primary, this.up, this.down, () => this.#connections.delete(connection));
    this.#connections.add(connection);
  }
}

class Connection {
  readonly #sockets: Record<Side, Socket>;
  readonly #streams: Stream[];
  readonly #ended: () => void;
  #isHalfOpen = false;

  constructor(browser: Socket, primary: Socket, up: Flow, down: Flow, ended: () => void) {
    this.#sockets = { browser, primary };
    this.#ended = ended;
    this.#streams = [new Stream(browser, primary, up), new Stream(primary, browser, down)];
    for (const socket of [browser, primary]) {
      socket.setNoDelay(true);
      // `close` follows.
      socket.on("error", () => {});
      socket.on("close", () => this.#isHalfOpen || this.destroy());
    }
  }

  destroy(): void {
    this.#ended();
    for (const socket of Object.values(this.#sockets)) socket.destroy();
    for (const stream of this.#streams) stream.end();
  }

  halfOpen(gone: Side): void {
    this.#isHalfOpen = true;
    this.#sockets[gone].destroy();
  }

  heal(): void {
    if (this.#isHalfOpen) this.destroy();
    else for (const stream of this.#streams) stream.move();
  }
}

/** One direction of one connection: what has come leaves in its order, when it is due. */
class Stream {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #flow: Flow;
  #waitingBytes = 0;
  /** `undefined` is the end. */
  readonly #waiting: { at: number; chunk: Buffer | undefined }[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(from: Socket, to: Socket, flow: Flow) {
    this.#from = from;
    this.#to = to;
    this.#flow = flow;
    from.on("data", (chunk: Buffer) => this.#take(chunk));
    from.on("end", () => this.#take(undefined));
  }

  #take(chunk: Buffer | undefined): void {
    const { delayMs, bytesPerSecond } = this.#flow;
    const size = bytesPerSecond === Infinity ? Infinity : PIECE_BYTES;
    let at = Math.max(performance.now() + delayMs, this.#waiting.at(-1)?.at ?? 0);
    for (let start = 0; start < (chunk?.length ?? 0); start += size) {
      const piece = chunk!.subarray(start, start + size);
      at += (piece.length / bytesPerSecond) * 1000;
      this.#waiting.push({ at, chunk: piece });
      this.#waitingBytes += piece.length;
    }
    if (!chunk) this.#waiting.push({ at, chunk });
    if (bytesPerSecond !== Infinity && this.#waitingBytes > AHEAD_BYTES) this.#from.pause();
    this.move();
  }

  /** Passes on what is due. */
  move(): void {
    clearTimeout(this.#timer);
    while (this.#waiting[0] && !this.#flow.isHeld) {
      const { at, chunk } = this.#waiting[0];
      const waitMs = at - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.move(), waitMs);
        return;
      }
      this.#waiting.shift();
      this.#waitingBytes -= chunk?.length ?? 0;
      if (this.#waitingBytes < AHEAD_BYTES) this.#from.resume();
      if (this.#to.destroyed) continue;
      if (chunk) this.#to.write(chunk);
      else this.#to.end();
    }
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
  }
}
