// A replica's persistence in IndexedDB. What costs there is the record and the transaction, hardly the byte: so steps
// are appended to a log, one record per transaction, and folded now and then into checkpoint pages of up to 512 entries.
//
//   pages   the state at the checkpoint's cursor, as texts of `packPages`
//   log     what came after: records of whole steps, each with its own epoch, prev and seq
//   meta    the checkpoint: its cursor, the replica's lasting id, and a stamp that names this very checkpoint
//
// Nothing but the transaction itself is awaited inside a transaction.

import { openDB } from "idb";
import type { DBSchema, IDBPDatabase, IDBPTransaction } from "idb";
import { assert } from "../../src/assert.ts";
import { packPages } from "../feed.ts";
import type { StepLines } from "../feed.ts";
import { randomId } from "../random-id.ts";
import type { Checkpoint, Image, ReplicaPersistence, Stored } from "./replica-persistence.ts";

/** Raised with every change of what is stored. A new version is a new database. */
const FORMAT_VERSION = 1;
/** The log is folded when it is longer than this. */
const LOG_RECORDS_MAX = 1000;
const LOG_UNITS_MAX = 4 * 1024 * 1024;
/** Folding waits until nothing was written for so long, unless the log has grown to several times its limit. */
const FOLD_IDLE_MS = 1000;
const FOLD_AT_ONCE = 4;

interface Schema extends DBSchema {
  log: { key: number; value: StepLines[] };
  pages: { key: number; value: string };
  meta: { key: string; value: Checkpoint };
}
type StoreName = "log" | "pages" | "meta";

/** The database does not continue what this replica has written: it was deleted or replaced behind its back. */
class ReplacedError extends Error {
  override readonly name = "ReplacedError";
}

/** The name of the database, and of the lock of its writer. A replica of some prefixes is not one of others. */
export function databaseName(url: string, prefixes: readonly string[] | undefined): string {
  const part = prefixes ? `#${JSON.stringify([...prefixes].sort())}` : "";
  return `headwater:${FORMAT_VERSION}:${url}${part}`;
}

export class IdbStore implements ReplicaPersistence {
  readonly #name: string;
  readonly #durability: "relaxed" | "strict";
  readonly #readImage: () => Image | undefined;
  #db: IDBPDatabase<Schema> | undefined;
  #checkpoint: Checkpoint | undefined;
  #logRecords = 0;
  #logUnits = 0;
  #foldTimer: ReturnType<typeof setTimeout> | undefined;
  /** One transaction after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  /** `readImage` is asked for the whole visible state whenever a checkpoint is due. */
  constructor(name: string, durability: "relaxed" | "strict", readImage: () => Image | undefined) {
    this.#name = name;
    this.#durability = durability;
    this.#readImage = readImage;
  }

  /** Rejects if the database cannot be opened. */
  async load(): Promise<Stored> {
    const db = await this.#open();
    const tx = db.transaction(["log", "pages", "meta"]);
    const [checkpoint, pages, records] = await Promise.all([
      tx.objectStore("meta").get("checkpoint"),
      tx.objectStore("pages").getAll(),
      tx.objectStore("log").getAll(),
      tx.done,
    ]);
    this.#checkpoint = checkpoint;
    this.#logRecords = records.length;
    const steps = records.flat();
    this.#logUnits = steps.reduce((sum, step) => sum + unitsOf(step), 0);
    return { checkpoint, pages, steps };
  }

