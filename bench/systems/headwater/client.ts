// Headwater on Node: the browser's replica without the browser. The secondary machine, the codec and the page's operations
// are the product's own; in place of IndexedDB is a Map, so a step counts as persisted when it is applied.

import { LineReader, decodeDownstream, encodeUpstream, packFrames } from "../../../src/codec.ts";
import type { SecondaryEffect, SecondaryInput } from "../../../src/effects.ts";
import type { Change } from "../../../src/kv.ts";
import { Outbox } from "../../../src/outbox.ts";
import { PROTOCOL_VERSION, SUBPROTOCOL } from "../../../src/protocol.ts";
import type { Downstream } from "../../../src/protocol.ts";
import { Secondary } from "../../../src/secondary.ts";
import { connectPrimary } from "../../../web/client.ts";
import { Operations } from "../../../web/operations.ts";
import type { WebSocket } from "ws";
import { dial, dialMany } from "../../socket.ts";
import type { Adapter, ReplicaHandle, Writer } from "../../system.ts";

export function connect(origin: string): Adapter {
  const urlOf = (store: string): string => `${origin.replace("http", "ws")}/v1/stores/${store}/replicate`;
  return {
    openWriter: (store) => NodeWriter.open(urlOf(store)),
    openReplica: (store, stepped) => NodeReplica.open(urlOf(store), stepped),
    async openSockets(store, count, seen) {
      const sockets = await dialMany(count, (index) => openMember(urlOf(store), (seq) => seen(index, seq)));
      return { close: () => sockets.forEach((socket) => socket.terminate()) };
    },
    async rowsWritten(store) {
      const metrics = await (await fetch(`${origin}/metrics?store=${store}`)).text();
      const line = metrics.split("\n").find((line) => line.startsWith("headwater_rows_written_total"));
      return Number(line?.split(" ").at(-1));
    },
    async openSecondWriter(store) {
      const client = connectPrimary({ url: `${origin}/v1/stores/${store}` });
      return {
        name: "over HTTP",
        writer: { acks: true, write: (key, value) => client.insert(key, value), close: () => {} },
      };
    },
  };
}

/** A client without a copy: it submits operations as a page does, has as many in flight as a replica, and joins nothing. */
class NodeWriter implements Writer {
  readonly acks = true;
  readonly #outbox = new Outbox((effect) => this.#carryOut(effect));
  readonly #operations: Operations;
  readonly #reader = new LineReader();
  #socket: WebSocket | undefined;
  #outgoing: string[] = [];

