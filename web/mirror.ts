// A page's own copy of the replica's visible state, so that reading is synchronous, with the page's pending updates over
// it. It moves from step to step exactly as the replica does, never back, and tells its subscribers about each step and
// each pending update at once and whole.

import { isInRange } from "../src/kv.ts";
import type { Change, Check, Range } from "../src/kv.ts";
import { OrderedMap } from "../src/store.ts";
import { Overlay } from "./overlay.ts";
import type { PendingWrite, ReadonlyEntry, ReadonlyJson } from "./overlay.ts";

export type { PendingWrite, ReadonlyEntry, ReadonlyJson } from "./overlay.ts";

/**
 * What has become of one key: a new value, or `removed`. `oldValue` is there if the key was. `pending` says that an update
 * shows which is not acked yet; `seq` is then that of the entry beneath it, or 0. It is 0 as well where such an update is
 * taken back and leaves nothing.
 */
export type VisibleChange = {
  readonly key: string;
  readonly seq: number;
  readonly pending?: true;
  readonly oldValue?: ReadonlyJson;
} & ({ readonly value: ReadonlyJson } | { readonly removed: true });

/**
 * The changes that concern a subscriber of one step, or of one pending update that came or went, in the order of their
 * seqs. Called after they have become visible.
 *
 * A subscriber may update, subscribe and leave. What it updates is readable at once, but is told only when everyone has
 * been told of what came before. So each subscriber is told of everything in the order in which it happened, each time of
 * the whole; what it reads meanwhile may be later than what it is told, and then it is told of that next. One that has
 * left is not called any more.
 */
export type Subscriber = (changes: readonly VisibleChange[]) => void;

/** What a subscription is for: one key, or the keys of a range. */
export type Interest = { key: string } | Range;

/** Which entries to list, how many and in which order. */
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
  /** Of a reset also, gathered by the caller, what they lead to; the mirror then keeps it. */
  changes: Iterable<Change> | OrderedMap<ReadonlyEntry>;
}

/** What changes lead to, from nothing or from where others have led. */
export function gather(
  changes: Iterable<Change>,
  entries = new OrderedMap<ReadonlyEntry>(),
): OrderedMap<ReadonlyEntry> {
  for (const change of changes) {
    if ("value" in change) entries.set(change.key, change);
    // A key that was written while the state was on its way comes again, later.
    else entries.delete(change.key);
  }
  return entries;
}

interface Subscription {
  interest: Interest;
  subscriber: Subscriber;
  hasLeft: boolean;
}

/** What keys showed before they were touched, and the seq at which those that show nothing now have been removed. */
type Before = Map<string, { entry: ReadonlyEntry | undefined; removedAt: number }>;

export class Mirror {
  #base = new OrderedMap<ReadonlyEntry>();
  readonly #overlay = new Overlay((key) => this.#base.get(key));
  readonly #byKey = new Map<string, Set<Subscription>>();
  readonly #byRange = new Set<Subscription>();
  readonly #deliveries: [Subscription, VisibleChange[]][] = [];
  #isDelivering = false;
  #epoch: string | null = null;
  #seq = 0;

  get epoch(): string | null {
    return this.#epoch;
  }

  get seq(): number {
    return this.#seq;
  }

  entry(key: string): ReadonlyEntry | undefined {
    const shown = this.#overlay.isClear ? undefined : this.#overlay.shown(key);
    return shown ? shown.entry : this.#base.get(key);
  }

  list({ limit = Infinity, reverse = false, ...range }: ListOptions = {}): ReadonlyEntry[] {
    const entries: ReadonlyEntry[] = [];
    if (limit <= 0) return entries;
    for (const entry of this.#walk(range, reverse)) {
      entries.push(entry);
      if (entries.length >= limit) break;
    }
    return entries;
  }

  subscribe(interest: Interest, subscriber: Subscriber): () => void {
    const subscription: Subscription = { interest, subscriber, hasLeft: false };
    const key = "key" in interest ? interest.key : undefined;
    const subscriptions = key === undefined ? this.#byRange : (this.#byKey.get(key) ?? new Set());
    subscriptions.add(subscription);
    if (key !== undefined) this.#byKey.set(key, subscriptions);
    return () => {
      subscription.hasLeft = true;
      subscriptions.delete(subscription);
      if (key !== undefined && subscriptions.size === 0 && this.#byKey.get(key) === subscriptions) {
        this.#byKey.delete(key);
      }
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
    const before: Before = new Map();
    if (step.reset) this.#replace(step, isSameHistory, before);
    else this.#change(step.changes as Iterable<Change>, before);
    this.#epoch = step.epoch;
    this.#seq = step.seq;
    this.#publish(before);
  }

  /**
   * Shows an update over all that there is, and over every step to come, until it is removed. One with checks shows only
   * while all of them hold for the state beneath it. Does nothing if there is one of that name.
   */
  addPending(name: string, writes: readonly PendingWrite[], checks: readonly Check[]): void {
    const before: Before = new Map();
    this.#overlay.add(name, writes, checks, (key) => this.#note(before, key));
    this.#publish(before);
  }

  /** Shows a pending update no longer: it has failed, or a step has brought it. Does nothing if there is none. */
  removePending(name: string): void {
    const before: Before = new Map();
    this.#overlay.remove(name, (key) => this.#note(before, key));
    this.#publish(before);
  }

  get #isWatched(): boolean {
    return this.#byKey.size > 0 || this.#byRange.size > 0;
  }

