// Faults that pages ask for, so that a person can watch what becomes of the guarantees. Each lasts as long as a page that asked for
// it: whoever leaves cannot leave a replica behind that does not work.

import type { Fault } from "../feed.ts";

export class Faults {
  readonly #byPage = new Map<object, readonly Fault[]>();
  #release = (): void => {};
  #disk = Promise.resolve();

  /** What a page wants from now on. */
  set(page: object, faults: readonly Fault[]): void {
    const wasStalled = this.has("stalled-disk");
    if (faults.length > 0) this.#byPage.set(page, faults);
    else this.#byPage.delete(page);
    const isStalled = this.has("stalled-disk");
    if (!isStalled) this.#release();
    else if (!wasStalled) this.#disk = new Promise((resolve) => (this.#release = resolve));
  }

  has(fault: Fault): boolean {
    return [...this.#byPage.values()].some((faults) => faults.includes(fault));
  }

  /** Resolves when the disk's answers may be heard: at once, unless it is to stand still. */
  disk(): Promise<void> {
    return this.#disk;
  }
}
