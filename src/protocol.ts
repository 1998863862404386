// The messages between a primary and its secondaries, as both machines see them. How they look on the wire is the
// codec's business.

import type { Change, Check, Entry, Json, JsonValue, Write } from "./kv.ts";

/** Raised with every change of the wire; travels in Join and in the WebSocket subprotocol. */
export const PROTOCOL_VERSION = 1;

/** The WebSocket subprotocol of this version. */
export const SUBPROTOCOL = "headwater.v1";
/** Offered beside it by who takes compressed frames; never echoed. */
export const DEFLATE_SUBPROTOCOL = "headwater.deflate";

/** Raised with every change of an export's form; an export begins with it. */
export const EXPORT_VERSION = 1;

/** Who must have an update on disk before it is acknowledged: all of the in-sync set, the primary alone, or it and n secondaries. */
export type Ack = "all" | "primary" | number;

/** How a secondary keeps its copy: on disk (it may be in sync), in memory only, or not at all (it just reads the stream). */
export type Mode = "durable" | "memory" | "reader";

/** Where a member stands, as the primary sees it. */
export type MemberState = "catching-up" | "in-sync" | "lagging" | "following";

/** Why an operation failed. What each means, and whether it carries `applied`, stands in SPEC.md. */
export type FailureCode =
  | "bad-request"
  | "too-large"
  | "invalid-value"
  | "conflict"
  | "not-enough-replicas"
  | "unconfirmed"
  | "in-doubt"
  | "expired"
  | "overloaded"
  | "storage-full"
  | "unavailable"
  | "unauthorized"
  | "forbidden"
  | "rate-limited"
  | "offline";

/** Names an operation. `clientId` is null where nobody will ask again: then no outcome is kept. */
export interface OperationName {
  clientId: string | null;
  /** Rises with each operation of one client. */
  id: number;
}

/** An operation's name as one string. */
export const nameOf = ({ clientId, id }: OperationName): string => `${clientId}:${id}`;

interface UpdateHeader extends OperationName {
  ack: Ack;
  /** The client has the answers to all its ids up to this one: their outcomes may be forgotten. */
  settled: number;
  /** It was sent before, and what became of it then is not known to the client. */
  repeat: boolean;
}

export interface Insert extends UpdateHeader {
  type: "insert";
  key: string;
  json: Json;
}

export interface Remove extends UpdateHeader {
  type: "remove";
  key: string;
}

export interface Batch extends UpdateHeader {
  type: "batch";
  writes: Write[];
  checks: Check[];
}

export interface Get extends OperationName {
  type: "get";
  key: string;
}

export type Update = Insert | Remove | Batch;
export type Operation = Update | Get;

/** Asks for a place among the secondaries; answered by JoinedSecondary. */
export interface Join {
  type: "join";
  version: number;
  /** The secondary's own lasting id; a session that joins with the id of an older one supersedes it. */
  secondaryId: string;
  mode: Mode;
  /** The history that `since` belongs to; null when the secondary holds nothing. */
  epoch: string | null;
  since: number;
  /** Only keys that begin with one of these; left out, all keys. */
  prefixes?: string[];
}

/** Gives up the place: what this secondary owes is waived. The socket stays open. */
export interface Leave {
  type: "leave";
}

/** Everything up to `seq` is applied and persisted here (held, where the mode is not durable). Cumulative. */
export interface SnapshotAck {
  type: "snapshot-ack";
  seq: number;
}

/** A part up to `seq` has come and is kept aside. It frees the window, and says nothing about any disk. */
export interface PartAck {
  type: "part-ack";
  seq: number;
}

/** A gap was seen: send again what follows `since`. */
export interface Resend {
  type: "resend";
  since: number;
}

export type Upstream = Join | Leave | SnapshotAck | PartAck | Resend | Operation;

/** The answer to Join. */
export interface JoinedSecondary {
  type: "joined-secondary";
  epoch: string;
  head: number;
  /** Whether what follows replaces everything that the secondary holds (bootstrap) or continues it (catch-up). */
  reset: boolean;
}

/**
 * What changed after `prev` up to `seq`, each key with its latest state. Where `until` is above `seq` it is only a part of
 * a step, read while head was `until`: it is kept aside until the chain has come to the highest `until` of the parts, and
 * then all take effect at once. So the step is whole in whatever order parts were read and sent again: a key that a part
 * leaves out, because it had already changed once more, is in a later part. Changes are in the order of their seqs.
 */
export interface Snapshot<Value = JsonValue> {
  type: "snapshot";
  prev: number;
  seq: number;
  changes: Change<Value>[];
  until: number;
}

/** Tells a secondary that it has entered or left the in-sync set. */
export interface Membership {
  type: "membership";
  inSync: boolean;
}

export interface OperationAck extends OperationName {
  type: "operation-ack";
  seq: number;
  /** Secondaries in the in-sync set that have it on disk. */
  replicas: number;
}

export interface OperationFailed extends OperationName {
  type: "operation-failed";
  code: FailureCode;
  /** False: it did not happen and never will. True: it is durable at `seq`. Left out: not known yet. */
  applied?: boolean;
  seq?: number;
  replicas?: number;
  /** How many secondaries were waited for. */
  expected?: number;
  /** The check that failed, with the seq that the key really has. */
  check?: Check;
  detail?: string;
}

export interface GetResult extends OperationName {
  type: "get-result";
  entry: Entry<Json> | null;
  seq: number;
}

export type Outcome = OperationAck | OperationFailed;
export type Reply = Outcome | GetResult;
/** `Value` is what snapshots hold: text at the primary, parsed values at a secondary. */
export type Downstream<Value = JsonValue> = JoinedSecondary | Snapshot<Value> | Membership | Reply;

/** How an export begins: which store it is of, and which history. */
export interface ExportHeader {
  store: string;
  epoch: string;
}

/** How an export ends: what came before is the state at `seq`. */
export interface ExportEnd {
  seq: number;
  entries: number;
}

/** Why a primary closes a session; the reason's text says more. */
export const CLOSE = {
  badMessage: 4400,
  /** Its token has expired: it comes back with another one. */
  expired: 4401,
  /** It has asked for more than it may read. */
  forbidden: 4403,
  /** It takes nothing of what it is sent. */
  silent: 4408,
  superseded: 4409,
  tooFarBehind: 4410,
  /** Another history of the store begins. */
  replaced: 4412,
  overloaded: 4429,
} as const;

/** What an update does, whatever its name and whoever waits for it. */
type Deed<Kind = Update> = Kind extends Update ? Omit<Kind, keyof UpdateHeader> : never;

/** The writes that an update asks for, in order. */
export function writesOf(update: Deed): Write[] {
  switch (update.type) {
    case "insert":
      return [{ key: update.key, json: update.json }];
    case "remove":
      return [{ key: update.key, removed: true }];
    case "batch":
      return update.writes;
  }
}

/** How much an update asks for: its writes and checks, and itself if it has none. */
export function costOf(update: Update): number {
  const checks = update.type === "batch" ? update.checks.length : 0;
  return Math.max(1, writesOf(update).length + checks);
}

/** The keys that an operation concerns. */
export function keysOf(operation: Operation): string[] {
  return operation.type === "get" ? [operation.key] : writesOf(operation).map((write) => write.key);
}
