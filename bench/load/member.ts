// A secondary under load: the product's machine, codec, operations and reconnecting socket, in Node. In place of IndexedDB
// is a copy in memory, so a step counts as persisted when it is applied.

import { LineReader, decodeDownstream, encodeUpstream, packFrames } from "../../src/codec.ts";
import type { SecondaryEffect, SecondaryInput } from "../../src/effects.ts";
import type { Upstream } from "../../src/protocol.ts";
import { Secondary } from "../../src/secondary.ts";
import { Operations } from "../../web/operations.ts";
import { randomId } from "../../web/random-id.ts";
import { Socket } from "../../web/replica/socket.ts";
import { Copy } from "./copy.ts";
import type { KeyIndex } from "./copy.ts";

export interface MemberEvents {
  /** It tries to reach the primary. */
  attempting(): void;
  /** It has joined, or is not joined any more; or it is wanted, or not wanted any more. */
  moved(member: Member): void;
}

export class Member {
  readonly mode: "durable" | "memory";
  readonly operations: Operations;
  readonly #copy: Copy;
  readonly #machine: Secondary;
  readonly #socket: Socket;
  readonly #events: MemberEvents;
  /** It is to be connected and joined; else it is away, or has left. */
  #isWanted = false;
  #hasEnded = false;
  #isJoined = false;
  #inSync = false;
  /** How its last connection ended, for whoever asks why it is missing. */
  #lastClose = "none";
  #seq = 0;
  #waiting: { seq: number; resolve: () => void }[] = [];
  #reader = new LineReader();
  #inputs: SecondaryInput[] = [];
  #isInTurn = false;
  #outgoing: Upstream[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `url` is the store's address. */
  constructor(url: string, mode: "durable" | "memory", index: KeyIndex, events: MemberEvents) {
    this.mode = mode;
    this.#copy = new Copy(index);
    this.#events = events;
    this.#machine = new Secondary({ secondaryId: randomId(), prefixes: undefined });
    this.#socket = new Socket(url, {
      tokenFor: async () => {
        this.#events.attempting();
        return undefined;
      },
      opened: () => this.#opened(),
      received: (text) => this.#received(text),
      closed: (wasOpen, reason, code) => {
        this.#lastClose = `${wasOpen ? "ended" : "failed"}, ${code} ${reason}`;
        this.#closed(wasOpen);
      },
    });
    this.operations = new Operations(
      randomId(),
      (operations) => this.#turn(...operations.map((operation) => ({ type: "operate" as const, operation }))),
      () => {},
    );
    this.operations.begin();
    this.#turn({ type: "start", mode, epoch: null, seq: 0 });
  }

  toString(): string {
    const { state, inSync, seq, head, lastError } = this.#machine.status(performance.now());
    const stands = `${state} at ${seq} of ${head}, ${inSync ? "" : "not "}in sync`;
    return `a ${this.mode} secondary: ${stands}; its last connection: ${this.#lastClose}; ${lastError ?? "no error"}`;
  }

  get isMissing(): boolean {
    return this.#isWanted && !(this.#isJoined && (this.#inSync || this.mode === "memory"));
  }

  get isWanted(): boolean {
    return this.#isWanted;
  }

  /** What it holds; whole steps only. */
  get copy(): Copy {
    return this.#copy;
  }

  get seq(): number {
    return this.#seq;
  }

  start(): void {
    if (this.#hasEnded) return;
    this.#want(true);
    this.#socket.start();
  }

  /** The connection is gone without a word; what it was doing waits. */
  stop(): void {
    this.#want(false);
    this.#socket.stop();
  }

  /** As a page does that is put away. */
  leave(): void {
    this.#want(false);
    this.#turn({ type: "pause" });
  }

  comeBack(): void {
    if (this.#hasEnded) return;
    this.#want(true);
    this.#turn({ type: "resume" });
  }

  /** It goes for good, and does not come back, whoever was about to fetch it. */
  end(): void {
    this.#hasEnded = true;
    this.stop();
    clearTimeout(this.#timer);
  }

  /** Resolves when everything up to `seq` is here. */
  caughtUp(seq: number): Promise<void> {
    if (this.#seq >= seq) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ seq, resolve }));
  }

  #want(isWanted: boolean): void {
    this.#isWanted = isWanted;
    this.#events.moved(this);
  }

  // --- the socket

  #opened(): void {
    this.#reader = new LineReader();
    this.#turn({ type: "connect" });
  }

  #received(text: string): void {
    const lines = this.#reader.push(text);
    if (!lines.ok) return this.#socket.drop(lines.detail);
    const inputs: SecondaryInput[] = [];
    for (const line of lines.value) {
      const message = decodeDownstream(line);
      if (!message.ok) return this.#socket.drop(message.detail);
      if (message.value.type === "joined-secondary") this.#socket.confirm();
      inputs.push({ type: "receive", message: message.value });
    }
    this.#turn(...inputs);
  }

  #closed(wasOpen: boolean): void {
    this.#outgoing = [];
    if (wasOpen) this.#turn({ type: "disconnect" });
  }

  // --- the machine

  #turn(...inputs: SecondaryInput[]): void {
    this.#inputs.push(...inputs);
    if (this.#isInTurn) return;
    this.#isInTurn = true;
    for (let input = this.#inputs.shift(); input; input = this.#inputs.shift()) {
      for (const effect of this.#machine.step(input, performance.now())) this.#carryOut(effect);
    }
    this.#isInTurn = false;
    if (this.#outgoing.length > 0) this.#socket.send(packFrames(this.#outgoing.splice(0).map(encodeUpstream)));
    this.#look();
  }

  #carryOut(effect: SecondaryEffect): void {
    switch (effect.type) {
      case "send":
        this.#outgoing.push(effect.message);
        return;
      case "apply":
        if (effect.step.reset) this.#copy.clear();
        for (const { changes } of effect.step.parts) this.#copy.apply(changes);
        return;
      case "persist":
        this.#inputs.push({ type: "persisted" });
        return;
      case "settle":
        return this.operations.settle(effect.settled);
      case "late":
        return;
      case "reconnect":
        return this.#socket.drop(effect.reason);
      case "wake":
        return this.#wakeAt(effect.at);
    }
  }

  #wakeAt(at: number | undefined): void {
    clearTimeout(this.#timer);
    if (at === undefined) return;
    const delayMs = Math.max(0, Math.ceil(at - performance.now()));
    this.#timer = setTimeout(() => {
      if (performance.now() < at) this.#wakeAt(at);
      else this.#turn({ type: "tick" });
    }, delayMs);
  }

  /** Tells those who wait for it where it stands. */
  #look(): void {
    const { state, inSync, seq } = this.#machine.status(performance.now());
    this.#seq = seq;
    if (this.#waiting.length > 0) {
      for (const one of this.#waiting) if (one.seq <= seq) one.resolve();
      this.#waiting = this.#waiting.filter((one) => one.seq > seq);
    }
    const isJoined = state === "following" || state === "catching-up";
    if (isJoined === this.#isJoined && inSync === this.#inSync) return;
    this.#isJoined = isJoined;
    this.#inSync = inSync;
    this.#events.moved(this);
  }
}
