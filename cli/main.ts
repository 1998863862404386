#!/usr/bin/env node
// `headwater`: the command line. Runs one command, and ends as its exit code says.

import { constants } from "node:os";
import { CommanderError } from "commander";
import { EXIT, exitCodeOf, failureOf } from "./failure.ts";
import { Output } from "./output.ts";
import { makeProgram } from "./program.ts";

async function main(): Promise<number> {
  // How mistakes are told must be known before the command line has been read.
  const output = new Output(process.argv.includes("--json"));
  try {
    await makeProgram(output).parseAsync();
    return EXIT.ok;
  } catch (error) {
    // It has been told already; help and version are no mistakes.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const failure = failureOf(error);
    output.failed(failure);
    return exitCodeOf(failure);
  }
}

/** Whoever reads has had enough, as `head` does. */
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(EXIT.ok);
});
// What must be tidied up is, as the process exits.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => process.exit(128 + constants.signals[signal]));
}
process.exitCode = await main();
