// The entries that every workload writes: keys of 11 letters, values of 100 letters that do not compress.

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
export const VALUE_LENGTH = 100;

export const keyOf = (index: number): string => `user:${String(index).padStart(6, "0")}`;

/** The same letters for the same index in every process: xorshift, seeded by the index. */
export function valueOf(index: number): string {
  let state = (index + 1) * 2654435761;
  let value = "";
  while (value.length < VALUE_LENGTH) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    value += LETTERS[state & 63]!;
  }
  return value;
}
