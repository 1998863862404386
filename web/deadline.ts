// Nothing that crosses threads or touches a disk is waited for without an end.

/** What `promise` gives, or an error that says `what` went wrong if it gives nothing within `limitMs`. */
export function withDeadline<Value>(promise: Promise<Value>, limitMs: number, what: string): Promise<Value> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what}: no answer within ${limitMs} ms`)), limitMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
