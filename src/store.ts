// What a primary may read of its persistence, what it asks to be written, and both in memory. The rule that binds
// every store: what it shows is durable. Real ones live with the hosts; testing/primary-store-contract.ts is what each
// of them must keep.

import { assert } from "./assert.ts";
import { changeBytes, compareKeys, isInRange } from "./kv.ts";
import type { Change, Check, Entry, Json, Range } from "./kv.ts";
import { BATCH_BYTES_MAX, LIST_BYTES_MAX, PART_BYTES_MAX, PART_CHANGES_MAX } from "./limits.ts";
import type { FailureCode } from "./protocol.ts";

/** How an operation ended, as it is kept for repeats: applied at a seq, or failed for good. */
export type OutcomeRecord = { id: number; seq: number } | { id: number; code: FailureCode; check?: Check };

/** What is known of one client's operations: every outcome above `settled` that has been decided, by rising id. */
export interface ClientRecord {
  settled: number;
  outcomes: OutcomeRecord[];
}

/** One transaction of the primary: at most one change per key, and the new records of the clients concerned. */
export interface Commit {
  /** Head once it is durable; equal to the old head when no key changes. */
  seq: number;
  changes: Change<Json>[];
  clients: Map<string, ClientRecord>;
}

/** Changes in the order of (seq, key), never part of a seq. */
export interface ChangesPage {
  changes: Change<Json>[];
  /** Nothing is missing up to here. */
  seq: number;
  isEnd: boolean;
}

export interface ListPage {
  entries: Entry<Json>[];
  /** There is more, after the last of `entries`. */
  hasMore: boolean;
}

/** What the primary machine may read. All of it is durable, and none of it changes but by the machine's own commits. */
export interface PrimaryStore {
  /** Random id of this history of the store. */
  readonly epoch: string;
  readonly head: number;
  /** The oldest seq from which the changes alone are complete. */
  readonly floor: number;
  get(key: string): Entry<Json> | undefined;
  /** What changed after `since`; tombstones only where their seq is above `tombstonesAfter`. */
  readChanges(since: number, tombstonesAfter: number): ChangesPage;
  readClient(clientId: string): ClientRecord | undefined;
  /** The floor that leaves this many tombstones above it; the present floor if there are not more. */
  floorToKeep(tombstones: number): number;
}

/** What a compaction gives up. */
export interface Compaction {
  /** Tombstones up to here; from now on nothing older can be continued from. */
  floor: number;
  /** Records of clients that were last written before this time. */
  clientsBefore: number;
}

/**
 * A primary's persistence as its host uses it: what the machine reads, what else is asked of it, and the ways in
 * which it changes. Each is one transaction: when it returns, it is durable; when it throws, nothing of it is there,
 * nor will it ever be. A persistence that cannot tell which of the two is true throws a CommitInDoubtError.
 */
export interface PrimaryPersistence extends PrimaryStore {
  /** The first `limit` entries of a range, by rising or falling key. */
  list(range: Range, limit: number, reverse?: boolean): ListPage;
  /** How many keys there are, in a range or in all. */
  countEntries(range?: Range): number;
  /** Whether there are records whose lease will end. */
  hasClients(): boolean;
  /** Writes a commit. Returns how many rows that took, as far as the persistence counts them: some bill them. */
  apply(commit: Commit, now: number): number;
  /** Gives up what a compaction names. */
  compact(compaction: Compaction): void;
  /**
   * E3, E4: Gives up all entries, and begins the history `epoch` at the next seq, which nothing older can be continued to.
   * Clients' records stay.
   */
  clear(epoch: string): void;
  /**
   * E2: Begins to load entries aside: the store is what it is and goes on, until `endLoading`. What was loaded before is
   * given up, and whoever opens the store anew finds nothing of it.
   */
  beginLoading(): void;
  /** Writes changes, at most one per key, over those that were loaded before. */
  load(changes: readonly Change<Json>[]): void;
  /** How many keys were loaded. */
  countLoaded(): number;
  /** As `clear`, with what was loaded for entries: as the state at `seq` or, where seqs have come further, at the next one. */
  endLoading(epoch: string, seq: number): void;
  /** Gives up what was loaded. */
  dropLoading(): void;
}

/** Whether a transaction has happened shows only when the persistence is opened anew. */
export class CommitInDoubtError extends Error {
  override readonly name = "CommitInDoubtError";
}

