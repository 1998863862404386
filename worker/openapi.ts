// What /openapi.json says of each route, as plain JSON Schema.

import type { DescribeRouteOptions } from "hono-openapi";
import {
  BATCH_CHECKS_MAX,
  BATCH_OPERATIONS_MAX,
  KEY_BYTES_MAX,
  LIST_LIMIT_MAX,
  NAME_LENGTH_MAX,
  VALUE_BYTES_MAX,
} from "../src/limits.ts";
import { EXPORT_VERSION, SUBPROTOCOL } from "../src/protocol.ts";
import { PROBLEMS, PROBLEM_TYPE } from "./problem.ts";
import type { ProblemCode } from "./problem.ts";

type Responses = NonNullable<DescribeRouteOptions["responses"]>;
type Parameters = NonNullable<DescribeRouteOptions["parameters"]>;

const SEQ = { type: "integer", minimum: 0 } as const;
const KEY = { type: "string", minLength: 1, description: `at most ${KEY_BYTES_MAX} bytes in UTF-8` } as const;
const VALUE = { description: `any JSON value, at most ${VALUE_BYTES_MAX} bytes` } as const;

const object = (properties: Record<string, object>, optional: string[] = []) => ({
  type: "object" as const,
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
});
const list = (items: object) => ({ type: "array" as const, items });

const CHECK = object({ key: KEY, seq: { type: ["integer", "null"], description: "null: the key must be absent" } });
const ENTRY = object({ key: KEY, value: VALUE, seq: SEQ });
const CHANGE = {
  oneOf: [
    object({ key: KEY, value: VALUE, seq: SEQ }, ["seq"]),
    object({ key: KEY, removed: { const: true }, seq: SEQ }, ["seq"]),
  ],
};
const ACK = object({
  seq: SEQ,
  replicas: { type: "integer", description: "secondaries of the in-sync set that have it on disk" },
});
const BATCH = object(
  {
    ops: {
      ...list({
        oneOf: [object({ insert: object({ key: KEY, value: VALUE }) }), object({ remove: object({ key: KEY }) })],
      }),
      maxItems: BATCH_OPERATIONS_MAX,
    },
    checks: { ...list(CHECK), maxItems: BATCH_CHECKS_MAX },
  },
  ["checks"],
);
const SNAPSHOT = object(
  {
    reset: { const: true, description: "everything that was told before is void, and history `epoch` begins anew" },
    epoch: { type: "string" },
    prev: SEQ,
    seq: SEQ,
    changes: list(CHANGE),
    until: { ...SEQ, description: "only a part: put it aside until the chain has come this far" },
  },
  ["reset", "epoch", "until"],
);
const STATUS = object({
  epoch: { type: "string" },
  head: SEQ,
  floor: SEQ,
  entries: { type: "integer" },
  secondaries: list(
    object({
      id: { type: "string" },
      mode: { enum: ["durable", "memory", "reader"] },
      state: { enum: ["catching-up", "in-sync", "lagging", "following"] },
      acked: SEQ,
      lagMs: { type: "integer" },
    }),
  ),
  settings: object({
    lagLimitMs: { type: "integer" },
    tombstonesKept: { type: "integer" },
    clientLeaseMs: { type: "integer" },
    rates: object({ identity: { type: "integer" }, store: { type: "integer" } }),
  }),
});
const EXPORT_LINE = {
  oneOf: [
    object({ headwater: { const: EXPORT_VERSION }, store: { type: "string" }, epoch: { type: "string" } }),
    object({ key: KEY, value: VALUE, seq: SEQ }),
    object({ key: KEY, removed: { const: true }, seq: SEQ }),
    object({ seq: SEQ, entries: { type: "integer" } }),
  ],
};
const HISTORY = object({ epoch: { type: "string" }, seq: SEQ, entries: { type: "integer" } });
const PROBLEM = object(
  {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    code: { enum: Object.keys(PROBLEMS) },
    detail: { type: "string" },
    applied: {
      type: "boolean",
      description: "of updates; false: it has not happened and never will; true: it is durable; left out: not known",
    },
    seq: SEQ,
    replicas: { type: "integer" },
    expected: { type: "integer" },
    check: CHECK,
  },
  ["detail", "applied", "seq", "replicas", "expected", "check"],
);

