// A page's connection to the worker of its replica: comlink for the few calls, a port of its own for everything else.

import { transfer, wrap } from "comlink";
import type { Remote } from "comlink";
import { withDeadline } from "./deadline.ts";
import type { Control, FromPage, ReplicaSettings, ToPage } from "./feed.ts";

/** Makes the replica's worker, for apps whose bundler needs to see it in their own code. */
export type WorkerFactory = (name: string) => SharedWorker | Worker;

export interface LinkEvents {
  received(items: ToPage[]): void;
  /** The worker has died, or did not start. */
  lost(reason: Error): void;
}

/** The worker's script may have to come over a slow network. */
const OPEN_PATIENCE_MS = 15_000;
/** For the worker to say farewell in its turn. */
const FAREWELL_MS = 3000;

export class Link {
  readonly #worker: SharedWorker | Worker;
  readonly #control: Remote<Control>;
  readonly #feed: MessagePort;
  readonly #ended = new AbortController();
  readonly #events: LinkEvents;

  constructor(makeWorker: WorkerFactory, settings: ReplicaSettings, clientId: string, events: LinkEvents) {
    this.#events = events;
    this.#worker = makeWorker(workerName(settings));
    this.#control = wrap<Control>("port" in this.#worker ? this.#worker.port : this.#worker);
    const { port1, port2 } = new MessageChannel();
    this.#feed = port1;
    port1.onmessage = ({ data }: MessageEvent<ToPage[]>) => events.received(data);
    const failed = new Promise<never>((_, reject) => {
      this.#worker.onerror = () => reject(new Error("the replica's worker could not be started"));
    });
    const opened = this.#control.open(settings, clientId, transfer(port2, [port2]));
    withDeadline(Promise.race([opened, failed]), OPEN_PATIENCE_MS, "the replica's worker").then(
      ({ aliveLock }) => this.#watchLife(aliveLock),
      (reason: Error) => this.#lose(reason),
    );
  }

  send(message: FromPage): void {
    this.#feed.postMessage(message);
  }

  refresh(): void {
    void this.#control.refresh();
  }

  hurry(): void {
    void this.#control.hurry();
  }

  /** Lets the worker go. A dedicated worker gets time to leave in good order, and ends. */
  close(): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort();
    this.send("farewell");
    this.#feed.close();
    const worker = this.#worker;
    if ("port" in worker) worker.port.close();
    else setTimeout(() => worker.terminate(), FAREWELL_MS);
  }

  #lose(reason: Error): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort();
    this.#feed.close();
    if ("terminate" in this.#worker) this.#worker.terminate();
    this.#events.lost(reason);
  }

  /** The worker holds this lock as long as it lives; getting it means that it has died. */
  #watchLife(aliveLock: string | null): void {
    if (aliveLock === null) return;
    navigator.locks
      .request(aliveLock, { signal: this.#ended.signal }, () => this.#lose(new Error("the replica's worker has died")))
      .catch(() => {}); // The link was closed first.
  }
}

/** One SharedWorker serves all pages that ask for the same thing of the same store. */
function workerName({ url, ...rest }: ReplicaSettings): string {
  return `headwater ${url} ${hash(JSON.stringify(rest))}`;
}

/** FNV-1a in two lanes: tells settings (with their token) apart without showing them in tools that list workers. */
function hash(text: string): string {
  let a = 0x811c9dc5;
  let b = 0xc9dc5118;
  for (let i = 0; i < text.length; i++) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(i), 0x01000197);
  }
  return [a, b].map((lane) => (lane >>> 0).toString(36)).join("");
}
