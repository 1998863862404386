// A page's connection to the worker of its replica: one message that opens it, and a port of its own for everything else.

import { DeadlineError } from "./deadline.ts";
import type { FromPage, Open, Opened, ToPage } from "./feed.ts";

/**
 * Makes the replica's worker, for apps whose bundler needs to see it in their own code. With `isShared` false it should be
 * a worker of this page alone: the one that pages share does not answer, nor would another in the same process.
 */
export type WorkerFactory = (name: string, isShared: boolean) => SharedWorker | Worker;

export interface LinkEvents {
  /** The worker runs, and takes what it is sent. */
  started(): void;
  received(items: ToPage[]): void;
  /** The worker has died, did not start, or (`isHung`) does not answer, though it may still be there. */
  lost(reason: Error, isHung: boolean): void;
}

/** The worker's script may have to come over a slow network. */
const OPEN_PATIENCE_MS = 15_000;
/** For the worker to say farewell in its turn. */
const FAREWELL_MS = 3000;
/** How often a worker of which nothing was heard is asked whether it is there. */
const BEAT_MS = 2500;
/** So many asked in vain, and it is given up. */
const MISSED_BEATS_MAX = 3;

export class Link {
  readonly #worker: SharedWorker | Worker;
  readonly #feed: MessagePort;
  readonly #ended = new AbortController();
  readonly #events: LinkEvents;
  #hasStarted = false;
  #beatTimer: ReturnType<typeof setInterval> | undefined;
  // Beats are counted, not timed: after a sleep of the page's own only one can have been missed.
  #missed = 0;

  /** `generation` tells workers apart that are the same but for one of them not answering any more. */
  constructor(makeWorker: WorkerFactory, opening: Omit<Open, "feed">, generation: number, events: LinkEvents) {
    this.#events = events;
    this.#worker = makeWorker(workerName(opening, generation), generation === 0);
    const { port1, port2 } = new MessageChannel();
    this.#feed = port1;
    port1.onmessage = ({ data }: MessageEvent<ToPage[]>) => {
      this.#missed = 0;
      this.#start();
      events.received(data);
    };
    this.#worker.onerror = () => this.#lose(new Error("the replica's worker could not be started"), false);
    const door = "port" in this.#worker ? this.#worker.port : this.#worker;
    const timer = setTimeout(
      () => this.#lose(new DeadlineError("the replica's worker", OPEN_PATIENCE_MS), true),
      OPEN_PATIENCE_MS,
    );
    this.#ended.signal.addEventListener("abort", () => clearTimeout(timer));
    door.onmessage = ({ data }: MessageEvent<Opened>) => {
      clearTimeout(timer);
      this.#start();
      this.#watchLife(data.aliveLock);
    };
    door.postMessage({ ...opening, feed: port2 } satisfies Open, [port2]);
  }

  send(message: FromPage): void {
    this.#feed.postMessage(message);
  }

  #start(): void {
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    this.#events.started();
  }

  /** Lets the worker go. A dedicated worker gets time to leave in good order, and ends. */
  close(): void {
    if (this.#ended.signal.aborted) return;
    this.#end();
    const worker = this.#worker;
    if ("port" in worker) worker.port.close();
    else setTimeout(() => worker.terminate(), FAREWELL_MS);
  }

  #lose(reason: Error, isHung: boolean): void {
    if (this.#ended.signal.aborted) return;
    this.#end();
    if ("terminate" in this.#worker) this.#worker.terminate();
    this.#events.lost(reason, isHung);
  }

  /** One that only hangs reads the farewell when it comes round. */
  #end(): void {
    this.#ended.abort();
    clearInterval(this.#beatTimer);
    this.send({ type: "farewell" });
    // What is on its way already would run script in a page that browsers are about to put away.
    this.#feed.onmessage = null;
    this.#feed.close();
    // A SharedWorker outlives its link, and would keep whatever its handlers know.
    const worker = this.#worker;
    worker.onerror = null;
    ("port" in worker ? worker.port : worker).onmessage = null;
  }

  /** The worker holds this lock as long as it lives; getting it means that it has died. */
  #watchLife(aliveLock: string | null): void {
    if (this.#ended.signal.aborted) return;
    this.#beatTimer = setInterval(() => this.#beat(), BEAT_MS);
    if (aliveLock === null) return;
    navigator.locks
      .request(aliveLock, { signal: this.#ended.signal }, () => {
        this.#lose(new Error("the replica's worker has died"), false);
      })
      .catch(() => {}); // The link was closed first.
  }

  #beat(): void {
    if (this.#missed >= MISSED_BEATS_MAX) return this.#lose(new Error("the replica's worker does not answer"), true);
    this.#missed += 1;
    this.send({ type: "ping" });
  }
}

/** One SharedWorker serves all pages that ask for the same thing of the same store, as the same person. */
function workerName({ settings, token }: Omit<Open, "feed">, generation: number): string {
  const { url, ...rest } = settings;
  const name = `headwater ${url} ${hash(JSON.stringify({ ...rest, ...(rest.identity === undefined && { token }) }))}`;
  return generation === 0 ? name : `${name} ${generation}`;
}

/** FNV-1a in two lanes: tells settings and tokens apart without showing them in tools that list workers. */
function hash(text: string): string {
  let a = 0x811c9dc5;
  let b = 0xc9dc5118;
  for (let i = 0; i < text.length; i++) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(i), 0x01000197);
  }
  return [a, b].map((lane) => (lane >>> 0).toString(36)).join("");
}
