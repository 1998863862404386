// The updates of this page that are not acked yet, laid over the entries that are. It keeps them in the order in which
// they were made and knows for each key what is on top; the entries beneath belong to whoever holds the overlay.

import { compareKeys } from "../src/kv.ts";
import type { Check, Entry, Range } from "../src/kv.ts";
import { OrderedMap } from "../src/store.ts";

/** A JSON value that is shared with others: read it, but do not change it. */
export type ReadonlyJson =
  | null
  | boolean
  | number
  | string
  | readonly ReadonlyJson[]
  | { readonly [name: string]: ReadonlyJson };

/** An entry as this page holds it. It is shared with all who read it. */
export interface ReadonlyEntry extends Readonly<Entry<ReadonlyJson>> {
  /** The value is that of an update which is not acked yet, and `seq` that of the entry beneath it, or 0. */
  readonly pending?: true;
}

/** What a pending update does to one key. */
export type PendingWrite =
  | { readonly key: string; readonly value: ReadonlyJson }
  | { readonly key: string; readonly removed: true };

/** Is told of a key before what it shows may change. */
export type Note = (key: string) => void;

/** What the overlay shows at a key: an entry, or that it is removed. */
interface Shown {
  readonly key: string;
  readonly entry: ReadonlyEntry | undefined;
}

interface Update {
  /** Its place among all updates, from 1. */
  readonly order: number;
  readonly writes: ReadonlyMap<string, PendingWrite>;
  readonly checks: readonly Check[];
  isEffective: boolean;
}

/** The updates that meet at a key, each list by rising order. */
interface Lane {
  /** Those that are effective and write it. The last one is what shows. */
  readonly writers: Update[];
  /** Those that check it, effective or not. */
  readonly checkers: Update[];
}

export class Overlay {
  readonly #entryBeneath: (key: string) => ReadonlyEntry | undefined;
  readonly #updates = new Map<string, Update>();
  readonly #lanes = new Map<string, Lane>();
  readonly #shown = new OrderedMap<Shown>();
  #lastOrder = 0;

  constructor(entryBeneath: (key: string) => ReadonlyEntry | undefined) {
    this.#entryBeneath = entryBeneath;
  }

  /** Whether nothing is covered: all reads are those of the entries beneath. */
  get isClear(): boolean {
    return this.#shown.size === 0;
  }

  /** What is on top at a key; undefined if the key is not covered. */
  shown(key: string): Shown | undefined {
    return this.#shown.get(key);
  }

  /** The entries of a range with what lies over them. `beneath` are those of the same range, in the same direction. */
  *over(beneath: Iterator<ReadonlyEntry, void>, range: Range | undefined, reverse: boolean): Generator<ReadonlyEntry> {
    let next = beneath.next();
    for (const { key, entry } of this.#shown.walk(range, reverse)) {
      for (; !next.done; next = beneath.next()) {
        const order = compareKeys(next.value.key, key);
        if (reverse ? order <= 0 : order >= 0) break;
        yield next.value;
      }
      if (!next.done && next.value.key === key) next = beneath.next();
      if (entry) yield entry;
    }
    for (; !next.done; next = beneath.next()) yield next.value;
  }

  /** Lays an update over all earlier ones. Does nothing if there is one of that name. */
  add(name: string, writes: readonly PendingWrite[], checks: readonly Check[], note: Note): void {
    if (this.#updates.has(name)) return;
    this.#lastOrder += 1;
    const byKey = new Map(writes.map((write) => [write.key, write]));
    const update: Update = { order: this.#lastOrder, writes: byKey, checks, isEffective: false };
    this.#updates.set(name, update);
    for (const { key } of checks) put(this.#lane(key).checkers, update);
    this.#settle([update], note);
  }

  /** Takes an update out. Does nothing if there is none of that name. */
  remove(name: string, note: Note): void {
    const update = this.#updates.get(name);
    if (!update) return;
    this.#updates.delete(name);
    for (const { key } of update.checks) {
      take(this.#lane(key).checkers, update);
      this.#tidy(key);
    }
    const due: Update[] = [];
    if (update.isEffective) this.#toggle(update, due, note);
    this.#settle(due, note);
  }

  /** Has to be called when the entries of these keys have changed; without keys, when any may have. */
  rebase(note: Note, keys: Iterable<string> = this.#lanes.keys()): void {
    if (this.#updates.size === 0) return;
    const due: Update[] = [];
    for (const key of keys) {
      const lane = this.#lanes.get(key);
      if (!lane) continue;
      for (const checker of checkersAfter(0, lane)) put(due, checker);
      this.#show(key);
    }
    this.#settle(due, note);
  }

  /**
   * Decides anew whether the updates in `due` are effective. That depends on earlier ones only, so each is decided once;
   * those on which a decision bears join `due` behind the one in hand, where this loop still comes by.
   */
  #settle(due: Update[], note: Note): void {
    for (const update of due) {
      const isEffective = update.checks.every((check) => this.#holds(check, update));
      if (isEffective !== update.isEffective) this.#toggle(update, due, note);
    }
  }

  #holds({ key, seq }: Check, update: Update): boolean {
    const writers = this.#lanes.get(key)?.writers ?? [];
    const earlier = writers[placeAfter(update.order - 1, writers) - 1];
    // What seq an earlier update will get is not known, but where it removes there will be none.
    if (earlier) return seq === null && "removed" in earlier.writes.get(key)!;
    return (this.#entryBeneath(key)?.seq ?? null) === seq;
  }

  #toggle(update: Update, due: Update[], note: Note): void {
    update.isEffective = !update.isEffective;
    for (const key of update.writes.keys()) {
      note(key);
      const lane = this.#lane(key);
      if (update.isEffective) put(lane.writers, update);
      else take(lane.writers, update);
      for (const checker of checkersAfter(update.order, lane)) put(due, checker);
      this.#show(key);
      this.#tidy(key);
    }
  }

  #show(key: string): void {
    const write = this.#lanes.get(key)?.writers.at(-1)?.writes.get(key);
    if (!write) return this.#shown.delete(key);
    if ("removed" in write) return this.#shown.set(key, { key, entry: undefined });
    const seq = this.#entryBeneath(key)?.seq ?? 0;
    this.#shown.set(key, { key, entry: { key, value: write.value, seq, pending: true } });
  }

  #lane(key: string): Lane {
    const lane = this.#lanes.get(key) ?? { writers: [], checkers: [] };
    this.#lanes.set(key, lane);
    return lane;
  }

  #tidy(key: string): void {
    const { writers, checkers } = this.#lane(key);
    if (writers.length === 0 && checkers.length === 0) this.#lanes.delete(key);
  }
}

/**
 * The checkers of a key that see what was written at `order`: those up to the next writer, that one included. Who comes
 * later sees only that writer, whatever lies beneath it. 0 stands for the entry beneath all.
 */
function checkersAfter(order: number, { writers, checkers }: Lane): Update[] {
  const next = writers[placeAfter(order, writers)];
  return checkers.slice(placeAfter(order, checkers), next && placeAfter(next.order, checkers));
}

/** The first place in a list behind all updates up to `order`. */
function placeAfter(order: number, updates: readonly Update[]): number {
  let low = 0;
  let high = updates.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (updates[middle]!.order <= order) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Puts an update in its place in a list, once. */
function put(updates: Update[], update: Update): void {
  const place = placeAfter(update.order, updates);
  if (updates[place - 1] !== update) updates.splice(place, 0, update);
}

function take(updates: Update[], update: Update): void {
  const place = placeAfter(update.order, updates) - 1;
  if (updates[place] === update) updates.splice(place, 1);
}
