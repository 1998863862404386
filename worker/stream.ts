// A reader's stream of snapshots over HTTP, as lines of JSON or as server-sent events.
//
// The consumer's pull is the ack: what has not been pulled stays un-acked, and beyond the window the machine sends
// nothing more, so a stalled consumer costs one window of memory.

import type { Json } from "../src/kv.ts";
import type { Downstream, PartAck, Snapshot, SnapshotAck } from "../src/protocol.ts";
import type { Grant } from "./grant.ts";
import type { Session } from "./sessions.ts";

/** How snapshots are written. */
export type StreamForm = "ndjson" | "sse";

export const STREAM_TYPES: Record<StreamForm, string> = {
  ndjson: "application/x-ndjson",
  sse: "text/event-stream",
};

/** What a stream tells its host. */
export interface StreamEvents {
  /** The consumer has taken what this acks. */
  onTaken(ack: SnapshotAck | PartAck): void;
  /** The consumer wants no more. */
  onCancel(): void;
}

export class StreamSession implements Session {
  readonly kind = "stream";
  readonly grant: Grant | undefined;
  readonly body: ReadableStream<Uint8Array>;
  readonly #form: StreamForm;
  readonly #events: StreamEvents;
  #waiting: { text: string; ack: SnapshotAck | PartAck }[] = [];
  #signal: (() => void) | undefined;
  #isClosed = false;
  /** The history that the next snapshot begins anew. */
  #reset: string | undefined;
  /** How far the chain must come for the step that is being sent to be whole. */
  #until = 0;

  constructor(form: StreamForm, grant: Grant | undefined, events: StreamEvents) {
    this.#form = form;
    this.grant = grant;
    this.#events = events;
    this.body = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => this.#pull(controller),
        cancel: () => {
          this.close();
          events.onCancel();
        },
      },
      { highWaterMark: 0 },
    );
  }

  send(messages: readonly Downstream<Json>[], encode: (message: Downstream<Json>) => string): void {
    for (const message of messages) {
      if (message.type === "joined-secondary" && message.reset) this.#reset = message.epoch;
      if (message.type === "snapshot") this.#take(message, encode(message));
    }
    this.#signal?.();
  }

  remember(): void {
    // A stream holds the object awake, so there is nothing to outlive.
  }

  close(): void {
    this.#isClosed = true;
    this.#signal?.();
  }

  #take(snapshot: Snapshot<Json>, line: string): void {
    const { prev, seq, changes, until } = snapshot;
    const wasStepOpen = prev < this.#until;
    this.#until = Math.max(this.#until, until);
    const ack = { type: seq < this.#until ? ("part-ack" as const) : ("snapshot-ack" as const), seq };
    // The end of a join that had nothing to catch up on tells a reader nothing.
    const isVoid = changes.length === 0 && !wasStepOpen && seq === this.#until;
    if (isVoid && this.#reset === undefined) return this.#events.onTaken(ack);
    const text = this.#reset === undefined ? line : `{"reset":true,"epoch":"${this.#reset}",${line.slice(1)}`;
    this.#reset = undefined;
    this.#waiting.push({ text: this.#form === "sse" ? toEvent(seq, text) : text, ack });
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    if (this.#waiting.length === 0 && !this.#isClosed) {
      await new Promise<void>((resolve) => {
        this.#signal = resolve;
      });
      this.#signal = undefined;
    }
    const last = this.#waiting.at(-1);
    if (last) {
      controller.enqueue(new TextEncoder().encode(this.#waiting.map(({ text }) => text).join("")));
      this.#waiting = [];
      this.#events.onTaken(last.ack);
    } else if (this.#isClosed) {
      controller.close();
    }
  }
}

/**
 * Parts of a step carry an id like whole steps do. A reader that is cut off inside a step has put the parts before
 * aside; asked again from the last one's seq, the walk goes on after it, and its end closes the step.
 */
const toEvent = (seq: number, line: string): string => `id: ${seq}\ndata: ${line}\n`;
