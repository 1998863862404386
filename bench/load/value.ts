// The values that users write: the id of the update, and letters up to a size.

import type { Random } from "../../src/testing/random.ts";

const SIZES = [20, 50, 50, 100, 100, 100, 500, 1000, 1000, 8000] as const;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

export type LoadValue = { id: number; text: string };

/** Draws values of several sizes; their letters do not compress. */
export function valueDrawer(chance: Random): (id: number) => LoadValue {
  const longest = Math.max(...SIZES);
  const letters = Array.from({ length: 8 * longest }, () => LETTERS[chance.between(0, LETTERS.length - 1)]!).join("");
  return (id) => {
    const start = chance.between(0, letters.length - longest);
    return { id, text: letters.slice(start, start + chance.pick(SIZES)) };
  };
}

/** Whose value it is. What has no id is nobody's. */
export function idOf(value: unknown): number {
  const { id } = (value ?? {}) as Partial<LoadValue>;
  return id ?? -1;
}