const STORE: Parameters[number] = {
  name: "store",
  in: "path",
  required: true,
  schema: { type: "string", pattern: "^[A-Za-z0-9_.-]+$", maxLength: NAME_LENGTH_MAX },
};
const KEY_IN_PATH: Parameters[number] = {
  name: "key",
  in: "path",
  required: true,
  description: "one percent-encoded segment",
  schema: KEY,
};
const ACK_WANTED: Parameters[number] = {
  name: "ack",
  in: "query",
  description:
    "who must have it on disk before the answer: all of the in-sync set, the primary alone, or n secondaries",
  schema: { oneOf: [{ enum: ["all", "primary"] }, { type: "integer", minimum: 0 }], default: "all" },
};
const IDEMPOTENCY_KEY: Parameters[number] = {
  name: "Idempotency-Key",
  in: "header",
  description: "<clientId>:<id>; the same name again changes nothing and gets the same outcome",
  schema: { type: "string" },
};
const IF_MATCH: Parameters[number] = {
  name: "If-Match",
  in: "header",
  description: 'the ETag "<seq>" that the key must have',
  schema: { type: "string" },
};
const IF_NONE_MATCH: Parameters[number] = {
  name: "If-None-Match",
  in: "header",
  description: "*: the key must be absent",
  schema: { enum: ["*"] },
};
const inQuery = (name: string, schema: object, description = ""): Parameters[number] => ({
  name,
  in: "query",
  schema,
  ...(description && { description }),
});

/** The errors that a route can answer with, one response for each status. */
function problems(...codes: ProblemCode[]): Responses {
  const responses: Responses = {};
  for (const code of codes) {
    const { status } = PROBLEMS[code];
    const others = responses[status] as { description: string } | undefined;
    const description = others ? `${others.description}, ${code}` : code;
    responses[status] = { description, content: { [PROBLEM_TYPE]: { schema: PROBLEM } } };
  }
  return responses;
}

const answer = (description: string, schema: object, type = "application/json"): Responses[string] => ({
  description,
  content: { [type]: { schema } },
});

const READ_PROBLEMS = [
  "bad-request",
  "unauthorized",
  "forbidden",
  "rate-limited",
  "overloaded",
  "unavailable",
] as const;
const UPDATE_PROBLEMS = [
  ...READ_PROBLEMS,
  "too-large",
  "expired",
  "not-enough-replicas",
  "unconfirmed",
  "in-doubt",
  "storage-full",
  "invalid-value",
] as const;

export const GET_ENTRY: DescribeRouteOptions = {
  summary: "Reads a key at the primary; linearizable",
  parameters: [STORE, KEY_IN_PATH],
  responses: { 200: answer("the value; its seq is the ETag", VALUE), ...problems(...READ_PROBLEMS, "not-found") },
};

export const PUT_ENTRY: DescribeRouteOptions = {
  summary: "Inserts a value",
  parameters: [STORE, KEY_IN_PATH, ACK_WANTED, IDEMPOTENCY_KEY, IF_MATCH, IF_NONE_MATCH],
  requestBody: { required: true, content: { "application/json": { schema: VALUE } } },
  responses: { 200: answer("acknowledged", ACK), ...problems(...UPDATE_PROBLEMS, "conflict") },
};

export const DELETE_ENTRY: DescribeRouteOptions = {
  summary: "Removes a key; where it is absent nothing changes and seq is head",
  parameters: [STORE, KEY_IN_PATH, ACK_WANTED, IDEMPOTENCY_KEY, IF_MATCH, IF_NONE_MATCH],
  responses: { 200: answer("acknowledged", ACK), ...problems(...UPDATE_PROBLEMS, "conflict") },
};

export const POST_BATCH: DescribeRouteOptions = {
  summary: "Does several operations as one atomic write, if all checks hold",
  parameters: [STORE, ACK_WANTED, IDEMPOTENCY_KEY],
  requestBody: { required: true, content: { "application/json": { schema: BATCH } } },
  responses: { 200: answer("acknowledged", ACK), ...problems(...UPDATE_PROBLEMS, "conflict") },
};

