// The worker's entry, for a SharedWorker (one for all pages of an origin and store) and for a dedicated Worker alike.
// It hosts one replica for as long as a page uses it.

import type { Open, Opened, ReplicaSettings } from "../feed.ts";
import { randomId } from "../random-id.ts";
import { ReplicaHost } from "./replica-host.ts";

/** A replica without pages is kept for so long: a page that is replaced by the next one finds it warm. */
const LINGER_MS = 2000;

const aliveLock = holdAliveLock();
let host: ReplicaHost | undefined;
let stopping: Promise<void> = Promise.resolve();
let lingerTimer: ReturnType<typeof setTimeout> | undefined;

/** A page has come. Its feed keeps what it says until the host listens. */
async function welcome(open: Open, answer: (opened: Opened) => void): Promise<void> {
  clearTimeout(lingerTimer);
  host ??= startHost(open.settings);
  host.attach(open);
  answer({ aliveLock: await aliveLock });
}

function startHost(settings: ReplicaSettings): ReplicaHost {
  const fresh = new ReplicaHost(settings, () => {
    lingerTimer = setTimeout(stopHost, LINGER_MS);
  });
  // What the one before holds (lock, database) must be free first.
  void stopping.then(() => fresh.start());
  return fresh;
}

function stopHost(): void {
  if (host) stopping = host.stop();
  host = undefined;
}

/** Pages wait for this lock to learn of the worker's death, which nothing else tells them. */
function holdAliveLock(): Promise<string | null> {
  const locks = navigator.locks as LockManager | undefined;
  if (!locks) return Promise.resolve(null);
  const name = `headwater:alive:${randomId()}`;
  return new Promise((resolve) => {
    locks
      .request(name, () => {
        resolve(name);
        return new Promise(() => {});
      })
      .catch(() => resolve(null));
  });
}

addEventListener("online", () => host?.hurry());
if ("onconnect" in globalThis) {
  (globalThis as unknown as SharedWorkerGlobalScope).onconnect = ({ ports: [port] }) => {
    port!.onmessage = ({ data }: MessageEvent<Open>) => void welcome(data, (opened) => port!.postMessage(opened));
  };
} else {
  onmessage = ({ data }: MessageEvent<Open>) => void welcome(data, (opened) => postMessage(opened));
}
