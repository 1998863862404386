// Keys, values, entries and ranges: what a store holds and how it is ordered. Knows nothing of messages or machines.

import { KEY_BYTES_MAX, VALUE_DEPTH_MAX } from "./limits.ts";

/** Any value that JSON can hold. */
export type JsonValue = null | boolean | number | string | JsonValue[] | { [name: string]: JsonValue };

/** A value as JSON text. The primary never looks inside one: it stores and sends the text as it came. */
export type Json = string;

/** A key with its value and the seq of its last write. */
export interface Entry<Value = JsonValue> {
  key: string;
  value: Value;
  seq: number;
}

/** A key's new state after the write at `seq`: its value, or `removed`. */
export type Change<Value = JsonValue> = Entry<Value> | { key: string; removed: true; seq: number };

/** What an update does to one key. */
export type Write = { key: string; json: Json } | { key: string; removed: true };

/** What a batch demands before it applies: the key's current seq, or `null` for "absent". */
export interface Check {
  key: string;
  seq: number | null;
}

/** The keys that are at or after `start`, before `end` and begin with `prefix`, as far as each is given. */
export interface Range {
  prefix?: string;
  start?: string;
  end?: string;
}

/** The size of a string in UTF-8, in bytes. A lone surrogate counts three, as its replacement would. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (isHighSurrogate(unit) && isLowSurrogate(text.charCodeAt(i + 1))) {
      bytes += 2;
      i += 1;
    } else bytes += 2;
  }
  return bytes;
}

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00;
const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit < 0xe000;

/** Says what is wrong with a key, as the end of a sentence; undefined when it is a key. */
export function faultOfKey(key: string): string | undefined {
  if (key.length === 0) return "is empty";
  if (key.length > KEY_BYTES_MAX || utf8Length(key) > KEY_BYTES_MAX) return `is longer than ${KEY_BYTES_MAX} bytes`;
  // A lone surrogate has no UTF-8, so two replicas could disagree on such a key.
  if (/\p{Surrogate}/u.test(key)) return "is not well-formed Unicode";
  return undefined;
}

/** Whether lists and objects nest deeper than VALUE_DEPTH_MAX. */
export function isTooDeep(json: Json): boolean {
  if (json.length <= 2 * VALUE_DEPTH_MAX) return false;
  let depth = 0;
  let isInString = false;
  for (let i = 0; i < json.length; i++) {
    const letter = json[i];
    if (letter === "\\") i += 1;
    else if (letter === '"') isInString = !isInString;
    else if (!isInString && (letter === "[" || letter === "{")) depth += 1;
    else if (!isInString && (letter === "]" || letter === "}")) depth -= 1;
    if (depth > VALUE_DEPTH_MAX) return true;
  }
  return false;
}

/** Whether there is an infinite number or NaN anywhere in a value that does not nest too deep. */
export function hasInfinity(value: unknown): boolean {
  if (typeof value === "number") return !Number.isFinite(value);
  return typeof value === "object" && value !== null && Object.values(value).some(hasInfinity);
}

/**
 * Orders keys as their UTF-8 bytes do, which is by code point: below 0, 0 or above 0.
 * UTF-16 order differs from it only where a surrogate pair meets a unit from U+E000 on.
 */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return x >= 0xd800 && y >= 0xd800 ? byCodePoint(x) - byCodePoint(y) : x - y;
  }
  return a.length - b.length;
}

// Moves surrogates above the rest of the basic plane, where the code points that they stand for belong.
const byCodePoint = (unit: number): number => (unit >= 0xe000 ? unit - 0x800 : unit + 0x2000);

/** Whether a key lies in a range. */
export function isInRange(key: string, range: Range): boolean {
  if (range.prefix !== undefined && !key.startsWith(range.prefix)) return false;
  if (range.start !== undefined && compareKeys(key, range.start) < 0) return false;
  return range.end === undefined || compareKeys(key, range.end) < 0;
}

/** Whether a secondary that asked for `prefixes` (undefined: everything) gets this key. */
export function isCovered(key: string, prefixes: readonly string[] | undefined): boolean {
  return prefixes === undefined || prefixes.some((prefix) => key.startsWith(prefix));
}

/** An estimate of what a change costs on the wire and in memory, in bytes, without a second encoding. */
export function changeBytes(change: Change<Json>): number {
  return 32 + keyBytes(change.key) + ("value" in change ? utf8Length(change.value) : 0);
}

/** A key's size as it is written, where each control character takes six letters. */
const keyBytes = (key: string): number => utf8Length(JSON.stringify(key)) - 2;

/** What an update or a part of one takes of a primary, in bytes. */
export const writeBytes = (write: Write): number =>
  keyBytes(write.key) + ("json" in write ? utf8Length(write.json) : 0);