/** When a page of changes is full. */
export interface PageLimit {
  changes: number;
  bytes: number;
}

const PART_LIMIT: PageLimit = { changes: PART_CHANGES_MAX, bytes: PART_BYTES_MAX };

/** Takes changes from `rows`, which come in order and are read lazily, until a page is full and its last seq whole. */
export function collectChanges(rows: Iterable<Change<Json>>, head: number, limit = PART_LIMIT): ChangesPage {
  const changes: Change<Json>[] = [];
  let bytes = 0;
  let seq = 0;
  /** What was whole before `seq` began. */
  let whole = { count: 0, seq: 0 };
  for (const row of rows) {
    const isFull = changes.length >= limit.changes || bytes >= limit.bytes;
    if (isFull && row.seq !== seq) return { changes, seq, isEnd: false };
    if (row.seq !== seq) whole = { count: changes.length, seq };
    changes.push(row);
    bytes += changeBytes(row);
    seq = row.seq;
    // L1: a part is one line. What a single seq brings always fits into one.
    if (bytes > BATCH_BYTES_MAX && whole.count > 0) {
      return { changes: changes.slice(0, whole.count), seq: whole.seq, isEnd: false };
    }
  }
  return { changes, seq: head, isEnd: true };
}

/** Takes entries from `rows`, which are read lazily, until there are `limit` or the answer is large enough. */
export function collectEntries(rows: Iterable<Entry<Json>>, limit: number): ListPage {
  const entries: Entry<Json>[] = [];
  let bytes = 0;
  for (const row of rows) {
    if (entries.length >= limit || bytes >= LIST_BYTES_MAX) return { entries, hasMore: true };
    entries.push(row);
    bytes += changeBytes(row);
  }
  return { entries, hasMore: false };
}

/** Below this many new keys, each is put in its place; above, all are sorted in together. */
const SPLICE_MAX = 32;

/**
 * A map that can be walked in key order. Setting and getting cost what a Map costs; the order is brought up to date
 * when someone asks for it.
 */
export class OrderedMap<Item> {
  readonly #items = new Map<string, Item>();
  #keys: string[] = [];
  readonly #fresh = new Set<string>();
  readonly #stale = new Set<string>();

  get size(): number {
    return this.#items.size;
  }

  get(key: string): Item | undefined {
    return this.#items.get(key);
  }

