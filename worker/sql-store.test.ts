import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Change, Json, Range } from "../src/kv.ts";
import { BATCH_OPERATIONS_MAX, PART_CHANGES_MAX, VALUE_BYTES_MAX } from "../src/limits.ts";
import { MemoryStore } from "../src/store.ts";
import type { ChangesPage, ClientRecord, Commit, PrimaryStore } from "../src/store.ts";
import type { AppEnv } from "./app.ts";
import { SqlStore } from "./sql-store.ts";

let stores = 0;

/** Runs a test where it has a real store of its own. */
function withStorage<Result>(test: (storage: DurableObjectStorage) => Result): Promise<Result> {
  stores += 1;
  const stub = (env as AppEnv).PRIMARY.getByName(`sql-store-${stores}`);
  return runInDurableObject(stub, (_instance, state) => test(state.storage));
}

const commitOf = (seq: number, changes: Change<Json>[], clients: [string, ClientRecord][] = []): Commit => ({
  seq,
  changes,
  clients: new Map(clients),
});

const insert = (key: string, value: Json, seq: number): Change<Json> => ({ key, value, seq });

// Where the order of code points is not that of UTF-16, where text ends early in C, and what SQL and JSON quote.
const letters = ["a", "b", "\0", "'", '"', "\\", "é", "\ud7ff", "\ue000", "\uffff", "😀", "\u{10ffff}"];
const keys = fc.array(fc.constantFrom(...letters), { minLength: 1, maxLength: 3 }).map((parts) => parts.join(""));
const values = fc.oneof(
  fc.jsonValue().map((value) => JSON.stringify(value)),
  fc.constantFrom('"\\u0000"', "null", '"\\""'),
);
const writes = fc.array(fc.record({ key: keys, value: fc.option(values) }), { maxLength: 6 });
const records = fc.array(fc.tuple(fc.constantFrom("ann", "ben"), fc.nat(3)), { maxLength: 2 });
/** Each group is one commit of several atomic writes. */
const groups = fc.array(fc.tuple(fc.array(writes, { maxLength: 3 }), records), { maxLength: 8 });
const ranges: fc.Arbitrary<Range> = fc.record({ prefix: keys, start: keys, end: keys }, { requiredKeys: [] });

/** Turns groups into commits as the machine does: one seq per write that changes something, one change per key. */
function toCommits(drawn: (typeof groups)["_"] extends never ? never : fc.TypeOf<typeof groups>): Commit[] {
  return [];
}