  private constructor() {
    this.#operations = new Operations(
      crypto.randomUUID(),
      (operations) => {
        for (const operation of operations) this.#outbox.operate(operation, performance.now());
        this.#flush();
      },
      () => {},
    );
  }

  static async open(url: string): Promise<NodeWriter> {
    const writer = new NodeWriter();
    writer.#socket = await dial(url, (text) => writer.#received(text), SUBPROTOCOL);
    writer.#outbox.open(performance.now());
    writer.#operations.begin();
    return writer;
  }

  write(key: string, value: string): Promise<unknown> {
    return this.#operations.submit({ type: "insert", ack: "all", key, json: JSON.stringify(value) });
  }

  close(): void {
    this.#socket?.terminate();
  }

  #received(text: string): void {
    for (const message of decode(this.#reader, text)) {
      const isReply = message.type === "operation-ack" || message.type === "operation-failed";
      if (isReply) this.#outbox.answer(message, () => false, performance.now());
    }
    this.#flush();
  }

  #carryOut(effect: SecondaryEffect): void {
    if (effect.type === "send") this.#outgoing.push(encodeUpstream(effect.message));
    else if (effect.type === "settle") this.#operations.settle(effect.settled);
  }

  #flush(): void {
    if (this.#outgoing.length === 0) return;
    for (const frame of packFrames(this.#outgoing)) this.#socket?.send(frame);
    this.#outgoing = [];
  }
}

/** A durable secondary, which the primary waits for. */
class NodeReplica implements ReplicaHandle {
  readonly #entries = new Map<string, Change>();
  readonly #machine = new Secondary({ secondaryId: crypto.randomUUID(), prefixes: undefined });
  readonly #stepped: () => void;
  readonly #reader = new LineReader();
  #socket: WebSocket | undefined;
  #inputs: SecondaryInput[] = [];
  #isInTurn = false;
  #outgoing: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  private constructor(stepped: () => void) {
    this.#stepped = stepped;
  }

  static async open(url: string, stepped: () => void): Promise<NodeReplica> {
    const replica = new NodeReplica(stepped);
    replica.#socket = await dial(url, (text) => replica.#received(text), SUBPROTOCOL);
    replica.#turn({ type: "start", mode: "durable", epoch: null, seq: 0 }, { type: "connect" });
    const until = performance.now() + JOIN_MS;
    for (;;) {
      const { state, inSync } = replica.#machine.status(performance.now());
      if (inSync) return replica;
      // One that comes when IN_SYNC_MAX others are there follows, and is not waited for.
      if (state === "following" && performance.now() > until) return replica;
      await sleep(1);
    }
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  get size(): number {
    return this.#entries.size;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#socket?.terminate();
  }

  #received(text: string): void {
    this.#turn(...decode(this.#reader, text).map((message) => ({ type: "receive" as const, message })));
  }

  #turn(...inputs: SecondaryInput[]): void {
    this.#inputs.push(...inputs);
    if (this.#isInTurn) return;
    this.#isInTurn = true;
    let hasStepped = false;
    for (let input = this.#inputs.shift(); input; input = this.#inputs.shift()) {
      for (const effect of this.#machine.step(input, performance.now())) {
        hasStepped ||= effect.type === "apply";
        this.#carryOut(effect);
      }
    }
    this.#isInTurn = false;
    if (this.#outgoing.length > 0) for (const frame of packFrames(this.#outgoing)) this.#socket?.send(frame);
    this.#outgoing = [];
    if (hasStepped) this.#stepped();
  }

  #carryOut(effect: SecondaryEffect): void {
    switch (effect.type) {
      case "send":
        this.#outgoing.push(encodeUpstream(effect.message));
        return;
      case "apply":
        for (const { changes } of effect.step.parts) {
          for (const change of changes) {
            if ("value" in change) this.#entries.set(change.key, change);
            else this.#entries.delete(change.key);
          }
        }
        return;
      case "persist":
        this.#inputs.push({ type: "persisted" });
        return;
      case "settle":
      case "late":
        return;
      case "reconnect":
        throw new Error(`the secondary wants another connection: ${effect.reason}`);
      case "wake":
        clearTimeout(this.#timer);
        if (effect.at !== undefined) {
          const delayMs = Math.max(0, Math.ceil(effect.at - performance.now()));
          this.#timer = setTimeout(() => this.#turn({ type: "tick" }), delayMs);
        }
    }
  }
}

const JOIN_MS = 300;

function decode(reader: LineReader, text: string): Downstream[] {
  const lines = reader.push(text);
  if (!lines.ok) throw new Error(lines.detail);
  return lines.value.map((line) => {
    const message = decodeDownstream(line);
    if (!message.ok) throw new Error(message.detail);
    return message.value;
  });
}

const sleep = (delayMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMs));

/** A durable secondary that says of everything at once that it has it, and looks at nothing but the seqs. */
async function openMember(url: string, seen: (seq: number) => void): Promise<WebSocket> {
  let acked = -1;
  let hasJoined: () => void = () => {};
  const joined = new Promise<void>((resolve) => {
    hasJoined = resolve;
  });
  const socket = await dial(
    url,
    (text) => {
      if (text.startsWith('{"type":"joined')) hasJoined();
      const snapshot = text.split("\n").findLast((line) => line.startsWith('{"prev":'));
      if (snapshot === undefined) return;
      const seq = Number(/"seq":(\d+)/.exec(snapshot.slice(0, 60))![1]);
      const until = Number(/"until":(\d+)\}$/.exec(snapshot.slice(-40))?.[1] ?? 0);
      if (seq > acked) {
        socket.send(encodeUpstream({ type: until > seq ? "part-ack" : "snapshot-ack", seq }));
        acked = seq;
      }
      seen(seq);
    },
    SUBPROTOCOL,
  );
  const secondaryId = crypto.randomUUID();
  const join = {
    type: "join",
    version: PROTOCOL_VERSION,
    secondaryId,
    mode: "durable",
    epoch: null,
    since: 0,
  } as const;
  socket.send(encodeUpstream(join));
  await joined;
  return socket;
}
