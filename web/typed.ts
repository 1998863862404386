// Types of a store's keys and values. They are the program's own word for what is in the store; a schema makes sure of it.
//
// A type of entries names keys, and patterns of keys in which each `${string}` stands for any text, in either notation:
//
//   { title: string; "card/${string}": Card }      as a schema names them
//   { title: string; [key: `card/${string}`]: Card }

import type { Schemas, ValueSchema } from "../src/schema.ts";
import type { BatchOptions, ReplicaBatchOptions, ReplicaUpdateOptions, UpdateOptions } from "./door.ts";
import type { Interest, ListOptions } from "./mirror.ts";
import type { Acknowledged, Replica } from "./page-replica.ts";
import type { ListPage, PrimaryClient } from "./primary-client.ts";

type NameOf<Entries> = keyof Entries & string;

/** The keys that a name stands for. */
type Pattern<Name extends string> = Name extends `${infer Before}\${string}${infer After}`
  ? `${Before}${string}${Pattern<After>}`
  : Name;

/** The keys of a store. */
export type KeyOf<Entries> = { [Name in NameOf<Entries>]: Pattern<Name> }[NameOf<Entries>];

/** The value of a key. */
export type ValueAt<Entries, Key extends string> = {
  [Name in NameOf<Entries>]: Key extends Pattern<Name> ? Entries[Name] : never;
}[NameOf<Entries>];

/** What is read is shared, and not to be changed. */
export type DeepReadonly<Value> = Value extends (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : Value extends object
    ? { readonly [Name in keyof Value]: DeepReadonly<Value[Name]> }
    : Value;

/** The entries of a store, or those of them whose keys may begin with a prefix. */
export type EntryOf<Entries, Prefix extends string = ""> = {
  [Name in NameOf<Entries>]: MayBegin<Pattern<Name>, Prefix> extends true
    ? TypedEntry<Pattern<Name>, Entries[Name]>
    : never;
}[NameOf<Entries>];

type MayBegin<Key extends string, Prefix extends string> = Key extends `${Prefix}${string}`
  ? true
  : `${Prefix}${string}` extends Key
    ? true
    : false;

interface TypedEntry<Key extends string, Value> {
  readonly key: Key;
  readonly value: DeepReadonly<Value>;
  readonly seq: number;
  readonly pending?: true;
}

type ChangeOf<Entries> = {
  [Name in NameOf<Entries>]: {
    readonly key: Pattern<Name>;
    readonly seq: number;
    readonly pending?: true;
    readonly oldValue?: DeepReadonly<Entries[Name]>;
  } & ({ readonly value: DeepReadonly<Entries[Name]> } | { readonly removed: true });
}[NameOf<Entries>];

type InsertOf<Entries> = {
  [Name in NameOf<Entries>]: { insert: { key: Pattern<Name>; value: DeepReadonly<Entries[Name]> } };
}[NameOf<Entries>];

type OperationOf<Entries> = InsertOf<Entries> | { remove: { key: KeyOf<Entries> } };

/** What schemas say of a store's entries. */
export type EntriesOf<Of extends Schemas> = {
  [Name in keyof Of & string]: Of[Name] extends ValueSchema<infer Value> ? Value : never;
};

/** A replica whose keys and values have types; it does what `Replica` says. */
export interface TypedReplica<Entries extends object> extends Omit<
  Replica,
  "get" | "entry" | "list" | "insert" | "remove" | "batch" | "getFromPrimary" | "subscribe"
> {
  /** The value of a key; undefined if there is none. */
  get<Key extends KeyOf<Entries>>(key: Key): DeepReadonly<ValueAt<Entries, Key>> | undefined;
  /** The entry of a key, with the seq of its last write; undefined if there is none. */
  entry<Key extends KeyOf<Entries>>(key: Key): TypedEntry<Key, ValueAt<Entries, Key>> | undefined;
  /** The entries of a range in the order of their keys; with `prefix`, of the types that may begin so. */
  list<Prefix extends string = "">(options?: ListOptions & { prefix?: Prefix }): EntryOf<Entries, Prefix>[];
  /** Sets a key's value. Resolves when everyone whom `ack` names has it on disk, and this page shows it. */
  insert<Key extends KeyOf<Entries>>(
    key: Key,
    value: DeepReadonly<ValueAt<Entries, Key>>,
    options?: ReplicaUpdateOptions,
  ): Promise<Acknowledged>;
  /** Removes a key; one that is absent is acknowledged too. */
  remove(key: KeyOf<Entries>, options?: ReplicaUpdateOptions): Promise<Acknowledged>;
  /** Applies operations at once and whole, at one seq, if all checks hold; else it fails as `conflict`. */
  batch(operations: readonly OperationOf<Entries>[], options?: ReplicaBatchOptions): Promise<Acknowledged>;
  /** The value of a key as the primary has it now (linearizable); undefined if there is none. */
  getFromPrimary<Key extends KeyOf<Entries>>(key: Key): Promise<DeepReadonly<ValueAt<Entries, Key>> | undefined>;
  /** Calls back once for each step that concerns the key or range. Returns what ends the subscription. */
  subscribe(interest: Interest, subscriber: (changes: readonly ChangeOf<Entries>[]) => void): () => void;
}

/** A client of the primary whose keys and values have types; it does what `PrimaryClient` says. */
export interface TypedPrimaryClient<Entries extends object> extends Omit<
  PrimaryClient,
  "get" | "entry" | "list" | "insert" | "remove" | "batch"
> {
  /** The value of a key (linearizable); undefined if there is none. */
  get<Key extends KeyOf<Entries>>(key: Key): Promise<DeepReadonly<ValueAt<Entries, Key>> | undefined>;
  /** The entry of a key, with the seq of its last write; undefined if there is none. */
  entry<Key extends KeyOf<Entries>>(key: Key): Promise<TypedEntry<Key, ValueAt<Entries, Key>> | undefined>;
  /** A page of entries in the order of their keys; with `prefix`, of the types that may begin so. */
  list<Prefix extends string = "">(
    options?: ListOptions & { prefix?: Prefix; cursor?: string },
  ): Promise<Omit<ListPage, "entries"> & { entries: EntryOf<Entries, Prefix>[] }>;
  /** Sets a key's value. Resolves when everyone whom `ack` names has it on disk. */
  insert<Key extends KeyOf<Entries>>(
    key: Key,
    value: DeepReadonly<ValueAt<Entries, Key>>,
    options?: UpdateOptions,
  ): Promise<Acknowledged>;
  /** Removes a key; one that is absent is acknowledged too. */
  remove(key: KeyOf<Entries>, options?: UpdateOptions): Promise<Acknowledged>;
  /** Applies operations at once and whole, at one seq, if all checks hold; else it fails as `conflict`. */
  batch(operations: readonly OperationOf<Entries>[], options?: BatchOptions): Promise<Acknowledged>;
}
