// The outbox in IndexedDB: a database of its own, because what a person has written must outlast every change of how
// copies are stored. It is made when there is something to keep.

import type { DBSchema, IDBPDatabase, IDBPTransaction } from "idb";
import { decodeUpstream, encodeUpstream } from "../../src/codec.ts";
import type { Settled } from "../../src/effects.ts";
import { nameOf } from "../../src/protocol.ts";
import type { OperationFailed, OperationName } from "../../src/protocol.ts";
import { withDeadline } from "../deadline.ts";
import { Database } from "./database.ts";
import { ownersName } from "./idb-store.ts";
import type {
  Added,
  Conclusion,
  Ended,
  Kept,
  Marked,
  OutboxMemory,
  OutboxPersistence,
  Sending,
} from "./outbox-persistence.ts";

/** Raised with every change of what is stored; the new version must take over what the old one holds. */
const FORMAT_VERSION = 1;
const LIST_PATIENCE_MS = 10_000;
/** A page that asks again for what has ended has not been away for longer than this. */
const ENDS_KEPT_MS = 7 * 24 * 60 * 60 * 1000;

/** An update as it is kept: its line, as it will be sent. */
interface Stored {
  name: string;
  line: string;
  isOptimistic: boolean;
  queuedAt: number;
  sentAt?: number;
  sentAs?: OperationName;
  failure?: OperationFailed;
}

interface End {
  at: number;
  settled: Settled | null;
}

interface Schema extends DBSchema {
  updates: { key: number; value: Stored; indexes: { name: string } };
  /** How updates have ended, by name, where the primary cannot tell. */
  ends: { key: string; value: End; indexes: { at: number } };
}

type StoreName = "updates" | "ends";
const STORES: StoreName[] = ["updates", "ends"];
type Transaction = IDBPTransaction<Schema, StoreName[], "readwrite">;

/** The name of the database, and of the lock of the worker that sends what is in it. */
export const outboxName = (url: string, identity: string | undefined): string =>
  `headwater:outbox:${FORMAT_VERSION}:${ownersName(url, identity)}`;

export class IdbOutbox implements OutboxPersistence {
  readonly #db: Database<Schema>;
  readonly #name: string;
  readonly #memory: OutboxMemory;