  set(key: string, item: Item): void {
    if (!this.#items.has(key) && !this.#stale.delete(key)) this.#place(key);
    this.#items.set(key, item);
  }

  delete(key: string): void {
    if (this.#items.delete(key) && !this.#fresh.delete(key)) this.#stale.add(key);
  }

  clear(): void {
    this.#items.clear();
    this.#keys = [];
    this.#fresh.clear();
    this.#stale.clear();
  }

  /** The items whose keys lie in `range`, by rising or falling key. The map must not change meanwhile. */
  *walk(range: Range = {}, reverse = false): Generator<Item> {
    const keys = this.#ordered();
    const first = lowerBound(keys, (key) => isBefore(key, range));
    if (!reverse) {
      for (let i = first; i < keys.length && isInRange(keys[i]!, range); i++) yield this.#items.get(keys[i]!)!;
      return;
    }
    const end = lowerBound(keys, (key) => isBefore(key, range) || isInRange(key, range));
    for (let i = end - 1; i >= first; i--) yield this.#items.get(keys[i]!)!;
  }

  /** What comes in order, as a stored state does, need not be sorted. */
  #place(key: string): void {
    const last = this.#keys.at(-1);
    if (last === undefined || compareKeys(last, key) < 0) this.#keys.push(key);
    else this.#fresh.add(key);
  }

  #ordered(): string[] {
    if (this.#stale.size > 0) {
      this.#keys = this.#keys.filter((key) => !this.#stale.has(key));
      this.#stale.clear();
    }
    if (this.#fresh.size > SPLICE_MAX) {
      // Two sorted runs: the engine's merge sort takes them in one pass.
      const fresh = [...this.#fresh].sort(compareKeys);
      this.#keys = [...this.#keys, ...fresh].sort(compareKeys);
    } else {
      for (const key of this.#fresh) {
        const place = lowerBound(this.#keys, (other) => compareKeys(other, key) < 0);
        this.#keys.splice(place, 0, key);
      }
    }
    this.#fresh.clear();
    return this.#keys;
  }
}

function isBefore(key: string, range: Range): boolean {
  if (range.start !== undefined && compareKeys(key, range.start) < 0) return true;
  return range.prefix !== undefined && compareKeys(key, range.prefix) < 0;
}

/** The first place in `keys` where `isLower` no longer holds. */
function lowerBound(keys: readonly string[], isLower: (key: string) => boolean): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isLower(keys[middle]!)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A primary's store in memory: for tests, simulation and tools. */
export class MemoryStore implements PrimaryPersistence {
  epoch: string;
  head = 0;
  floor = 0;
  readonly #entries = new OrderedMap<Entry<Json>>();
  // A key that is written again is taken out and put back, so that iteration is by seq.
  readonly #changes = new Map<string, Change<Json>>();
  readonly #clients = new Map<string, { record: ClientRecord; touchedAt: number }>();
  readonly #loaded = new Map<string, Change<Json>>();
  readonly #limit: PageLimit;

  constructor(epoch: string, limit = PART_LIMIT) {
    this.epoch = epoch;
    this.#limit = limit;
  }

  get(key: string): Entry<Json> | undefined {
    return this.#entries.get(key);
  }

  list(range: Range, limit: number, reverse = false): ListPage {
    return collectEntries(this.#entries.walk(range, reverse), limit);
  }

  readChanges(since: number, tombstonesAfter: number): ChangesPage {
    return collectChanges(this.#changesAfter(since, tombstonesAfter), this.head, this.#limit);
  }

  readClient(clientId: string): ClientRecord | undefined {
    return this.#clients.get(clientId)?.record;
  }

  floorToKeep(tombstones: number): number {
    const removed = [...this.#changes.values()].filter((change) => "removed" in change);
    return removed.at(-tombstones - 1)?.seq ?? this.floor;
  }

  countEntries(range?: Range): number {
    return range ? [...this.#entries.walk(range)].length : this.#entries.size;
  }

  hasClients(): boolean {
    return this.#clients.size > 0;
  }

  compact({ floor, clientsBefore }: Compaction): void {
    this.#dropTombstones(floor);
    for (const [clientId, { touchedAt }] of this.#clients)
      if (touchedAt < clientsBefore) this.#clients.delete(clientId);
    this.floor = Math.max(this.floor, floor);
  }

  apply(commit: Commit, now: number): number {
    assert(commit.seq >= this.head, "a commit never lowers head");
    this.#write(commit.changes);
    for (const [clientId, record] of commit.clients) this.#clients.set(clientId, { record, touchedAt: now });
    this.head = commit.seq;
    return commit.changes.length + commit.clients.size;
  }

  clear(epoch: string): void {
    this.epoch = epoch;
    this.head += 1;
    this.floor = this.head;
    this.#entries.clear();
    this.#changes.clear();
  }

  beginLoading(): void {
    this.dropLoading();
  }

  load(changes: readonly Change<Json>[]): void {
    for (const change of changes) {
      this.#loaded.delete(change.key);
      this.#loaded.set(change.key, change);
    }
  }

  countLoaded(): number {
    return this.#loadedEntries().length;
  }

  endLoading(epoch: string, seq: number): void {
    this.clear(epoch);
    this.#write(this.#loadedEntries());
    this.dropLoading();
    this.head = Math.max(this.head, seq);
    this.floor = this.head;
  }

  dropLoading(): void {
    this.#loaded.clear();
  }

  #loadedEntries(): Entry<Json>[] {
    return [...this.#loaded.values()].filter((change): change is Entry<Json> => "value" in change);
  }

  #write(changes: readonly Change<Json>[]): void {
    for (const change of changes) {
      this.#changes.delete(change.key);
      this.#changes.set(change.key, change);
      if ("value" in change) this.#entries.set(change.key, change);
      else this.#entries.delete(change.key);
    }
  }

  #dropTombstones(floor: number): void {
    for (const change of this.#changes.values()) {
      if ("removed" in change && change.seq <= floor) this.#changes.delete(change.key);
    }
  }

  *#changesAfter(since: number, tombstonesAfter: number): Generator<Change<Json>> {
    for (const change of this.#changes.values()) {
      if (change.seq > since && ("value" in change || change.seq > tombstonesAfter)) yield change;
    }
  }
}
