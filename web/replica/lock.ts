// Who may write to a database of this browser: whoever holds the Web Lock of its name. The browser frees a lock within
// 50 ms of its holder's death; but a holder that is frozen or stopped keeps it, so those who wait for it ask for a sign
// of life now and then, and take the lock from a holder that gives none. The one who has lost it may not know yet: what
// keeps it from writing is the term in the database (idb-store.ts). And a holder that is alive and cannot come to the primary
// (its token is old, or its version) makes room for one who can.

/** How often those who wait ask the holder for a sign of life. */
const BEAT_MS = 2000;
/** So many asked in vain, and the lock is taken from its holder. */
const MISSED_BEATS_MAX = 3;

/** A holder that is not served by the primary, and is asked so many times in a row by one who is, makes room. */
const PLEAS_MAX = 3;

/** `"let me"` asks for a sign of life as well, and says that whoever asks is served by the primary. */
type Beat = "are you there" | "let me" | "here I am";

/** Whether whoever holds a lock, or wants it, is served by the primary, so that the lock is of use with him. */
export type IsServed = () => boolean;

/** The lock, held. */
export interface Tenure {
  /** Resolves when another has taken the lock away, or asks for it with better right: then it is to be released. */
  readonly lost: Promise<void>;
  readonly release: () => void;
}

/** Whether this browser has locks here; insecure pages have none. */
export const hasLocks = (): boolean => (navigator.locks as LockManager | undefined) !== undefined;

/** Takes the lock if it is free; undefined if it is not, or if there are no locks. */
export function tryLock(name: string, isServed: IsServed): Promise<Tenure | undefined> {
  return request(name, { ifAvailable: true }, isServed);
}

/** Waits for the lock, for as long as its holder is alive; undefined once `signal` has ended the wait, or without locks. */
export async function waitForLock(name: string, signal: AbortSignal, isServed: IsServed): Promise<Tenure | undefined> {
  const ended = new AbortController();
  const end = (): void => ended.abort();
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  const given = request(name, { signal: ended.signal }, isServed);
  const silence = waitForSilence(name, ended.signal, isServed);
  // Either the lock is given or its holder is silent. A request that was overtaken by the theft is withdrawn.
  const isSilent = await Promise.race([given.then(() => false), silence]);
  end();
  signal.removeEventListener("abort", end);
  const tenure = await given;
  if (tenure || !isSilent || signal.aborted) return tenure;
  return request(name, { steal: true }, isServed);
}

/** Resolves with true when the holder has not answered for several times, with false when `signal` ends the wait. */
function waitForSilence(name: string, signal: AbortSignal, isServed: IsServed): Promise<boolean> {
  return new Promise((resolve) => {
    if (!hasLocks() || signal.aborted) return resolve(false);
    const channel = new BroadcastChannel(channelOf(name));
    // Beats are counted, not timed: after a sleep of one's own only one can have been missed.
    let missed = 0;
    channel.onmessage = ({ data }: MessageEvent<Beat>) => {
      if (data === "here I am") missed = 0;
    };
    const end = (isSilent: boolean): void => {
      clearInterval(timer);
      channel.close();
      resolve(isSilent);
    };
    const timer = setInterval(() => {
      if (missed >= MISSED_BEATS_MAX) return end(true);
      missed += 1;
      channel.postMessage((isServed() ? "let me" : "are you there") satisfies Beat);
    }, BEAT_MS);
    signal.addEventListener("abort", () => end(false), { once: true });
  });
}

function request(name: string, options: LockOptions, isServed: IsServed): Promise<Tenure | undefined> {
  if (!hasLocks()) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    let lose: () => void;
    const lost = new Promise<void>((resolveLost) => (lose = resolveLost));
    const whole = navigator.locks.request(name, options, (lock) => {
      if (!lock) return resolve(undefined);
      const stopAnswering = answerBeats(name, isServed, () => lose());
      void lost.then(stopAnswering);
      return new Promise<void>((free) => {
        const release = (): void => {
          stopAnswering();
          free();
        };
        resolve({ lost, release });
      });
    });
    // It ends badly when the wait was given up and when the lock was stolen.
    whole.catch(() => {
      lose();
      resolve(undefined);
    });
  });
}

/**
 * Gives signs of life until the returned function is called; the first one at once, to those who wait already. Calls
 * `yieldLock` when the lock is of more use with one of them.
 */
function answerBeats(name: string, isServed: IsServed, yieldLock: () => void): () => void {
  const channel = new BroadcastChannel(channelOf(name));
  const answer = (): void => channel.postMessage("here I am" satisfies Beat);
  let pleas = 0;
  channel.onmessage = ({ data }: MessageEvent<Beat>) => {
    if (data === "here I am") return;
    answer();
    if (isServed()) pleas = 0;
    else if (data === "let me" && ++pleas === PLEAS_MAX) yieldLock();
  };
  answer();
  return () => channel.close();
}

const channelOf = (name: string): string => `${name} beats`;
