// The primary's store on the SQLite of a Durable Object. It knows nothing of machines, sessions or sockets.
//
// An entry is one row and its place in the index by seq; a removed key keeps its row with a null value, as tombstone.
// Head is never written: it is the highest seq among the entries.

import { compareKeys } from "../src/kv.ts";
import type { Change, Entry, Json, Range } from "../src/kv.ts";
import { collectChanges, collectEntries } from "../src/store.ts";
import type {
  ChangesPage,
  ClientRecord,
  Commit,
  Compaction,
  ListPage,
  OutcomeRecord,
  PrimaryStore,
} from "../src/store.ts";

const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT, seq INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS entries_by_seq ON entries (seq);
  CREATE TABLE IF NOT EXISTS clients
    (client_id TEXT PRIMARY KEY, settled INTEGER NOT NULL, outcomes TEXT NOT NULL, touched_at INTEGER NOT NULL)
    WITHOUT ROWID;
`;

/** The platform binds at most 2 MB to a parameter and to a row; a UTF-16 unit is at most three bytes in UTF-8. */
const TEXT_UNITS_MAX = 500_000;

const UPSERT = `ON CONFLICT (key) DO UPDATE SET value = excluded.value, seq = excluded.seq`;
const WRITE_ENTRIES = `
  INSERT INTO entries (key, value, seq)
  SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE true ${UPSERT}`;
const WRITE_ENTRY = `INSERT INTO entries (key, value, seq) VALUES (?, ?, ?) ${UPSERT}`;
const WRITE_CLIENTS = `
  INSERT INTO clients (client_id, settled, outcomes, touched_at)
  SELECT value ->> 0, value ->> 1, value ->> 2, ? FROM json_each(?) WHERE true
  ON CONFLICT (client_id) DO UPDATE
  SET settled = excluded.settled, outcomes = excluded.outcomes, touched_at = excluded.touched_at`;

/** One row of `entries`, raw. */
type EntryRow = [key: string, value: string | null, seq: number];

export class SqlStore implements PrimaryStore {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  readonly epoch: string;
  #floor: number;
  #head: number;
  #counted: { head: number; entries: number } | undefined;

  /** Opens the store, and creates it the first time: a new history begins. */
  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
    storage.transactionSync(() => this.#create());
    this.epoch = this.#readMeta("epoch");
    this.#floor = Number(this.#readMeta("floor"));
    const { seq } = this.#sql.exec<{ seq: number | null }>("SELECT max(seq) AS seq FROM entries").one();
    this.#head = Math.max(this.#floor, seq ?? 0);
  }

  get head(): number {
    return this.#head;
  }

  get floor(): number {
    return this.#floor;
  }

  get(key: string): Entry<Json> | undefined {
    const query = "SELECT value, seq FROM entries WHERE key = ? AND value IS NOT NULL";
    const [row] = this.#sql.exec<{ value: string; seq: number }>(query, key);
    return row && { key, ...row };
  }

  list(range: Range, limit: number, reverse = false): ListPage {
    return collectEntries(this.#entriesIn(range, reverse), limit);
  }

  readChanges(since: number, tombstonesAfter: number): ChangesPage {
    return collectChanges(this.#changesAfter(since, tombstonesAfter), this.#head);
  }

  readClient(clientId: string): ClientRecord | undefined {
    const query = "SELECT settled, outcomes FROM clients WHERE client_id = ?";
    const [row] = this.#sql.exec<{ settled: number; outcomes: string }>(query, clientId);
    return row && { settled: row.settled, outcomes: JSON.parse(row.outcomes) as OutcomeRecord[] };
  }

  floorToKeep(tombstones: number): number {
    const query = "SELECT seq FROM entries WHERE value IS NULL ORDER BY seq DESC LIMIT 1 OFFSET ?";
    const [row] = this.#sql.exec<{ seq: number }>(query, tombstones);
    return row?.seq ?? this.#floor;
  }

  /** Gives up what a compaction names, in one transaction. Throws what SQLite says if it refuses. */
  compact({ floor, clientsBefore }: Compaction): void {
    const isRaised = floor > this.#floor;
    this.#storage.transactionSync(() => {
      this.#sql.exec("DELETE FROM clients WHERE touched_at < ?", clientsBefore);
      if (!isRaised) return;
      this.#sql.exec("DELETE FROM entries WHERE value IS NULL AND seq <= ?", floor);
      this.#sql.exec("UPDATE meta SET value = ? WHERE name = 'floor'", String(floor));
    });
    if (isRaised) this.#floor = floor;
  }

  /** Whether there are records whose lease will end. */
  hasClients(): boolean {
    return this.#sql.exec("SELECT 1 FROM clients LIMIT 1").toArray().length > 0;
  }

  /** How many keys there are. Reads every entry's row, once per head. */
  countEntries(): number {
    if (this.#counted?.head !== this.#head) {
      const query = "SELECT count(*) AS entries FROM entries WHERE value IS NOT NULL";
      this.#counted = { head: this.#head, ...this.#sql.exec<{ entries: number }>(query).one() };
    }
    return this.#counted.entries;
  }

  /**
   * Writes a commit in one transaction and returns how many rows that took: they are billed. Throws what SQLite says
   * if it refuses; then nothing has changed.
   */
  apply(commit: Commit, now: number): number {
    const rows = this.#storage.transactionSync(
      () => this.#writeEntries(commit.changes) + this.#writeClients(commit.clients, now),
    );
    this.#head = commit.seq;
    return rows;
  }

  #create(): void {
    this.#sql.exec(SCHEMA);
    const meta = JSON.stringify([
      ["schema", String(SCHEMA_VERSION)],
      ["epoch", crypto.randomUUID()],
      ["floor", "0"],
    ]);
    const query =
      "INSERT INTO meta SELECT value ->> 0, value ->> 1 FROM json_each(?) WHERE true ON CONFLICT DO NOTHING";
    this.#sql.exec(query, meta);
  }

  #readMeta(name: string): string {
    return this.#sql.exec<{ value: string }>("SELECT value FROM meta WHERE name = ?", name).one().value;
  }

  #writeEntries(changes: readonly Change<Json>[]): number {
    let rows = 0;
    const pieces: string[] = [];
    for (const change of changes) {
      const row: EntryRow = [change.key, "value" in change ? change.value : null, change.seq];
      const piece = JSON.stringify(row);
      // Quoting can double a value's size; a large one goes in as it is.
      if (piece.length > TEXT_UNITS_MAX) rows += this.#sql.exec(WRITE_ENTRY, ...row).rowsWritten;
      else pieces.push(piece);
    }
    for (const text of toLists(pieces)) rows += this.#sql.exec(WRITE_ENTRIES, text).rowsWritten;
    return rows;
  }

  #writeClients(clients: ReadonlyMap<string, ClientRecord>, now: number): number {
    const pieces = [...clients].map(([clientId, record]) => encodeClient(clientId, record));
    let rows = 0;
    for (const text of toLists(pieces)) rows += this.#sql.exec(WRITE_CLIENTS, now, text).rowsWritten;
    return rows;
  }

  *#changesAfter(since: number, tombstonesAfter: number): Generator<Change<Json>> {
    const query = `
      SELECT key, value, seq FROM entries
      WHERE seq > ? AND (value IS NOT NULL OR seq > ?) ORDER BY seq, key`;
    for (const [key, value, seq] of this.#sql.exec(query, since, tombstonesAfter).raw<EntryRow>()) {
      yield value === null ? { key, removed: true, seq } : { key, value, seq };
    }
  }

  *#entriesIn(range: Range, reverse: boolean): Generator<Entry<Json>> {
    const { lower, upper } = boundsOf(range);
    const query = `
      SELECT key, value, seq FROM entries
      WHERE key >= ? ${upper === undefined ? "" : "AND key < ?"} AND value IS NOT NULL
      ORDER BY key ${reverse ? "DESC" : "ASC"}`;
    const bounds = upper === undefined ? [lower] : [lower, upper];
    for (const [key, value, seq] of this.#sql.exec(query, ...bounds).raw<[string, string, number]>()) {
      yield { key, value, seq };
    }
  }
}

/** Half of the outcomes of a client that fill a row are given up, the oldest first; a repeat of them is `expired`. */
function encodeClient(clientId: string, { settled, outcomes }: ClientRecord): string {
  const piece = JSON.stringify([clientId, settled, JSON.stringify(outcomes)]);
  if (piece.length <= TEXT_UNITS_MAX) return piece;
  const middle = Math.ceil(outcomes.length / 2);
  return encodeClient(clientId, { settled: outcomes[middle - 1]!.id, outcomes: outcomes.slice(middle) });
}

/** Puts pieces of JSON together to JSON lists that are small enough to be bound. */
function* toLists(pieces: readonly string[]): Generator<string> {
  let list: string[] = [];
  let units = 0;
  for (const piece of pieces) {
    if (list.length > 0 && units + piece.length > TEXT_UNITS_MAX) {
      yield `[${list.join(",")}]`;
      list = [];
      units = 0;
    }
    list.push(piece);
    units += piece.length + 1;
  }
  if (list.length > 0) yield `[${list.join(",")}]`;
}

/** The keys of a range are those from `lower` on and, if it has one, before `upper`. SQLite orders them as kv.ts does. */
function boundsOf({ prefix = "", start = "", end }: Range): { lower: string; upper: string | undefined } {
  const lower = compareKeys(prefix, start) > 0 ? prefix : start;
  const prefixEnd = endOfPrefix(prefix);
  if (end === undefined || prefixEnd === undefined) return { lower, upper: end ?? prefixEnd };
  return { lower, upper: compareKeys(end, prefixEnd) < 0 ? end : prefixEnd };
}

/** The first string after all that begin with `prefix`, in the order of code points; undefined if there is none. */
function endOfPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix);
  while (points.length > 0) {
    const point = points.pop()!.codePointAt(0)!;
    if (point === 0x10ffff) continue;
    // Surrogates are no code points of their own.
    const next = point === 0xd7ff ? 0xe000 : point + 1;
    return points.join("") + String.fromCodePoint(next);
  }
  return undefined;
}
