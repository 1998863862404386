import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareKeys } from "../src/kv.ts";
import type { Change, Json, Range } from "../src/kv.ts";
import { BATCH_OPERATIONS_MAX, OUTCOMES_PER_CLIENT_MAX, PART_CHANGES_MAX, VALUE_BYTES_MAX } from "../src/limits.ts";
import { MemoryStore } from "../src/store.ts";
import type { ClientRecord, Commit, PrimaryStore } from "../src/store.ts";
import type { AppEnv } from "./app.ts";
import { SqlStore } from "./sql-store.ts";

const SEED = 20_261_020;

let storesUsed = 0;

/** Runs a test where it has the storage of a real object of its own. */
function withStorage<Result>(test: (storage: DurableObjectStorage) => Result): Promise<Result> {
  storesUsed += 1;
  const stub = (env as AppEnv).PRIMARY.getByName(`sql-store-${storesUsed}`);
  return runInDurableObject(stub, (_instance, state) => test(state.storage));
}

const commitOf = (seq: number, changes: Change<Json>[], clients: [string, ClientRecord][] = []): Commit => ({
  seq,
  changes,
  clients: new Map(clients),
});

const inserted = (key: string, value: Json, seq: number): Change<Json> => ({ key, value, seq });
const removed = (key: string, seq: number): Change<Json> => ({ key, removed: true, seq });

// Where the order of code points is not that of UTF-16, where text ends early in C, and what SQL and JSON quote.
const LETTERS = ["a", "b", "\0", "'", '"', "\\", "é", "\ud7ff", "\ue000", "\uffff", "😀", "\u{10ffff}"];
const keys = fc.array(fc.constantFrom(...LETTERS), { minLength: 1, maxLength: 3 }).map((letters) => letters.join(""));
const values = fc.oneof(
  fc.jsonValue().map((value) => JSON.stringify(value)),
  fc.constantFrom('"\\u0000"', "null", "0", '"\\""'),
);
const ranges: fc.Arbitrary<Range> = fc.record({ prefix: keys, start: keys, end: keys }, { requiredKeys: [] });

/** An atomic write: the keys that it sets, or removes where there is no value. */
type Drawn = { key: string; value: string | null }[];
/** A commit: some atomic writes, and which clients get a record. */
interface DrawnCommit {
  writes: Drawn[];
  clients: string[];
}
const drawnCommits: fc.Arbitrary<DrawnCommit[]> = fc.array(
  fc.record({
    writes: fc.array(fc.array(fc.record({ key: keys, value: fc.option(values) }), { minLength: 1, maxLength: 5 }), {
      maxLength: 4,
    }),
    clients: fc.uniqueArray(fc.constantFrom("ann", "ben", "cy"), { maxLength: 2 }),
  }),
  { maxLength: 8 },
);

/** Makes commits of what was drawn, as the machine does: a seq per write, one change per key, in the order of seqs. */
function toCommits(drawn: readonly DrawnCommit[]): Commit[] {
  let seq = 0;
  return drawn.map(({ writes, clients }) => {
    const changes = new Map<string, Change<Json>>();
    for (const write of writes) {
      seq += 1;
      for (const { key, value } of write) {
        changes.delete(key);
        changes.set(key, value === null ? removed(key, seq) : inserted(key, value, seq));
      }
    }
    const records = clients.map((clientId): [string, ClientRecord] => [
      clientId,
      {
        settled: seq,
        outcomes: [
          { id: seq + 1, seq },
          { id: seq + 2, code: "conflict", check: { key: "é\0", seq } },
        ],
      },
    ]);
    return commitOf(seq, [...changes.values()], records);
  });
}

/** All that is changed after `since`, page by page. */
function walk(store: PrimaryStore, since: number, tombstonesAfter: number): Change<Json>[] {
  const changes: Change<Json>[] = [];
  for (let at = since, isEnd = false; !isEnd;) {
    const page = store.readChanges(at, tombstonesAfter);
    changes.push(...page.changes);
    ({ isEnd, seq: at } = page);
  }
  return changes;
}

const byPlace = (a: Change<Json>, b: Change<Json>): number => a.seq - b.seq || compareKeys(a.key, b.key);

