// What users have asked for and were told, against what is found at the primary: who was acked finds his update there, or
// a later one of his own; who was told that it did not happen finds nothing of it. Each key has one writer, who asks for
// one thing at a time and leaves a key alone once he does not know what became of it, so this can be told key by key.

/** What its user knows of an update. `applied`: it is there, though not everywhere in time; `refused`: it never will be. */
export type Outcome = "pending" | "acked" | "applied" | "refused" | "unknown";

export interface Update {
  /** Stands in the values that it writes. */
  readonly id: number;
  /** Its keys, and whether each holds a value afterwards. */
  readonly writes: ReadonlyMap<string, boolean>;
  outcome: Outcome;
  seq: number | undefined;
  /** The moment in which its user was told. */
  endedAt: number;
}

/** What stands at a key: whose value, and since which seq. */
export interface Found {
  id: number;
  seq: number;
}

export class Ledger {
  /** By key, in the order in which they were asked for. */
  readonly #histories = new Map<string, Update[]>();
  #lastId = 0;
  #moment = 0;

  /** Rises with every answer: what was told up to a moment must be found by whoever looks from then on. */
  get moment(): number {
    return this.#moment;
  }

  begin(writes: ReadonlyMap<string, boolean>): Update {
    this.#lastId += 1;
    const update: Update = { id: this.#lastId, writes, outcome: "pending", seq: undefined, endedAt: Infinity };
    for (const key of writes.keys()) this.#histories.set(key, [...this.#historyOf(key), update]);
    return update;
  }

  end(update: Update, outcome: Outcome, seq?: number): void {
    this.#moment += 1;
    Object.assign(update, { outcome, seq, endedAt: this.#moment });
  }

  /** The seq that a key must have, as its user was told; null where it is absent. */
  seqOf(key: string): number | null {
    const last = this.#historyOf(key).findLast(isThere);
    return last?.writes.get(key) ? (last.seq ?? null) : null;
  }

  /** Everything that is wrong with a state that was read from the moment `since` on. */
  judge(state: ReadonlyMap<string, Found>, since = this.#moment): string[] {
    const keys = new Set([...this.#histories.keys(), ...state.keys()]);
    return [...keys].flatMap((key) => this.judgeKey(key, state.get(key), since) ?? []);
  }

  /** What is wrong with one key; undefined if nothing is. */
  judgeKey(key: string, found: Found | undefined, since = this.#moment): string | undefined {
    const history = this.#historyOf(key);
    const told = history.findLastIndex((update) => isThere(update) && update.endedAt <= since);
    const last = history[told];
    const possible = history.slice(Math.max(0, told)).filter(({ outcome }) => outcome !== "refused");
    const due = last && `update ${last.id}, ${last.outcome} at ${last.seq}, is lost`;
    if (!found) {
      const mayBeAbsent = !last || possible.some(({ writes }) => writes.get(key) === false);
      return mayBeAbsent ? undefined : `${key}: ${due}: the key is absent`;
    }
    const author = history.find(({ id }) => id === found.id);
    if (!author?.writes.get(key)) return `${key}: nobody has written what it holds, update ${found.id}`;
    if (author.outcome === "refused") return `${key}: update ${author.id} is there and was refused`;
    if (!possible.includes(author)) return `${key}: ${due}: the key holds update ${author.id}`;
    if (author.seq === undefined || author.seq === found.seq) return undefined;
    return `${key}: update ${author.id}, ${author.outcome} at ${author.seq}, stands there at ${found.seq}`;
  }

  #historyOf(key: string): Update[] {
    return this.#histories.get(key) ?? [];
  }
}

const isThere = ({ outcome }: Update): boolean => outcome === "acked" || outcome === "applied";
