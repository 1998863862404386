// How an operation fails, as a program sees it: known, or unknown.

import type { Check } from "../src/kv.ts";
import type { FailureCode as ProtocolCode, OperationFailed } from "../src/protocol.ts";

/** Why an operation failed: `dismissed` is what was taken out of the outbox, the others stand in the protocol. */
export type FailureCode = ProtocolCode | "dismissed";

/** What is known of a failure. */
type Failure = Omit<OperationFailed, "type" | "clientId" | "id" | "code"> & { code: FailureCode };

/**
 * An operation failed, and it is known how far it got.
 *
 * `applied: false`: it did not happen and never will. `applied: true`: it is durable at the primary at `seq` and will
 * reach every replica, but could not be confirmed in time. `applied` undefined (code `in-doubt` or `expired`): the
 * primary itself cannot say.
 */
export class OperationFailedError extends Error {
  override readonly name = "OperationFailedError";
  /** What went wrong: `conflict`, `unconfirmed`, `offline`, `too-large` and so on. */
  readonly code: FailureCode;
  /** Whether the update took effect. */
  readonly applied: boolean | undefined;
  /** The store's revision at which it was applied. */
  readonly seq: number | undefined;
  /** How many secondaries had confirmed it. */
  readonly replicas: number | undefined;
  /** How many secondaries were waited for. */
  readonly expected: number | undefined;
  /** With `conflict`: the check that failed, with the seq that the key really has. */
  readonly check: Check | undefined;
  /** A sentence for people; names the limit that was exceeded, if one was. */
  readonly detail: string | undefined;

  constructor(failure: Failure) {
    const { code, applied, seq, replicas, expected, check, detail } = failure;
    super(detail ?? messageOf(failure));
    this.code = code;
    this.applied = applied;
    this.seq = seq;
    this.replicas = replicas;
    this.expected = expected;
    this.check = check;
    this.detail = detail;
  }
}

function messageOf({ code, applied, check }: Failure): string {
  if (check) return `${code}: ${JSON.stringify(check.key)} is ${check.seq === null ? "absent" : `at seq ${check.seq}`}`;
  if (applied === undefined) return code;
  return applied ? `${code}: applied, but not confirmed in time` : `${code}: not applied`;
}

/** The connection or the replica's worker was lost before the answer came, so nobody here knows whether it was applied. */
export class OutcomeUnknownError extends Error {
  override readonly name = "OutcomeUnknownError";

  constructor() {
    super("the outcome is unknown: no answer came in time");
  }
}
