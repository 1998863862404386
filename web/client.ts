// The public API of headwater for browsers, Node and edge runtimes. Nothing but the API is here.

import { toIdentity, toKey, toPrefixes, toStoreUrl } from "./door.ts";
import type { TokenSource } from "./door.ts";
import { StoreSchema } from "../src/schema.ts";
import type { Schemas } from "../src/schema.ts";
import type { Durability, ReplicaSettings } from "./feed.ts";
import type { WorkerFactory } from "./link.ts";
import type { ReadonlyEntry } from "./mirror.ts";
import { PageReplica } from "./page-replica.ts";
import type { Replica } from "./page-replica.ts";
import { IdbStore, databaseName } from "./replica/idb-store.ts";
import type { EntriesOf, TypedReplica } from "./typed.ts";

export type {
  BatchOperation,
  BatchOptions,
  ReplicaBatchOptions,
  ReplicaUpdateOptions,
  TokenSource,
  UpdateOptions,
} from "./door.ts";
export { OperationFailedError, OutcomeUnknownError } from "./errors.ts";
export type { FailureCode } from "./errors.ts";
export type { Durability } from "./feed.ts";
export type { WorkerFactory } from "./link.ts";
export type { Interest, ListOptions, ReadonlyEntry, ReadonlyJson, Subscriber, VisibleChange } from "./mirror.ts";
export { observeEntries, observeEntry, observeStatus } from "./observed.ts";
export type { Observed } from "./observed.ts";
export type { Acknowledged, CaughtUpOptions, Replica, ReplicaStatus } from "./page-replica.ts";
export type { PendingEvent, PendingUpdate } from "./pending-updates.ts";
export { connectPrimary } from "./primary-client.ts";
export type {
  ListPage,
  PrimaryClient,
  PrimaryOptions,
  SecondaryRow,
  StoreStatus,
  WatchOptions,
  WatchedStep,
} from "./primary-client.ts";
export type { Change, Check, Entry, JsonValue, Range } from "../src/kv.ts";
export type { Ack } from "../src/protocol.ts";
export type { Schemas, ValueSchema } from "../src/schema.ts";
export type { DeepReadonly, EntriesOf, EntryOf, KeyOf, TypedPrimaryClient, TypedReplica, ValueAt } from "./typed.ts";

/** Which store a replica is of, whose it is and how it is kept. */
export interface ReplicaOptions {
  /** The store's address: a path on the page's own origin (`/v1/stores/board`) or absolute, http(s) or ws(s). */
  url: string;
  /**
   * Says who you are, where the primary wants to know: a token or, as tokens expire, a function that is asked for one when the
   * replica connects and whenever the primary does not take the last one. It is not asked more often than every 30 s for
   * a primary that cannot be reached.
   */
  token?: TokenSource;
  /**
   * The person whose replica it is, by any lasting name of up to 128 letters: an account's id, say. What is stored and
   * queued under one identity is never shown or sent under another. Left out, all who use this browser share one: set it
   * wherever people sign in.
   */
  identity?: string;
  /**
   * How the copy is kept: `"relaxed"` (the default) is safe from the end of browser and tabs, `"strict"` also from power
   * loss and slower, `"memory"` keeps nothing and is never in sync.
   */
  durability?: Durability;
  /** Hold only the keys that begin with one of these; left out, all. */
  prefixes?: readonly string[];
  /**
   * What may be written, key by key, as Standard Schemas (Zod, Valibot, ArkType and others): anything else fails as `invalid-value`
   * before it is sent. Keys and values have the schema's types then. Give `createApp` the same, so that it holds for all.
   */
  schema?: Schemas;
  /**
   * Makes the worker, in place of the built-in way. `name` tells replicas apart and belongs into a SharedWorker's options;
   * with `isShared` false a dedicated Worker is asked for.
   */
  worker?: WorkerFactory;
}

/** Names what is stored: the same as what its replica was opened with. */
export type StoredOptions = Pick<ReplicaOptions, "url" | "identity" | "prefixes">;

/**
 * Opens this page's replica of a store, shared with all tabs of the same origin.
 *
 * Resolves as soon as there is a state to read: what this browser has stored, also offline; else the first state from
 * the primary; else, if the first attempt to connect fails or two seconds have passed, the empty state, with
 * `status.state` saying so. The type of the store's entries, if one is given, is taken at your word; a schema checks what is written.
 * Rejects if the worker cannot be started, and with OperationFailedError for a wrong prefix or identity.
 */
export function openReplica<Of extends Schemas>(
  options: ReplicaOptions & { schema: Of },
): Promise<TypedReplica<EntriesOf<Of>>>;
export function openReplica(options: ReplicaOptions): Promise<Replica>;
export function openReplica<Entries extends object>(options: ReplicaOptions): Promise<TypedReplica<Entries>>;
export async function openReplica(options: ReplicaOptions): Promise<object> {
  const { token: tokens, worker = makeWorker, schema } = options;
  return PageReplica.open(toSettings(options), {
    tokens,
    makeWorker: worker,
    schema: schema && new StoreSchema(schema),
  });
}

/**
 * Reads one entry of what this browser has stored, for a first screen that does not wait for `openReplica` to have read all
 * of it: a few milliseconds, however large the store. With the same `url`, `identity` and `prefixes` the replica will show
 * this entry or a later one. Undefined if it has no such key or nothing is stored; never asks the primary.
 *
 * Rejects with what the browser says if its storage cannot be read, and with OperationFailedError for a wrong key, prefix or identity.
 */
export async function readStored(options: StoredOptions, key: string): Promise<ReadonlyEntry | undefined> {
  const wanted = toKey(key);
  const store = new IdbStore(databaseName(toSettings(options)), "relaxed", () => undefined);
  try {
    return await store.find(wanted);
  } finally {
    await store.close();
  }
}

function toSettings({ url, identity, durability = "relaxed", prefixes }: ReplicaOptions): ReplicaSettings {
  const settings: ReplicaSettings = { url: toStoreUrl(url, location.href), durability };
  if (identity !== undefined) settings.identity = toIdentity(identity);
  if (prefixes) settings.prefixes = toPrefixes(prefixes);
  return settings;
}

/** A SharedWorker where there are any, else a worker of this page alone. Bundlers must find both calls as they stand. */
function makeWorker(name: string, isShared: boolean): SharedWorker | Worker {
  if (!isShared || typeof SharedWorker === "undefined") {
    return new Worker(new URL("./replica/worker.ts", import.meta.url), { type: "module", name });
  }
  return new SharedWorker(new URL("./replica/worker.ts", import.meta.url), { type: "module", name });
}
