import { describe, expect, test } from "vitest";
import type { Settled } from "../../src/effects.ts";
import { nameOf } from "../../src/protocol.ts";
import type { Added, Conclusion, Kept, Marked, OutboxMemory, Sending } from "../replica/outbox-persistence.ts";
import { MemoryOutbox, newMemoryOutboxDisk, wipeOutboxDisk } from "./memory-outbox.ts";
import type { MemoryOutboxDisk } from "./memory-outbox.ts";
import { BLANK, testOutboxPersistence } from "./outbox-contract.ts";
import type { OutboxDisk } from "./outbox-contract.ts";

type Outbox = new (...args: ConstructorParameters<typeof MemoryOutbox>) => MemoryOutbox;

function newDisk(Outbox: Outbox = MemoryOutbox): OutboxDisk {
  const disk = newMemoryOutboxDisk();
  return {
    open: (memory = { ...BLANK }) => new Outbox(disk, memory),
    wipe: async () => wipeOutboxDisk(disk),
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

const UNKNOWN: Settled = { type: "outcome-unknown", clientId: "a", id: 2 };

/** Each of these breaks the contract in one way. */
const planted: Record<string, Outbox> = {
  "keeps a name twice": class extends MemoryOutbox {
    override async add(updates: readonly Omit<Kept, "place">[]): Promise<Added> {
      const renamed = updates.map((one) => ({ ...one, update: { ...one.update, id: one.update.id + Math.random() } }));
      const { kept, ended } = await super.add(renamed);
      return { kept: kept.map((one, index) => ({ ...one, update: updates[index]!.update })), ended };
    }
  },
  "puts the last first": class extends MemoryOutbox {
    override async add(updates: readonly Omit<Kept, "place">[]): Promise<Added> {
      const { kept, ended } = await super.add(updates.toReversed());
      return { kept: kept.toReversed(), ended: ended.toReversed() };
    }
  },
  "leaves the beginning of a transaction that fails": class extends MemoryOutbox {
    override async add(updates: readonly Omit<Kept, "place">[]): Promise<Added> {
      const added: Added = { kept: [], ended: [] };
      for (const update of updates) {
        const one = await super.add([update]);
        added.kept.push(...one.kept);
        added.ended.push(...one.ended);
      }
      return added;
    }
  },
  "forgets what was sent": class extends MemoryOutbox {
    override async markSent(sendings: readonly Sending[]): Promise<Marked[]> {
      return sendings.map(({ name }) => ({ name, sentAt: undefined }));
    }
  },
  "lets what was sent be dismissed": class extends MemoryOutbox {
    override async dismiss(name: string): Promise<boolean> {
      return (await this.conclude([{ name, sentAs: name, done: UNKNOWN }])).length > 0;
    }
  },
  "ends what has ended": class extends MemoryOutbox {
    override async conclude(conclusions: readonly Conclusion[]): Promise<string[]> {
      await super.conclude(conclusions);
      return conclusions.map(({ name }) => name);
    }
  },
  "keeps no failure": class extends MemoryOutbox {
    override conclude(conclusions: readonly Conclusion[]): Promise<string[]> {
      return super.conclude(conclusions.map(({ name, sentAs }) => ({ name, sentAs, done: UNKNOWN })));
    }
  },
  "ends what is sent under another name by now": class extends MemoryOutbox {
    override async conclude(conclusions: readonly Conclusion[]): Promise<string[]> {
      const kept = await this.load();
      return super.conclude(
        conclusions.map((one) => {
          const found = kept.find(({ update }) => nameOf(update) === one.name);
          return { ...one, sentAs: nameOf(found?.sentAs ?? { clientId: "nobody", id: 0 }) };
        }),
      );
    }
  },
  "forgets what was done under another name": class extends MemoryOutbox {
    readonly #disk: MemoryOutboxDisk;
    constructor(disk: MemoryOutboxDisk, memory: OutboxMemory) {
      super(disk, memory);
      this.#disk = disk;
    }
    override async conclude(conclusions: readonly Conclusion[]): Promise<string[]> {
      const ended = await super.conclude(conclusions);
      for (const name of ended) this.#disk.ends.delete(name);
      return ended;
    }
  },
  "puts nothing back after it was emptied": class extends MemoryOutbox {
    constructor(disk: MemoryOutboxDisk, memory: OutboxMemory) {
      super(disk, { readKept: () => [], interrupted: () => memory.interrupted() });
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
