// A TanStack DB collection on a replica: the entries under a prefix as rows, for live queries and optimistic transactions. The
// replica stays what counts: rows follow it step by step, and what a transaction changes is one batch.

import type { BaseCollectionConfig, CollectionConfig, SyncConfig } from "@tanstack/db";
import type { Check } from "../src/kv.ts";
import type { BatchOperation, UpdateOptions } from "./door.ts";
import type { ReadonlyEntry, ReadonlyJson, VisibleChange } from "./mirror.ts";
import type { Acknowledged, Replica } from "./page-replica.ts";
import type { EntryOf, TypedReplica } from "./typed.ts";

/** How the writes of a collection, or of a transaction, go about it. */
export interface WriteOptions extends UpdateOptions {
  /**
   * Refuse a write as `conflict` unless its rows are still what the collection shows without it: absent where it inserts, else
   * as they were last written. A second change of a row conflicts with the first, too, until that is acknowledged. Off by
   * default: the last write stays.
   */
  ifUnchanged?: boolean | undefined;
}

/** Which entries are the rows of a collection, and how it writes; besides, what TanStack DB has for every collection. */
export interface HeadwaterCollectionConfig<Row extends object, Source = Replica>
  extends
    WriteOptions,
    Pick<
      BaseCollectionConfig<Row, string>,
      "id" | "gcTime" | "startSync" | "autoIndex" | "defaultIndexType" | "compare" | "defaultStringCollation"
    > {
  /** An open replica. It must hold all keys with the prefix: a row that it does not hold is written and never shown. */
  replica: Source;
  /** What the keys of the rows' entries begin with: `"card/"`. What comes behind it is the row's own key. */
  prefix: string;
  /**
   * The field in which a row has its own key; `"id"` unless given. It is written with the others, and filled in where a value
   * does not have it.
   */
  keyField?: string;
}

/** Whose entries a collection's rows are, and which. */
export interface HeadwaterCollectionUtils {
  /** The replica that they are read from and written to. */
  readonly replica: Replica;
  /** What their keys begin with. */
  readonly prefix: string;
}

/** What `createCollection` takes. */
export type HeadwaterCollectionOptions<Row extends object> = CollectionConfig<
  Row,
  string,
  never,
  HeadwaterCollectionUtils
> & { utils: HeadwaterCollectionUtils };

/** The rows under a prefix, by the types of a store's entries: those of its values that are objects, with their keys. */
export type RowOf<Entries, Prefix extends string, KeyField extends string = "id"> = Exclude<
  Extract<EntryOf<Entries, Prefix>["value"], object>,
  readonly unknown[]
> & { readonly [Field in KeyField]: string };

/** The part of a transaction that is written. */
export interface WrittenTransaction {
  /** What it changes, each row at most once. */
  readonly mutations: readonly WrittenMutation[];
}

interface WrittenMutation {
  readonly type: "insert" | "update" | "delete";
  readonly key: unknown;
  readonly modified: object;
  /** What came with the row from the replica. */
  readonly syncMetadata: { readonly seq?: unknown };
  readonly collection: { readonly id: string; readonly utils: Partial<HeadwaterCollectionUtils> };
}

type JsonRow = Readonly<Record<string, ReadonlyJson>>;

/**
 * Options for `createCollection`: the entries under a prefix as rows. Those whose values are no objects are none.
 *
 * The collection is ready at once and takes each step of the replica as a whole. What one call changes is one batch; the
 * transaction is over when that is acknowledged and the replica shows it. If it fails, what the transaction showed is taken
 * back, and its promise rejects with OperationFailedError or OutcomeUnknownError; where `applied` is true it comes as a change.
 */
export function headwaterCollectionOptions<
  Entries extends object,
  const Prefix extends string,
  const KeyField extends string = "id",
>(
  config: HeadwaterCollectionConfig<RowOf<Entries, Prefix, KeyField>, TypedReplica<Entries>> & {
    prefix: Prefix;
    keyField?: KeyField;
  },
): HeadwaterCollectionOptions<RowOf<Entries, Prefix, KeyField>>;
export function headwaterCollectionOptions<Row extends object = Record<string, unknown>>(
  config: HeadwaterCollectionConfig<Row>,
): HeadwaterCollectionOptions<Row>;
export function headwaterCollectionOptions({
  replica: source,
  prefix,
  keyField = "id",
  ack,
  ifUnchanged,
  ...rest
}: HeadwaterCollectionConfig<JsonRow, unknown>): HeadwaterCollectionOptions<JsonRow> {
  // Types say which rows there are, and nothing about what is done.
  const replica = source as Replica;
  const write = async ({ transaction }: { transaction: WrittenTransaction }): Promise<void> => {
    await writeTransaction(transaction, { ack, ifUnchanged });
  };
  return {
    ...rest,
    getKey: (row) => row[keyField] as string,
    sync: toSync(replica, prefix, keyField),
    onInsert: write,
    onUpdate: write,
    onDelete: write,
    utils: { replica, prefix },
  };
}

/**
 * Writes what a transaction changes, in any number of collections of one replica, as one batch: all of it or nothing. For the
 * `mutationFn` of `createTransaction`. Rejects as `batch` of the replica does.
 */
export async function writeTransaction(
  transaction: WrittenTransaction,
  options: WriteOptions = {},
): Promise<Acknowledged> {
  const operations: BatchOperation[] = [];
  const checks: Check[] = [];
  const replicas = new Set<Replica | undefined>();
  for (const { type, key: ownKey, modified, syncMetadata, collection } of transaction.mutations) {
    const { replica, prefix = "" } = collection.utils;
    replicas.add(replica);
    const key = `${prefix}${String(ownKey)}`;
    operations.push(type === "delete" ? { remove: { key } } : { insert: { key, value: modified as JsonRow } });
    if (options.ifUnchanged) checks.push({ key, seq: (syncMetadata.seq as number | undefined) ?? null });
  }
  const [replica] = replicas;
  if (!replica || replicas.size > 1) throw new Error("a transaction is written to one replica, and to nothing else");
  return replica.batch(operations, { ack: options.ack, checks });
}

function toSync(replica: Replica, prefix: string, keyField: string): SyncConfig<JsonRow, string> {
  return {
    rowUpdateMode: "full",
    sync({ begin, write, commit, markReady }) {
      const follow = (changes: readonly (ReadonlyEntry | VisibleChange)[]): void => {
        begin();
        for (const change of changes) {
          const key = change.key.slice(prefix.length);
          const wasRow = "oldValue" in change && isObject(change.oldValue);
          if ("value" in change && isObject(change.value)) {
            const value = { ...change.value, [keyField]: key };
            write({ type: wasRow ? "update" : "insert", value, metadata: { seq: change.seq } });
          } else if (wasRow) write({ type: "delete", key });
        }
        void commit();
      };
      follow(replica.list({ prefix }));
      const unsubscribe = replica.subscribe({ prefix }, follow);
      // Last, as whoever is told may change what there is.
      markReady();
      return unsubscribe;
    },
  };
}

const isObject = (value: ReadonlyJson | undefined): value is JsonRow =>
  typeof value === "object" && value !== null && !Array.isArray(value);
