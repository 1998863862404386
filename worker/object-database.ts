// SQLite as a Durable Object has it. What a transaction has written is on disk before anything leaves the object: the
// platform's output gate holds it back.

import type { SqlDatabase, SqlValue } from "./sql-store.ts";

export class ObjectDatabase implements SqlDatabase {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  query<Row extends SqlValue[]>(sql: string, ...parameters: SqlValue[]): Iterable<Row> {
    return this.#storage.sql.exec(sql, ...parameters).raw<Row>();
  }

  /** The rows include those of indexes: all of them are billed. */
  run(sql: string, ...parameters: SqlValue[]): number {
    return this.#storage.sql.exec(sql, ...parameters).rowsWritten;
  }

  transact<Result>(body: () => Result): Result {
    return this.#storage.transactionSync(body);
  }
}
