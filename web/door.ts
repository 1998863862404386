// The door of the client library: what a program hands over is checked and turned into JSON text here, once. What is
// refused throws, as an operation that failed without having been sent.

import { checkBatch, encodeValue, readAck, readKey } from "../src/codec.ts";
import type { Parsed } from "../src/codec.ts";
import { utf8Length } from "../src/kv.ts";
import type { Check, Json, Write } from "../src/kv.ts";
import { NAME_LENGTH_MAX, PREFIXES_BYTES_MAX, PREFIXES_MAX } from "../src/limits.ts";
import type { Ack, Batch } from "../src/protocol.ts";
import type { StoreSchema } from "../src/schema.ts";
import { OperationFailedError } from "./errors.ts";
import type { ReadonlyJson } from "./mirror.ts";

/** Who must have an update on disk before it is acknowledged. */
export interface UpdateOptions {
  /** `"all"` (the default): the primary and every in-sync replica; `"primary"`; or the primary and this many replicas. */
  ack?: Ack | undefined;
}

/** How an update of a replica goes about it. */
export interface ReplicaUpdateOptions extends UpdateOptions {
  /**
   * Show the change on this page at once, marked as `pending`, and take it back if the update fails; with `queue` on all
   * pages of this browser that share the replica. Off by default.
   */
  optimistic?: boolean;
  /**
   * Keep the update on this browser's disk until its end is known: it survives reloads and restarts, and is sent, in
   * order, when the primary can be reached. Then the promise resolves or rejects only with the final answer; the update
   * is in `pending()` meanwhile, and stays there if it has failed. A replica that keeps nothing (`durability: "memory"`)
   * refuses it as `bad-request`. Off by default.
   */
  queue?: boolean;
}

/** How a batch of a replica goes about it. */
export interface ReplicaBatchOptions extends ReplicaUpdateOptions, BatchOptions {}

/** Who must have a batch on disk, and what must hold for it. */
export interface BatchOptions extends UpdateOptions {
  /** Seqs that the keys must have (`null`: absent), else nothing is applied and the batch fails as `conflict`. */
  checks?: readonly Check[];
}

/** One operation of a batch. A batch names no key twice. */
export type BatchOperation = { insert: { key: string; value: ReadonlyJson } } | { remove: { key: string } };

/** Throws if a value is not what the schema says. */
export function demandRight(schema: StoreSchema | undefined, operations: readonly BatchOperation[]): void {
  for (const operation of schema ? operations : []) {
    const detail = "insert" in operation && schema!.flawOf(operation.insert.key, operation.insert.value);
    if (detail) throw new OperationFailedError({ code: "invalid-value", applied: false, detail });
  }
}

export function toKey(key: string): string {
  return accept(readKey(key));
}

/** Prefixes in the one order and number in which they name a replica. */
export function toPrefixes(prefixes: readonly string[]): string[] {
  const distinct = [...new Set(prefixes.map((prefix) => accept(readKey(prefix, "a prefix"))))].sort();
  const bytes = distinct.reduce((sum, prefix) => sum + utf8Length(prefix), 0);
  if (distinct.length > PREFIXES_MAX) tooLarge(`there are more than ${PREFIXES_MAX} prefixes (PREFIXES_MAX)`);
  if (bytes > PREFIXES_BYTES_MAX)
    tooLarge(`the prefixes have more than ${PREFIXES_BYTES_MAX} bytes (PREFIXES_BYTES_MAX)`);
  return distinct;
}

/** What says who someone is: a token, or whoever has one whenever it is asked for. */
export type TokenSource = string | (() => string | undefined | Promise<string | undefined>);

/** Any text that is neither empty nor longer than a name may be. */
export function toIdentity(identity: string): string {
  const isText = typeof (identity as unknown) === "string";
  if (isText && identity.length > NAME_LENGTH_MAX) {
    tooLarge(`the identity has more than ${NAME_LENGTH_MAX} letters (NAME_LENGTH_MAX)`);
  }
  if (isText && identity !== "" && !/\p{Surrogate}/u.test(identity)) return identity;
  throw new OperationFailedError({
    code: "bad-request",
    applied: false,
    detail: "an identity is a text, and not empty",
  });
}

function tooLarge(detail: string): never {
  throw new OperationFailedError({ code: "too-large", applied: false, detail });
}

export function toJson(value: ReadonlyJson): Json {
  return accept(encodeValue(value));
}

export function toAck(ack: Ack | undefined): Ack {
  return accept(readAck(ack === undefined ? undefined : String(ack)));
}

export function toBatch(
  operations: readonly BatchOperation[],
  checks: readonly Check[] = [],
): Pick<Batch, "writes" | "checks"> {
  const writes = operations.map((operation): Write => {
    if ("remove" in operation) return { key: toKey(operation.remove.key), removed: true };
    return { key: toKey(operation.insert.key), json: toJson(operation.insert.value) };
  });
  return accept(
    checkBatch(
      writes,
      checks.map(({ key, seq }) => ({ key, seq })),
    ),
  );
}

function accept<Value>(parsed: Parsed<Value>): Value {
  if (parsed.ok) return parsed.value;
  throw new OperationFailedError({ code: parsed.code, applied: false, detail: parsed.detail });
}

/** A store's address in the form that names it everywhere: absolute, http or https, without anything after the path. */
export function toStoreUrl(url: string, base: string | undefined): string {
  const { protocol, host, pathname } = new URL(url, base);
  return `${protocol.replace(/^ws/, "http")}//${host}${pathname.replace(/\/+$/, "")}`;
}
