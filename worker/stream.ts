// A reader's stream of snapshots over HTTP, as lines of JSON, as server-sent events, or as an export, which ends.
//
// The consumer's pull is the ack: what has not been pulled stays un-acked, and beyond the window the machine sends
// nothing more, so a stalled consumer costs one window of memory.

import { encodeExportEnd, encodeExportHeader, encodeExportLine } from "../src/codec.ts";
import type { Json } from "../src/kv.ts";
import type { Downstream, PartAck, Snapshot, SnapshotAck } from "../src/protocol.ts";
import type { PrimaryPersistence } from "../src/store.ts";
import type { Grant } from "./grant.ts";
import type { Session } from "./sessions.ts";

/** How a stream is written. */
export interface StreamForm {
  /** Its media type. */
  readonly type: string;
  /** A snapshot as text. `epoch` is the history that begins anew with it, if one does; `line` its line of the protocol. */
  write(snapshot: Snapshot<Json>, epoch: string | undefined, line: () => string): string;
  /** Where a stream ends, this gives its last text: it is asked when everything up to `seq` is written. */
  end?(seq: number): string | undefined;
}

export const NDJSON: StreamForm = {
  type: "application/x-ndjson",
  write: (_snapshot, epoch, line) =>
    epoch === undefined ? line() : `{"reset":true,"epoch":"${epoch}",${line().slice(1)}`,
};

/**
 * Parts of a step carry an id like whole steps do. A reader that is cut off inside a step has put the parts before
 * aside; asked again from the last one's seq, the walk goes on after it, and its end closes the step.
 */
export const SSE: StreamForm = {
  type: "text/event-stream",
  write: (snapshot, epoch, line) => `id: ${snapshot.seq}\ndata: ${NDJSON.write(snapshot, epoch, line)}\n`,
};

/** E1: the walk from nothing as lines of changes, to where it has come up with head: then the store can be counted. */
export function exportOf(store: string, primary: Pick<PrimaryPersistence, "head" | "countEntries">): StreamForm {
  return {
    type: NDJSON.type,
    write: ({ changes }, epoch) => {
      const header = epoch === undefined ? "" : encodeExportHeader({ store, epoch });
      return header + changes.map(encodeExportLine).join("");
    },
    end: (seq) => (seq === primary.head ? encodeExportEnd({ seq, entries: primary.countEntries() }) : undefined),
  };
}

/** What a stream tells its host. */
export interface StreamEvents {
  /** The consumer has taken what this acks. */
  onTaken(ack: SnapshotAck | PartAck): void;
  /** The consumer has all there is, or wants no more. */
  onEnd(): void;
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
  /** Its last text is written. */
  #isWhole = false;
  /** The history that the next snapshot begins anew. */
  #reset: string | undefined;
  /** Where the chain stands, and how far it must come for the step that is being sent to be whole. */
  #seq = -1;
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
          events.onEnd();
        },
      },
      { highWaterMark: 0 },
    );
  }

  send(messages: readonly Downstream<Json>[], encode: (message: Downstream<Json>) => string): void {
    if (this.#isWhole) return;
    for (const message of messages) {
      if (message.type === "joined-secondary" && message.reset) this.#reset = message.epoch;
      if (message.type === "snapshot") this.#take(message, () => encode(message));
    }
    this.#endIfWhole();
    this.#signal?.();
  }

  remember(): void {
    // A stream holds the object awake, so there is nothing to outlive.
  }

  close(): void {
    this.#isClosed = true;
    this.#signal?.();
  }

  #take(snapshot: Snapshot<Json>, line: () => string): void {
    const { prev, seq, changes, until } = snapshot;
    this.#seq = seq;
    const wasStepOpen = prev < this.#until;
    this.#until = Math.max(this.#until, until);
    const ack = { type: seq < this.#until ? ("part-ack" as const) : ("snapshot-ack" as const), seq };
    // The end of a join that had nothing to catch up on tells a reader nothing.
    const isVoid = changes.length === 0 && !wasStepOpen && seq === this.#until;
    if (isVoid && this.#reset === undefined) return this.#events.onTaken(ack);
    this.#waiting.push({ text: this.#form.write(snapshot, this.#reset, line), ack });
    this.#reset = undefined;
  }

  #endIfWhole(): void {
    if (this.#seq < this.#until) return;
    const text = this.#form.end?.(this.#seq);
    if (text === undefined) return;
    this.#waiting.push({ text, ack: { type: "snapshot-ack", seq: this.#seq } });
    this.#isWhole = true;
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    // What comes may tell a reader nothing.
    while (this.#waiting.length === 0 && !this.#isClosed && !this.#isWhole) {
      await new Promise<void>((resolve) => {
        this.#signal = resolve;
      });
    }
    const last = this.#waiting.at(-1);
    if (last) {
      controller.enqueue(new TextEncoder().encode(this.#waiting.map(({ text }) => text).join("")));
      this.#waiting = [];
      this.#events.onTaken(last.ack);
    } else if (this.#isWhole || (!this.#form.end && this.#seq >= this.#until)) {
      controller.close();
      this.#events.onEnd();
    } else {
      // E1: its consumer must not take it for whole, nor a part for a step.
      controller.error(new Error("the stream was cut off before its end"));
    }
  }
}
