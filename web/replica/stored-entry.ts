// What is stored, read in part: one entry, for a page that cannot wait until all have been read.

import { compareKeys } from "../../src/kv.ts";
import type { Change, Entry } from "../../src/kv.ts";
import { parseChanges, unpackPage } from "../feed.ts";
import type { StepLines } from "../feed.ts";
import type { Checkpoint, Stored } from "./replica-persistence.ts";

/** What is stored, with its pages still on the disk. */
export interface StoredParts {
  checkpoint: Checkpoint | undefined;
  steps: StepLines[];
  pageCount: number;
  readonly readPage: (number: number) => Promise<string | undefined>;
}

/** The entry of a key, as the last step that is stored has left it; undefined if there is none, or if what is stored must not be used. */
export async function findStoredEntry(stored: StoredParts, key: string): Promise<Entry | undefined> {
  const steps = stepsAfterCheckpoint(stored);
  if (!steps) return undefined;
  const change = lastChangeOf(key, steps);
  if (!change) return findInPages(stored, key);
  return "value" in change ? change : undefined;
}

/**
 * The steps that lead on from the checkpoint; undefined if they do not chain or there is none. A step that ends before
 * the checkpoint is left over from the time when the checkpoint was written.
 */
export function stepsAfterCheckpoint({
  checkpoint,
  steps,
}: Pick<Stored, "checkpoint" | "steps">): StepLines[] | undefined {
  if (!checkpoint) return undefined;
  let { seq } = checkpoint;
  const following: StepLines[] = [];
  for (const step of steps) {
    if (step.epoch !== checkpoint.epoch || step.reset || step.prev > seq) return undefined;
    if (step.seq <= seq) continue;
    following.push(step);
    seq = step.seq;
  }
  return following;
}

/** Parses only lines with the key in them: the codec writes one as JSON.stringify does. */
function lastChangeOf(key: string, steps: readonly StepLines[]): Change | undefined {
  const text = JSON.stringify(key);
  for (const { lines } of steps.toReversed()) {
    for (const line of lines.toReversed()) {
      const change = line.includes(text) ? parseChanges(line).findLast((one) => one.key === key) : undefined;
      if (change) return change;
    }
  }
  return undefined;
}

/** The pages stand in the order of their keys, so a handful of them tells where a key must be. */
async function findInPages({ pageCount, readPage }: StoredParts, key: string): Promise<Entry | undefined> {
  let low = 0;
  let high = pageCount;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const entries = unpackPage((await readPage(middle)) ?? "");
    const [first, last] = [entries?.at(0), entries?.at(-1)];
    if (!first || !last) return undefined;
    if (compareKeys(key, first.key) < 0) high = middle;
    else if (compareKeys(last.key, key) < 0) low = middle + 1;
    else return entries!.find((entry) => entry.key === key);
  }
  return undefined;
}
