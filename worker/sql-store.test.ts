import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type { Change, Json } from "../src/kv.ts";
import { OUTCOMES_PER_CLIENT_MAX } from "../src/limits.ts";
import type { ClientRecord, Commit } from "../src/store.ts";
import { testPrimaryPersistence } from "../src/testing/primary-store-contract.ts";
import type { OpenPrimary, PrimaryDisk } from "../src/testing/primary-store-contract.ts";
import { doStep } from "../src/testing/store-steps.ts";
import type { StoreStep } from "../src/testing/store-steps.ts";
import type { AppEnv } from "./app.ts";
import { ObjectDatabase } from "./object-database.ts";
import { SqlStore } from "./sql-store.ts";
import type { SqlDatabase, SqlValue } from "./sql-store.ts";
import { SteppedDatabase } from "./testing/stepped-database.ts";

/** A test of the contract does thousands of things. */
const TEST_MS = 60_000;

let objectsUsed = 0;

/** The object is a primary, which gives up what it finds half loaded: a store that is put to the test has other tables. */
class OtherTables implements SqlDatabase {
  readonly #database: SqlDatabase;

  constructor(database: SqlDatabase) {
    this.#database = database;
  }

  query<Row extends SqlValue[]>(sql: string, ...parameters: SqlValue[]): Iterable<Row> {
    return this.#database.query<Row>(inOtherTables(sql), ...parameters);
  }

  run(sql: string, ...parameters: SqlValue[]): number {
    return this.#database.run(inOtherTables(sql), ...parameters);
  }

  transact<Result>(body: () => Result): Result {
    return this.#database.transact(body);
  }
}

const inOtherTables = (sql: string): string => sql.replace(/\b(meta|entries|entries_by_seq|clients)\b/g, "other_$1");

/** The storage of a real object of its own. */
class ObjectDisk implements PrimaryDisk {
  readonly #name = `sql-store-${objectsUsed++}`;

  /** Runs a test where the storage is. */
  run<Result>(test: (state: DurableObjectState) => Result | Promise<Result>): Promise<Result> {
    // A stub does not outlive the abort of its object.
    const stub = (env as AppEnv).PRIMARY.getByName(this.#name);
    return runInDurableObject(stub, (_instance, state) => test(state));
  }

  use<Result>(body: (open: OpenPrimary) => Result): Promise<Result> {
    return this.run(({ storage }) =>
      body((onStep) => {
        const database = new OtherTables(new ObjectDatabase(storage));
        return new SqlStore(new SteppedDatabase(database, (isOver) => void (isOver || onStep?.())));
      }),
    );
  }
}

/** The object is aborted where it stands: what it had not told anybody yet may or may not be on disk. */
async function crash(disk: ObjectDisk, steps: readonly StoreStep[], boundary: number): Promise<boolean> {
  let hasCrashed = false;
  const end = disk.run((state) => {
    let left = -1;
    const database = new SteppedDatabase(new OtherTables(new ObjectDatabase(state.storage)), () => {
      if (left < 0 || left-- > 0) return;
      hasCrashed = true;
      state.abort("crashed by the test");
    });
    const store = new SqlStore(database);
    for (const step of steps.slice(0, -1)) doStep(store, step);
    return state.storage.sync().then(() => {
      left = boundary;
      doStep(store, steps.at(-1)!);
    });
  });
  await end.catch((error: unknown) => {
    if (!hasCrashed) throw error;
  });
  return hasCrashed;
}

const withStorage = <Result>(test: (storage: DurableObjectStorage) => Result): Promise<Result> =>
  new ObjectDisk().run(({ storage }) => test(storage));

const commitOf = (seq: number, changes: Change<Json>[], clients: [string, ClientRecord][] = []): Commit => ({
  seq,
  changes,
  clients: new Map(clients),
});

const inserted = (key: string, value: Json, seq: number): Change<Json> => ({ key, value, seq });
const removed = (key: string, seq: number): Change<Json> => ({ key, removed: true, seq });

describe("a store in a Durable Object", () => {
  testPrimaryPersistence(
    (title, run) => it(title, run, TEST_MS),
    () => new ObjectDisk(),
    { seed: 20_261_020, runs: 100, crash },
  );

  it("keeps a client's record within a row, giving up the oldest outcomes", async () => {
    await withStorage((storage) => {
      const store = new SqlStore(new ObjectDatabase(storage));
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
      const store = new SqlStore(new ObjectDatabase(storage));
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
