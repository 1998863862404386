// The state that a replica shows: its entries and the (epoch, seq) at which they stand. Moves by whole steps only.

import { decodeDownstream } from "../../src/codec.ts";
import type { Change, Entry } from "../../src/kv.ts";
import { OrderedMap } from "../../src/store.ts";
import { packPages, unpackPage } from "../feed.ts";
import type { StepLines, WholeState } from "../feed.ts";
import type { Image, Stored } from "./replica-persistence.ts";
import { stepsAfterCheckpoint } from "./stored-entry.ts";

export class VisibleState {
  readonly #sorted = new OrderedMap<Entry>();
  /** Read and found right, in its order; put in its place when someone asks for it, which is not before pages show it. */
  #unsorted: Change[][] = [];
  epoch: string | null = null;
  seq = 0;

  apply(step: { epoch: string; seq: number; reset: boolean }, changes: Iterable<Change>): void {
    if (step.reset) this.#entries.clear();
    this.#put(changes, this.#entries);
    this.epoch = step.epoch;
    this.seq = step.seq;
  }

  get #entries(): OrderedMap<Entry> {
    for (const changes of this.#unsorted.splice(0)) this.#put(changes, this.#sorted);
    return this.#sorted;
  }

  #put(changes: Iterable<Change>, entries: OrderedMap<Entry>): void {
    for (const change of changes) {
      if ("value" in change) entries.set(change.key, change);
      else entries.delete(change.key);
    }
  }

  /** For persistence; undefined while there is nothing to keep. */
  toImage(): Image | undefined {
    return this.epoch === null ? undefined : { epoch: this.epoch, seq: this.seq, entries: this.#entries.walk() };
  }

  /** For a page. */
  toWholeState(): WholeState {
    return { epoch: this.epoch, seq: this.seq, pages: packPages(this.#entries.walk()) };
  }

  /** Reads what was stored; undefined if it does not parse or chain, and so must not be used at all. */
  static fromStored(stored: Stored): VisibleState | undefined {
    const { checkpoint, pages } = stored;
    const state = new VisibleState();
    if (!checkpoint) return pages.length === 0 && stored.steps.length === 0 ? state : undefined;
    const steps = stepsAfterCheckpoint(stored);
    if (!steps) return undefined;
    for (const page of pages) {
      const entries = unpackPage(page);
      if (!entries) return undefined;
      state.#unsorted.push(entries);
    }
    state.epoch = checkpoint.epoch;
    state.seq = checkpoint.seq;
    for (const step of steps) {
      const changes = readLines(step);
      if (!changes) return undefined;
      state.#unsorted.push(changes);
      state.seq = step.seq;
    }
    return state;
  }
}

/** The changes of a step, from its lines; undefined if they are not the lines of a snapshot. */
function readLines({ lines }: StepLines): Change[] | undefined {
  const changes: Change[] = [];
  for (const line of lines) {
    const message = decodeDownstream(line);
    if (!message.ok || message.value.type !== "snapshot") return undefined;
    for (const change of message.value.changes) changes.push(change);
  }
  return changes;
}
