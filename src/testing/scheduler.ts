// Virtual time: things happen in the order of their times, and those of one time in the order in which they were asked
// for.

interface Event {
  at: number;
  order: number;
  run: () => void;
}

/** More events than this at one time mean that something asks for itself again and again. */
const EVENTS_AT_ONCE_MAX = 100_000;

export class Scheduler {
  now = 0;
  #order = 0;
  // A binary heap, the earliest event first.
  readonly #events: Event[] = [];

  after(delayMs: number, run: () => void): void {
    this.at(this.now + delayMs, run);
  }

  at(time: number, run: () => void): void {
    this.#events.push({ at: Math.max(time, this.now), order: this.#order++, run });
    this.#rise(this.#events.length - 1);
  }

  /** Runs events until `time`; returns how many there were. */
  runUntil(time: number): number {
    let count = 0;
    let countAtOnce = 0;
    while (this.#events[0] && this.#events[0].at <= time) {
      const event = this.#takeFirst();
      countAtOnce = event.at === this.now ? countAtOnce + 1 : 0;
      if (countAtOnce > EVENTS_AT_ONCE_MAX) throw new Error(`time stands still at ${this.now} ms`);
      this.now = event.at;
      event.run();
      count += 1;
    }
    this.now = time;
    return count;
  }

  #takeFirst(): Event {
    const first = this.#events[0]!;
    const last = this.#events.pop()!;
    if (this.#events.length > 0) {
      this.#events[0] = last;
      this.#sink(0);
    }
    return first;
  }

  #rise(index: number): void {
    for (let i = index; i > 0;) {
      const parent = (i - 1) >> 1;
      if (!this.#swapIfEarlier(i, parent)) return;
      i = parent;
    }
  }

  #sink(index: number): void {
    for (let i = index; ;) {
      const left = 2 * i + 1;
      if (left >= this.#events.length) return;
      const right = left + 1;
      const child = right < this.#events.length && this.#isEarlier(right, left) ? right : left;
      if (!this.#swapIfEarlier(child, i)) return;
      i = child;
    }
  }

  #swapIfEarlier(a: number, b: number): boolean {
    if (!this.#isEarlier(a, b)) return false;
    const event = this.#events[a]!;
    this.#events[a] = this.#events[b]!;
    this.#events[b] = event;
    return true;
  }

  #isEarlier(a: number, b: number): boolean {
    const x = this.#events[a]!;
    const y = this.#events[b]!;
    return x.at < y.at || (x.at === y.at && x.order < y.order);
  }
}
