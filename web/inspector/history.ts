// The latest changes that were seen since this began to look, however large the store.

import type { ReadonlyJson, Replica, VisibleChange } from "../client.ts";

/** One change that has become visible. */
export interface SeenChange {
  key: string;
  /** Undefined if the key was removed. */
  value: ReadonlyJson | undefined;
  seq: number;
  /** When it was seen, in milliseconds since 1970. */
  at: number;
}

/** So many are kept, of all keys together. */
const CHANGES_MAX = 1000;

export class History {
  #changes: SeenChange[] = [];
  readonly #unsubscribe: () => void;

  constructor(replica: Replica) {
    this.#unsubscribe = replica.subscribe({}, (changes) => this.#note(changes));
  }

  close(): void {
    this.#unsubscribe();
  }

  /** The latest first. */
  list(prefix: string, limit: number): SeenChange[] {
    return this.#latest(({ key }) => key.startsWith(prefix), limit);
  }

  /** Those of one key, the latest first. */
  of(key: string, limit: number): SeenChange[] {
    return this.#latest((change) => change.key === key, limit);
  }

  #latest(isWanted: (change: SeenChange) => boolean, limit: number): SeenChange[] {
    const found: SeenChange[] = [];
    for (let i = this.#changes.length - 1; i >= 0 && found.length < limit; i--) {
      const change = this.#changes[i]!;
      if (isWanted(change)) found.push(change);
    }
    return found;
  }

  #note(changes: readonly VisibleChange[]): void {
    const at = Date.now();
    // What is pending has not happened yet.
    const happened = changes.slice(-CHANGES_MAX).filter(({ pending }) => !pending);
    for (const change of happened) {
      const { key, seq } = change;
      this.#changes.push({ key, value: "value" in change ? change.value : undefined, seq, at });
    }
    if (this.#changes.length > 2 * CHANGES_MAX) this.#changes = this.#changes.slice(-CHANGES_MAX);
  }
}
