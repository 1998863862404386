// A replica's persistence in memory, for tests. The disk outlives the store, as a database outlives its connection.

import { assert } from "../../src/assert.ts";
import { packPages } from "../feed.ts";
import type { StepLines } from "../feed.ts";
import { randomId } from "../random-id.ts";
import type { Checkpoint, Image, ReplicaPersistence, Stored } from "../replica/replica-persistence.ts";

export interface MemoryDisk {
  stored: Stored;
}

export const newMemoryDisk = (): MemoryDisk => ({ stored: { checkpoint: undefined, pages: [], steps: [] } });

export class MemoryReplicaStore implements ReplicaPersistence {
  readonly #disk: MemoryDisk;
  readonly #readImage: () => Image | undefined;
  #checkpoint: Checkpoint | undefined;
  #isClosed = false;

  constructor(disk: MemoryDisk, readImage: () => Image | undefined) {
    this.#disk = disk;
    this.#readImage = readImage;
  }

  async load(): Promise<Stored> {
    this.#demandOpen();
    this.#checkpoint = this.#disk.stored.checkpoint;
    return structuredClone(this.#disk.stored);
  }

  async persist(steps: StepLines[], secondaryId: string): Promise<void> {
    this.#demandOpen();
    const { checkpoint, pages, steps: before } = this.#disk.stored;
    const isOwn = checkpoint !== undefined && checkpoint.stamp === this.#checkpoint?.stamp;
    if (!isOwn || steps.some((step) => step.reset)) this.#writeCheckpoint(secondaryId);
    else this.#disk.stored = { checkpoint, pages, steps: [...before, ...structuredClone(steps)] };
  }

  async checkpoint(secondaryId: string): Promise<void> {
    this.#demandOpen();
    this.#writeCheckpoint(secondaryId);
  }

  async clear(): Promise<void> {
    this.#demandOpen();
    this.#checkpoint = undefined;
    this.#disk.stored = newMemoryDisk().stored;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #writeCheckpoint(secondaryId: string): void {
    const image = this.#readImage();
    assert(image !== undefined, "a checkpoint is of a state");
    const { epoch, seq, entries } = image;
    this.#checkpoint = { secondaryId, epoch, seq, stamp: randomId() };
    this.#disk.stored = { checkpoint: this.#checkpoint, pages: packPages(entries), steps: [] };
  }

  #demandOpen(): void {
    if (this.#isClosed) throw new Error("the store is closed");
  }
}
