// What a session may do. Who someone is, is found out at the door; what that allows is held to here, operation by operation.

import { compareKeys, isCovered } from "./kv.ts";
import type { Range } from "./kv.ts";
import { writesOf } from "./protocol.ts";
import type { Join, Operation } from "./protocol.ts";

/** What a session may do with one store. */
export interface Rights {
  /** It may read keys that begin with one of these; null: all keys. */
  read: readonly string[] | null;
  /** The same for writing. */
  write: readonly string[] | null;
  /** It may be in the in-sync set, so that writers wait for it. */
  sync: boolean;
}

/** The claim `headwater` of a token. */
export interface TokenClaim {
  /** Names, or beginnings of names with a `*` behind them. */
  stores: string[];
  /** Whether everything may be read, or the beginnings of keys that may be; left out: everything. */
  read?: boolean | string[];
  /** The same for writing; left out: nothing. */
  write?: boolean | string[];
  /** Its replica may be in the in-sync set; left out: it follows. */
  sync?: boolean;
  /** It may export, import and delete the stores; left out: it may not. */
  admin?: boolean;
}

/** Why an operation may not be done; undefined if it may. */
export function refusalOf(operation: Operation, rights: Rights): string | undefined {
  if (operation.type === "get") return mayTouch(operation.key, rights.read) ? undefined : sentence("read", rights.read);
  const isWritable = writesOf(operation).every(({ key }) => mayTouch(key, rights.write));
  if (!isWritable) return sentence("write", rights.write);
  // A check that fails tells the key's seq.
  const checks = operation.type === "batch" ? operation.checks : [];
  return checks.every(({ key }) => mayKnow(key, rights)) ? undefined : sentence("read", rights.read);
}

/** Whether the seq of a key may be told. */
export const mayKnow = (key: string, { read, write }: Rights): boolean => mayTouch(key, read) || mayTouch(key, write);

/** Why a Join cannot be granted; undefined if it can. */
export function joinRefusalOf({ prefixes }: Pick<Join, "prefixes">, { read }: Rights): string | undefined {
  if (read === null || prefixes?.every((prefix) => isCovered(prefix, read))) return undefined;
  return sentence("read", read);
}

/** What may be read of a range, as ranges in their order. */
export function partsOf(range: Range, read: readonly string[] | null, reverse: boolean): Range[] {
  if (read === null) return [range];
  const distinct = read.filter((one, index) =>
    read.every((other, at) => !one.startsWith(other) || (one === other && index <= at)),
  );
  const parts = distinct.toSorted(compareKeys).flatMap((prefix): Range[] => {
    if (range.prefix === undefined || prefix.startsWith(range.prefix)) return [{ ...range, prefix }];
    return range.prefix.startsWith(prefix) ? [range] : [];
  });
  return reverse ? parts.toReversed() : parts;
}

const mayTouch = (key: string, prefixes: readonly string[] | null): boolean => isCovered(key, prefixes ?? undefined);

function sentence(verb: "read" | "write", prefixes: readonly string[] | null): string {
  if (!prefixes || prefixes.length === 0) return `this identity may ${verb} nothing here`;
  return `this identity may ${verb} only keys that begin with ${prefixes.map((one) => JSON.stringify(one)).join(" or ")}`;
}
