// The contract must catch what it is there for: each of these stores breaks it in one way.

import { describe, expect, test } from "vitest";
import type { Change, Json, Range } from "../kv.ts";
import { PART_CHANGES_MAX } from "../limits.ts";
import { MemoryStore } from "../store.ts";
import type { ChangesPage, ClientRecord, Commit, Compaction, ListPage } from "../store.ts";
import { testPrimaryPersistence } from "./primary-store-contract.ts";
import type { OnStep, PrimaryDisk } from "./primary-store-contract.ts";

let epochs = 0;

/** A store in memory that knows what was done to it. */
class PlantedStore extends MemoryStore {
  readonly commits: { commit: Commit; now: number }[] = [];
  onStep: OnStep = () => {};

  constructor(epoch = `epoch-${epochs++}`) {
    super(epoch);
  }

  override apply(commit: Commit, now: number): number {
    this.commits.push({ commit, now });
    return super.apply(commit, now);
  }

  /** What a new process finds. */
  reopen(): PlantedStore {
    this.dropLoading();
    return this;
  }
}

class ForgetfulStore extends PlantedStore {
  override reopen(): PlantedStore {
    const reopened = new ForgetfulStore(this.epoch);
    for (const { commit, now } of this.commits.slice(0, -1)) reopened.apply(commit, now);
    return reopened;
  }
}

const planted: Record<string, () => PlantedStore> = {
  "lists in the order of UTF-16": () =>
    new (class extends PlantedStore {
      override list(range: Range, limit: number, reverse = false): ListPage {
        const { entries } = super.list(range, Infinity);
        const sorted = entries.toSorted((a, b) => (a.key < b.key === reverse ? 1 : -1));
        return { entries: sorted.slice(0, limit), hasMore: sorted.length > limit };
      }
    })(),
  "ends a page in the middle of a seq": () =>
    new (class extends PlantedStore {
      override readChanges(since: number, tombstonesAfter: number): ChangesPage {
        const page = super.readChanges(since, tombstonesAfter);
        if (page.changes.length <= PART_CHANGES_MAX) return page;
        const changes = page.changes.slice(0, PART_CHANGES_MAX);
        return { changes, seq: changes.at(-1)!.seq, isEnd: false };
      }
    })(),
  "forgets tombstones": () =>
    new (class extends PlantedStore {
      override readChanges(since: number): ChangesPage {
        return super.readChanges(since, Infinity);
      }
    })(),
  "shows tombstones to whoever needs none": () =>
    new (class extends PlantedStore {
      override readChanges(since: number): ChangesPage {
        return super.readChanges(since, 0);
      }
    })(),
  "counts tombstones as entries": () =>
    new (class extends PlantedStore {
      override countEntries(): number {
        return this.readChanges(0, 0).changes.length;
      }
    })(),
  "gives up a client's record one moment too early": () =>
    new (class extends PlantedStore {
      override compact({ floor, clientsBefore }: Compaction): void {
        super.compact({ floor, clientsBefore: clientsBefore + 1 });
      }
    })(),
  "lowers floor": () =>
    new (class extends PlantedStore {
      override compact(compaction: Compaction): void {
        super.compact(compaction);
        this.floor = compaction.floor;
      }
    })(),
  "keeps one tombstone too few": () =>
    new (class extends PlantedStore {
      override floorToKeep(tombstones: number): number {
        return super.floorToKeep(Math.max(0, tombstones - 1));
      }
    })(),
  "keeps the first of a client's records": () =>
    new (class extends PlantedStore {
      override apply(commit: Commit, now: number): number {
        const fresh = [...commit.clients].filter(([client]) => !this.readClient(client));
        return super.apply({ ...commit, clients: new Map(fresh) }, now);
      }
    })(),
  "gives up the latest of many outcomes": () =>
    new (class extends PlantedStore {
      override readClient(clientId: string): ClientRecord | undefined {
        const record = super.readClient(clientId);
        return record && { ...record, outcomes: record.outcomes.slice(0, 1000) };
      }
    })(),
  "cuts a key at its first zero": () =>
    new (class extends PlantedStore {
      override apply(commit: Commit, now: number): number {
        const cut = (change: Change<Json>): Change<Json> => ({ ...change, key: change.key.replace(/\0.*/, "") });
        return super.apply({ ...commit, changes: commit.changes.map(cut) }, now);
      }
    })(),
  "clears its clients' records, too": () =>
    new (class extends PlantedStore {
      override clear(epoch: string): void {
        super.clear(epoch);
        this.compact({ floor: 0, clientsBefore: Infinity });
      }
    })(),
  "goes on in the same history when it is cleared": () =>
    new (class extends PlantedStore {
      override clear(): void {
        super.clear(this.epoch);
      }
    })(),
  "begins at the first seq again when it is cleared": () =>
    new (class extends PlantedStore {
      override clear(epoch: string): void {
        super.clear(epoch);
        this.head = this.floor = 0;
      }
    })(),
  "takes what it is loading for a state": () =>
    new (class extends PlantedStore {
      override load(changes: readonly Change<Json>[]): void {
        super.load(changes);
        super.apply({ seq: this.head, changes: [...changes], clients: new Map() }, 0);
      }
    })(),
  "loads over what was given up": () =>
    new (class extends PlantedStore {
      override beginLoading(): void {}
      override dropLoading(): void {}
    })(),
  "lowers head to what was loaded": () =>
    new (class extends PlantedStore {
      override endLoading(epoch: string, seq: number): void {
        super.endLoading(epoch, seq);
        this.head = this.floor = seq;
      }
    })(),
  "has the same epoch as every other": () => new PlantedStore("epoch"),
  "loses the last commit when it is opened anew": () => new ForgetfulStore(),
  "leaves the beginning of a refused commit": () =>
    new (class extends PlantedStore {
      override apply(commit: Commit, now: number): number {
        for (const change of commit.changes) {
          this.onStep();
          super.apply({ seq: Math.max(this.head, change.seq), changes: [change], clients: new Map() }, now);
        }
        this.onStep();
        return super.apply(commit, now);
      }
    })(),
};

async function failuresOf(newStore: () => PlantedStore): Promise<string[]> {
  const tests: { title: string; run: () => Promise<void> }[] = [];
  const newDisk = (): PrimaryDisk => {
    let store = newStore();
    return {
      use: async (body) =>
        body((onStep = () => {}) => {
          store = store.reopen();
          store.onStep = onStep;
          return store;
        }),
    };
  };
  testPrimaryPersistence((title, run) => tests.push({ title, run }), newDisk, { seed: 1, runs: 60 });
  const failures: string[] = [];
  for (const { title, run } of tests) await run().catch(() => failures.push(title));
  return failures;
}

describe("the contract of a primary's store", () => {
  test("is kept by a store without a planted bug", async () => {
    expect(await failuresOf(() => new PlantedStore())).toEqual([]);
  }, 30_000);

  for (const [name, newStore] of Object.entries(planted)) {
    test(`catches a store that ${name}`, async () => {
      expect(await failuresOf(newStore)).not.toEqual([]);
    }, 30_000);
  }
});
