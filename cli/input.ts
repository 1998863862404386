// What a command is given to read: an argument, or with `-` in its place what comes in on stdin; and JSON in it.

import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { CommandFailedError } from "./failure.ts";

export const readArgument = async (argument: string): Promise<string> =>
  argument === "-" ? text(process.stdin) : argument;

export const readInput = async (file: string): Promise<string> =>
  file === "-" ? text(process.stdin) : readFile(file, "utf8");

export function parseJson(json: string, what: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch (error) {
    const reason = error instanceof Error ? error.message : "";
    throw new CommandFailedError("usage", `${what} is not JSON: ${reason}`);
  }
}
