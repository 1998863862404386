// The outbox's persistence in memory, for tests. The disk outlives it, as a database outlives its connection.

import { nameOf } from "../../src/protocol.ts";
import type { Settled } from "../../src/effects.ts";
import type {
  Added,
  Conclusion,
  Kept,
  Marked,
  OutboxMemory,
  OutboxPersistence,
  Sending,
} from "../replica/outbox-persistence.ts";

export interface MemoryOutboxDisk {
  /** By place. */
  kept: Map<number, Kept>;
  /** Places that were given out. */
  used: number;
  ends: Map<string, Settled | null>;
  /** How often it was emptied. */
  wipes: number;
  readonly openers: Set<OutboxMemory>;
}

export const newMemoryOutboxDisk = (): MemoryOutboxDisk => ({
  kept: new Map(),
  used: 0,
  ends: new Map(),
  wipes: 0,
  openers: new Set(),
});

/** Deletes everything under whoever has it open. */
export function wipeOutboxDisk(disk: MemoryOutboxDisk): void {
  disk.kept.clear();
  disk.ends.clear();
  disk.used = 0;
  disk.wipes += 1;
  for (const memory of disk.openers) memory.interrupted();
}

export class MemoryOutbox implements OutboxPersistence {
  readonly #disk: MemoryOutboxDisk;
  readonly #memory: OutboxMemory;
  #wipes: number;
  #isClosed = false;

  constructor(disk: MemoryOutboxDisk, memory: OutboxMemory) {
    this.#disk = disk;
    this.#memory = memory;
    this.#wipes = disk.wipes;
    disk.openers.add(memory);
  }

  async load(): Promise<Kept[]> {
    this.#open();
    const kept = [...this.#disk.kept.values()].sort((a, b) => a.place - b.place);
    return structuredClone(kept);
  }

  async add(updates: readonly Omit<Kept, "place">[]): Promise<Added> {
    this.#open();
    const there = new Map([...this.#disk.kept.values()].map((kept) => [nameOf(kept.update), kept]));
    const added: Added = { kept: [], ended: [] };
    // What cannot be copied is refused before anything is written.
    for (const update of structuredClone(updates)) {
      const { clientId, id } = update.update;
      const settled = this.#disk.ends.get(nameOf(update.update));
      if (settled !== undefined) {
        added.ended.push({ name: { clientId, id }, settled });
        continue;
      }
      const kept = there.get(nameOf(update.update)) ?? { ...update, place: this.#nextPlace() };
      this.#disk.kept.set(kept.place, kept);
      added.kept.push(kept);
    }
    return structuredClone(added);
  }

  async markSent(sendings: readonly Sending[], sentAt: number): Promise<Marked[]> {
    this.#open();
    return sendings.flatMap((sending) => {
      const kept = this.#onItsWay(sending);
      if (!kept) return [];
      this.#disk.kept.set(kept.place, { sentAt, ...kept });
      return [{ name: sending.name, sentAt: kept.sentAt }];
    });
  }

  async conclude(conclusions: readonly Conclusion[]): Promise<string[]> {
    this.#open();
    return structuredClone(conclusions).flatMap((conclusion) => {
      const kept = this.#onItsWay(conclusion);
      if (!kept) return [];
      const { sentAt: _sentAt, ...unsent } = kept;
      if ("failure" in conclusion) this.#disk.kept.set(kept.place, { ...kept, failure: conclusion.failure });
      else if ("sendAs" in conclusion) this.#disk.kept.set(kept.place, { ...unsent, sentAs: conclusion.sendAs });
      else {
        this.#disk.kept.delete(kept.place);
        if (kept.sentAs) this.#disk.ends.set(conclusion.name, conclusion.done);
      }
      return [conclusion.name];
    });
  }

  async dismiss(name: string): Promise<boolean> {
    this.#open();
    const kept = this.#find(name);
    if (!kept || (kept.sentAt !== undefined && !kept.failure)) return false;
    this.#disk.ends.set(name, null);
    return this.#disk.kept.delete(kept.place);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#disk.openers.delete(this.#memory);
  }

  #find(name: string): Kept | undefined {
    for (const kept of this.#disk.kept.values()) if (nameOf(kept.update) === name) return kept;
    return undefined;
  }

  #onItsWay({ name, sentAs }: Sending): Kept | undefined {
    const kept = this.#find(name);
    return kept && !kept.failure && nameOf(kept.sentAs ?? kept.update) === sentAs ? kept : undefined;
  }

  #nextPlace(): number {
    this.#disk.used += 1;
    return this.#disk.used;
  }

  /** A disk that was emptied begins with what is known. */
  #open(): void {
    if (this.#isClosed) throw new Error("the outbox is closed");
    if (this.#wipes === this.#disk.wipes) return;
    this.#wipes = this.#disk.wipes;
    for (const kept of structuredClone(this.#memory.readKept())) {
      if (this.#find(nameOf(kept.update)) || this.#disk.ends.has(nameOf(kept.update))) continue;
      const place = this.#disk.kept.has(kept.place) ? this.#nextPlace() : kept.place;
      this.#disk.used = Math.max(this.#disk.used, place);
      this.#disk.kept.set(place, { ...kept, place });
    }
  }
}
