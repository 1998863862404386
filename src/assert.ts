// Checks for our own mistakes. What the world can get wrong is handled where it comes in, never asserted.

/** Stops at once when the code has broken its own promise; `promise` is the sentence that did not hold. */
export function assert(condition: boolean, promise: string): asserts condition {
  if (!condition) throw new Error(`broken promise: ${promise}`);
}

/** Marks a place that the compiler has proved unreachable: a case added to a union makes the call an error. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