  #walk(range?: Range, reverse = false): Generator<ReadonlyEntry> {
    const base = this.#base.walk(range, reverse);
    return this.#overlay.isClear ? base : this.#overlay.over(base, range, reverse);
  }

  /** Keeps what a key shows before it is touched for the first time. */
  #note(before: Before, key: string, removedAt = 0): void {
    if (!this.#isWatched) return;
    const noted = before.get(key);
    if (!noted) before.set(key, { entry: this.entry(key), removedAt });
    else if (removedAt > 0) noted.removedAt = removedAt;
  }

  #change(changes: Iterable<Change>, before: Before): void {
    const keys: string[] = [];
    for (const change of changes) {
      // What a replica that had to catch up with this page sends is here in part already.
      if (change.seq <= this.#seq) continue;
      this.#note(before, change.key, change.seq);
      if ("value" in change) this.#base.set(change.key, change);
      else this.#base.delete(change.key);
      keys.push(change.key);
    }
    this.#overlay.rebase((key) => this.#note(before, key), keys);
  }

  #replace(step: MirrorStep, isSameHistory: boolean, before: Before): void {
    const removedAt = step.seq;
    const isWatched = this.#isWatched;
    if (isWatched) for (const entry of this.#walk()) before.set(entry.key, { entry, removedAt });
    const old = this.#base;
    this.#base = step.changes instanceof OrderedMap ? step.changes : gather(step.changes);
    const isCompared = isSameHistory && old.size > 0;
    for (const { key, seq } of isCompared || isWatched ? this.#base.walk() : []) {
      const known = isCompared ? old.get(key) : undefined;
      // What has not changed stays the same object: that is how a change is told. Elsewhere equal seqs mean nothing.
      if (known?.seq === seq) this.#base.set(key, known);
      if (isWatched && !before.has(key)) before.set(key, { entry: undefined, removedAt });
    }
    this.#overlay.rebase((key) => this.#note(before, key));
  }

  #publish(before: Before): void {
    const changes: VisibleChange[] = [];
    for (const [key, { entry: old, removedAt }] of before) {
      const entry = this.entry(key);
      if (isSame(old, entry)) continue;
      const change = entry ?? this.#removal(key, removedAt);
      changes.push(old ? { ...change, oldValue: old.value } : change);
    }
    if (changes.length > 0) this.#deliver(changes.sort((a, b) => a.seq - b.seq));
  }

  #removal(key: string, removedAt: number): VisibleChange {
    if (!this.#overlay.shown(key)) return { key, removed: true, seq: removedAt };
    return { key, removed: true, seq: this.#base.get(key)?.seq ?? 0, pending: true };
  }

  #deliver(changes: readonly VisibleChange[]): void {
    // Who subscribes from here on can read these changes already and must not be told.
    for (const delivery of this.#due(changes)) this.#deliveries.push(delivery);
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    // Grows at its end while subscribers update.
    for (const [subscription, concerned] of this.#deliveries) {
      if (!subscription.hasLeft) callSafely(() => subscription.subscriber(concerned));
    }
    this.#deliveries.length = 0;
    this.#isDelivering = false;
  }

  #due(changes: readonly VisibleChange[]): Map<Subscription, VisibleChange[]> {
    const due = new Map<Subscription, VisibleChange[]>();
    for (const change of changes) {
      for (const subscription of this.#byKey.get(change.key) ?? []) addTo(due, subscription, change);
    }
    for (const subscription of this.#byRange) {
      const { interest } = subscription;
      for (const change of changes) if (isInRange(change.key, interest as Range)) addTo(due, subscription, change);
    }
    return due;
  }
}

/** Whether a reader has nothing new: what happens beneath a pending value does not change it. */
function isSame(a: ReadonlyEntry | undefined, b: ReadonlyEntry | undefined): boolean {
  if (a === b) return true;
  return a?.pending === true && b?.pending === true && Object.is(a.value, b.value);
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
