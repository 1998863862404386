// What a page and its replica's worker say to each other: over one port per page, the feed, as lists of items in the
// order in which they take effect. State travels as the JSON text in which it came, because text crosses threads several
// times faster than objects.

import type { SecondaryStatus, Settled } from "../src/effects.ts";
import type { Change, Entry, JsonValue } from "../src/kv.ts";
import type { Operation, OperationFailed, OperationName, Update } from "../src/protocol.ts";

/** How far what is acknowledged here is on disk: as the browser sees fit, forced to the disk, or not at all. */
export type Durability = "relaxed" | "strict" | "memory";

/** What makes one replica differ from another of the same page. */
export interface ReplicaSettings {
  /** The store's address, absolute, http or https. */
  url: string;
  /** Whose replica it is: those of others are kept apart from it. */
  identity?: string;
  durability: Durability;
  prefixes?: string[];
}

/** What a page says to the worker itself: it comes with its feed, which begins with the whole state when there is one. */
export interface Open {
  settings: ReplicaSettings;
  clientId: string;
  feed: MessagePort;
  /** What the primary is shown; left out where there is none, or where the page is to be asked for it. */
  token?: string;
  /** The page can be asked for another token. */
  hasTokens: boolean;
  /** What the page wants to be at fault from the beginning. */
  faults: readonly Fault[];
}

/**
 * What can be made to go wrong, as long as a page wants it: the replica makes no connection, or takes no notice of what its disk has
 * done, so that nothing more is acknowledged.
 */
export type Fault = "offline" | "stalled-disk";

/** The worker's answer. */
export interface Opened {
  /** A Web Lock that the worker holds as long as it lives; null where there are none. */
  aliveLock: string | null;
}

/** Ids of queued updates begin above 1, so that a client can always claim to have settled something (outbox-sender.ts). */
export const QUEUED_FIRST_ID = 2;

/** An update that is kept on this browser's disk until its end is known. */
export interface QueuedUpdate {
  update: Update;
  /** Pages show what it does already. */
  isOptimistic: boolean;
  /** Milliseconds since 1970. */
  queuedAt: number;
  /** It was refused for good, and waits for someone to take notice. */
  failure?: OperationFailed;
}

/**
 * One message from the page. What has an answer gets it as an item of the feed, and a farewell gets none: browsers throw a
 * page out of their back-forward cache as soon as it is written to.
 */
export type FromPage =
  /** What was asked for in one turn. */
  | { type: "operate"; operations: Operation[] }
  /** Put these into the outbox, in this order; what is there already, stays as it is. */
  | { type: "queue"; updates: QueuedUpdate[] }
  /** Take an update out of the outbox that has failed or was never sent. */
  | { type: "dismiss"; name: OperationName }
  /** A person looks at the page: a connection that waits for its next attempt makes it now, any other proves itself. */
  | { type: "hurry" }
  /** Someone waits for a seq that a replica of some prefixes hears of only when it asks. */
  | { type: "refresh" }
  /** What was asked for; null if there is none at present. */
  | { type: "token"; token: string | null }
  /** From now on these are at fault, as far as it goes by this page. */
  | { type: "faults"; faults: readonly Fault[] }
  /** Lose the connection, and make another one as ever. */
  | { type: "drop" }
  /** Forget the copy, on disk and in memory, and begin as one who has never been here. */
  | { type: "wipe" }
  /** Are you there? */
  | { type: "ping" }
  | { type: "farewell" };

/** The state as a whole, in pages as `packPages` makes them; null if they were sent ahead. */
export interface WholeState {
  epoch: string | null;
  seq: number;
  pages: string[] | null;
}

/** One step of the visible state: the lines of its snapshot, as they were received. */
export interface StepLines {
  epoch: string;
  prev: number;
  seq: number;
  /** Everything that was there before is replaced. */
  reset: boolean;
  lines: string[];
}

