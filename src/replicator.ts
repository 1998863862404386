// The primary's sender for one secondary: what was sent, what was acked, what may be sent next. It decides nothing
// about membership and keeps no copy of what it sends: the store is what everything is sent (again) from.
//
//   acked <= received <= sent <= covered <= head
//
//   acked    the secondary has said that it holds everything up to here (on disk, if it is durable)
//   received the same, or that it has at least the parts up to here aside: where its chain stands
//   sent     the seq of the last snapshot sent: where the secondary's chain will stand
//   covered  nothing up to here is missing; above `sent` only where the secondary's prefixes leave changes out
//
// While covered = head, each commit goes out as it comes (`offer`). Otherwise the gap is read from the store in parts
// (`pump`), as fast as acks make room in the window. Catch-up and bootstrap are the same walk by seq; a bootstrap
// starts at 0. A key that changes behind the walk moves ahead of it, so when the walk reaches head the secondary
// has exactly the state at head, however many writes went on meanwhile.

import { assert } from "./assert.ts";
import { changeBytes, isCovered } from "./kv.ts";
import type { Change, Json } from "./kv.ts";
import { SILENT_PATIENCE_MS } from "./limits.ts";
import type { Snapshot } from "./protocol.ts";
import type { PrimaryStore } from "./store.ts";

interface InFlight {
  seq: number;
  bytes: number;
  at: number;
}

/** What may be un-acked. A window that is not full takes one more snapshot, whatever its size. */
export interface Window {
  bytes: number;
  frames: number;
}

/** Where a replicator begins. */
export interface Start {
  /** The seq that the secondary's visible state (or what it has put aside) stands at. */
  since: number;
  /** What it is known to hold; left out while it has not said so. */
  acked?: number;
  /** What it may have been sent before the memory was lost; left out where it is known. */
  sentMax?: number;
  /** Tombstones up to here need not be sent: a bootstrap replaces everything. */
  tombstonesAfter: number;
  /** Whether the secondary waits for the end of a step, which then is sent even if it is empty. */
  isStepOpen: boolean;
}

export class Replicator {
  readonly prefixes: readonly string[] | undefined;
  readonly #limit: Window;
  #sent: number;
  /** The highest that `sent` ever was: a secondary may hold what was sent before it asked for something older. */
  #sentMax: number;
  #covered: number;
  #acked: number | undefined;
  #received: number;
  #confirmed = 0;
  #tombstonesAfter: number;
  #isStepOpen: boolean;
  #window: InFlight[] = [];
  #windowBytes = 0;
  /** What has been committed while the window was full. */
  #missedBytes = 0;
  #missedCommits = 0;
  #lastAckTookMs = 0;
  /** When an ack last made room. */
  #heardAt = 0;

  constructor(prefixes: readonly string[] | undefined, start: Start, limit: Window) {
    this.prefixes = prefixes;
    this.#limit = limit;
    this.#sent = start.since;
    this.#sentMax = start.sentMax ?? start.since;
    this.#covered = start.since;
    this.#acked = start.acked;
    this.#received = start.since;
    this.#tombstonesAfter = start.tombstonesAfter;
    this.#isStepOpen = start.isStepOpen;
  }

  /** What the secondary has acked; 0 while it has acked nothing. */
  get acked(): number {
    return this.#acked ?? 0;
  }

  get hasAcked(): boolean {
    return this.#acked !== undefined;
  }

  /** Everything up to here that concerns this secondary is acked. */
  get confirmed(): number {
    return this.#owesNothing ? this.#covered : this.#confirmed;
  }

