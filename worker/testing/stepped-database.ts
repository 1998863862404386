// A database that tells of every boundary in its transactions, for tests that stop one there.

import type { SqlDatabase, SqlValue } from "../sql-store.ts";

export class SteppedDatabase implements SqlDatabase {
  readonly #database: SqlDatabase;
  readonly #onStep: (isOver: boolean) => void;

  /** `onStep` is called before and after every write; at the end of a transaction with `isOver`. */
  constructor(database: SqlDatabase, onStep: (isOver: boolean) => void) {
    this.#database = database;
    this.#onStep = onStep;
  }

  query<Row extends SqlValue[]>(sql: string, ...parameters: SqlValue[]): Iterable<Row> {
    return this.#database.query<Row>(sql, ...parameters);
  }

  run(sql: string, ...parameters: SqlValue[]): number {
    const rows = this.#database.run(sql, ...parameters);
    this.#onStep(false);
    return rows;
  }

  transact<Result>(body: () => Result): Result {
    this.#onStep(false);
    const result = this.#database.transact(() => {
      this.#onStep(false);
      return body();
    });
    this.#onStep(true);
    return result;
  }
}
