// The outbox in IndexedDB: a database of its own, because what a person has written must outlast every change of how
// copies are stored. It is made when there is something to keep.

import type { DBSchema } from "idb";
import { decodeUpstream, encodeUpstream } from "../../src/codec.ts";
import { nameOf } from "../../src/protocol.ts";
import type { OperationFailed } from "../../src/protocol.ts";
import { withDeadline } from "../deadline.ts";
import { Database } from "./database.ts";
import type { Conclusion, Kept, Marked, OutboxPersistence } from "./outbox-persistence.ts";

/** Raised with every change of what is stored; the new version must take over what the old one holds. */
const FORMAT_VERSION = 1;
const LIST_PATIENCE_MS = 10_000;
/** A page that asks again for what was dismissed has not been away for longer than this. */
const DISMISSED_MS = 7 * 24 * 60 * 60 * 1000;

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
  /** Names, with the time of their dismissal. */
  dismissed: { key: string; value: number };
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
      create: (fresh) => {
        fresh.createObjectStore("updates", { autoIncrement: true }).createIndex("name", "name");
        fresh.createObjectStore("dismissed");
      },
    });
  }

  async load(): Promise<Kept[]> {
    // To open it would be to make it.
    const databases = await withDeadline(indexedDB.databases(), LIST_PATIENCE_MS, "the list of local databases");
    if (!databases.some(({ name }) => name === this.#name)) return [];
    return this.#db.queue(() =>
      this.#db.read(["updates"], async (tx) => {
        const store = tx.objectStore("updates");
        const [places, stored] = await Promise.all([store.getAllKeys(), store.getAll()]);
        return stored.flatMap((one, index) => toKept(places[index]!, one) ?? []);
      }),
    );
  }

  add(updates: readonly Omit<Kept, "place">[]): Promise<Kept[]> {
    return this.#db.queue(() =>
      this.#db.write(["updates", "dismissed"], async (tx) => {
        const store = tx.objectStore("updates");
        const added = updates.map(async (update): Promise<Kept[]> => {
          const stored = toStored(update);
          const [place, dismissedAt] = await Promise.all([
            store.index("name").getKey(stored.name),
            tx.objectStore("dismissed").get(stored.name),
          ]);
          if (dismissedAt !== undefined) return [];
          if (place === undefined) return [{ ...update, place: await store.add(stored) }];
          const kept = toKept(place, (await store.get(place))!);
          if (kept) return [kept];
          // What is damaged is written anew.
          await store.put(stored, place);
          return [{ ...update, place }];
        });
        return (await Promise.all(added)).flat();
      }),
    );
  }

  async markSent(places: readonly number[], sentAt: number): Promise<Marked[]> {
    const before = new Map<number, number | undefined>();
    const there = await this.#change(places, (stored, place) => {
      before.set(place, stored.sentAt);
      if (stored.failure) return undefined;
      return stored.sentAt === undefined ? { ...stored, sentAt } : stored;
    });
    return there.map((place) => ({ place, sentAt: before.get(place) }));
  }

  conclude(conclusions: readonly Conclusion[]): Promise<number[]> {
    const failures = new Map(conclusions.map(({ place, failure }) => [place, failure]));
    return this.#change([...failures.keys()], (stored, place) => {
      const failure = failures.get(place);
      if (stored.failure) return undefined;
      return failure ? { ...stored, failure } : "delete";
    });
  }

  dismiss(place: number): Promise<boolean> {
    return this.#db.queue(() =>
      this.#db.write(["updates", "dismissed"], async (tx) => {
        const store = tx.objectStore("updates");
        const stored = await store.get(place);
        if (!stored || (stored.sentAt !== undefined && !stored.failure)) return false;
        const dismissed = tx.objectStore("dismissed");
        const now = Date.now();
        for (let old = await dismissed.openCursor(); old; old = await old.continue()) {
          if (old.value < now - DISMISSED_MS) await old.delete();
        }
        await Promise.all([store.delete(place), dismissed.put(now, stored.name)]);
        return true;
      }),
    );
  }

  close(): Promise<void> {
    return this.#db.close();
  }

  /** Changes what is at these places, where there is still something; says where it has. */
  #change(
    places: readonly number[],
    change: (stored: Stored, place: number) => Stored | "delete" | undefined,
  ): Promise<number[]> {
    return this.#db.queue(() =>
      this.#db.write(["updates"], async (tx) => {
        const store = tx.objectStore("updates");
        const changed = places.map(async (place) => {
          const stored = await store.get(place);
          const next = stored && change(stored, place);
          if (next === undefined) return [];
          if (next === "delete") await store.delete(place);
          else if (next !== stored) await store.put(next, place);
          return [place];
        });
        return (await Promise.all(changed)).flat();
      }),
    );
  }
}

function toStored({ update, isOptimistic, queuedAt, sentAt }: Omit<Kept, "place">): Stored {
  const stored = { name: nameOf(update), line: encodeUpstream(update), isOptimistic, queuedAt };
  return { ...stored, ...(sentAt !== undefined && { sentAt }) };
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
