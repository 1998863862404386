// What an outbox knows to be kept: by name, in the order of their places, and no more than there is room for.

import { utf8Length } from "../../src/kv.ts";
import type { Write } from "../../src/kv.ts";
import { QUEUED_BYTES_MAX, QUEUED_UPDATES_MAX } from "../../src/limits.ts";
import { nameOf, writesOf } from "../../src/protocol.ts";
import type { OperationName, Update } from "../../src/protocol.ts";
import type { QueuedUpdate } from "../feed.ts";
import type { Kept, Sending } from "./outbox-persistence.ts";

/** There is no room for more. */
export class FullError extends Error {
  override readonly name = "FullError";
}

/** What may be written down of what was given, in its order, and what may not. */
export interface Reservation {
  fitting: QueuedUpdate[];
  refused: QueuedUpdate[];
  reason: FullError | undefined;
  /** To be called when what fits is kept, or is known not to be. */
  release: () => void;
}

export class KeptUpdates {
  readonly #kept = new Map<string, Kept>();
  #bytes = 0;
  #lastPlace = -Infinity;
  /** What is being written down, and not kept yet. */
  readonly #taking = { updates: 0, bytes: 0 };

  get size(): number {
    return this.#kept.size;
  }

  get(name: string): Kept | undefined {
    return this.#kept.get(name);
  }

  has(name: string): boolean {
    return this.#kept.has(name);
  }

  /** In their order. */
  values(): Iterable<Kept> {
    return this.#kept.values();
  }

  clear(): void {
    this.#kept.clear();
    this.#bytes = 0;
    this.#lastPlace = -Infinity;
  }

  /** Nobody takes back that an update was sent under its name, or has failed. */
  put(kept: Kept): void {
    const name = nameOf(kept.update);
    const old = this.#kept.get(name);
    if (old?.place === kept.place && sendingOf(old).sentAs === sendingOf(kept).sentAs) {
      this.#kept.set(name, { ...old, ...kept });
      return;
    }
    this.drop(name);
    this.#bytes += bytesOf(kept.update);
    this.#kept.set(name, kept);
    if (kept.place < this.#lastPlace) this.#sort();
    else this.#lastPlace = kept.place;
  }

  drop(name: string): void {
    const kept = this.#kept.get(name);
    if (!kept) return;
    this.#bytes -= bytesOf(kept.update);
    this.#kept.delete(name);
  }

  /** Keeps room for updates; what is there already needs none. Behind one that does not fit none does. */
  reserve(updates: readonly QueuedUpdate[]): Reservation {
    const own = { updates: 0, bytes: 0 };
    const fitting: QueuedUpdate[] = [];
    const refused: QueuedUpdate[] = [];
    let reason: FullError | undefined;
    for (const queued of updates) {
      const isFresh = !this.#kept.has(nameOf(queued.update));
      const bytes = bytesOf(queued.update);
      if (isFresh) reason ??= this.#refusal(own.updates + 1, own.bytes + bytes);
      if (isFresh && reason) {
        refused.push(queued);
        continue;
      }
      fitting.push(queued);
      if (!isFresh) continue;
      own.updates += 1;
      own.bytes += bytes;
    }
    this.#taking.updates += own.updates;
    this.#taking.bytes += own.bytes;
    const release = (): void => {
      this.#taking.updates -= own.updates;
      this.#taking.bytes -= own.bytes;
    };
    return { fitting, refused, reason, release };
  }

  #refusal(updates: number, bytes: number): FullError | undefined {
    if (this.#kept.size + this.#taking.updates + updates > QUEUED_UPDATES_MAX) {
      return new FullError(`the outbox holds at most ${QUEUED_UPDATES_MAX} updates (QUEUED_UPDATES_MAX)`);
    }
    if (this.#bytes + this.#taking.bytes + bytes > QUEUED_BYTES_MAX) {
      return new FullError(`the outbox holds at most ${QUEUED_BYTES_MAX} bytes (QUEUED_BYTES_MAX)`);
    }
    return undefined;
  }

  /** What other workers tell may come late. */
  #sort(): void {
    const inOrder = [...this.#kept].sort(([, a], [, b]) => a.place - b.place);
    this.#kept.clear();
    for (const [name, kept] of inOrder) this.#kept.set(name, kept);
  }
}

/** The name under which an update is sent. */
export const sentAsOf = ({ update, sentAs }: Kept): OperationName => sentAs ?? update;

export const sendingOf = (kept: Kept): Sending => ({ name: nameOf(kept.update), sentAs: nameOf(sentAsOf(kept)) });

const bytesOf = (update: Update): number => writesOf(update).reduce((sum, write) => sum + bytesOfWrite(write), 0);

function bytesOfWrite(write: Write): number {
  return utf8Length(write.key) + ("json" in write ? utf8Length(write.json) : 0);
}
