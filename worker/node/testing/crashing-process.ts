// A process that writes to a store and dies: by its own hand at one boundary of a transaction, or by somebody else's at
// any moment. It says what it has been told is durable, one line for each commit.
//
//   node crashing-process.ts steps <file> <boundary>   does the steps given as JSON on stdin; dies in the last one
//   node crashing-process.ts endless <file>            writes commit after commit, see endless-history.ts

import { readFileSync, writeSync } from "node:fs";
import { doStep } from "../../../src/testing/store-steps.ts";
import { SqlStore } from "../../sql-store.ts";
import { SteppedDatabase } from "../../testing/stepped-database.ts";
import { FileDatabase } from "../file-database.ts";
import { commitAt } from "./endless-history.ts";
import { decodeSteps } from "./steps.ts";

const [mode, file, boundary] = process.argv.slice(2);
const die = (): void => void process.kill(process.pid, "SIGKILL");

if (mode === "steps") {
  let left = -1;
  const database = new SteppedDatabase(new FileDatabase(file!), () => {
    if (left >= 0 && left-- === 0) die();
  });
  const store = new SqlStore(database);
  const steps = decodeSteps(readFileSync(0, "utf8"));
  for (const [index, step] of steps.entries()) {
    if (index === steps.length - 1) left = Number(boundary);
    doStep(store, step);
  }
} else {
  const store = new SqlStore(new FileDatabase(file!));
  for (;;) {
    store.apply(commitAt(store.head + 1), 1);
    // Written to the pipe before the next commit begins.
    writeSync(1, `${store.head}\n`);
  }
}