describe("a store on SQLite", () => {
  it("answers every read as the store in memory does, whatever was committed, and again when it is reopened", async () => {
    await withStorage((storage) => {
      const property = fc.property(drawnCommits, fc.array(ranges), fc.nat(8), (drawn, asked, since) => {
        storage.sql.exec("DELETE FROM entries");
        storage.sql.exec("DELETE FROM clients");
        const sql = new SqlStore(storage);
        const memory = new MemoryStore(sql.epoch);
        for (const commit of toCommits(drawn)) {
          sql.apply(commit, 1);
          memory.apply(commit, 1);
        }
        for (const store of [sql, new SqlStore(storage)]) {
          expect(store.head).toBe(memory.head);
          expect(store.floor).toBe(memory.floor);
          expect(store.epoch).toBe(memory.epoch);
          for (const key of LETTERS) expect(store.get(key)).toEqual(memory.get(key));
          for (const client of ["ann", "ben", "cy"])
            expect(store.readClient(client)).toEqual(memory.readClient(client));
          for (const after of [0, since]) {
            expect(walk(store, since, after)).toEqual(walk(memory, since, after).sort(byPlace));
          }
          for (const range of [{}, ...asked]) {
            for (const [limit, reverse] of [
              [3, false],
              [3, true],
              [1000, false],
            ] as const) {
              expect(store.list(range, limit, reverse)).toEqual(memory.list(range, limit, reverse));
            }
          }
          expect(store.countEntries()).toBe(memory.list({}, Infinity).entries.length);
        }
      });
      fc.assert(property, { seed: SEED, numRuns: 150 });
    });
  });

  it("lists by a prefix that ends in the last letter before, or among, those that Unicode leaves out", async () => {
    await withStorage((storage) => {
      const store = new SqlStore(storage);
      const all = ["a\ud7ff", "a\ud7ffz", "a\ue000", "a\u{10ffff}", "a\u{10ffff}z", "b", "\u{10ffff}", "\u{10ffff}x"];
      store.apply(
        commitOf(
          1,
          all.map((key) => inserted(key, "1", 1)),
        ),
        1,
      );
      const list = (prefix: string, reverse: boolean): string[] =>
        store.list({ prefix }, 100, reverse).entries.map(({ key }) => key);
      for (const prefix of ["a", "a\ud7ff", "a\u{10ffff}", "\u{10ffff}"]) {
        const expected = all.filter((key) => key.startsWith(prefix));
        expect(list(prefix, false)).toEqual(expected);
        expect(list(prefix, true)).toEqual(expected.toReversed());
      }
    });
  });

  it("reads changes in pages that are full and never split a seq", async () => {
    await withStorage((storage) => {
      const store = new SqlStore(storage);
      const batch = (seq: number, size: number): Commit =>
        commitOf(
          seq,
          Array.from({ length: size }, (_, i) => inserted(`${seq}-${i}`, "1", seq)),
        );
      store.apply(batch(1, PART_CHANGES_MAX - 1), 1);
      store.apply(batch(2, BATCH_OPERATIONS_MAX), 1);
      store.apply(batch(3, 1), 1);
      const first = store.readChanges(0, 0);
      expect([first.changes.length, first.seq, first.isEnd]).toEqual([PART_CHANGES_MAX * 2 - 1, 2, false]);
      const second = store.readChanges(first.seq, 0);
      expect([second.changes.length, second.seq, second.isEnd]).toEqual([1, 3, true]);
    });
  });

  it("goes on writing while many walks were left in the middle", async () => {
    await withStorage((storage) => {
      const store = new SqlStore(storage);
      const keysOf = (seq: number): Change<Json>[] =>
        Array.from({ length: 1500 }, (_, i) => inserted(`${i}`, "1", seq + i));
      store.apply(commitOf(1500, keysOf(1)), 1);
      for (let i = 0; i < 300; i++) {
        expect(store.readChanges(0, 0).isEnd).toBe(false);
        expect(store.list({}, 1).hasMore).toBe(true);
        store.apply(commitOf(store.head + 1, [inserted("0", `${i}`, store.head + 1)]), 1);
      }
      expect(new SqlStore(storage).get("0")).toEqual({ key: "0", value: "299", seq: 1800 });
    });
  });

  it("C3: gives up what a compaction names, and stands where it stood", async () => {
    await withStorage((storage) => {
      const store = new SqlStore(storage);
      for (let seq = 1; seq <= 4; seq++) {
        store.apply(
          commitOf(seq, [{ key: `k${seq}`, removed: true, seq }], [[`c${seq}`, { settled: 0, outcomes: [] }]]),
          seq,
        );
      }
      expect([0, 1, 3, 4].map((kept) => store.floorToKeep(kept))).toEqual([4, 3, 1, 0]);
      store.compact({ floor: 3, clientsBefore: 3 });
      for (const one of [store, new SqlStore(storage)]) {
        expect([one.floor, one.head]).toEqual([3, 4]);
        expect(one.readChanges(3, 0).changes).toEqual([{ key: "k4", removed: true, seq: 4 }]);
        expect([2, 3].map((client) => one.readClient(`c${client}`) !== undefined)).toEqual([false, true]);
      }
      store.compact({ floor: 4, clientsBefore: 0 });
      for (const one of [store, new SqlStore(storage)]) expect([one.floor, one.head]).toEqual([4, 4]);
      expect(store.hasClients()).toBe(true);
    });
  });

  it("leaves nothing of a transaction that SQLite refuses", async () => {
    await withStorage((storage) => {
      const store = new SqlStore(storage);
      store.apply(commitOf(1, [inserted("a", "1", 1)]), 1);
      storage.sql.exec(`
        CREATE TRIGGER full BEFORE INSERT ON clients WHEN NEW.client_id = 'last'
        BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`);
      const record: ClientRecord = { settled: 0, outcomes: [{ id: 1, seq: 2 }] };
      const commit = commitOf(
        2,
        [inserted("a", "2", 2), inserted("b", "2", 2)],
        [
          ["first", record],
          ["last", record],
        ],
      );
      expect(() => store.apply(commit, 1)).toThrow("the disk is full");
      for (const one of [store, new SqlStore(storage)]) {
        expect(one.head).toBe(1);
        expect(one.list({}, 10).entries).toEqual([{ key: "a", value: "1", seq: 1 }]);
        expect(one.readClient("first")).toBeUndefined();
      }
      storage.sql.exec("DROP TRIGGER full");
      store.apply(commit, 1);
      expect(store.get("b")).toEqual({ key: "b", value: "2", seq: 2 });
    });
  });

  it("takes the largest value and the largest batch, however much quoting them costs", async () => {
    await withStorage((storage) => {
      const store = new SqlStore(storage);
      const largest = `"${'\\"'.repeat(VALUE_BYTES_MAX / 2 - 1)}"`;
      expect(largest.length).toBe(VALUE_BYTES_MAX);
      store.apply(
        commitOf(
          1,
          [0, 1, 2, 3].map((i) => inserted(`big-${i}`, largest, 1)),
        ),
        1,
      );
      const wide = JSON.stringify("😀\ufffd".repeat(30_000));
      store.apply(
        commitOf(
          2,
          [0, 1, 2, 3, 4].map((i) => inserted(`wide-${i}`, wide, 2)),
        ),
        1,
      );
      expect(store.get("big-3")?.value).toBe(largest);
      expect(store.get("wide-4")?.value).toBe(wide);
    });
  });

  it("keeps a client's record within a row, giving up the oldest outcomes", async () => {
    await withStorage((storage) => {
      const store = new SqlStore(storage);
      const check = { key: "é".repeat(512), seq: 1 };
      const outcomes = Array.from(
        { length: OUTCOMES_PER_CLIENT_MAX },
        (_, i) => ({ id: i + 1, code: "conflict", check }) as const,
      );
      store.apply(commitOf(0, [], [["ann", { settled: 0, outcomes }]]), 1);
      const record = store.readClient("ann")!;
      expect(record.outcomes.at(-1)).toEqual({ id: OUTCOMES_PER_CLIENT_MAX, code: "conflict", check });
      expect(record.settled).toBe(record.outcomes[0]!.id - 1);
      const { bytes } = storage.sql
        .exec<{ bytes: number }>("SELECT max(octet_length(outcomes)) AS bytes FROM clients")
        .one();
      expect(bytes).toBeLessThan(2_000_000);
    });
  });

  it("writes two rows for an Insert, and one more for the record of a client who can ask again", async () => {
    await withStorage((storage) => {
      const store = new SqlStore(storage);
      const record: [string, ClientRecord][] = [["ann", { settled: 0, outcomes: [{ id: 1, seq: 2 }] }]];
      expect(store.apply(commitOf(1, [inserted("a", "1", 1)]), 1)).toBe(2);
      expect(store.apply(commitOf(2, [inserted("b", "1", 2)], record), 1)).toBe(3);
      const figures = {
        overwrite: store.apply(commitOf(3, [inserted("a", "2", 3)]), 1),
        remove: store.apply(commitOf(4, [removed("a", 4)]), 1),
        batchOf100: store.apply(
          commitOf(
            5,
            Array.from({ length: 100 }, (_, i) => inserted(`k${i}`, "1", 5)),
          ),
          1,
        ),
        recordAlone: store.apply(commitOf(5, [], record), 1),
      };
      expect(figures).toEqual({ overwrite: 2, remove: 2, batchOf100: 200, recordAlone: 1 });
    });
  });
});
