// Errors as RFC 9457 problem+json: one place that says which status belongs to which code.

import type { Check } from "../src/kv.ts";
import type { FailureCode } from "../src/protocol.ts";

/** What an HTTP answer can say beyond the protocol's own failures. */
export type ProblemCode = FailureCode | "not-found" | "not-empty" | "method-not-allowed" | "internal";

/** What a problem tells besides its code; the last five only of updates. */
export interface ProblemDetails {
  /** A sentence for people about this case. */
  detail?: string | undefined;
  applied?: boolean;
  seq?: number;
  replicas?: number;
  expected?: number;
  check?: Check;
}

/** The media type of every error. */
export const PROBLEM_TYPE = "application/problem+json";

/** Status and title of each problem. */
export const PROBLEMS: Record<ProblemCode, { status: number; title: string }> = {
  "bad-request": { status: 400, title: "The request cannot be understood" },
  unauthorized: { status: 401, title: "The request proves no identity" },
  forbidden: { status: 403, title: "This identity may not do this" },
  "not-found": { status: 404, title: "There is nothing here" },
  "method-not-allowed": { status: 405, title: "The route does not know this method" },
  "not-empty": { status: 409, title: "The store has entries" },
  expired: { status: 410, title: "The outcome of this operation is no longer kept" },
  conflict: { status: 412, title: "A check has failed, nothing was changed" },
  "too-large": { status: 413, title: "A limit on size is exceeded" },
  "invalid-value": { status: 422, title: "The store does not take such a value" },
  "rate-limited": { status: 429, title: "Too many requests" },
  internal: { status: 500, title: "The primary has failed" },
  overloaded: { status: 503, title: "The primary has too much to do" },
  "not-enough-replicas": { status: 503, title: "Fewer secondaries are in sync than the write asks for" },
  unavailable: { status: 503, title: "The primary cannot serve at present" },
  offline: { status: 503, title: "The primary cannot be reached" },
  unconfirmed: { status: 504, title: "The write is durable, but not confirmed by all who were asked" },
  "in-doubt": { status: 504, title: "It is not known yet whether the write has happened" },
  "storage-full": { status: 507, title: "The store's storage is full" },
};

/** Problems that pass by themselves. */
const PASSING: readonly ProblemCode[] = ["rate-limited", "overloaded", "unavailable"];

/** An error's answer. */
export function problem(
  code: ProblemCode,
  details: ProblemDetails = {},
  headers: Record<string, string> = {},
): Response {
  const { status, title } = PROBLEMS[code];
  const body = { type: `urn:headwater:problem:${code}`, title, status, code, ...details };
  const retry: Record<string, string> = PASSING.includes(code) ? { "Retry-After": "1" } : {};
  return new Response(`${JSON.stringify(body)}\n`, {
    status,
    headers: { "Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store", ...retry, ...headers },
  });
}
