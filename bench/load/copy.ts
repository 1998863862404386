// What a replica holds, small enough for a thousand of them in one process: of each key, whose value stands there.

import type { Change } from "../../src/kv.ts";
import type { Found } from "./ledger.ts";
import { idOf } from "./value.ts";

/** Numbers keys, the same for all copies. */
export class KeyIndex {
  readonly #places = new Map<string, number>();

  placeOf(key: string): number {
    const place = this.#places.get(key) ?? this.#places.size;
    this.#places.set(key, place);
    return place;
  }
}

export class Copy {
  readonly #index: KeyIndex;
  /** By the key's place; 0 where there is no value. */
  #ids = new Uint32Array(1024);

  constructor(index: KeyIndex) {
    this.#index = index;
  }

  clear(): void {
    this.#ids.fill(0);
  }

  apply(changes: readonly Change<unknown>[]): void {
    for (const change of changes) {
      const place = this.#index.placeOf(change.key);
      if (place >= this.#ids.length) this.#grow(place);
      this.#ids[place] = "value" in change ? idOf(change.value) : 0;
    }
  }

  /** Whether it holds what stands in `state`, and nothing else. */
  equals(state: ReadonlyMap<string, Found>): boolean {
    const count = this.#ids.reduce((sum, id) => sum + (id === 0 ? 0 : 1), 0);
    if (count !== state.size) return false;
    return [...state].every(([key, { id }]) => this.#ids[this.#index.placeOf(key)] === id);
  }

  #grow(place: number): void {
    const grown = new Uint32Array(2 * (place + 1));
    grown.set(this.#ids);
    this.#ids = grown;
  }
}