  get #owesNothing(): boolean {
    return this.#acked === this.#sent && !this.#isStepOpen;
  }

  isCaughtUp(head: number): boolean {
    return this.#covered === head && this.#owesNothing;
  }

  /** When the oldest un-acked snapshot was sent. */
  get oldestUnackedAt(): number | undefined {
    return this.#window[0]?.at;
  }

  get framesUnacked(): number {
    return this.#window.length;
  }

  /** M7: it owes acks and has given none for a long time. */
  isSilent(now: number): boolean {
    const owedSince = this.oldestUnackedAt;
    return owedSince !== undefined && now - Math.max(owedSince, this.#heardAt) >= SILENT_PATIENCE_MS;
  }

  get isWindowFull(): boolean {
    return this.#window.length >= this.#limit.frames || this.#windowBytes >= this.#limit.bytes;
  }

  /** What un-acked snapshots hold, in bytes. */
  get windowBytes(): number {
    return this.#windowBytes;
  }

  /** Whether what waits behind the full window would fill another one. */
  get isOverflowing(): boolean {
    return this.#missedCommits >= this.#limit.frames || this.#missedBytes >= this.#limit.bytes;
  }

  /** How long the last ack of a step took from its snapshot on. */
  get lastAckTookMs(): number {
    return this.#lastAckTookMs;
  }

  covers(key: string): boolean {
    return isCovered(key, this.prefixes);
  }

  /**
   * Takes a fresh commit while nothing older is missing and the window has room. Returns what to send, null if the
   * commit does not concern this secondary, undefined if it must be fetched by `pump` in its turn.
   */
  offer(live: LiveCommit, now: number): Snapshot<Json> | null | undefined {
    if (this.#covered >= live.seq) return null;
    if (this.#covered !== live.prev || this.#isStepOpen || this.isWindowFull) {
      this.#missedBytes += live.bytes;
      this.#missedCommits += 1;
      return undefined;
    }
    const sized = live.snapshotFor(this.prefixes, this.#sent);
    this.#confirmed = this.confirmed;
    this.#covered = live.seq;
    if (!sized) return null;
    this.#push(sized, now);
    return sized.snapshot;
  }

  /** Reads what is missing from the store, as much as the window has room for. */
  pump(store: PrimaryStore, now: number): Snapshot<Json>[] {
    const sent: Snapshot<Json>[] = [];
    while ((this.#covered < store.head || this.#isStepOpen) && !this.isWindowFull) {
      const page = store.readChanges(this.#covered, this.#tombstonesAfter);
      const changes = page.changes.filter((change) => this.covers(change.key));
      this.#confirmed = this.confirmed;
      this.#covered = page.seq;
      if (page.isEnd) this.#missedBytes = this.#missedCommits = 0;
      if (page.isEnd && changes.length === 0 && !this.#isStepOpen) break;
      this.#isStepOpen = !page.isEnd;
      if (page.isEnd) this.#tombstonesAfter = 0;
      const snapshot: Snapshot<Json> = {
        type: "snapshot",
        prev: this.#sent,
        seq: page.seq,
        changes,
        until: store.head,
      };
      this.#push({ snapshot, bytes: bytesOf(changes) }, now);
      sent.push(snapshot);
    }
    return sent;
  }

  /** Takes a SnapshotAck. False if it names what was never sent. */
  ack(seq: number, now: number): boolean {
    const taken = this.#window.findLast((snapshot) => snapshot.seq <= seq);
    if (!this.receive(seq, now)) return false;
    if (taken) this.#lastAckTookMs = now - taken.at;
    this.#acked = Math.max(this.acked, seq);
    this.#confirmed = Math.max(this.#confirmed, seq);
    return true;
  }

  /** Takes a PartAck. False if it names what was never sent. */
  receive(seq: number, now: number): boolean {
    if (seq > this.#sentMax) return false;
    this.#received = Math.max(this.#received, seq);
    this.#sent = Math.max(this.#sent, seq);
    this.#covered = Math.max(this.#covered, seq);
    let count = 0;
    while (count < this.#window.length && this.#window[count]!.seq <= seq) {
      this.#windowBytes -= this.#window[count]!.bytes;
      count += 1;
    }
    if (count > 0) this.#window.splice(0, count);
    if (count > 0) this.#heardAt = now;
    return true;
  }

  /** Whether nothing that this secondary may still need is lost with the tombstones up to `floor`. */
  canContinueFrom(floor: number): boolean {
    return (this.#owesNothing ? this.#covered : this.#received) >= floor;
  }

  /** Where to begin again when what is un-acked may be lost: the secondary stands here or further. */
  get resendFrom(): number {
    return this.#received;
  }

  /** Goes back to `since`, so that `pump` sends again what follows it. False if that was never sent. */
  rewind(since: number): boolean {
    if (since > this.#sentMax) return false;
    this.#confirmed = this.confirmed;
    this.#sent = since;
    this.#covered = since;
    this.#window = [];
    this.#windowBytes = 0;
    // Whatever was lost, the secondary is told where the step ends.
    this.#isStepOpen = true;
    return true;
  }

  #push(sized: SizedSnapshot, now: number): void {
    const { snapshot, bytes } = sized;
    assert(snapshot.prev === this.#sent, "the chain has no gap");
    this.#sent = snapshot.seq;
    this.#sentMax = Math.max(this.#sentMax, snapshot.seq);
    this.#window.push({ seq: snapshot.seq, bytes, at: now });
    this.#windowBytes += bytes;
  }
}

interface SizedSnapshot {
  snapshot: Snapshot<Json>;
  bytes: number;
}

const bytesOf = (changes: readonly Change<Json>[]): number =>
  changes.reduce((sum, change) => sum + changeBytes(change), 0);

/** A fresh commit on its way to all secondaries: those with the same prefixes and chain share one snapshot. */
export class LiveCommit {
  readonly prev: number;
  readonly seq: number;
  readonly bytes: number;
  readonly #changes: Change<Json>[];
  readonly #snapshots = new Map<string, SizedSnapshot | undefined>();

  constructor(prev: number, seq: number, changes: Change<Json>[]) {
    this.prev = prev;
    this.seq = seq;
    this.bytes = bytesOf(changes);
    this.#changes = changes;
  }

  /** Undefined if no change lies under the prefixes. */
  snapshotFor(prefixes: readonly string[] | undefined, prev: number): SizedSnapshot | undefined {
    const name = prefixes === undefined ? `${prev}` : JSON.stringify([prev, prefixes]);
    if (!this.#snapshots.has(name)) this.#snapshots.set(name, this.#build(prefixes, prev));
    return this.#snapshots.get(name);
  }

  #build(prefixes: readonly string[] | undefined, prev: number): SizedSnapshot | undefined {
    const changes = this.#changes.filter((change) => isCovered(change.key, prefixes));
    if (changes.length === 0) return undefined;
    return { snapshot: { type: "snapshot", prev, seq: this.seq, changes, until: this.seq }, bytes: bytesOf(changes) };
  }
}