/** One message to the page is a list of these. */
export type ToPage =
  /** Pages of a state that is not known to be whole yet: to be read now and, if `state` says so, shown then. */
  | { type: "ahead"; pages: string[] }
  | { type: "state"; state: WholeState }
  | { type: "step"; step: StepLines }
  | { type: "settled"; settled: Settled }
  | { type: "status"; status: SecondaryStatus }
  /** The replica has begun anew: whatever is unanswered must be asked again. */
  | { type: "ask-again" }
  /** The whole outbox, in its order. */
  | { type: "outbox"; queued: QueuedUpdate[] }
  /** These are in the outbox, on disk, as they stand here. */
  | { type: "queued"; queued: QueuedUpdate[] }
  /** This one is not in the outbox any more, or never was; null if it was dismissed. */
  | { type: "unqueued"; name: OperationName; settled: Settled | null }
  /** The primary wants to know, or wants to know anew, who this is. */
  | { type: "token-wanted" }
  | { type: "pong" };

/** Entries in one page. */
const PAGE_ENTRIES_MAX = 512;
/** A page as IndexedDB stores it; from 64 KiB on Chromium keeps a record outside the table, which is much slower. */
const PAGE_BYTES_MAX = 60 * 1024;

/**
 * Packs entries into pages: JSON texts of flat lists, key, value, seq, key, value, seq and so on. A page holds at most
 * 512 entries and 60 KiB, but always at least one entry.
 */
export function packPages(entries: Iterable<Entry>): string[] {
  const pages: string[] = [];
  let parts: string[] = [];
  let units = 0;
  let isWide = false;
  for (const { key, value, seq } of entries) {
    const part = `${JSON.stringify(key)},${JSON.stringify(value)},${seq}`;
    // A string with any unit above U+00FF is stored with two bytes for each of its units.
    const willBeWide = isWide || /[^\0-\xff]/.test(part);
    const bytes = (units + part.length + 2) * (willBeWide ? 2 : 1);
    if (parts.length > 0 && (parts.length === PAGE_ENTRIES_MAX || bytes > PAGE_BYTES_MAX)) {
      pages.push(`[${parts.join(",")}]`);
      parts = [];
      units = 0;
      isWide = false;
    }
    parts.push(part);
    units += part.length + 1;
    isWide ||= /[^\0-\xff]/.test(part);
  }
  if (parts.length > 0) pages.push(`[${parts.join(",")}]`);
  return pages;
}

/** Reads a page; undefined if it is not one. */
export function unpackPage(text: string): Entry[] | undefined {
  let items: unknown;
  try {
    items = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Array.isArray(items) || items.length % 3 !== 0) return undefined;
  const entries: Entry[] = [];
  for (let i = 0; i < items.length; i += 3) {
    const key: unknown = items[i];
    const seq: unknown = items[i + 2];
    if (typeof key !== "string" || typeof seq !== "number") return undefined;
    entries.push({ key, value: items[i + 1] as JsonValue, seq });
  }
  return entries;
}

/** A thread that paints is not kept busy for longer. */
const SLICE_MS = 10;

/** Takes texts one after the other, and lets the thread do what else it has to do in between. */
export async function takeInSlices(texts: readonly string[], take: (text: string) => void): Promise<void> {
  let begunAt = performance.now();
  for (const text of texts) {
    if (performance.now() - begunAt > SLICE_MS) {
      await nextTask();
      begunAt = performance.now();
    }
    take(text);
  }
}

/** Timers of a page that nobody sees are held back; messages are not. */
function nextTask(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/**
 * The changes of a snapshot's line that the worker's codec has read and found right: it is not checked twice, least of
 * all in a thread that paints.
 */
export function parseChanges(line: string): Change[] {
  const { seq, changes } = JSON.parse(line) as { seq: number; changes: (Change & { seq?: number })[] };
  for (const change of changes) change.seq ??= seq;
  return changes;
}
