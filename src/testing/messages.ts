// Any message of the protocol, as fast-check draws it: well-formed, with seqs, names and keys of every kind.

import * as fc from "fast-check";
import * as codec from "../codec.ts";
import type { Json } from "../kv.ts";
import { PROTOCOL_VERSION } from "../protocol.ts";
import type { Downstream, Upstream } from "../protocol.ts";

const key = fc.string({ minLength: 1, maxLength: 8, unit: "grapheme" }).filter((text) => codec.readKey(text).ok);
const json = fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.stringify(value));
const seq = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const name = fc.record({ clientId: fc.constantFrom("c1", "x:y", "~"), id: fc.integer({ min: 1, max: 1e9 }) });
const ack = fc.oneof(fc.constantFrom("all" as const, "primary" as const), fc.nat(64));
const header = fc
  .tuple(name, ack, fc.nat(), fc.boolean())
  .map(([own, ackOf, settled, repeat]) => ({ ...own, ack: ackOf, settled, repeat }));
const write = fc.oneof(
  fc.record({ key, json }),
  key.map((one) => ({ key: one, removed: true as const })),
);
const writes = fc.uniqueArray(write, { selector: (one) => one.key, maxLength: 5 });
const checks = fc.array(fc.record({ key, seq: fc.option(seq) }), { maxLength: 3 });

/** What a secondary may send. */
export const upstream: fc.Arbitrary<Upstream> = fc.oneof(
  fc.record({
    type: fc.constant("join" as const),
    version: fc.constant(PROTOCOL_VERSION),
    secondaryId: fc.constant("s1"),
    mode: fc.constantFrom("durable" as const, "memory" as const, "reader" as const),
    epoch: fc.option(fc.constant("e1")),
    since: seq,
  }),
  fc.constant({ type: "leave" as const }),
  seq.map((one) => ({ type: "snapshot-ack" as const, seq: one })),
  seq.map((one) => ({ type: "part-ack" as const, seq: one })),
  seq.map((since) => ({ type: "resend" as const, since })),
  fc.tuple(header, key, json).map(([own, one, text]) => ({ type: "insert" as const, ...own, key: one, json: text })),
  fc.tuple(header, key).map(([own, one]) => ({ type: "remove" as const, ...own, key: one })),
  fc
    .tuple(header, writes, checks)
    .map(([own, some, demands]) => ({ type: "batch" as const, ...own, writes: some, checks: demands })),
  fc.tuple(name, key).map(([own, one]) => ({ type: "get" as const, ...own, key: one })),
);

const change = fc.oneof(
  fc.record({ key, value: json, seq }),
  fc.record({ key, removed: fc.constant(true as const), seq }),
);
/** What a primary may send. */
export const downstream: fc.Arbitrary<Downstream<Json>> = fc.oneof(
  fc.record({
    type: fc.constant("joined-secondary" as const),
    epoch: fc.constant("e1"),
    head: seq,
    reset: fc.boolean(),
  }),
  fc.tuple(seq, seq, fc.array(change, { maxLength: 4 }), fc.nat(9)).map(([prev, to, changes, ahead]) => ({
    type: "snapshot" as const,
    prev,
    seq: to,
    changes,
    until: Math.min(to + ahead, Number.MAX_SAFE_INTEGER),
  })),
  fc.boolean().map((inSync) => ({ type: "membership" as const, inSync })),
  fc
    .tuple(name, seq, fc.nat())
    .map(([own, at, replicas]) => ({ type: "operation-ack" as const, ...own, seq: at, replicas })),
  name.map((own) => ({
    type: "operation-failed" as const,
    ...own,
    code: "unconfirmed" as const,
    applied: true,
    seq: 3,
    replicas: 1,
    expected: 2,
  })),
  fc
    .tuple(name, fc.option(fc.record({ key, value: json, seq })), seq)
    .map(([own, entry, at]) => ({ type: "get-result" as const, ...own, entry, seq: at })),
);
