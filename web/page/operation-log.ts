// What this page has asked for, and in words how it ended. Read out by screen readers as it comes.

import { OperationFailedError, OutcomeUnknownError } from "../client.ts";
import type { Acknowledged } from "../client.ts";
import { find, formatNumber } from "./page-element.ts";

export type Verb = "insert" | "edit" | "remove";

/** How an operation ended: with what words, and whether it was acknowledged, failed, or nobody knows. */
export interface Ending {
  /** `kept`: it has not ended, but is in this browser's outbox, so that the person can go on. */
  result: "acked" | "kept" | "failed" | "unknown";
  words: string;
}

export const hasSucceeded = ({ result }: Ending): boolean => result === "acked" || result === "kept";

const LINES_MAX = 200;

export class OperationLog {
  readonly #list = find("log", HTMLOListElement);
  readonly #empty = find("log-empty", HTMLElement);

  /** Writes a line for an operation, and completes it when the operation has ended. */
  async follow(verb: Verb, key: string, operation: Promise<Acknowledged>): Promise<Ending> {
    const startedAt = performance.now();
    const line = this.#addLine(verb, key);
    const ending = await endingOf(operation);
    const took = `took ${formatNumber(Math.round(performance.now() - startedAt))} ms`;
    line.dataset.result = ending.result;
    line.lastElementChild!.textContent = `${ending.words}, ${took}`;
    return ending;
  }

  #addLine(verb: Verb, key: string): HTMLLIElement {
    const line = document.createElement("li");
    line.dataset.testid = "log-line";
    line.dataset.result = "pending";
    line.dataset.key = key;
    const subject = document.createElement("span");
    subject.className = "subject";
    const name = document.createElement("b");
    name.textContent = key;
    name.title = key;
    subject.append(`${verb} `, name);
    const outcome = document.createElement("span");
    outcome.className = "outcome";
    outcome.textContent = "waiting for the answer";
    line.append(subject, outcome);
    this.#list.prepend(line);
    while (this.#list.childElementCount > LINES_MAX) this.#list.lastElementChild!.remove();
    this.#empty.hidden = true;
    return line;
  }
}

async function endingOf(operation: Promise<Acknowledged>): Promise<Ending> {
  try {
    const { seq, replicas } = await operation;
    return { result: "acked", words: `acked by ${witnesses(replicas)} at seq ${formatNumber(seq)}` };
  } catch (error) {
    if (error instanceof OperationFailedError) return { result: "failed", words: failureWords(error) };
    if (error instanceof OutcomeUnknownError) {
      return { result: "unknown", words: "unknown: no answer came in time, it may have been applied or not" };
    }
    return { result: "failed", words: `failed: ${error instanceof Error ? error.message : String(error)}` };
  }
}

function witnesses(replicas: number): string {
  if (replicas === 0) return "the primary alone";
  return replicas === 1 ? "the primary and 1 replica" : `the primary and ${formatNumber(replicas)} replicas`;
}

export function failureWords({ code, applied, seq, replicas, expected, check, detail }: OperationFailedError): string {
  const because = reason(check, detail);
  if (applied === undefined) return `failed: ${code}${because}; not known whether it was applied`;
  if (!applied) return `failed: ${code}${because}; not applied`;
  const at = seq === undefined ? "" : ` at seq ${formatNumber(seq)}`;
  const confirmed = expected === undefined ? "" : `, confirmed by ${replicas ?? 0} of ${expected} replicas`;
  return `failed: ${code}${because}; applied${at}${confirmed}`;
}

function reason(check: OperationFailedError["check"], detail: string | undefined): string {
  if (check) {
    return check.seq === null
      ? " (it has been removed meanwhile)"
      : ` (it has changed at seq ${formatNumber(check.seq)})`;
  }
  return detail === undefined ? "" : ` (${detail})`;
}
