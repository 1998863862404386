// The outbox's persistence in memory, for tests. The disk outlives it, as a database outlives its connection.

import { nameOf } from "../../src/protocol.ts";
import type { Conclusion, Kept, Marked, OutboxPersistence } from "../replica/outbox-persistence.ts";

export interface MemoryOutboxDisk {
  /** By place. */
  kept: Map<number, Kept>;
  /** Places that were given out. */
  used: number;
  dismissed: Set<string>;
}

export const newMemoryOutboxDisk = (): MemoryOutboxDisk => ({ kept: new Map(), used: 0, dismissed: new Set() });

export class MemoryOutbox implements OutboxPersistence {
  readonly #disk: MemoryOutboxDisk;
  #isClosed = false;

  constructor(disk: MemoryOutboxDisk) {
    this.#disk = disk;
  }

  async load(): Promise<Kept[]> {
    this.#demandOpen();
    return structuredClone([...this.#disk.kept.values()]);
  }

  async add(updates: readonly Omit<Kept, "place">[]): Promise<Kept[]> {
    this.#demandOpen();
    const places = new Map([...this.#disk.kept.values()].map((kept) => [nameOf(kept.update), kept.place]));
    // What cannot be copied is refused before anything is written.
    return structuredClone(updates).flatMap((update) => {
      const name = nameOf(update.update);
      if (this.#disk.dismissed.has(name)) return [];
      const there = this.#disk.kept.get(places.get(name) ?? 0);
      if (there) return structuredClone(there);
      this.#disk.used += 1;
      const kept = { ...update, place: this.#disk.used };
      places.set(name, kept.place);
      this.#disk.kept.set(kept.place, kept);
      return structuredClone(kept);
    });
  }

  async markSent(places: readonly number[], sentAt: number): Promise<Marked[]> {
    this.#demandOpen();
    return places.flatMap((place) => {
      const kept = this.#disk.kept.get(place);
      if (!kept || kept.failure) return [];
      this.#disk.kept.set(place, { sentAt, ...kept });
      return [{ place, sentAt: kept.sentAt }];
    });
  }

  async conclude(conclusions: readonly Conclusion[]): Promise<number[]> {
    this.#demandOpen();
    const ended = structuredClone(conclusions).filter(({ place, failure }) => {
      const kept = this.#disk.kept.get(place);
      if (!kept || kept.failure) return false;
      if (failure) this.#disk.kept.set(place, { ...kept, failure });
      else this.#disk.kept.delete(place);
      return true;
    });
    return ended.map(({ place }) => place);
  }

  async dismiss(place: number): Promise<boolean> {
    this.#demandOpen();
    const kept = this.#disk.kept.get(place);
    if (!kept || (kept.sentAt !== undefined && !kept.failure)) return false;
    this.#disk.dismissed.add(nameOf(kept.update));
    return this.#disk.kept.delete(place);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #demandOpen(): void {
    if (this.#isClosed) throw new Error("the outbox is closed");
  }
}