export const LIST_ENTRIES: DescribeRouteOptions = {
  summary: "Lists entries by key, in the order of UTF-8 bytes",
  parameters: [
    STORE,
    inQuery("prefix", { type: "string" }),
    inQuery("start", { type: "string" }, "the first key"),
    inQuery("end", { type: "string" }, "the first key that is not listed any more"),
    inQuery("limit", { type: "integer", minimum: 1, maximum: LIST_LIMIT_MAX, default: 100 }),
    inQuery("reverse", { type: "boolean", default: false }),
    inQuery("cursor", { type: "string" }, "from the page before, with the same other parameters"),
  ],
  responses: {
    200: answer(
      "a page; without cursor it is the last",
      object({ entries: list(ENTRY), cursor: { type: "string" }, seq: SEQ }, ["cursor"]),
    ),
    ...problems(...READ_PROBLEMS, "too-large"),
  },
};

export const REPLICATE: DescribeRouteOptions = {
  summary: "Streams what changes",
  description:
    `With \`Upgrade: websocket\` (subprotocol ${SUBPROTOCOL}) the replication session of a secondary. Without it a stream of ` +
    "snapshots for a reader, which is never in sync: a line each, or as server-sent events whose id is the seq.",
  parameters: [
    STORE,
    inQuery("since", SEQ, "continue after this seq; left out: begin with all entries"),
    inQuery("epoch", { type: "string" }, "the history that `since` belongs to; another one begins anew"),
    {
      name: "Last-Event-ID",
      in: "header",
      description: "the same as `since`, and goes before it",
      schema: { type: "string" },
    },
  ],
  responses: {
    101: { description: "the replication session is open" },
    200: {
      description: "snapshots",
      content: { "application/x-ndjson": { schema: SNAPSHOT }, "text/event-stream": { schema: SNAPSHOT } },
    },
    ...problems(...READ_PROBLEMS),
  },
};

export const GET_STATUS: DescribeRouteOptions = {
  summary: "Shows the store and every member",
  parameters: [STORE],
  responses: { 200: answer("the status", STATUS), ...problems(...READ_PROBLEMS) },
};

export const EXPORT_STORE: DescribeRouteOptions = {
  summary: "Streams the whole store at one seq; for identities with `admin` that may read everything",
  description:
    "A header, then a line for each change in the order of seqs, of which a key's last one counts, then the seq that this is the " +
    "state of, and how many entries it has. What lacks its last line is not whole.",
  parameters: [STORE],
  responses: { 200: answer("the export", EXPORT_LINE, "application/x-ndjson"), ...problems(...READ_PROBLEMS) },
};

export const IMPORT_STORE: DescribeRouteOptions = {
  summary: "Fills a store without entries with an export, whole or not at all; for identities with `admin`",
  parameters: [
    STORE,
    {
      name: "replace",
      in: "query",
      schema: { type: "boolean", default: false },
      description: "in place of the entries that there are, which stay if the import fails",
    },
  ],
  requestBody: { required: true, content: { "application/x-ndjson": { schema: EXPORT_LINE } } },
  responses: {
    200: answer("another history has begun", HISTORY),
    ...problems(...READ_PROBLEMS, "too-large", "not-empty", "storage-full"),
  },
};

export const DELETE_STORE: DescribeRouteOptions = {
  summary: "Removes everything; for identities with `admin`",
  parameters: [STORE],
  responses: { 200: answer("another history has begun", HISTORY), ...problems(...READ_PROBLEMS, "storage-full") },
};

export const GET_HEALTH: DescribeRouteOptions = {
  summary: "Answers while the worker runs",
  responses: { 200: answer("it runs", object({ status: { const: "ok" } })) },
};

export const GET_METRICS: DescribeRouteOptions = {
  summary: "Figures of stores for Prometheus",
  parameters: [
    inQuery(
      "store",
      list({ type: "string" }),
      "may be repeated; left out: the stores that this worker has served lately",
    ),
  ],
  responses: {
    200: answer("figures", { type: "string" }, "text/plain"),
    ...problems("bad-request", "unauthorized", "forbidden"),
  },
};

export const GET_OPENAPI: DescribeRouteOptions = {
  summary: "This document",
  responses: { 200: answer("OpenAPI 3.1", { type: "object" }) },
};

/** What the document says of the whole. */
export const DOCUMENTATION = {
  openapi: "3.1.0",
  info: {
    title: "Headwater",
    description: "A key-value store whose writes are acknowledged when every in-sync browser replica has them on disk.",
    version: "1",
  },
};
