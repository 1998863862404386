// What may be asked of a primary: per turn and session in bytes, and per second in operations, by everyone together and
// by each of those who ask. For the latter there is a bucket of tokens for each, kept as the one number of the generic
// cell rate algorithm (ITU-T I.371, annex A): when the bucket will be full again.

import type { SessionId } from "./effects.ts";
import { ASKED_BYTES_MAX, ASKED_BYTES_PER_OPERATION, QUOTA_BURST_S, QUOTA_OWNERS_MAX } from "./limits.ts";

/** Operations per second; `QUOTA_BURST_S` times as many may come at once. */
export interface Rates {
  identity: number;
  store: number;
}

/** Who asks: sessions of one owner share a bucket; without an owner there is only the store's. */
interface Asker {
  session: SessionId;
  owner: string;
}

const MS_PER_S = 1000;

/** Every question that may not be asked is answered with a sentence that says why; undefined means that it may. */
export class Quota {
  readonly #rates: Rates;
  /** What sessions have made this turn send by asking, in bytes. */
  readonly #asked = new Map<SessionId, number>();
  #storeFullAt = 0;
  /** In the order in which they were drawn from last. */
  readonly #fullAt = new Map<string, number>();

  constructor(rates: Rates) {
    this.#rates = rates;
  }

  /** Takes so many operations' worth from the store's bucket and the owner's; nothing if either holds too little. */
  take(owner: string | undefined, operations: number, now: number): string | undefined {
    const { identity, store } = this.#rates;
    const storeFullAt = fullAtAfter(this.#storeFullAt, operations / store, now);
    if (storeFullAt === undefined)
      return `the store is asked for more than ${store} operations a second (RATE_PER_STORE)`;
    if (owner !== undefined) {
      const fullAt = fullAtAfter(this.#fullAt.get(owner) ?? 0, operations / identity, now);
      if (fullAt === undefined) return `more than ${identity} operations a second were asked for (RATE_PER_IDENTITY)`;
      this.#keep(owner, fullAt, now);
    }
    this.#storeFullAt = storeFullAt;
    return undefined;
  }

  /** Takes what has been handed out already, also where there is too little: nothing more is given until that is made good. */
  charge(owner: string | undefined, operations: number, now: number): void {
    const { identity, store } = this.#rates;
    this.#storeFullAt = fullAtOwing(this.#storeFullAt, operations / store, now);
    if (owner !== undefined)
      this.#keep(owner, fullAtOwing(this.#fullAt.get(owner) ?? 0, operations / identity, now), now);
  }

  /** L1: a line of a few bytes can ask for megabytes, so what it makes the primary send is counted, and paid for. */
  ask({ session, owner }: Asker, bytes: number, now: number): string | undefined {
    const asked = (this.#asked.get(session) ?? 0) + bytes;
    this.#asked.set(session, asked);
    if (asked > ASKED_BYTES_MAX) return `more than ${ASKED_BYTES_MAX} bytes were asked for at once (ASKED_BYTES_MAX)`;
    return this.take(owner, 1 + Math.floor(bytes / ASKED_BYTES_PER_OPERATION), now);
  }

  endTurn(): void {
    this.#asked.clear();
  }

  /** What is full, or was not drawn from for the longest time, need not be known any more. */
  #keep(owner: string, fullAt: number, now: number): void {
    this.#fullAt.delete(owner);
    this.#fullAt.set(owner, fullAt);
    for (const [oldest, at] of this.#fullAt) {
      if (at > now && this.#fullAt.size <= QUOTA_OWNERS_MAX) return;
      this.#fullAt.delete(oldest);
    }
  }
}

/** When a bucket that so many seconds' worth is taken from will be full again; undefined if it does not hold so much. */
function fullAtAfter(fullAt: number, seconds: number, now: number): number | undefined {
  const after = fullAtOwing(fullAt, seconds, now);
  return after - now > QUOTA_BURST_S * MS_PER_S ? undefined : after;
}

const fullAtOwing = (fullAt: number, seconds: number, now: number): number =>
  Math.max(fullAt, now) + seconds * MS_PER_S;
