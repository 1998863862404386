// How a person reads and types a value: JSON where the text is JSON, else a string. Each function undoes the other.

import type { ReadonlyJson } from "../client.ts";

/** What is shown of a value that nobody has asked to see whole. */
const SHOWN_LENGTH_MAX = 300;

/** Text without line breaks or outer blanks, so that nothing of it is invisible. */
const PLAIN = /^[^\s\p{Cc}](?:[^\p{Cc}\u2028\u2029]*[^\s\p{Cc}])?$/u;

export function readValue(text: string): ReadonlyJson {
  const value = readJson(text);
  return value === undefined ? text : value;
}

/** The text that stands for a value. A string that would be read as something else stands in quotes. */
export function writeValue(value: ReadonlyJson): string {
  if (typeof value === "string" && PLAIN.test(value) && readJson(value) === undefined) return value;
  return JSON.stringify(value);
}

/** The beginning of that text. */
export function shorten(text: string): string {
  return text.length > SHOWN_LENGTH_MAX ? `${text.slice(0, SHOWN_LENGTH_MAX)}…` : text;
}

function readJson(text: string): ReadonlyJson | undefined {
  try {
    return JSON.parse(text) as ReadonlyJson;
  } catch {
    return undefined;
  }
}
