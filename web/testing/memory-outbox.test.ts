import { describe, expect, test } from "vitest";
import type { Conclusion, Kept, Marked } from "../replica/outbox-persistence.ts";
import { MemoryOutbox, newMemoryOutboxDisk } from "./memory-outbox.ts";
import { testOutboxPersistence } from "./outbox-contract.ts";
import type { OutboxDisk } from "./outbox-contract.ts";

type Outbox = new (...args: ConstructorParameters<typeof MemoryOutbox>) => MemoryOutbox;

function newDisk(Outbox: Outbox = MemoryOutbox): OutboxDisk {
  const disk = newMemoryOutboxDisk();
  return {
    open: () => new Outbox(disk),
    // What cannot be read is as good as not there.
    damage: async (place) => void disk.kept.delete(place),
  };
}

describe("an outbox in memory", () => {
  testOutboxPersistence(
    (title, run) => test(title, run),
    () => newDisk(),
    { seed: 20_261_123, runs: 200 },
  );
});

/** Each of these breaks the contract in one way. */
const planted: Record<string, Outbox> = {
  "keeps a name twice": class extends MemoryOutbox {
    override async add(updates: readonly Omit<Kept, "place">[]): Promise<Kept[]> {
      const renamed = updates.map((one) => ({ ...one, update: { ...one.update, id: one.update.id + Math.random() } }));
      const added = await super.add(renamed);
      return added.map((kept, index) => ({ ...kept, update: updates[index]!.update }));
    }
  },
  "puts the last first": class extends MemoryOutbox {
    override async add(updates: readonly Omit<Kept, "place">[]): Promise<Kept[]> {
      return (await super.add(updates.toReversed())).toReversed();
    }
  },
  "leaves the beginning of a transaction that fails": class extends MemoryOutbox {
    override async add(updates: readonly Omit<Kept, "place">[]): Promise<Kept[]> {
      const added: Kept[] = [];
      for (const update of updates) added.push(...(await super.add([update])));
      return added;
    }
  },
  "forgets what was sent": class extends MemoryOutbox {
    override async markSent(places: readonly number[]): Promise<Marked[]> {
      return places.map((place) => ({ place, sentAt: undefined }));
    }
  },
  "lets what was sent be dismissed": class extends MemoryOutbox {
    override async dismiss(place: number): Promise<boolean> {
      return (await this.conclude([{ place }])).length > 0;
    }
  },
  "ends what has ended": class extends MemoryOutbox {
    override async conclude(conclusions: readonly Conclusion[]): Promise<number[]> {
      await super.conclude(conclusions);
      return conclusions.map(({ place }) => place);
    }
  },
  "keeps no failure": class extends MemoryOutbox {
    override conclude(conclusions: readonly Conclusion[]): Promise<number[]> {
      return super.conclude(conclusions.map(({ place }) => ({ place })));
    }
  },
  "writes after it was closed": class extends MemoryOutbox {
    override async close(): Promise<void> {}
  },
};

describe("the contract of an outbox", () => {
  for (const [name, Outbox] of Object.entries(planted)) {
    test(`catches one that ${name}`, async () => {
      const tests: (() => Promise<void>)[] = [];
      testOutboxPersistence(
        (_, run) => tests.push(run),
        () => newDisk(Outbox),
        { seed: 1, runs: 60 },
      );
      const results = await Promise.allSettled(tests.map((run) => run()));
      expect(results.filter(({ status }) => status === "rejected")).not.toEqual([]);
    });
  }
});
