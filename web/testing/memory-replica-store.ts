// A replica's persistence in memory, for tests. The disk outlives the store, as a database outlives its connection.

import { assert } from "../../src/assert.ts";
import type { Entry } from "../../src/kv.ts";
import { packPages } from "../feed.ts";
import type { StepLines } from "../feed.ts";
import { randomId } from "../random-id.ts";
import { LostError } from "../replica/replica-persistence.ts";
import type { Image, ReplicaPersistence, Stored } from "../replica/replica-persistence.ts";
import { findStoredEntry } from "../replica/stored-entry.ts";

export interface MemoryDisk {
  stored: Stored;
  /** Who has claimed it last. */
  term?: string;
}

export const newMemoryDisk = (): MemoryDisk => ({ stored: { checkpoint: undefined, pages: [], steps: [] } });

export class MemoryReplicaStore implements ReplicaPersistence {
  readonly #disk: MemoryDisk;
  readonly #readImage: () => Image | undefined;
  readonly #term = randomId();
  #isClosed = false;

  constructor(disk: MemoryDisk, readImage: () => Image | undefined) {
    this.#disk = disk;
    this.#readImage = readImage;
  }

  async load(): Promise<Stored> {
    this.#demandOpen();
    return structuredClone(this.#disk.stored);
  }

  async find(key: string): Promise<Entry | undefined> {
    const { checkpoint, pages, steps } = await this.load();
    return findStoredEntry({ checkpoint, steps, pageCount: pages.length, readPage: async (at) => pages[at] }, key);
  }

  async claim(): Promise<Stored> {
    this.#demandOpen();
    this.#disk.term = this.#term;
    return structuredClone(this.#disk.stored);
  }

  async persist(steps: StepLines[], secondaryId: string): Promise<void> {
    this.#demandOwn();
    const { checkpoint, pages, steps: before } = this.#disk.stored;
    if (!checkpoint || steps.some((step) => step.reset)) this.#writeCheckpoint(secondaryId);
    else this.#disk.stored = { checkpoint, pages, steps: [...before, ...structuredClone(steps)] };
  }

  async checkpoint(secondaryId: string): Promise<void> {
    this.#demandOwn();
    this.#writeCheckpoint(secondaryId);
  }

  async clear(): Promise<void> {
    this.#demandOwn();
    this.#disk.stored = newMemoryDisk().stored;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #writeCheckpoint(secondaryId: string): void {
    const image = this.#readImage();
    assert(image !== undefined, "a checkpoint is of a state");
    const { epoch, seq, entries } = image;
    this.#disk.stored = { checkpoint: { secondaryId, epoch, seq }, pages: packPages(entries), steps: [] };
  }

  #demandOwn(): void {
    this.#demandOpen();
    if (this.#disk.term !== this.#term) throw new LostError("another replica has the disk");
  }

  #demandOpen(): void {
    if (this.#isClosed) throw new Error("the store is closed");
  }
}
