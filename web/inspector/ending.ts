// How an operation ended, in words for people.

import type { Acknowledged, OperationFailedError } from "../client.ts";
import { formatNumber } from "./element.ts";

/** How an operation ended: with what words, and whether it was acknowledged, failed, or nobody knows. */
export interface Ending {
  /** `kept`: it has not ended, but is in this browser's outbox, so that the person can go on. */
  result: "acked" | "kept" | "failed" | "unknown";
  words: string;
}

export const hasSucceeded = ({ result }: Ending): boolean => result === "acked" || result === "kept";

/** Resolves when the operation has ended, however it has. */
export async function endingOf(operation: Promise<Acknowledged>): Promise<Ending> {
  try {
    const { seq, replicas } = await operation;
    return { result: "acked", words: `acked by ${witnesses(replicas)} at seq ${formatNumber(seq)}` };
  } catch (error) {
    if (isNamed(error, "OperationFailedError"))
      return { result: "failed", words: failureWords(error as OperationFailedError) };
    if (isNamed(error, "OutcomeUnknownError")) {
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

/** By name and not by class: the replica may come from another copy of the library. */
const isNamed = (error: unknown, name: string): boolean => error instanceof Error && error.name === name;
