// Who may write to a store's database in this browser: whoever holds the Web Lock of its name. The browser frees it
// within 50 ms of its holder's death.

/** Gives a lock back. */
export type Release = () => void;

/** Takes the lock if it is free; undefined if it is not, or if this browser has no locks here (an insecure page). */
export function tryLock(name: string): Promise<Release | undefined> {
  return request(name, { ifAvailable: true });
}

/** Waits for the lock, for as long as it takes; undefined once `signal` has ended the wait. */
export function waitForLock(name: string, signal: AbortSignal): Promise<Release | undefined> {
  return request(name, { signal });
}

function request(name: string, options: LockOptions): Promise<Release | undefined> {
  // Undefined on pages without a secure context, whatever the types say.
  const locks = navigator.locks as LockManager | undefined;
  if (!locks) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    const whole = locks.request(name, options, (lock) => {
      if (!lock) return resolve(undefined);
      return new Promise<void>((release) => resolve(release));
    });
    whole.catch(() => resolve(undefined));
  });
}
