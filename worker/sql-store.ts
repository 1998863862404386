// The primary's store on SQLite, whoever runs it: a Durable Object (object-database.ts) or Node (node/file-database.ts).
// It knows nothing of machines, sessions or sockets.
//
// An entry is one row and its place in the index by seq; a removed key keeps its row with a null value, as tombstone.
// Head is never written: it is the highest seq among the entries. What is loaded lies in a table of its own, which then takes
// the place of the entries'.

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
  PrimaryPersistence,
} from "../src/store.ts";

/** What a row holds and a parameter may be. */
export type SqlValue = string | number | null;

/** A database as a store uses it. Everything is synchronous, and refusals are thrown. */
export interface SqlDatabase {
  /** The rows of a query, each as the values of its columns; they are read as they are asked for. */
  query<Row extends SqlValue[]>(sql: string, ...parameters: SqlValue[]): Iterable<Row>;
  /** Does one statement; returns how many rows were written, as far as the database tells. */
  run(sql: string, ...parameters: SqlValue[]): number;
  /** Runs `body` in a transaction: it is durable when this returns, and has not happened when this throws. */
  transact<Result>(body: () => Result): Result;
}

const SCHEMA_VERSION = 1;
const ENTRY_COLUMNS = "(key TEXT PRIMARY KEY, value TEXT, seq INTEGER NOT NULL) WITHOUT ROWID";
const INDEX_ENTRIES = "CREATE INDEX IF NOT EXISTS entries_by_seq ON entries (seq)";
const DROP_LOADED = "DROP TABLE IF EXISTS loaded";
const SCHEMA = [
  "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
  `CREATE TABLE IF NOT EXISTS entries ${ENTRY_COLUMNS}`,
  INDEX_ENTRIES,
  DROP_LOADED,
  `CREATE TABLE IF NOT EXISTS clients
    (client_id TEXT PRIMARY KEY, settled INTEGER NOT NULL, outcomes TEXT NOT NULL, touched_at INTEGER NOT NULL)
    WITHOUT ROWID`,
];

/** The platform binds at most 2 MB to a parameter and to a row; a UTF-16 unit is at most three bytes in UTF-8. */
const TEXT_UNITS_MAX = 500_000;

const UPSERT = `ON CONFLICT (key) DO UPDATE SET value = excluded.value, seq = excluded.seq`;
/** How entries are written, many in a list of JSON and one by itself: to the store, or to what is loaded aside. */
const writingTo = (table: "entries" | "loaded"): { many: string; one: string } => ({
  many: `
    INSERT INTO ${table} (key, value, seq)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE true ${UPSERT}`,
  one: `INSERT INTO ${table} (key, value, seq) VALUES (?, ?, ?) ${UPSERT}`,
});
const WRITE_ENTRIES = writingTo("entries");
const WRITE_LOADED = writingTo("loaded");
const WRITE_CLIENTS = `
  INSERT INTO clients (client_id, settled, outcomes, touched_at)
  SELECT value ->> 0, value ->> 1, value ->> 2, ? FROM json_each(?) WHERE true
  ON CONFLICT (client_id) DO UPDATE
  SET settled = excluded.settled, outcomes = excluded.outcomes, touched_at = excluded.touched_at`;

const WRITE_META = `
  INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`;

/** What `meta` says of the store. */
type MetaName = "schema" | "epoch" | "floor";

/** One row of `entries`, raw. */
type EntryRow = [key: string, value: string | null, seq: number];

export class SqlStore implements PrimaryPersistence {
  readonly #database: SqlDatabase;
  #epoch: string;
  #floor: number;
  #head: number;
  /** There is a table for what is loaded. */
  #isLoading = false;
  #counted: { head: number; entries: number } | undefined;

