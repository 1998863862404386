// How a replica comes to be the durable one of its browser and stops being it: it takes the lock, claims the database,
// keeps it as long as it can be written to, and pursues it again when it was lost.
//
//   start --lock free--> owner <--lock given, or taken from a silent holder-- waiting
//      \                   |                                                    ^
//       +--lock held-------+--stolen, deleted, unusable for too long------------+

import type { StepLines } from "../feed.ts";
import { IdbStore, databaseName, deleteOldDatabases } from "./idb-store.ts";
import type { CopyName } from "./idb-store.ts";
import { hasLocks, tryLock, waitForLock } from "./lock.ts";
import type { Tenure } from "./lock.ts";
import { LostError } from "./replica-persistence.ts";
import type { Image, Stored } from "./replica-persistence.ts";

/** Storage that refuses for so long is given up: before users are let go who wait to see what was acked. */
const REFUSALS_MS = 2000;
/** After that it is tried again, at first after this, and after twice as long each time that it fails. */
const RETRY_BASE_MS = 5000;
const RETRY_CAP_MS = 60_000;

export interface OwnershipSettings extends CopyName {
  durability: "relaxed" | "strict";
}

export interface OwnershipEvents {
  /** The visible state; undefined while there is none. */
  readImage(): Image | undefined;
  /** Whether this replica is served by the primary: one that is not makes room for one that is. */
  isServed(): boolean;
  /** Another keeps the database. What it holds now may be shown. */
  peeked(stored: Stored): void;
  /** The database is this replica's. When it resolves, what is stored and what is shown are the same state. */
  acquired(store: IdbStore, stored: Stored): Promise<void>;
  /** It is not any more, or cannot be used. */
  lost(reason: string): void;
}

/** The time during which the database is this replica's. */
interface Rule {
  /** Resolves with the reason when it is over. */
  readonly over: Promise<string>;
}

export class Ownership {
  readonly #settings: OwnershipSettings;
  readonly #events: OwnershipEvents;
  readonly #name: string;
  readonly #isServed = (): boolean => this.#events.isServed();
  readonly #ended = new AbortController();
  #store: IdbStore | undefined;
  #tenure: Tenure | undefined;
  /** Ends the present rule. */
  #lose: ((reason: string) => void) | undefined;
  #refusedSince: number | undefined;
  #failures = 0;

  constructor(settings: OwnershipSettings, events: OwnershipEvents) {
    this.#settings = settings;
    this.#events = events;
    this.#name = databaseName(settings);
  }

  /** Resolves after the first attempt; goes on by itself from there. */
  async start(): Promise<void> {
    const tenure = await tryLock(this.#name, this.#isServed);
    const rule = tenure && (await this.#own(tenure));
    if (!rule) await this.#peek();
    void this.#pursue(rule);
  }

  /** Makes steps durable. A refusal may be tried again; when there is no sense in that, ownership is lost instead. */
  async persist(steps: StepLines[], secondaryId: string): Promise<void> {
    const store = this.#store;
    if (!store) throw new Error("the local copy is kept by another replica");
    const begunAt = performance.now();
    try {
      await store.persist(steps, secondaryId);
      this.#refusedSince = undefined;
      this.#failures = 0;
    } catch (error) {
      if (store === this.#store) this.#refused(error, begunAt);
      throw error;
    }
  }

  /** Empties the database, which is acquired again as it then is. False if it is another's, or cannot be used. */
  async wipe(): Promise<boolean> {
    const store = this.#store;
    if (!store) return false;
    try {
      await store.clear();
    } catch (error) {
      if (store === this.#store) this.#lose?.(`the local copy could not be wiped: ${String(error)}`);
      return false;
    }
    if (store !== this.#store) return false;
    await this.#events.acquired(store, { checkpoint: undefined, pages: [], steps: [] });
    return true;
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    this.#lose?.("stopped");
    await this.#leave();
  }

  #refused(error: unknown, begunAt: number): void {
    this.#refusedSince ??= begunAt;
    if (error instanceof LostError) return this.#lose?.(error.message);
    if (performance.now() - this.#refusedSince < REFUSALS_MS) return;
    this.#failures += 1;
    this.#lose?.(`local storage was given up: ${String(error)}`);
  }

  /** Claims the database; undefined if it cannot be used. */
  async #own(tenure: Tenure): Promise<Rule | undefined> {
    this.#tenure = tenure;
    if (this.#isEnded) {
      await this.#leave();
      return undefined;
    }
    const over = new Promise<string>((lose) => (this.#lose = lose));
    void tenure.lost.then(() => this.#lose?.("another replica keeps the local copy now"));
    try {
      await this.#claim();
    } catch (error) {
      this.#failures += 1;
      this.#tell(`local storage cannot be used: ${String(error)}`);
      await this.#leave();
      return undefined;
    }
    void deleteOldDatabases(this.#settings).catch(() => {});
    return { over };
  }

  async #claim(): Promise<void> {
    const store = this.#openStore();
    this.#store = store;
    const stored = await store.claim().catch(async (error: unknown) => {
      if (!isDamage(error)) throw error;
      // Records that the browser itself cannot read do not come back, and stand in the way of new ones.
      await store.destroy();
      return store.claim();
    });
    await this.#events.acquired(store, stored);
  }

  #openStore(): IdbStore {
    const { durability } = this.#settings;
    const readImage = (): Image | undefined => this.#events.readImage();
    return new IdbStore(this.#name, durability, readImage, (reason) => this.#lose?.(reason));
  }

  /** Reads what another keeps, or what cannot be claimed; without it the replica begins empty. */
  async #peek(): Promise<void> {
    if (this.#isEnded) return;
    const store = this.#openStore();
    try {
      const stored = await store.load();
      if (!this.#isEnded) this.#events.peeked(stored);
    } catch (error) {
      this.#tell(`local storage cannot be used: ${String(error)}`);
    } finally {
      await store.close();
    }
  }

  async #pursue(first: Rule | undefined): Promise<void> {
    for (let rule = first; !this.#isEnded;) {
      if (rule) {
        this.#tell(await rule.over);
        await this.#leave();
      }
      if (this.#isEnded || !hasLocks()) return;
      await this.#rest();
      const tenure = await waitForLock(this.#name, this.#ended.signal, this.#isServed);
      if (this.#isEnded) return tenure?.release();
      rule = tenure && (await this.#own(tenure));
    }
  }

  #tell(reason: string): void {
    if (!this.#isEnded) this.#events.lost(reason);
  }

  get #isEnded(): boolean {
    return this.#ended.signal.aborted;
  }

  /** Storage that does not work is left alone for a while. */
  #rest(): Promise<void> {
    if (this.#failures === 0) return Promise.resolve();
    const delayMs = Math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ** (this.#failures - 1));
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#ended.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async #leave(): Promise<void> {
    const store = this.#store;
    this.#store = undefined;
    this.#lose = undefined;
    this.#refusedSince = undefined;
    await store?.close();
    this.#tenure?.release();
    this.#tenure = undefined;
  }
}

/** Whether a read failed because of what is on the disk, and not because of who is at it. */
function isDamage(error: unknown): boolean {
  return error instanceof DOMException && (error.name === "DataError" || error.name === "NotReadableError");
}