  persist(steps: StepLines[], secondaryId: string): Promise<void> {
    return this.#queue(async () => {
      clearTimeout(this.#foldTimer);
      if (!this.#checkpoint || steps.some((step) => step.reset)) {
        await this.#writeCheckpoint(secondaryId);
      } else {
        try {
          await this.#append(steps, this.#checkpoint);
        } catch (error) {
          if (!(error instanceof ReplacedError)) throw error;
          await this.#writeCheckpoint(secondaryId);
        }
      }
      this.#scheduleFold(secondaryId);
    });
  }

  checkpoint(secondaryId: string): Promise<void> {
    return this.#queue(() => this.#writeCheckpoint(secondaryId));
  }

  clear(): Promise<void> {
    return this.#queue(async () => {
      await this.#write(["log", "pages", "meta"], async (tx) => {
        await Promise.all([
          tx.objectStore("log").clear(),
          tx.objectStore("pages").clear(),
          tx.objectStore("meta").clear(),
        ]);
      });
      this.#checkpoint = undefined;
      this.#logRecords = this.#logUnits = 0;
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.#foldTimer);
    this.#isClosed = true;
    await this.#last.catch(() => {});
    this.#disconnect();
  }

  #queue(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work, work);
    this.#last = done;
    return done;
  }

  #append(steps: StepLines[], expected: Checkpoint): Promise<void> {
    return this.#write(["log", "meta"], async (tx) => {
      const checkpoint = await tx.objectStore("meta").get("checkpoint");
      if (checkpoint?.stamp !== expected.stamp) throw new ReplacedError();
      await tx.objectStore("log").add(steps);
    }).then(() => {
      this.#logRecords += 1;
      for (const step of steps) this.#logUnits += unitsOf(step);
    });
  }

  async #writeCheckpoint(secondaryId: string): Promise<void> {
    const image = this.#readImage();
    assert(image !== undefined, "a checkpoint is of a state");
    const pages = packPages(image.entries);
    const { epoch, seq } = image;
    const checkpoint: Checkpoint = { secondaryId, epoch, seq, stamp: randomId() };
    await this.#write(["log", "pages", "meta"], async (tx) => {
      const store = tx.objectStore("pages");
      await Promise.all([
        tx.objectStore("log").clear(),
        store.clear(),
        ...pages.map((page, number) => store.put(page, number)),
        tx.objectStore("meta").put(checkpoint, "checkpoint"),
      ]);
    });
    this.#checkpoint = checkpoint;
    this.#logRecords = this.#logUnits = 0;
  }

  #scheduleFold(secondaryId: string): void {
    const fullness = Math.max(this.#logRecords / LOG_RECORDS_MAX, this.#logUnits / LOG_UNITS_MAX);
    if (fullness <= 1 || this.#isClosed) return;
    const delayMs = fullness > FOLD_AT_ONCE ? 0 : FOLD_IDLE_MS;
    // A fold that fails changes nothing, and the next write brings the next one.
    this.#foldTimer = setTimeout(() => void this.checkpoint(secondaryId).catch(() => {}), delayMs);
  }

  /** Runs a transaction; after an error once more, over a new connection. */
  async #write<Names extends StoreName[]>(
    names: Names,
    body: (tx: IDBPTransaction<Schema, Names, "readwrite">) => Promise<void>,
  ): Promise<void> {
    try {
      await this.#transact(names, body);
    } catch (error) {
      if (error instanceof ReplacedError) throw error;
      this.#disconnect();
      await this.#transact(names, body);
    }
  }

  async #transact<Names extends StoreName[]>(
    names: Names,
    body: (tx: IDBPTransaction<Schema, Names, "readwrite">) => Promise<void>,
  ): Promise<void> {
    const db = await this.#open();
    const tx = db.transaction(names, "readwrite", { durability: this.#durability });
    const done = tx.done;
    try {
      await body(tx);
    } catch (error) {
      done.catch(() => {});
      try {
        tx.abort();
      } catch {
        // It has aborted by itself, for the same reason.
      }
      throw error;
    }
    await done;
  }

  async #open(): Promise<IDBPDatabase<Schema>> {
    if (this.#db) return this.#db;
    if (this.#isClosed) throw new Error("the database is closed");
    const db = await openDB<Schema>(this.#name, 1, {
      upgrade(fresh) {
        fresh.createObjectStore("log", { autoIncrement: true });
        fresh.createObjectStore("pages");
        fresh.createObjectStore("meta");
      },
      // Somebody wants to delete the database; the next write opens what is there then.
      blocking: () => this.#disconnect(),
      terminated: () => {
        if (this.#db === db) this.#db = undefined;
      },
    });
    this.#db = db;
    return db;
  }

  #disconnect(): void {
    this.#db?.close();
    this.#db = undefined;
  }
}

const unitsOf = (step: StepLines): number => step.lines.reduce((sum, line) => sum + line.length, 0);
