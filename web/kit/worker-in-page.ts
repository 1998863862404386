// The worker of a replica without a thread of its own.

import type { Open, Opened } from "../feed.ts";
import { ReplicaHost } from "../replica/replica-host.ts";
import type { Connect } from "../replica/socket.ts";

/** A dedicated worker, as far as a page uses one. */
export class WorkerInPage {
  onmessage: ((event: { data: Opened }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly #connect: Connect;
  #host: ReplicaHost | undefined;

  constructor(connect: Connect) {
    this.#connect = connect;
  }

  postMessage(open: Open): void {
    this.#host = new ReplicaHost(open.settings, () => {}, this.#connect);
    this.#host.attach(open);
    void this.#host.start();
    queueMicrotask(() => this.onmessage?.({ data: { aliveLock: null } }));
  }

  terminate(): void {
    void this.#host?.stop();
  }
}
