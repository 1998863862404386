// Whether the operations on one key have an order that a single copy could have done them in: the search of Wing & Gong
// ("Testing and Verifying Concurrent Objects", 1993) with the memory of Lowe ("Testing for Linearizability", 2017), as in
// Porcupine. A configuration (what is done, and the state it led to) that has failed once is not tried again.
//
// One key at a time is enough, since linearizability is compositional (Herlihy & Wing, 1990). A batch is cut into its
// keys here; that it takes effect at once is shown elsewhere, by its one seq and by the states that replicas show.

/** What a key holds; null: nothing. */
export type Held = string | null;

export interface Step {
  start: number;
  /** Infinity, if it may take effect at any later time. */
  end: number;
  /** Whether it must be in the order. One that need not be may have had no effect at all. */
  isCertain: boolean;
  /**
   * What it writes, if that is all there is to it. Of steps that need not be in the order and write the same, the one that
   * began first is taken first: it can stand wherever the others can.
   */
  writes?: Held;
  /** The state after it, or undefined if it cannot happen in this state. */
  apply: (held: Held) => Held | undefined;
  /** Where it claims to stand: of those that are certain and have a place, the lower comes first. */
  place?: number | undefined;
}

export type Verdict = "linearizable" | "not-linearizable" | "undecided";

interface Frame {
  candidates: Candidate[];
  next: number;
  /** How to take back the step that led here. */
  held: Held;
  taken: Candidate | undefined;
  firstLeft: number;
}

interface Candidate {
  index: number;
  isCertain: boolean;
}

const CONFIGURATIONS_MAX = 300_000;

/** Looks for an order of the steps, from an empty key on. Gives up after so many configurations. */
export function judge(steps: readonly Step[], configurationsMax = CONFIGURATIONS_MAX): Verdict {
  return new Search(steps).run(configurationsMax);
}

class Search {
  readonly #certain: Step[];
  readonly #open: Step[];
  readonly #isDone: boolean[];
  readonly #isUsed: boolean[];
  readonly #failed = new Set<string>();
  /** The certain steps that have a place, in that order; after how many of them each of them comes. */
  readonly #placed: number[];
  readonly #turns = new Map<number, number>();
  // All certain steps before this one are done.
  #firstLeft = 0;
  #placedDone = 0;

  constructor(steps: readonly Step[]) {
    const byStart = steps.toSorted((a, b) => a.start - b.start);
    this.#certain = byStart.filter(({ isCertain }) => isCertain);
    this.#open = byStart.filter(({ isCertain }) => !isCertain);
    this.#placed = [...this.#certain.keys()]
      .filter((index) => this.#certain[index]!.place !== undefined)
      .sort((a, b) => this.#certain[a]!.place! - this.#certain[b]!.place! || a - b);
    for (const [turn, index] of this.#placed.entries()) this.#turns.set(index, turn);
    this.#isDone = this.#certain.map(() => false);
    this.#isUsed = this.#open.map(() => false);
  }

  run(configurationsMax: number): Verdict {
    const stack: Frame[] = [this.#frame(null, undefined, 0)];
    while (this.#firstLeft < this.#certain.length) {
      const frame = stack.at(-1);
      if (!frame) return "not-linearizable";
      const candidate = frame.candidates[frame.next];
      if (!candidate) {
        stack.pop();
        this.#takeBack(frame);
        continue;
      }
      frame.next += 1;
      const held = this.#stepOf(candidate).apply(frame.held);
      // An open step that changes nothing is as good as none.
      if (held === undefined || (!candidate.isCertain && held === frame.held)) continue;
      const firstLeft = this.#firstLeft;
      this.#take(candidate);
      const configuration = this.#configuration(held);
      if (this.#failed.has(configuration)) {
        this.#takeBack({ taken: candidate, firstLeft });
        continue;
      }
      if (this.#failed.size >= configurationsMax) return "undecided";
      this.#failed.add(configuration);
      stack.push(this.#frame(held, candidate, firstLeft));
    }
    return "linearizable";
  }

  #stepOf({ index, isCertain }: Candidate): Step {
    return (isCertain ? this.#certain : this.#open)[index]!;
  }

  #take({ index, isCertain }: Candidate): void {
    (isCertain ? this.#isDone : this.#isUsed)[index] = true;
    if (isCertain && this.#turns.has(index)) this.#placedDone += 1;
    while (this.#isDone[this.#firstLeft]) this.#firstLeft += 1;
  }

  #takeBack({ taken, firstLeft }: Pick<Frame, "taken" | "firstLeft">): void {
    if (!taken) return;
    if (taken.isCertain && this.#turns.has(taken.index)) this.#placedDone -= 1;
    (taken.isCertain ? this.#isDone : this.#isUsed)[taken.index] = false;
    this.#firstLeft = firstLeft;
  }

  #frame(held: Held, taken: Candidate | undefined, firstLeft: number): Frame {
    return { candidates: this.#candidates(), next: 0, held, taken, firstLeft };
  }

  /** What may come next: whatever began before all that is left over had ended. */
  #candidates(): Candidate[] {
    const indexes: number[] = [];
    let firstEnd = Infinity;
    for (let index = this.#firstLeft; index < this.#certain.length; index++) {
      const { start, end } = this.#certain[index]!;
      if (start > firstEnd) break;
      if (this.#isDone[index]) continue;
      indexes.push(index);
      firstEnd = Math.min(firstEnd, end);
    }
    const certain = indexes
      .filter((index) => this.#certain[index]!.start <= firstEnd)
      .filter((index) => (this.#turns.get(index) ?? this.#placedDone) === this.#placedDone)
      // A read that fits changes nothing, so it never hurts to take it first.
      .sort((a, b) => Number(this.#turns.has(a)) - Number(this.#turns.has(b)))
      .map((index) => ({ index, isCertain: true }));
    // What need not have happened is tried last.
    const open: Candidate[] = [];
    const written = new Set<Held>();
    for (const [index, { start, writes }] of this.#open.entries()) {
      if (start > firstEnd) break;
      if (this.#isUsed[index] || (writes !== undefined && written.has(writes))) continue;
      if (writes !== undefined) written.add(writes);
      open.push({ index, isCertain: false });
    }
    return [...certain, ...open];
  }

  #configuration(held: Held): string {
    const ahead: number[] = [];
    // Nothing is done ahead of the first that is left but what had begun before that one's end.
    const { end } = this.#certain[this.#firstLeft] ?? { end: -Infinity };
    for (let index = this.#firstLeft; index < this.#certain.length; index++) {
      if (this.#certain[index]!.start > end) break;
      if (this.#isDone[index]) ahead.push(index);
    }
    const used = this.#isUsed.flatMap((isUsed, index) => (isUsed ? [index] : []));
    return JSON.stringify([this.#firstLeft, ahead, used, held]);
  }
}
