// Where a command's words go: results to stdout, everything else to stderr; as JSON, a line each, for a program, else as text
// for a person. Colours and what moves are for terminals only.

import { once } from "node:events";
import { styleText } from "node:util";
import type { Failure } from "./failure.ts";

type Style = "bold" | "dim" | "green" | "red" | "yellow";

export class Output {
  readonly isJson: boolean;

  constructor(isJson: boolean) {
    this.isJson = isJson;
  }

  /** Prints a result: `value` for a program, `text` for a person. Waits while whoever reads it is behind. */
  async result(value: unknown, text: () => string): Promise<void> {
    await this.write(`${this.isJson ? JSON.stringify(value) : text()}\n`);
  }

  async write(chunk: string | Uint8Array): Promise<void> {
    if (!process.stdout.write(chunk)) await once(process.stdout, "drain");
  }

  /** Tells what happens meanwhile. */
  note(code: string, message: string): void {
    this.#tell({ code, message }, () => paint("dim", message, process.stderr));
  }

  failed(failure: Failure): void {
    const { code, message } = failure;
    this.#tell(failure, () => `${paint("red", code, process.stderr)}: ${toShown(message)}`);
  }

  #tell(value: object, text: () => string): void {
    process.stderr.write(`${this.isJson ? JSON.stringify(value) : text()}\n`);
  }
}

/** Paints what a terminal shows; NO_COLOR and FORCE_COLOR say otherwise. */
export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return styleText(style, text, { stream });
}

/** A key or value as text. What could steer a terminal is shown by its code. */
export function toShown(text: string): string {
  return text.replace(/[^\P{C}\n]/gu, (letter) => `\\u{${letter.codePointAt(0)!.toString(16)}}`);
}

/** A key as one word of a line; one that could be taken for something else stands in quotes. */
export const showKey = (key: string): string => toShown(/^[^\s"]+$/u.test(key) ? key : JSON.stringify(key));
export const showValue = (value: unknown): string => toShown(JSON.stringify(value));
