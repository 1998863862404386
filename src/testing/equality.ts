// Comparison for contracts that run where no test runner does, such as a page in a browser.

import * as fc from "fast-check";

/** Throws unless both are the same plain values: lists, objects, strings, numbers, booleans, null and undefined. */
export function demandEqual(actual: unknown, expected: unknown, what: string): void {
  if (isEqual(actual, expected)) return;
  const [found, wanted] = [actual, expected].map((value) => shorten(fc.stringify(value)));
  throw new Error(`${what}: found ${found}, expected ${wanted}`);
}

function isEqual(a: unknown, b: unknown): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Object.is(a, b);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every((name) => name in b && isEqual(a[name as keyof typeof a], b[name as keyof typeof b]));
}

const SHOWN_UNITS_MAX = 2000;
const shorten = (text: string): string =>
  text.length > SHOWN_UNITS_MAX ? `${text.slice(0, SHOWN_UNITS_MAX)}… (${text.length} letters)` : text;
