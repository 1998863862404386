// The outbox in IndexedDB: a database of its own, because what a person has written must outlast every change of how
// copies are stored. It is made when there is something to keep.

import type { DBSchema } from "idb";
import { decodeUpstream, encodeUpstream } from "../../src/codec.ts";
import type { OperationFailed } from "../../src/protocol.ts";
import type { QueuedUpdate } from "../feed.ts";
import { Database } from "./database.ts";
import type { Conclusion, Kept, OutboxPersistence } from "./outbox-persistence.ts";

/** Raised with every change of what is stored; the new version must take over what the old one holds. */
const FORMAT_VERSION = 1;

/** An update as it is kept: its line, as it will be sent. */
interface Stored {
  name: string;
  line: string;
  isOptimistic: boolean;
  queuedAt: number;
  sentAt?: number;
  failure?: OperationFailed;
}

interface Schema extends DBSchema {
  updates: { key: number; value: Stored; indexes: { name: string } };
}

/** The name of the database, and of the lock of the worker that sends what is in it. */
export const outboxName = (url: string): string => `headwater:outbox:${FORMAT_VERSION}:${url}`;

export class IdbOutbox implements OutboxPersistence {
  readonly #db: Database<Schema>;
  readonly #name: string;

  constructor(url: string) {
    this.#name = outboxName(url);
    this.#db = new Database({
      name: this.#name,
      // What is here is nowhere else.
      durability: "strict",
      create: (fresh) => void fresh.createObjectStore("updates", { autoIncrement: true }).createIndex("name", "name"),
    });
  }

  async load(): Promise<Kept[]> {
    // To open it would be to make it.
    const isThere = (await indexedDB.databases()).some(({ name }) => name === this.#name);
    if (!isThere) return [];
    return this.#db.queue(() =>
      this.#db.read(["updates"], async (tx) => {
        const store = tx.objectStore("updates");
        const [places, stored] = await Promise.all([store.getAllKeys(), store.getAll()]);
        return stored.flatMap((one, index) => toKept(places[index]!, one) ?? []);
      }),
    );
  }

  add(updates: readonly QueuedUpdate[]): Promise<Kept[]> {
    return this.#db.queue(() =>
      this.#db.write(["updates"], async (tx) => {
        const store = tx.objectStore("updates");
        const added = updates.map(async (queued): Promise<Kept> => {
          const stored = toStored(queued);
          const place = await store.index("name").getKey(stored.name);
          if (place === undefined) return { ...queued, place: await store.add(stored) };
          return toKept(place, (await store.get(place))!) ?? { ...queued, place };
        });
        return Promise.all(added);
      }),
    );
  }

  markSent(places: readonly number[], sentAt: number): Promise<void> {
    return this.#change(places, (stored) => ({ ...stored, sentAt }));
  }

  conclude(conclusions: readonly Conclusion[]): Promise<void> {
    const failures = new Map(conclusions.map(({ place, failure }) => [place, failure]));
    return this.#change([...failures.keys()], (stored, place) => {
      const failure = failures.get(place);
      return failure && { ...stored, failure };
    });
  }

  close(): Promise<void> {
    return this.#db.close();
  }

  /** Replaces what is at these places, or deletes it. What another worker has deleted already stays away. */
  #change(places: readonly number[], change: (stored: Stored, place: number) => Stored | undefined): Promise<void> {
    return this.#db.queue(() =>
      this.#db.write(["updates"], async (tx) => {
        const store = tx.objectStore("updates");
        const changed = places.map(async (place) => {
          const stored = await store.get(place);
          if (!stored) return;
          const next = change(stored, place);
          await (next ? store.put(next, place) : store.delete(place));
        });
        await Promise.all(changed);
      }),
    );
  }
}

function toStored({ update, isOptimistic, queuedAt }: QueuedUpdate): Stored {
  return { name: `${update.clientId}:${update.id}`, line: encodeUpstream(update), isOptimistic, queuedAt };
}

/** Undefined if it is damaged: nobody can tell what it was. */
function toKept(place: number, { line, isOptimistic, queuedAt, sentAt, failure }: Stored): Kept | undefined {
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
    ...(failure && { failure }),
  };
}