  /** Opens the store, and creates it the first time: a new history begins. */
  constructor(database: SqlDatabase) {
    this.#database = database;
    database.transact(() => this.#create());
    this.#epoch = this.#readMeta("epoch")!;
    this.#floor = Number(this.#readMeta("floor"));
    const [seq] = this.#first("SELECT max(seq) FROM entries") as [number | null];
    this.#head = Math.max(this.#floor, seq ?? 0);
  }

  get epoch(): string {
    return this.#epoch;
  }

  get head(): number {
    return this.#head;
  }

  get floor(): number {
    return this.#floor;
  }

  get(key: string): Entry<Json> | undefined {
    const query = "SELECT value, seq FROM entries WHERE key = ? AND value IS NOT NULL";
    const row = this.#first(query, key) as [value: string, seq: number] | undefined;
    return row && { key, value: row[0], seq: row[1] };
  }

  list(range: Range, limit: number, reverse = false): ListPage {
    return collectEntries(this.#entriesIn(range, reverse), limit);
  }

  readChanges(since: number, tombstonesAfter: number): ChangesPage {
    return collectChanges(this.#changesAfter(since, tombstonesAfter), this.#head);
  }

  readClient(clientId: string): ClientRecord | undefined {
    const query = "SELECT settled, outcomes FROM clients WHERE client_id = ?";
    const row = this.#first(query, clientId) as [settled: number, outcomes: string] | undefined;
    return row && { settled: row[0], outcomes: JSON.parse(row[1]) as OutcomeRecord[] };
  }

  floorToKeep(tombstones: number): number {
    const query = "SELECT seq FROM entries WHERE value IS NULL ORDER BY seq DESC LIMIT 1 OFFSET ?";
    const row = this.#first(query, tombstones) as [seq: number] | undefined;
    return row?.[0] ?? this.#floor;
  }

  hasClients(): boolean {
    return this.#first("SELECT 1 FROM clients LIMIT 1") !== undefined;
  }

  /** Reads every entry's row; where all are counted, once per head. */
  countEntries(range?: Range): number {
    if (range) {
      const [where, ...bounds] = whereIn(range);
      return (this.#first(`SELECT count(*) FROM entries ${where}`, ...bounds) as [number])[0];
    }
    if (this.#counted?.head !== this.#head) {
      const [entries] = this.#first("SELECT count(*) FROM entries WHERE value IS NOT NULL") as [number];
      this.#counted = { head: this.#head, entries };
    }
    return this.#counted.entries;
  }

  apply(commit: Commit, now: number): number {
    const rows = this.#database.transact(
      () => this.#writeEntries(commit.changes, WRITE_ENTRIES) + this.#writeClients(commit.clients, now),
    );
    this.#head = commit.seq;
    return rows;
  }

  compact({ floor, clientsBefore }: Compaction): void {
    const isRaised = floor > this.#floor;
    this.#database.transact(() => {
      this.#database.run("DELETE FROM clients WHERE touched_at < ?", clientsBefore);
      if (!isRaised) return;
      this.#database.run("DELETE FROM entries WHERE value IS NULL AND seq <= ?", floor);
      this.#writeMeta({ floor: String(floor) });
    });
    if (isRaised) this.#floor = floor;
  }

  clear(epoch: string): void {
    this.#beginHistory(epoch, this.#head + 1, ["DELETE FROM entries"]);
  }

  beginLoading(): void {
    this.#database.transact(() => {
      this.#database.run(DROP_LOADED);
      this.#database.run(`CREATE TABLE loaded ${ENTRY_COLUMNS}`);
    });
    this.#isLoading = true;
  }

  load(changes: readonly Change<Json>[]): void {
    this.#database.transact(() => this.#writeEntries(changes, WRITE_LOADED));
  }

  countLoaded(): number {
    if (!this.#isLoading) return 0;
    return (this.#first("SELECT count(*) FROM loaded WHERE value IS NOT NULL") as [number])[0];
  }

  endLoading(epoch: string, seq: number): void {
    const putInPlace = [
      "DELETE FROM loaded WHERE value IS NULL",
      "DROP TABLE entries",
      "ALTER TABLE loaded RENAME TO entries",
      INDEX_ENTRIES,
    ];
    this.#beginHistory(epoch, Math.max(this.#head + 1, seq), putInPlace);
    this.#isLoading = false;
  }

  dropLoading(): void {
    if (!this.#isLoading) return;
    this.#database.transact(() => this.#database.run(DROP_LOADED));
    this.#isLoading = false;
  }

  /** A history begins at `head`, with the entries that the statements leave. */
  #beginHistory(epoch: string, head: number, statements: readonly string[]): void {
    this.#database.transact(() => {
      for (const statement of statements) this.#database.run(statement);
      this.#writeMeta({ epoch, floor: String(head) });
    });
    this.#epoch = epoch;
    this.#head = this.#floor = head;
  }

  #create(): void {
    for (const statement of SCHEMA) this.#database.run(statement);
    const meta = JSON.stringify([
      ["schema", String(SCHEMA_VERSION)],
      ["epoch", crypto.randomUUID()],
      ["floor", "0"],
    ]);
    const statement =
      "INSERT INTO meta SELECT value ->> 0, value ->> 1 FROM json_each(?) WHERE true ON CONFLICT DO NOTHING";
    this.#database.run(statement, meta);
  }

  #readMeta(name: MetaName): string | undefined {
    const row = this.#first("SELECT value FROM meta WHERE name = ?", name) as [string] | undefined;
    return row?.[0];
  }

  #writeMeta(meta: Partial<Record<MetaName, string>>): void {
    for (const [name, value] of Object.entries(meta)) this.#database.run(WRITE_META, name, value);
  }

  #first(query: string, ...parameters: SqlValue[]): SqlValue[] | undefined {
    for (const row of this.#database.query(query, ...parameters)) return row;
    return undefined;
  }

  #writeEntries(changes: readonly Change<Json>[], { many, one }: typeof WRITE_ENTRIES): number {
    let rows = 0;
    const pieces: string[] = [];
    for (const change of changes) {
      const row: EntryRow = [change.key, "value" in change ? change.value : null, change.seq];
      const piece = JSON.stringify(row);
      // Quoting can double a value's size; a large one goes in as it is.
      if (piece.length > TEXT_UNITS_MAX) rows += this.#database.run(one, ...row);
      else pieces.push(piece);
    }
    for (const text of toLists(pieces)) rows += this.#database.run(many, text);
    return rows;
  }

  #writeClients(clients: ReadonlyMap<string, ClientRecord>, now: number): number {
    const pieces = [...clients].map(([clientId, record]) => encodeClient(clientId, record));
    let rows = 0;
    for (const text of toLists(pieces)) rows += this.#database.run(WRITE_CLIENTS, now, text);
    return rows;
  }

  *#changesAfter(since: number, tombstonesAfter: number): Generator<Change<Json>> {
    const query = `
      SELECT key, value, seq FROM entries
      WHERE seq > ? AND (value IS NOT NULL OR seq > ?) ORDER BY seq, key`;
    for (const [key, value, seq] of this.#database.query<EntryRow>(query, since, tombstonesAfter)) {
      yield value === null ? { key, removed: true, seq } : { key, value, seq };
    }
  }

  *#entriesIn(range: Range, reverse: boolean): Generator<Entry<Json>> {
    const [where, ...bounds] = whereIn(range);
    const query = `SELECT key, value, seq FROM entries ${where} ORDER BY key ${reverse ? "DESC" : "ASC"}`;
    for (const [key, value, seq] of this.#database.query<[string, string, number]>(query, ...bounds)) {
      yield { key, value, seq };
    }
  }
}

/** The condition for what is in a range, and what is to be bound in it. */
function whereIn(range: Range): [where: string, ...bounds: string[]] {
  const { lower, upper } = boundsOf(range);
  if (upper === undefined) return ["WHERE key >= ? AND value IS NOT NULL", lower];
  return ["WHERE key >= ? AND key < ? AND value IS NOT NULL", lower, upper];
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
