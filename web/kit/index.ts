// What apps test with: a primary in memory and replicas of it, without network, browser or worker. They are the same
// machines as elsewhere: order, checks, acknowledgements, membership and offline are what they are in production.

import type { PrimarySettings } from "../../src/primary.ts";
import { StoreSchema, flawOf } from "../../src/schema.ts";
import type { Schemas } from "../../src/schema.ts";
import { toPrefixes } from "../door.ts";
import type { ReplicaSettings } from "../feed.ts";
import type { ReadonlyEntry, ReadonlyJson } from "../mirror.ts";
import { PageReplica } from "../page-replica.ts";
import type { Replica } from "../page-replica.ts";
import { MemorySocket } from "./memory-socket.ts";
import { MemoryStoreHost } from "./memory-store-host.ts";
import { WorkerInPage } from "./worker-in-page.ts";

/** What a primary in memory does otherwise than by default. */
export interface MemoryPrimaryOptions {
  /** What may be written, as in `createApp({ schema })`. */
  schema?: Schemas;
  /** After how long a silent member leaves the in-sync set, in milliseconds; 1,000 unless given. */
  lagLimitMs?: number;
}

/** What a replica of it holds. */
export interface MemoryReplicaOptions {
  /** Hold only the keys that begin with one of these; left out, all. */
  prefixes?: readonly string[];
  /** What this replica lets be written, as in `openReplica({ schema })`. */
  schema?: Schemas;
  /**
   * `"memory"` (the default) is never in sync and cannot `queue`. `"relaxed"` needs IndexedDB: a browser's, or a package's that
   * imitates it in Node.
   */
  durability?: "memory" | "relaxed";
}

/** A primary of any number of stores, all in memory. */
export class MemoryPrimary {
  readonly #settings: Partial<PrimarySettings> = {};
  readonly #stores = new Map<string, MemoryStoreHost>();
  readonly #replicas = new Set<Replica>();
  #isCut = false;

  constructor({ schema, lagLimitMs }: MemoryPrimaryOptions = {}) {
    if (lagLimitMs !== undefined) this.#settings.lagLimitMs = lagLimitMs;
    if (!schema) return;
    const rules = new StoreSchema(schema);
    this.#settings.flawOf = (update) => flawOf(rules, update);
  }

  /** Opens a replica of a store, as a page of its own would. Resolves as `openReplica` does. */
  async openReplica(store = "test", options: MemoryReplicaOptions = {}): Promise<Replica> {
    const { prefixes, schema, durability = "memory" } = options;
    const settings: ReplicaSettings = { url: `http://memory/v1/stores/${store}`, durability };
    if (prefixes) settings.prefixes = toPrefixes(prefixes);
    const worker = new WorkerInPage(() => this.#connect(store) as unknown as WebSocket);
    const replica = await PageReplica.open(settings, {
      tokens: undefined,
      makeWorker: () => worker as unknown as Worker,
      schema: schema && new StoreSchema(schema),
    });
    this.#replicas.add(replica);
    return replica;
  }

  /** What the primary holds of a store, by key. */
  entries(store = "test"): ReadonlyEntry[] {
    const { entries } = this.#hostOf(store).store.list({}, Infinity);
    return entries.map(({ key, value, seq }) => ({ key, value: JSON.parse(value) as ReadonlyJson, seq }));
  }

  /** Cuts every connection, and lets none through until `heal`. */
  cut(): void {
    this.#isCut = true;
    for (const host of this.#stores.values()) host.disconnect();
  }

  /** Lets connections through again; replicas come back after their usual wait, of up to a second at first. */
  heal(): void {
    this.#isCut = false;
  }

  /** The primary loses everything but its stores, and begins anew. */
  restart(): void {
    for (const host of this.#stores.values()) host.restart();
  }

  /** Closes every replica that was opened here, and ends. */
  async close(): Promise<void> {
    await Promise.all([...this.#replicas].map((replica) => replica.close()));
    for (const host of this.#stores.values()) host.stop();
  }

  #connect(store: string): MemorySocket {
    if (!this.#isCut) return this.#hostOf(store).connect();
    const socket = new MemorySocket({ opened: () => {}, received: () => {}, closed: () => {} });
    socket.lose();
    return socket;
  }

  #hostOf(store: string): MemoryStoreHost {
    const host = this.#stores.get(store) ?? new MemoryStoreHost(this.#settings);
    this.#stores.set(store, host);
    return host;
  }
}
