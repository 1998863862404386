// SQLite in a file, by Node's own binding. A transaction is on disk when it returns: the write-ahead log is flushed with
// every commit. One process at a time has the file, because two primaries of one store would be two histories.

import { DatabaseSync } from "node:sqlite";
import type { StatementSync } from "node:sqlite";
import { CommitInDoubtError } from "../../src/store.ts";
import type { SqlDatabase, SqlValue } from "../sql-store.ts";

// SQLite's own codes; the upper bits of an extended one tell the kind of I/O error.
const SQLITE_IOERR = 10;
const SQLITE_FULL = 13;

export class FileDatabase implements SqlDatabase {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  /** Opens the file, or creates it. Throws if another process has it. */
  constructor(path: string) {
    this.#database = new DatabaseSync(path);
    try {
      for (const setting of ["locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"]) {
        this.#database.exec(`PRAGMA ${setting}`);
      }
      // The lock is taken with the first transaction and kept from then on.
      this.#database.exec("BEGIN IMMEDIATE; COMMIT");
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  *query<Row extends SqlValue[]>(sql: string, ...parameters: SqlValue[]): Generator<Row> {
    yield* this.#prepare(sql).iterate(...parameters) as Iterable<unknown> as Iterable<Row>;
  }

  /** The rows of indexes are not counted. */
  run(sql: string, ...parameters: SqlValue[]): number {
    try {
      return Number(this.#prepare(sql).run(...parameters).changes);
    } catch (error) {
      throw toRefusal(error);
    }
  }

  transact<Result>(body: () => Result): Result {
    this.#database.exec("BEGIN IMMEDIATE");
    let result: Result;
    try {
      result = body();
    } catch (error) {
      // After some errors SQLite has rolled back by itself.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
    this.#commit();
    return result;
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }

  #commit(): void {
    try {
      this.#database.exec("COMMIT");
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      // Where flushing fails, the end of the log may be on disk and be found there by whoever opens the file next.
      if ((codeOf(error) & 0xff) === SQLITE_IOERR) {
        throw new CommitInDoubtError("the disk has failed in the middle of a commit", { cause: error });
      }
      throw toRefusal(error);
    }
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#database.prepare(sql);
      statement.setReturnArrays(true);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

const codeOf = (error: unknown): number => (error as { errcode?: number } | null)?.errcode ?? 0;

/** Names a full disk as a Durable Object does. */
function toRefusal(error: unknown): unknown {
  if (codeOf(error) !== SQLITE_FULL) return error;
  return new Error("database or disk is full: SQLITE_FULL", { cause: error });
}
