// A page's own copy of the replica's visible state, so that reading is synchronous. It moves from step to step exactly
// as the replica does, never back, and tells its subscribers about each step at once and whole.

import { isInRange } from "../src/kv.ts";
import type { Change, Entry, Range } from "../src/kv.ts";
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
export type ReadonlyEntry = Readonly<Entry<ReadonlyJson>>;

/** What a step has done to one key: a new value, or `removed`. `oldValue` is there if the key was. */
export type VisibleChange =
  | { readonly key: string; readonly value: ReadonlyJson; readonly seq: number; readonly oldValue?: ReadonlyJson }
  | { readonly key: string; readonly removed: true; readonly seq: number; readonly oldValue?: ReadonlyJson };

/** The changes of one step that concern a subscriber, in the order of their seqs. Called after the step is visible. */
export type Subscriber = (changes: readonly VisibleChange[]) => void;

/** What a subscription is for: one key, or the keys of a range. */
export type Interest = { key: string } | Range;

export interface ListOptions extends Range {
  /** At most so many entries; all, if left out. */
  limit?: number;
  /** By falling key. */
  reverse?: boolean;
}

/** A step as the mirror takes it. */
export interface MirrorStep {
  epoch: string | null;
  prev: number;
  seq: number;
  reset: boolean;
  changes: Iterable<Change>;
}

interface Subscription {
  interest: Interest;
  subscriber: Subscriber;
}

export class Mirror {
  readonly #entries = new OrderedMap<Entry>();
  readonly #byKey = new Map<string, Set<Subscription>>();
  readonly #byRange = new Set<Subscription>();
  #epoch: string | null = null;
  #seq = 0;

  get epoch(): string | null {
    return this.#epoch;
  }

  get seq(): number {
    return this.#seq;
  }

  entry(key: string): ReadonlyEntry | undefined {
    return this.#entries.get(key);
  }

  list({ limit = Infinity, reverse = false, ...range }: ListOptions = {}): ReadonlyEntry[] {
    const entries: ReadonlyEntry[] = [];
    if (limit <= 0) return entries;
    for (const entry of this.#entries.walk(range, reverse)) {
      entries.push(entry);
      if (entries.length >= limit) break;
    }
    return entries;
  }

  subscribe(interest: Interest, subscriber: Subscriber): () => void {
    const subscription: Subscription = { interest, subscriber };
    if (!("key" in interest)) {
      this.#byRange.add(subscription);
      return () => void this.#byRange.delete(subscription);
    }
    const { key } = interest;
    const subscriptions = this.#byKey.get(key) ?? new Set();
    this.#byKey.set(key, subscriptions.add(subscription));
    return () => {
      subscriptions.delete(subscription);
      if (subscriptions.size === 0 && this.#byKey.get(key) === subscriptions) this.#byKey.delete(key);
    };
  }

  /** Whether this page shows that state already, or a later one. */
  hasSeen(epoch: string | null, seq: number): boolean {
    return epoch === this.#epoch && seq <= this.#seq;
  }

  /**
   * Makes a step visible and tells the subscribers. A step that leads nowhere new is dropped: after its worker has
   * died, a page is served by one that may have to catch up with it first. A reset is the primary's own word.
   */
  apply(step: MirrorStep): void {
    const isSameHistory = step.epoch === this.#epoch;
    const isContinued = isSameHistory && step.prev <= this.#seq && this.#seq < step.seq;
    if (!isContinued && !step.reset) return;
    const isWatched = this.#byKey.size > 0 || this.#byRange.size > 0;
    const changes = step.reset
      ? this.#replace(step, isSameHistory, isWatched)
      : this.#change(step.changes, this.#seq, isWatched);
    this.#epoch = step.epoch;
    this.#seq = step.seq;
    if (changes.length > 0) this.#publish(changes);
  }

  #change(changes: Iterable<Change>, since: number, isWatched: boolean): VisibleChange[] {
    const changed = new Map<string, { change: Change; old: Entry | undefined }>();
    for (const change of changes) {
      // What a replica that had to catch up with this page sends is here in part already.
      if (change.seq <= since) continue;
      const old = this.#entries.get(change.key);
      if ("value" in change) this.#entries.set(change.key, change);
      else this.#entries.delete(change.key);
      if (!isWatched) continue;
      // A catch-up may name a key twice; it is one change, at the place of the later.
      const earlier = changed.get(change.key);
      changed.delete(change.key);
      changed.set(change.key, { change, old: earlier ? earlier.old : old });
    }
    const visible: VisibleChange[] = [];
    for (const { change, old } of changed.values()) {
      if (old || "value" in change) visible.push(toVisible(change, old));
    }
    return visible;
  }

  #replace(step: MirrorStep, isSameHistory: boolean, isWatched: boolean): VisibleChange[] {
    const before = new Map<string, Entry>();
    if (isWatched) for (const entry of this.#entries.walk()) before.set(entry.key, entry);
    this.#entries.clear();
    for (const change of step.changes) {
      // A key that was written while the state was on its way comes again, later.
      if ("value" in change) this.#entries.set(change.key, change);
      else this.#entries.delete(change.key);
    }
    if (!isWatched) return [];
    const visible: VisibleChange[] = [];
    for (const entry of this.#entries.walk()) {
      const old = before.get(entry.key);
      before.delete(entry.key);
      if (!old || !isSameHistory || old.seq !== entry.seq) visible.push(toVisible(entry, old));
    }
    for (const old of before.values()) {
      visible.push(toVisible({ key: old.key, removed: true, seq: step.seq }, old));
    }
    return visible.sort((a, b) => a.seq - b.seq);
  }

  #publish(changes: readonly VisibleChange[]): void {
    const due = new Map<Subscription, VisibleChange[]>();
    for (const change of changes) {
      for (const subscription of this.#byKey.get(change.key) ?? []) addTo(due, subscription, change);
    }
    for (const subscription of this.#byRange) {
      const { interest } = subscription;
      for (const change of changes) if (isInRange(change.key, interest as Range)) addTo(due, subscription, change);
    }
    for (const [{ subscriber }, concerned] of due) callSafely(() => subscriber(concerned));
  }
}

function toVisible(change: Change, old: Entry | undefined): VisibleChange {
  const { key, seq } = change;
  const visible = "value" in change ? { key, value: change.value, seq } : { key, removed: true as const, seq };
  return old ? { ...visible, oldValue: old.value } : visible;
}

function addTo(due: Map<Subscription, VisibleChange[]>, subscription: Subscription, change: VisibleChange): void {
  const changes = due.get(subscription);
  if (changes) changes.push(change);
  else due.set(subscription, [change]);
}

/** Calls back into the program; what it throws is reported as uncaught and harms nobody else. */
export function callSafely(call: () => void): void {
  try {
    call();
  } catch (error) {
    reportError(error);
  }
}
