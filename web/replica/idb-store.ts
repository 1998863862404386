// A replica's persistence in IndexedDB. What costs there is the record and the transaction, hardly the byte: so steps
// are appended to a log, one record per transaction, and folded now and then into checkpoint pages of up to 512 entries.
//
//   pages   the state at the checkpoint's cursor, as texts of `packPages`
//   log     what came after: records of whole steps, each with its own epoch, prev and seq
//   meta    the checkpoint: its cursor and the replica's lasting id; the term: a random name that whoever claims the
//           database gives to the time of his rule; and the terms that are over
//
// A replica that was thought dead, and wakes up in the middle of a write, must change nothing (a fencing token). So each
// transaction that writes first adds its own term to those that are over, which fails if it is one, and takes it back. No
// answer has to be awaited for that: a writer that is frozen leaves no open transaction, before which others would wait.
//
// Nothing but the transaction itself is awaited inside a transaction.

import { deleteDB } from "idb";
import type { DBSchema, IDBPTransaction } from "idb";
import { assert } from "../../src/assert.ts";
import type { Entry } from "../../src/kv.ts";
import { packPages } from "../feed.ts";
import type { ReplicaSettings, StepLines } from "../feed.ts";
import { randomId } from "../random-id.ts";
import { Database } from "./database.ts";
import { tryLock } from "./lock.ts";
import { LostError } from "./replica-persistence.ts";
import type { Checkpoint, Image, ReplicaPersistence, Stored } from "./replica-persistence.ts";
import { findStoredEntry } from "./stored-entry.ts";

/** Raised with every change of what is stored. A new version is a new database. */
const FORMAT_VERSION = 2;
/** The log is folded when it is longer than this. */
const LOG_RECORDS_MAX = 1000;
const LOG_UNITS_MAX = 4 * 1024 * 1024;
/** Folding waits until nothing was written for so long, unless the log has grown to several times its limit. */
const FOLD_IDLE_MS = 1000;
const FOLD_AT_ONCE = 4;
interface Schema extends DBSchema {
  log: { key: number; value: StepLines[] };
  pages: { key: number; value: string };
  meta: { key: string; value: Checkpoint | Term };
}
interface Term {
  term: string;
}
type Transaction = IDBPTransaction<Schema, StoreName[], "readwrite">;
type StoreName = "log" | "pages" | "meta";
const STORES: StoreName[] = ["log", "pages", "meta"];

/** So many terms that are over are remembered. */
const OVER_MAX = 1000;
const overKey = (term: string): string => `over:${term}`;

export type CopyName = Pick<ReplicaSettings, "url" | "identity" | "prefixes">;

/** The name of the database, and of the lock of its writer. A replica of some prefixes is not one of others. */
export function databaseName({ url, identity, prefixes }: CopyName, version = FORMAT_VERSION): string {
  const part = prefixes ? `#${JSON.stringify([...prefixes].sort())}` : "";
  return `headwater:${version}:${ownersName(url, identity)}${part}`;
}

/** A store as one person has it, in names of what this browser keeps of it. */
export function ownersName(url: string, identity: string | undefined): string {
  return identity === undefined ? url : `${url}#${encodeURIComponent(identity)}`;
}

/** Deletes what older versions have left, unless one of them is still open somewhere. */
export async function deleteOldDatabases(copy: CopyName): Promise<void> {
  const present = new Set((await indexedDB.databases()).map(({ name }) => name));
  for (let version = 1; version < FORMAT_VERSION; version++) {
    const name = databaseName(copy, version);
    if (!present.has(name)) continue;
    const tenure = await tryLock(name, () => true);
    if (tenure) await deleteDB(name).finally(tenure.release);
  }
}

