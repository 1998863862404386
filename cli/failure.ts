// How a command fails, as a script sees it: an exit code, and a line on stderr that says why.

import { OperationFailedError, OutcomeUnknownError } from "../web/client.ts";

/** The command itself knows why it cannot go on. */
export class CommandFailedError extends Error {
  override readonly name = "CommandFailedError";
  readonly code: "usage" | "not-found" | "cut-off" | "failed";

  constructor(code: CommandFailedError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/** What is told of a failure. */
export interface Failure {
  code: string;
  message: string;
  /** Of an update whose end is known. */
  applied?: boolean;
}

export const EXIT = { ok: 0, refused: 1, usage: 2, unreachable: 3, unknown: 4 } as const;

/** What is in none of these was refused by the store, or was not found there. */
const EXITS: Record<string, number> = {
  usage: EXIT.usage,
  offline: EXIT.unreachable,
  unavailable: EXIT.unreachable,
  "cut-off": EXIT.unreachable,
  unconfirmed: EXIT.unknown,
  "in-doubt": EXIT.unknown,
  expired: EXIT.unknown,
  "outcome-unknown": EXIT.unknown,
};

export const exitCodeOf = ({ code }: Failure): number => EXITS[code] ?? EXIT.refused;

/** What is to be told of an error; throws it if it is a mistake of ours. */
export function failureOf(error: unknown): Failure {
  if (error instanceof CommandFailedError) return { code: error.code, message: error.message };
  if (error instanceof OutcomeUnknownError) return { code: "outcome-unknown", message: error.message };
  if (error instanceof OperationFailedError) {
    const { code, message, applied, seq, replicas, expected, check } = error;
    const known = Object.entries({ applied, seq, replicas, expected, check }).filter(
      ([, value]) => value !== undefined,
    );
    return { code, message, ...Object.fromEntries(known) };
  }
  // A file that cannot be read or written.
  if (error instanceof Error && "syscall" in error) return { code: "usage", message: error.message };
  throw error;
}
