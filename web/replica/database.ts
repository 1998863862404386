// One IndexedDB database: its transactions one after the other, none without an end, and over a new connection when the
// old one has died. What is in it, is its user's affair.

import { deleteDB, openDB } from "idb";
import type { DBSchema, IDBPDatabase, IDBPTransaction, StoreNames } from "idb";
import { DeadlineError, withDeadline } from "../deadline.ts";
import { LostError } from "./replica-persistence.ts";

/** What takes longer than this is ended: another process, stopped in the middle of a transaction, may stand before it. */
const PATIENCE_MS = 10_000;

const WHAT = "the local database";

export interface DatabaseSettings<Schema extends DBSchema> {
  name: string;
  durability: "relaxed" | "strict";
  /** Makes the stores of a fresh database. There is no other version of it: a new format is a new name. */
  readonly create: (fresh: IDBPDatabase<Schema>) => void;
  /** Looks at a connection before it is used; throws LostError if there is no use in it. */
  readonly opened?: (connection: IDBPDatabase<Schema>) => Promise<void>;
  /** The connection was taken away: someone deletes the database, or the browser does. */
  readonly interrupted?: (reason: string) => void;
}

export class Database<Schema extends DBSchema> {
  readonly #settings: DatabaseSettings<Schema>;
  #connection: IDBPDatabase<Schema> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(settings: DatabaseSettings<Schema>) {
    this.#settings = settings;
  }

  /** Runs after everything that was asked before, whatever became of that. */
  queue<Value>(work: () => Promise<Value>): Promise<Value> {
    const done = this.#last.then(work, work);
    this.#last = done.catch(() => {});
    return done;
  }

  read<Names extends StoreNames<Schema>[], Value>(
    names: Names,
    body: (tx: IDBPTransaction<Schema, Names>) => Promise<Value>,
  ): Promise<Value> {
    return this.#twice(() => this.#transact(names, "readonly", body));
  }

  /**
   * Resolves when it is durable. When it rejects, nothing of it is there; after DeadlineError it may still come, ahead of
   * whatever is asked afterwards. `body` may run twice.
   */
  write<Names extends StoreNames<Schema>[], Value>(
    names: Names,
    body: (tx: IDBPTransaction<Schema, Names, "readwrite">) => Promise<Value>,
  ): Promise<Value> {
    return this.#twice(() => this.#transact(names, "readwrite", body));
  }

  /**
   * The same for a `body` that asks for everything before it waits for anything: then the transaction ends by itself,
   * even if this thread is stopped in the middle of it, and nobody has to wait behind it.
   */
  writeAtOnce<Names extends StoreNames<Schema>[], Value>(
    names: Names,
    body: (tx: IDBPTransaction<Schema, Names, "readwrite">) => Promise<Value>,
  ): Promise<Value> {
    return this.write(names, (tx) => {
      const done = body(tx);
      tx.commit();
      return done;
    });
  }

  /** Waits for what is being written, and lets go. Whatever is asked afterwards rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#last;
    this.#disconnect();
  }

  /** Deletes the database; the next transaction begins a fresh one. */
  destroy(): Promise<void> {
    this.#disconnect();
    return withDeadline(deleteDB(this.#settings.name), PATIENCE_MS, WHAT);
  }

  /** A dead connection is noticed by the first error, so that one does not count. */
  async #twice<Value>(transact: () => Promise<Value>): Promise<Value> {
    try {
      return await transact();
    } catch (error) {
      if (error instanceof LostError || error instanceof DeadlineError) throw error;
      this.#disconnect();
      return transact();
    }
  }

  async #transact<Names extends StoreNames<Schema>[], Mode extends "readonly" | "readwrite", Value>(
    names: Names,
    mode: Mode,
    body: (tx: IDBPTransaction<Schema, Names, Mode>) => Promise<Value>,
  ): Promise<Value> {
    const connection = this.#connection ?? (await this.#connect());
    const tx = connection.transaction(names, mode, { durability: this.#settings.durability });
    tx.done.catch(() => {}); // Whatever it is, `body` or what follows it throws it.
    try {
      const run = async (): Promise<Value> => {
        const value = await body(tx);
        await tx.done;
        return value;
      };
      return await withDeadline(run(), PATIENCE_MS, WHAT);
    } catch (error) {
      try {
        tx.abort();
      } catch {
        // It has ended by itself, or will without us.
      }
      throw error;
    }
  }

  async #connect(): Promise<IDBPDatabase<Schema>> {
    if (this.#isClosed) throw new Error("the database is closed");
    const { name, create, opened } = this.#settings;
    const interrupt = (reason: string): void => {
      void opening.then((connection) => this.#interrupt(connection, reason));
    };
    const opening = openDB<Schema>(name, 1, {
      upgrade: create,
      blocking: () => interrupt("the local database is being deleted"),
      terminated: () => interrupt("the browser has closed the local database"),
    });
    const ready = opening.then(async (connection) => {
      await opened?.(connection);
      return connection;
    });
    try {
      this.#connection = await withDeadline(ready, PATIENCE_MS, WHAT);
      return this.#connection;
    } catch (error) {
      opening.then((late) => late.close()).catch(() => {});
      throw error;
    }
  }

  #interrupt(connection: IDBPDatabase<Schema>, reason: string): void {
    connection.close();
    if (connection !== this.#connection) return;
    this.#connection = undefined;
    this.#settings.interrupted?.(reason);
  }

  #disconnect(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }
}
