// The host of the primary machine for tests of apps: one store in memory, and sockets that are two objects of one thread.

import { LineReader, decodeUpstream, encodeDownstream, packFrames } from "../../src/codec.ts";
import type { PrimaryEffect, PrimaryInput, SessionId } from "../../src/effects.ts";
import type { Json } from "../../src/kv.ts";
import { PRIMARY_DEFAULTS, Primary } from "../../src/primary.ts";
import type { PrimarySettings } from "../../src/primary.ts";
import { CLOSE } from "../../src/protocol.ts";
import type { Downstream } from "../../src/protocol.ts";
import { MemoryStore } from "../../src/store.ts";
import { randomId } from "../random-id.ts";
import { MemorySocket } from "./memory-socket.ts";

interface Session {
  socket: MemorySocket;
  reader: LineReader;
}

export class MemoryStoreHost {
  readonly store = new MemoryStore(randomId());
  readonly #settings: PrimarySettings;
  #machine: Primary;
  readonly #sessions = new Map<SessionId, Session>();
  #nextSession: SessionId = 1;
  /** What a turn has for each session. */
  #outgoing = new Map<SessionId, Downstream<Json>[]>();
  #inputs: PrimaryInput[] = [];
  #isTurnDue = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(settings: Partial<PrimarySettings>) {
    this.#settings = { ...PRIMARY_DEFAULTS, ...settings };
    this.#machine = this.#begin();
  }

  connect(): MemorySocket {
    const session = this.#nextSession++;
    const socket = new MemorySocket({
      opened: () => this.#give({ type: "connect", session }),
      received: (frame) => this.#receive(session, frame),
      closed: () => {
        if (this.#sessions.delete(session)) this.#give({ type: "disconnect", session });
      },
    });
    this.#sessions.set(session, { socket, reader: new LineReader() });
    return socket;
  }

  /** Closes every connection. */
  disconnect(): void {
    for (const { socket } of this.#sessions.values()) socket.lose();
  }

  /** As if its process had died: what it knew besides the store is gone. */
  restart(): void {
    this.disconnect();
    clearTimeout(this.#timer);
    this.#inputs = [];
    this.#outgoing.clear();
    this.#machine = this.#begin();
  }

  stop(): void {
    this.disconnect();
    clearTimeout(this.#timer);
  }

  #begin(): Primary {
    const machine = new Primary(this.store, this.#settings);
    machine.step({ type: "start" }, performance.now());
    return machine;
  }

  #receive(session: SessionId, frame: string): void {
    const { socket, reader } = this.#sessions.get(session) ?? {};
    if (!socket || !reader) return;
    if (frame === "ping") return socket.deliver("pong");
    const lines = reader.push(frame);
    const messages = lines.ok ? lines.value.map(decodeUpstream) : [lines];
    for (const message of messages) {
      if (!message.ok) return socket.end(CLOSE.badMessage, message.detail);
      this.#give({ type: "receive", session, message: message.value });
    }
  }

  /** What comes together is one turn, as at a primary that is asked over a network. */
  #give(input: PrimaryInput): void {
    this.#inputs.push(input);
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    queueMicrotask(() => this.#takeTurn());
  }

  #takeTurn(): void {
    this.#isTurnDue = false;
    const inputs: PrimaryInput[] = [...this.#inputs.splice(0), { type: "commit" }];
    const now = performance.now();
    for (let input = inputs.shift(); input; input = inputs.shift()) {
      for (const effect of this.#machine.step(input, now)) this.#carryOut(effect, inputs, now);
    }
    for (const [session, messages] of this.#outgoing) {
      const socket = this.#sessions.get(session)?.socket;
      for (const frame of packFrames(messages.map(encodeDownstream))) socket?.deliver(frame);
    }
    this.#outgoing.clear();
  }

  #carryOut(effect: PrimaryEffect, inputs: PrimaryInput[], now: number): void {
    switch (effect.type) {
      case "persist":
        this.store.apply(effect.commit, now);
        inputs.unshift({ type: "persisted" });
        return;
      case "send":
        this.#outgoing.set(effect.session, [...(this.#outgoing.get(effect.session) ?? []), effect.message]);
        return;
      case "close":
        this.#sessions.get(effect.session)?.socket.end(effect.code, effect.reason);
        return;
      case "wake":
        clearTimeout(this.#timer);
        if (effect.at === undefined) return;
        this.#timer = setTimeout(() => this.#give({ type: "tick" }), Math.max(0, effect.at - now));
        return;
      case "compact":
        this.store.compact(effect.compaction);
        return;
      case "remember":
        return; // A socket ends with the memory of its host.
    }
  }
}
