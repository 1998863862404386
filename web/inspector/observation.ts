// What the inspector knows of a store: what its primary says of itself twice a second, what this page's updates have come to, and
// what has changed in between, as samples of a moving window and as events.

import type { Acknowledged, ReplicaStatus, StoreStatus } from "../client.ts";
import { withDeadline } from "../deadline.ts";
import { openReplicas } from "../registry.ts";
import type { OpenReplica } from "../registry.ts";
import { endingOf } from "./ending.ts";

/** How often the primary is asked, and how long ago what is shown began. */
const SAMPLE_MS = 500;
export const WINDOW_MS = 120_000;

const SAMPLES_MAX = WINDOW_MS / SAMPLE_MS + 2;
/** Over which time throughput is counted. */
const RATE_MS = 2000;
/** A primary that takes longer to answer is not there. */
const STATUS_PATIENCE_MS = 2000;
/** Samples that are further apart are not joined by a line. */
const GAP_MS = STATUS_PATIENCE_MS + 2 * SAMPLE_MS;
const EVENTS_MAX = 200;
/** Updates that are timed between two samples. */
const TIMES_MAX = 10_000;

/** What one question has brought. What is null is not known. */
export interface Sample {
  /** Milliseconds on the page's own clock. */
  at: number;
  /** Of each secondary that the primary knows, in milliseconds. */
  lagMs: ReadonlyMap<string, number>;
  /** How many secondaries writers wait for. */
  inSync: number | null;
  /** The store's latest seq, of which history; null while the primary does not say. */
  head: number;
  epoch: string | null;
  /** Seqs that the store has been given in the last two seconds, per second. */
  rate: number | null;
  /** Of this page's updates that were acknowledged since then. */
  ackMs: { median: number; slowest: number } | null;
  /** Of those that were not: how long that took. */
  failedMs: number | null;
}

const UNKNOWN: Omit<Sample, "at"> = {
  lagMs: new Map(),
  inSync: null,
  head: 0,
  epoch: null,
  rate: null,
  ackMs: null,
  failedMs: null,
};

/** Something that happened to the store's replicas. */
export interface StoreEvent {
  /** Milliseconds since 1970. */
  at: number;
  /** What has happened to whom, in words. */
  words: string;
  tone: "good" | "busy" | "bad";
}

/** Asks the primary for its status. */
export type AskStatus = () => Promise<StoreStatus>;

export class Observation {
  readonly #open: OpenReplica;
  readonly #ask: AskStatus;
  readonly #changed: () => void;
  readonly #leave: (() => void)[] = [];
  #samples: Sample[] = [];
  #events: StoreEvent[] = [];
  #status: StoreStatus | undefined;
  #failure: string | undefined;
  #ackedMs: number[] = [];
  #failedMs: number[] = [];
  #isAsking = false;
  #isClosed = false;
  #own: ReplicaStatus;
  /** By all names that it has had. */
  readonly #ownIds = new Set<string>();
  readonly #timer: ReturnType<typeof setInterval>;

