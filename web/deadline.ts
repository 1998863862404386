// Nothing that crosses threads or touches a disk is waited for without an end.

/** No answer came in time. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";

  constructor(what: string, limitMs: number) {
    super(`${what}: no answer within ${limitMs} ms`);
  }
}

/** What `promise` gives, or an error that says `what` went wrong if it gives nothing within `limitMs`. */
export function withDeadline<Value>(promise: Promise<Value>, limitMs: number, what: string): Promise<Value> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new DeadlineError(what, limitMs)), limitMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