export class IdbStore implements ReplicaPersistence {
  readonly #db: Database<Schema>;
  readonly #readImage: () => Image | undefined;
  readonly #term = randomId();
  #hasClaimed = false;
  #hasCheckpoint = false;
  #logRecords = 0;
  #logUnits = 0;
  #foldTimer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  /**
   * `readImage` is asked for the whole visible state whenever a checkpoint is due. `interrupted` is called when the
   * database is taken away from under the store, by a person or by the browser.
   */
  constructor(
    name: string,
    durability: "relaxed" | "strict",
    readImage: () => Image | undefined,
    interrupted: (reason: string) => void = () => {},
  ) {
    this.#readImage = readImage;
    this.#db = new Database({
      name,
      durability,
      create(fresh) {
        fresh.createObjectStore("log", { autoIncrement: true });
        fresh.createObjectStore("pages");
        fresh.createObjectStore("meta");
      },
      opened: async (connection) => {
        const found = this.#hasClaimed ? await connection.get("meta", "term") : undefined;
        if (this.#hasClaimed && !isTerm(found, this.#term)) throw new LostError("the local database was replaced");
      },
      interrupted,
    });
  }

  load(): Promise<Stored> {
    return this.#db.queue(() => this.#db.read(STORES, readAll));
  }

  find(key: string): Promise<Entry | undefined> {
    return this.#db.queue(() => this.#db.read(STORES, (tx) => findIn(tx, key)));
  }

  async claim(): Promise<Stored> {
    this.#hasClaimed = false;
    const stored = await this.#db.queue(() =>
      this.#db.write(STORES, async (tx) => {
        const [stored] = await Promise.all([readAll(tx), this.#beginTerm(tx)]);
        return stored;
      }),
    );
    this.#hasClaimed = true;
    this.#hasCheckpoint = stored.checkpoint !== undefined;
    this.#logRecords = stored.records;
    this.#logUnits = stored.steps.reduce((sum, step) => sum + unitsOf(step), 0);
    return stored;
  }

  persist(steps: StepLines[], secondaryId: string): Promise<void> {
    return this.#db.queue(async () => {
      clearTimeout(this.#foldTimer);
      if (!this.#hasCheckpoint || steps.some((step) => step.reset)) await this.#writeCheckpoint(secondaryId);
      else await this.#append(steps);
      this.#scheduleFold(secondaryId);
    });
  }

  checkpoint(secondaryId: string): Promise<void> {
    return this.#db.queue(() => this.#writeCheckpoint(secondaryId));
  }

  clear(): Promise<void> {
    return this.#db.queue(async () => {
      await this.#write((tx) => [
        tx.objectStore("log").clear(),
        tx.objectStore("pages").clear(),
        tx.objectStore("meta").delete("checkpoint"),
      ]);
      this.#hasCheckpoint = false;
      this.#logRecords = this.#logUnits = 0;
    });
  }

  /** Deletes the database, which the browser itself cannot read any more. */
  destroy(): Promise<void> {
    return this.#db.queue(() => this.#db.destroy());
  }

  async close(): Promise<void> {
    clearTimeout(this.#foldTimer);
    this.#isClosed = true;
    await this.#db.close();
  }

  async #append(steps: StepLines[]): Promise<void> {
    await this.#write((tx) => [tx.objectStore("log").add(steps)]);
    this.#logRecords += 1;
    for (const step of steps) this.#logUnits += unitsOf(step);
  }

  async #writeCheckpoint(secondaryId: string): Promise<void> {
    const image = this.#readImage();
    assert(image !== undefined, "a checkpoint is of a state");
    const pages = packPages(image.entries);
    const { epoch, seq } = image;
    await this.#write((tx) => {
      const store = tx.objectStore("pages");
      return [
        tx.objectStore("log").clear(),
        store.clear(),
        ...pages.map((page, number) => store.put(page, number)),
        tx.objectStore("meta").put({ secondaryId, epoch, seq }, "checkpoint"),
      ];
    });
    this.#hasCheckpoint = true;
    this.#logRecords = this.#logUnits = 0;
  }

  #scheduleFold(secondaryId: string): void {
    const fullness = Math.max(this.#logRecords / LOG_RECORDS_MAX, this.#logUnits / LOG_UNITS_MAX);
    if (fullness <= 1 || this.#isClosed) return;
    const delayMs = fullness > FOLD_AT_ONCE ? 0 : FOLD_IDLE_MS;
    // A fold that fails changes nothing, and the next write brings the next one.
    this.#foldTimer = setTimeout(() => void this.checkpoint(secondaryId).catch(() => {}), delayMs);
  }

  /** Whoever had the database cannot write any more. */
  async #beginTerm(tx: Transaction): Promise<void> {
    const meta = tx.objectStore("meta");
    const [found, count] = await Promise.all([meta.get("term"), meta.count()]);
    if (count > OVER_MAX) await meta.delete(IDBKeyRange.bound(overKey(""), overKey("\uffff")));
    if (found && "term" in found && found.term !== this.#term) await meta.put(found, overKey(found.term));
    await meta.put({ term: this.#term }, "term");
  }

  #write(requests: (tx: Transaction) => Promise<unknown>[]): Promise<void> {
    return this.#db.writeAtOnce(STORES, (tx) => {
      const asked = requests(tx);
      const meta = tx.objectStore("meta");
      const own = overKey(this.#term);
      const isMine = meta.add({ term: this.#term }, own).catch((error: unknown) => {
        if ((error as Error).name !== "ConstraintError") throw error;
        throw new LostError("another replica keeps the local copy now");
      });
      return Promise.all([isMine, meta.delete(own), ...asked]).then(() => {});
    });
  }
}

const isTerm = (found: Checkpoint | Term | undefined, term: string): boolean =>
  found !== undefined && "term" in found && found.term === term;

type Reading = IDBPTransaction<Schema, StoreName[], "readonly" | "readwrite">;

async function findIn(tx: Reading, key: string): Promise<Entry | undefined> {
  const pages = tx.objectStore("pages");
  const [checkpoint, records, pageCount] = await Promise.all([
    tx.objectStore("meta").get("checkpoint"),
    tx.objectStore("log").getAll(),
    pages.count(),
  ]);
  const steps = records.flat();
  const readPage = (number: number): Promise<string | undefined> => pages.get(number);
  return findStoredEntry({ checkpoint: checkpoint as Checkpoint | undefined, steps, pageCount, readPage }, key);
}

async function readAll(tx: Reading): Promise<Stored & { records: number }> {
  const [checkpoint, pages, records] = await Promise.all([
    tx.objectStore("meta").get("checkpoint"),
    tx.objectStore("pages").getAll(),
    tx.objectStore("log").getAll(),
  ]);
  const steps = records.flat();
  return { checkpoint: checkpoint as Checkpoint | undefined, pages, steps, records: records.length };
}

const unitsOf = (step: StepLines): number => step.lines.reduce((sum, line) => sum + line.length, 0);