  /** `changed` is called after each sample and event. */
  constructor(open: OpenReplica, ask: AskStatus, changed: () => void) {
    const { replica } = open;
    this.#open = open;
    this.#ask = ask;
    this.#changed = changed;
    this.#own = replica.status;
    if (this.#own.secondaryId !== null) this.#ownIds.add(this.#own.secondaryId);
    this.#leave.push(
      open.observe((ended) => void this.#follow(ended)),
      replica.subscribeStatus((status) => this.#compareOwn(status)),
    );
    this.#timer = setInterval(() => void this.#sample(), SAMPLE_MS);
    void this.#sample();
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    for (const leave of this.#leave) leave();
  }

  /** In the order in which they were taken. */
  get samples(): readonly Sample[] {
    return this.#samples;
  }

  /** The latest first. */
  get events(): readonly StoreEvent[] {
    return this.#events;
  }

  /** What the primary said last; undefined while it cannot be asked. */
  get status(): StoreStatus | undefined {
    return this.#status;
  }

  /** Why the primary cannot be asked. */
  get failure(): string | undefined {
    return this.#failure;
  }

  async #follow(ended: Promise<Acknowledged>): Promise<void> {
    const begunAt = performance.now();
    const { result } = await endingOf(ended);
    const times = result === "acked" ? this.#ackedMs : this.#failedMs;
    if (times.length < TIMES_MAX) times.push(performance.now() - begunAt);
  }

  /** A page that nobody sees asks once, so that there is something to see. */
  async #sample(): Promise<void> {
    const isUnseen = document.visibilityState === "hidden" && this.#samples.length > 0;
    if (this.#isAsking || isUnseen || this.#isOver) return;
    this.#isAsking = true;
    try {
      const status = await withDeadline(this.#ask(), STATUS_PATIENCE_MS, "the primary");
      this.#compare(status);
      this.#status = status;
      this.#failure = undefined;
    } catch (error) {
      if (this.#failure === undefined) this.#tell("the primary cannot be asked", "bad");
      this.#failure = error instanceof Error ? error.message : String(error);
      this.#status = undefined;
    } finally {
      this.#isAsking = false;
    }
    if (this.#isOver) return;
    this.#take(performance.now());
    this.#changed();
  }

  /** It was closed, or the replica was. */
  get #isOver(): boolean {
    return this.#isClosed || !openReplicas().has(this.#open);
  }

  #take(at: number): void {
    const status = this.#status;
    const last = this.#samples.at(-1);
    // A page that was not looked at has seen nothing.
    if (last && at - last.at > GAP_MS) this.#samples.push({ ...UNKNOWN, at: last.at + 1 });
    const { epoch, head } = status ?? { epoch: null, head: 0 };
    const before = this.#samples.findLast((sample) => sample.at <= at - RATE_MS);
    const isSame = before !== undefined && epoch !== null && before.epoch === epoch;
    const acked = this.#ackedMs.splice(0).sort((a, b) => a - b);
    const failed = this.#failedMs.splice(0);
    this.#samples.push({
      at,
      lagMs: new Map(status?.secondaries.map(({ id, lagMs }) => [id, lagMs])),
      inSync: status ? inSyncOf(status).size : null,
      head,
      epoch,
      rate: isSame ? Math.max(0, ((head - before.head) * 1000) / (at - before.at)) : null,
      ackMs: acked.length > 0 ? { median: acked[acked.length >> 1]!, slowest: acked.at(-1)! } : null,
      failedMs: failed.length > 0 ? failed.reduce((a, b) => Math.max(a, b)) : null,
    });
    this.#samples.splice(0, this.#samples.length - SAMPLES_MAX);
  }

  /** What the primary says otherwise than before. */
  #compare(status: StoreStatus): void {
    const before = this.#status;
    if (!before) {
      if (this.#failure !== undefined) this.#tell("the primary answers again", "good");
      return;
    }
    if (before.epoch !== status.epoch) this.#tell("a new history has begun", "busy");
    const [was, is] = [inSyncOf(before), inSyncOf(status)];
    const stateOf = new Map(status.secondaries.map(({ id, state }) => [id, state]));
    // Of its own replica this page hears more, and sooner.
    const tell = (id: string, words: string, tone: StoreEvent["tone"]): void => {
      if (!this.#ownIds.has(id)) this.#tell(`${id.slice(0, 8)} ${words}`, tone);
    };
    for (const id of is) if (!was.has(id)) tell(id, "is in the in-sync set", "good");
    for (const id of was) {
      if (!is.has(id)) tell(id, `has left the in-sync set: ${stateOf.get(id) ?? "gone"}`, "busy");
    }
  }

  #compareOwn(status: ReplicaStatus): void {
    const before = this.#own;
    this.#own = status;
    if (status.secondaryId !== null) this.#ownIds.add(status.secondaryId);
    if (status.inSync !== before.inSync) {
      const words = status.inSync ? "is in the in-sync set" : "has left the in-sync set";
      this.#tell(`this browser ${words}`, status.inSync ? "good" : "busy");
    }
    if (status.state !== before.state) {
      const tone = status.state === "following" ? "good" : status.state === "offline" ? "bad" : "busy";
      this.#tell(`this browser is ${status.state}`, tone);
    }
    this.#changed();
  }

  #tell(words: string, tone: StoreEvent["tone"]): void {
    this.#events = [{ at: Date.now(), words, tone }, ...this.#events.slice(0, EVENTS_MAX - 1)];
  }
}

const inSyncOf = ({ secondaries }: StoreStatus): Set<string> =>
  new Set(secondaries.filter(({ state }) => state === "in-sync").map(({ id }) => id));