  /** `name` is that of the database. */
  constructor(name: string, memory: OutboxMemory) {
    this.#name = name;
    this.#memory = memory;
    this.#db = new Database({
      name,
      // What is here is nowhere else.
      durability: "strict",
      create: (fresh) => {
        fresh.createObjectStore("updates", { autoIncrement: true }).createIndex("name", "name");
        fresh.createObjectStore("ends").createIndex("at", "at");
      },
      opened: (connection) => this.#putBack(connection),
      interrupted: () => memory.interrupted(),
    });
  }

  async load(): Promise<Kept[]> {
    // To open it would be to make it.
    const databases = await withDeadline(indexedDB.databases(), LIST_PATIENCE_MS, "the list of local databases");
    const isThere = databases.some(({ name }) => name === this.#name);
    if (!isThere && this.#memory.readKept().length === 0) return [];
    return this.#db.queue(() =>
      this.#db.read(["updates"], async (tx) => {
        const store = tx.objectStore("updates");
        const [places, stored] = await Promise.all([store.getAllKeys(), store.getAll()]);
        return stored.flatMap((one, index) => toKept(places[index]!, one) ?? []);
      }),
    );
  }

  add(updates: readonly Omit<Kept, "place">[]): Promise<Added> {
    return this.#db.queue(() =>
      this.#db.write(STORES, async (tx) => {
        const store = tx.objectStore("updates");
        const added: Added = { kept: [], ended: [] };
        const adding = updates.map(async (update): Promise<Kept | Ended> => {
          const stored = toStored(update);
          const { place, end } = await find(tx, stored.name);
          const { clientId, id } = update.update;
          if (end) return { name: { clientId, id }, settled: end.settled };
          if (place === undefined) return { ...update, place: await store.add(stored) };
          const kept = toKept(place, (await store.get(place))!);
          if (kept) return kept;
          // What is damaged is written anew.
          await store.put(stored, place);
          return { ...update, place };
        });
        for (const one of await Promise.all(adding)) {
          if ("place" in one) added.kept.push(one);
          else added.ended.push(one);
        }
        return added;
      }),
    );
  }

  async markSent(sendings: readonly Sending[], sentAt: number): Promise<Marked[]> {
    const before = new Map<string, number | undefined>();
    const there = await this.#change(sendings, (stored) => {
      before.set(stored.name, stored.sentAt);
      return stored.sentAt === undefined ? { ...stored, sentAt } : stored;
    });
    return there.map((name) => ({ name, sentAt: before.get(name) }));
  }

  conclude(conclusions: readonly Conclusion[]): Promise<string[]> {
    return this.#change(conclusions, (stored, conclusion) => {
      if ("failure" in conclusion) return { ...stored, failure: conclusion.failure };
      if ("done" in conclusion) return { end: stored.sentAs && conclusion.done };
      const { sentAt: _sentAt, ...unsent } = stored;
      return { ...unsent, sentAs: conclusion.sendAs };
    });
  }

  dismiss(name: string): Promise<boolean> {
    return this.#db.queue(() =>
      this.#db.write(STORES, async (tx) => {
        const store = tx.objectStore("updates");
        const place = await store.index("name").getKey(name);
        const stored = place === undefined ? undefined : await store.get(place);
        if (!stored || (stored.sentAt !== undefined && !stored.failure)) return false;
        await Promise.all([store.delete(place!), remember(tx, name, null), forgetOld(tx)]);
        return true;
      }),
    );
  }

  close(): Promise<void> {
    return this.#db.close();
  }

  /** Changes what is on its way under these names; says by name what that was. */
  #change<One extends Sending>(
    sendings: readonly One[],
    change: (stored: Stored, sending: One) => Stored | { end: Settled | undefined },
  ): Promise<string[]> {
    return this.#db.queue(() =>
      this.#db.write(STORES, async (tx) => {
        const byName = tx.objectStore("updates").index("name");
        const changed = sendings.map(async (sending) => {
          const cursor = await byName.openCursor(sending.name);
          if (!cursor || cursor.value.failure || sentAsOf(cursor.value) !== sending.sentAs) return [];
          const next = change(cursor.value, sending);
          if ("end" in next) {
            await Promise.all([cursor.delete(), next.end && remember(tx, sending.name, next.end)]);
          } else if (next !== cursor.value) {
            await cursor.update(next);
          }
          return [sending.name];
        });
        const names = (await Promise.all(changed)).flat();
        await forgetOld(tx);
        return names;
      }),
    );
  }

  /** A new connection may be to a database that was emptied: what is known to be kept comes first in it. */
  async #putBack(connection: IDBPDatabase<Schema>): Promise<void> {
    const known = this.#memory.readKept();
    if (known.length === 0) return;
    const tx = connection.transaction(STORES, "readwrite", { durability: "strict" });
    const store = tx.objectStore("updates");
    const put = known.map(async ({ place, ...update }) => {
      const stored = toStored(update);
      const found = await find(tx, stored.name);
      if (found.end || found.place !== undefined) return;
      // Others may have begun the new database, at the same places.
      if ((await store.getKey(place)) === undefined) await store.put(stored, place);
      else await store.add(stored);
    });
    await Promise.all([...put, tx.done]);
  }
}

/** The place at which an update is kept, or its end. */
async function find(tx: Transaction, name: string): Promise<{ place: number | undefined; end: End | undefined }> {
  const [place, end] = await Promise.all([
    tx.objectStore("updates").index("name").getKey(name),
    tx.objectStore("ends").get(name),
  ]);
  return { place, end };
}

async function remember(tx: Transaction, name: string, settled: Settled | null): Promise<void> {
  await tx.objectStore("ends").put({ at: Date.now(), settled }, name);
}

async function forgetOld(tx: Transaction): Promise<void> {
  const isOld = IDBKeyRange.upperBound(Date.now() - ENDS_KEPT_MS);
  for (let old = await tx.objectStore("ends").index("at").openCursor(isOld); old; old = await old.continue()) {
    await old.delete();
  }
}

const sentAsOf = ({ name, sentAs }: Stored): string => (sentAs ? nameOf(sentAs) : name);

function toStored({ update, isOptimistic, queuedAt, sentAt, sentAs, failure }: Omit<Kept, "place">): Stored {
  return {
    name: nameOf(update),
    line: encodeUpstream(update),
    isOptimistic,
    queuedAt,
    ...(sentAt !== undefined && { sentAt }),
    ...(sentAs && { sentAs }),
    ...(failure && { failure }),
  };
}

/** Undefined if it is damaged: nobody can tell what it was. */
function toKept(place: number, { line, isOptimistic, queuedAt, sentAt, sentAs, failure }: Stored): Kept | undefined {
  const message = decodeUpstream(line.trimEnd());
  if (!message.ok) return undefined;
  const update = message.value;
  if (update.type !== "insert" && update.type !== "remove" && update.type !== "batch") return undefined;
  return {
    place,
    update,
    isOptimistic,
    queuedAt,
    ...(sentAt !== undefined && { sentAt }),
    ...(sentAs && { sentAs }),
    ...(failure && { failure }),
  };
}
