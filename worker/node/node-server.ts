// A whole primary in one Node process, for tests and tools: the same app and the same machine as in the worker, with a
// file for each store and a WebSocket server of Node's own.
//
//   request --> Hono app --> file primary of the store --> its file
//   upgrade --> Hono app, which lets it pass or answers --> WebSocket --> file primary

import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { STATUS_CODES, createServer } from "node:http";
import type { IncomingMessage, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { getRequestListener } from "@hono/node-server";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import { LINE_BYTES_MAX } from "../../src/limits.ts";
import { PRIMARY_DEFAULTS } from "../../src/primary.ts";
import type { PrimarySettings } from "../../src/primary.ts";
import { SUBPROTOCOL } from "../../src/protocol.ts";
import { createApp } from "../app.ts";
import type { AppOptions, PrimaryNamespace } from "../app.ts";
import { offersDeflate } from "../deflate.ts";
import { grantOf } from "../grant.ts";
import type { Peer } from "../sessions.ts";
import { FilePrimary } from "./file-primary.ts";

export interface NodeServerOptions {
  /** Where the stores' files are. */
  folder: string;
  /** 0, or nothing, for any that is free. */
  port?: number;
  /** Who may use which store; without it everyone may use all of them. */
  authorize?: NonNullable<AppOptions["authorize"]>;
  /** What the primaries do otherwise than by default. */
  settings?: Partial<PrimarySettings>;
}

/** What the app is given with a request: where it finds primaries. */
interface Bindings {
  primaries: PrimaryNamespace;
}

const HOST = "127.0.0.1";

export class NodeServer {
  readonly #options: NodeServerOptions;
  readonly #app: ReturnType<typeof createApp<Bindings>>;
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: LINE_BYTES_MAX,
    // Asked only if something is offered, and the app lets nothing pass that does not offer this.
    handleProtocols: () => SUBPROTOCOL,
  });
  readonly #primaries = new Map<string, FilePrimary>();

  private constructor(options: NodeServerOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true });
    this.#app = createApp<Bindings>({
      primary: ({ primaries }) => primaries,
      authorize: options.authorize ?? (() => true),
    });
    const primaries: PrimaryNamespace = { getByName: (store) => this.#primaryOf(store).stub };
    const answer = getRequestListener((request) => this.#app.fetch(request, { primaries }), {
      overrideGlobalObjects: false,
    });
    this.#server = createServer((request, response) => void answer(request, response));
    this.#server.on("upgrade", (request, socket, head) => void this.#upgrade(request, socket, head));
  }

  /** Resolves when it answers. */
  static async start(options: NodeServerOptions): Promise<NodeServer> {
    const server = new NodeServer(options);
    server.#server.listen(options.port ?? 0, HOST);
    await once(server.#server, "listening");
    return server;
  }

  get origin(): string {
    return `http://${HOST}:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Ends every session and gives the files back. */
  async stop(): Promise<void> {
    for (const primary of this.#primaries.values()) primary.close();
    this.#primaries.clear();
    for (const socket of this.#sockets.clients) socket.terminate();
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #primaryOf(store: string): FilePrimary {
    let primary = this.#primaries.get(store);
    if (!primary) {
      const settings = { ...PRIMARY_DEFAULTS, ...this.#options.settings };
      primary = new FilePrimary(fileOf(this.#options.folder, store), settings, () => this.#primaries.delete(store));
      this.#primaries.set(store, primary);
    }
    return primary;
  }

  /** The app decides as it does for every request. What it lets pass finds a primary that takes note and answers 200. */
  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on("error", () => socket.destroy());
    const found: { primary: FilePrimary; peer: Peer }[] = [];
    const primaries: PrimaryNamespace = {
      getByName: (store) => {
        const primary = this.#primaryOf(store);
        const fetch = async ({ headers }: Request): Promise<Response> => {
          const grant = grantOf(headers);
          found.push({ primary, peer: { grant, deflates: offersDeflate(headers) } });
          return primary.refusal(grant) ?? new Response();
        };
        return { ...primary.stub, fetch };
      },
    };
    const answer = await this.#app.fetch(toRequest(request), { primaries });
    const [passed] = found;
    if (!passed || !answer.ok) return refuse(socket, answer);
    const { primary, peer } = passed;
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => attend(webSocket, primary, peer));
  }
}

/** Some file systems do not tell capital letters from small ones; a store's name has no percent sign of its own. */
function fileOf(folder: string, store: string): string {
  const name = store.replace(/[A-Z]/g, (letter) => `%${letter.codePointAt(0)!.toString(16)}`);
  return join(folder, `${name}.sqlite`);
}

function toRequest({ url = "/", headers }: IncomingMessage): Request {
  const known = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) known.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  return new Request(new URL(url, `http://${headers.host ?? HOST}`), { headers: known });
}

async function refuse(socket: Duplex, answer: Response): Promise<void> {
  const body = Buffer.from(await answer.arrayBuffer());
  const head = [`HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? ""}`];
  answer.headers.forEach((value, name) => head.push(`${name}: ${value}`));
  head.push(`Content-Length: ${body.length}`, "Connection: close");
  socket.end(Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), body]));
}

function attend(socket: WebSocket, primary: FilePrimary, peer: Peer): void {
  const events = primary.accept(socket, peer);
  // A frame comes as one Buffer, whatever its kind, unless the socket is told to give something else.
  socket.on("message", (frame: Buffer, isBinary) => {
    events.receive(isBinary ? new Uint8Array(frame).buffer : frame.toString());
  });
  // What is wrong with a socket is followed by its end.
  socket.on("error", () => {});
  socket.on("close", () => events.end());
}
