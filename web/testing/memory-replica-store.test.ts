import { describe, expect, test } from "vitest";
import type { Entry } from "../../src/kv.ts";
import { unpackPage } from "../feed.ts";
import type { StepLines } from "../feed.ts";
import type { Stored } from "../replica/replica-persistence.ts";
import { MemoryReplicaStore, newMemoryDisk } from "./memory-replica-store.ts";
import { testReplicaPersistence } from "./replica-store-contract.ts";
import type { ReplicaDisk } from "./replica-store-contract.ts";

type Store = new (...args: ConstructorParameters<typeof MemoryReplicaStore>) => MemoryReplicaStore;

function newDisk(Store: Store = MemoryReplicaStore): ReplicaDisk {
  const disk = newMemoryDisk();
  return {
    open: (readImage) => new Store(disk, readImage),
    wipe: async () => {
      disk.stored = newMemoryDisk().stored;
      delete disk.term;
    },
  };
}

describe("a replica's store in memory", () => {
  testReplicaPersistence(
    (title, run) => test(title, run, 30_000),
    () => newDisk(),
    { seed: 20_261_020, runs: 200 },
  );
});

/** Each of these breaks the contract in one way. */
const planted: Record<string, Store> = {
  "drops the last of several steps": class extends MemoryReplicaStore {
    override persist(steps: StepLines[], secondaryId: string): Promise<void> {
      return super.persist(steps.length > 1 ? steps.slice(0, -1) : steps, secondaryId);
    }
  },
  "says so before it has written": class extends MemoryReplicaStore {
    override async persist(steps: StepLines[], secondaryId: string): Promise<void> {
      setTimeout(() => void super.persist(steps, secondaryId).catch(() => {}), 1);
    }
  },
  "appends a reset to what it replaces": class extends MemoryReplicaStore {
    override persist(steps: StepLines[], secondaryId: string): Promise<void> {
      return super.persist(
        steps.map((step) => ({ ...step, reset: false })),
        secondaryId,
      );
    }
  },
  "leaves the beginning of a transaction that fails": class extends MemoryReplicaStore {
    override async persist(steps: StepLines[], secondaryId: string): Promise<void> {
      for (const step of steps) await super.persist([step], secondaryId);
    }
  },
  "clears nothing": class extends MemoryReplicaStore {
    override async clear(): Promise<void> {}
  },
  "names another replica in its checkpoints": class extends MemoryReplicaStore {
    override persist(steps: StepLines[]): Promise<void> {
      return super.persist(steps, "somebody");
    }
  },
  "lets everyone write": class extends MemoryReplicaStore {
    override async persist(steps: StepLines[], secondaryId: string): Promise<void> {
      await super.persist(steps, secondaryId).catch(async () => {
        await this.claim();
        await super.persist(steps, secondaryId);
      });
    }
  },
  "throws away what it claims": class extends MemoryReplicaStore {
    override async claim(): Promise<Stored> {
      await super.claim();
      await this.clear();
      return super.claim();
    }
  },
  "finds what was there at its last checkpoint": class extends MemoryReplicaStore {
    override async find(key: string): Promise<Entry | undefined> {
      const { pages } = await this.load();
      return pages.flatMap((page) => unpackPage(page)!).find((entry) => entry.key === key);
    }
  },
  "writes after it was closed": class extends MemoryReplicaStore {
    override async close(): Promise<void> {}
  },
};

describe("the contract of a replica's store", () => {
  for (const [name, Store] of Object.entries(planted)) {
    test(`catches a store that ${name}`, async () => {
      const tests: (() => Promise<void>)[] = [];
      testReplicaPersistence(
        (_, run) => tests.push(run),
        () => newDisk(Store),
        { seed: 1, runs: 60 },
      );
      const results = await Promise.allSettled(tests.map((run) => run()));
      expect(results.filter(({ status }) => status === "rejected")).not.toEqual([]);
    });
  }
});
