// Requests as anyone on the network may send them, valid ones among them, and the simple model that their answers must
// agree with: what was answered 200 has happened, in that order, and nothing else has.

import * as fc from "fast-check";
import { VALUE_BYTES_MAX, VALUE_DEPTH_MAX } from "../../src/limits.ts";
import { demandEqual } from "../../src/testing/equality.ts";
import { demand } from "../../src/testing/oracle.ts";
import { PROBLEMS, PROBLEM_TYPE } from "../problem.ts";
import type { ProblemCode } from "../problem.ts";

/** No answer may repeat it. */
export const TOKEN = "t0ken-that-nobody-may-echo";
/** Stands in paths for the store of the case. */
const STORE = "{store}";

export interface FuzzedRequest {
  method: string;
  /** Behind the host, with its query. */
  path: string;
  headers: [name: string, value: string][];
  body: string | Uint8Array<ArrayBuffer> | null;
  /** It asks for nothing that could not be given. */
  isValid: boolean;
}

// --- requests

const keyText = fc.constantFrom("a", "b", "a/1", "ü😀", "__proto__", "%");
const value = fc.oneof(
  fc.json({ maxDepth: 2 }),
  fc.constantFrom(' {"x": [1, null]} ', '{"__proto__":1}', '"\\ud800"', "-0"),
);
const seq = fc.nat(8);
const header = (name: string, text: fc.Arbitrary<string>): fc.Arbitrary<[string, string]> =>
  text.map((one) => [name, one]);
const precondition = fc.oneof(
  header(
    "If-Match",
    seq.map((one) => `"${one}"`),
  ),
  header("If-None-Match", fc.constant("*")),
);
const name = header(
  "Idempotency-Key",
  fc.integer({ min: 1, max: 4 }).map((id) => `me:${id}`),
);
const fair = fc
  .tuple(fc.option(precondition), fc.option(name))
  .map((headers) => headers.filter((one): one is [string, string] => one !== null));
const query = fc.constantFrom("", "", "?ack=all", "?ack=primary", "?ack=0", "?ack=1");
const ops = fc.uniqueArray(
  fc.oneof(
    fc
      .tuple(keyText, value)
      .map(([key, text]) => ({ key, text: `{"insert":{"key":${JSON.stringify(key)},"value":${text}}}` })),
    keyText.map((key) => ({ key, text: `{"remove":{"key":${JSON.stringify(key)}}}` })),
  ),
  { selector: ({ key }) => key, maxLength: 4 },
);
const checks = fc.array(fc.record({ key: keyText, seq: fc.option(seq) }), { maxLength: 2 });
const toBatch = (texts: readonly { text: string }[], demands: unknown): string =>
  `{"ops":[${texts.map(({ text }) => text).join(",")}],"checks":${JSON.stringify(demands)}}`;

/** I2: a repeat that asks for more than its first asking got waits for it until the deadline, which nobody here has time for. */
function withoutWait(request: FuzzedRequest): FuzzedRequest {
  const isNamed = request.headers.some(([one]) => one === "Idempotency-Key");
  return isNamed ? { ...request, path: request.path.replace("ack=1", "ack=0") } : request;
}

const entryOf = (key: string): string => `/v1/stores/${STORE}/entries/${encodeURIComponent(key)}`;
const valid: fc.Arbitrary<FuzzedRequest> = fc
  .oneof(
    fc.record({
      method: fc.constant("PUT"),
      path: fc.tuple(keyText, query).map(([key, more]) => entryOf(key) + more),
      headers: fair,
      body: value,
      isValid: fc.constant(true),
    }),
    fc.record({
      method: fc.constant("DELETE"),
      path: fc.tuple(keyText, query).map(([key, more]) => entryOf(key) + more),
      headers: fair,
      body: fc.constant(null),
      isValid: fc.constant(true),
    }),
    fc.record({
      method: fc.constant("POST"),
      path: query.map((more) => `/v1/stores/${STORE}/batch${more}`),
      headers: fc.option(name).map((one) => (one ? [one] : [])),
      body: fc.tuple(ops, checks).map(([some, demands]) => toBatch(some, demands)),
      isValid: fc.constant(true),
    }),
  )
  .map(withoutWait);

const segment = fc.oneof(
  fc.constantFrom("v1", "v2", "stores", STORE, "entries", "batch", "replicate", "status", "a", "a%2Fb", "%61", "%00"),
  fc.constantFrom("", ".", "..", "%2e%2e", "%zz", "%C3", "%ED%A0%80", "é", "a b", "*", ":key", "k".repeat(1025), "/"),
  fc.string({ maxLength: 4, unit: "binary" }),
);
const wildPath = fc.oneof(
  fc.array(segment, { maxLength: 6 }).map((segments) => `/${segments.join("/")}`),
  segment.map((one) => `/v1/stores/${STORE}/entries/${one}`),
  segment.map((one) => `/v1/stores/${one}/entries/a`),
  fc
    .constantFrom("entries", "batch", "replicate", "status", "export", "import", "entries/a")
    .map((one) => `/v1/stores/${STORE}/${one}`),
  fc.constant(`/v1/stores/${STORE}`),
  fc.constantFrom("/healthz", "/metrics", "/openapi.json", "/", "//", "/v1", "/metrics?store=a%20b"),
);
const parameter = fc
  .tuple(
    fc.constantFrom("ack", "limit", "reverse", "prefix", "start", "end", "cursor", "since", "epoch", "store"),
    fc.oneof(
      fc.constantFrom("", "0", "-1", "1e9", "true", "all", "%zz", "%C3", "~zz", "%00", "9".repeat(30), "é"),
      fc.string({ maxLength: 3, unit: "binary" }).filter((text) => !/[#\ud800-\udfff]/.test(text)),
    ),
  )
  .map((pair) => pair.join("="));
const wildQuery = fc
  .array(parameter, { maxLength: 3 })
  .map((parameters) => (parameters[0] ? `?${parameters.join("&")}` : ""));

const NOISE = ["", "*", '""', '"1", "2"', 'W/"1"', "me:0", ":1", "me:1e3", "0", "-1", "abc", "9".repeat(40), "null"];
const HEADER_NAMES = "If-Match If-None-Match Idempotency-Key Content-Length Content-Type Content-Encoding Accept".split(
  " ",
);
const MORE_NAMES =
  "Upgrade Connection Origin Last-Event-ID Range Transfer-Encoding Headwater-Grant X-HTTP-Method-Override".split(" ");
const wildHeader = fc.oneof(
  fc.tuple(fc.constantFrom(...HEADER_NAMES, ...MORE_NAMES), fc.constantFrom(...NOISE)),
  header("Upgrade", fc.constantFrom("websocket", "WebSocket", "h2c", "websocket, h2c")),
  header("Accept", fc.constantFrom("text/event-stream", "text/html", "*/*;q=0")),
  header("Origin", fc.constantFrom("null", "http://evil.example", "http://headwater")),
  header(
    "Sec-WebSocket-Protocol",
    fc.constantFrom(
      `headwater.v1, token.${TOKEN}`,
      `token.${TOKEN}`,
      "headwater.v0",
      ",",
      "headwater.v1,,headwater.v1",
    ),
  ),
  header(
    "Authorization",
    fc.constantFrom(`Bearer ${TOKEN}`, `Basic ${TOKEN}`, TOKEN, "Bearer", `Bearer eyJhbGciOiJub25lIn0.e30.${TOKEN}`),
  ),
  header("Headwater-Grant", fc.constantFrom("%", "{}", '{"read":null,"write":null,"sync":true,"admin":true}')),
);
const wildHeaders = fc.uniqueArray(wildHeader, { selector: ([one]) => one.toLowerCase(), maxLength: 4 });

const wildBody = fc.oneof(
  { weight: 3, arbitrary: fc.constant(null) },
  { weight: 3, arbitrary: value },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 20 }).map((bytes) => new Uint8Array(bytes)) },
  {
    weight: 2,
    arbitrary: fc.constantFrom("", "{", '{"a":1e999}', "\ufeff1", '{"ops":[]}', '{"ops":{}}', '{"ops":[{"insert":1}]}'),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(VALUE_DEPTH_MAX, VALUE_DEPTH_MAX + 1, 200_000)
      .map((depth) => "[".repeat(depth) + "]".repeat(depth)),
  },
  { weight: 1, arbitrary: fc.constantFrom(1025, VALUE_BYTES_MAX + 1).map((length) => `"${"x".repeat(length - 2)}"`) },
);
const METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "put", "PROPFIND", "QUERY"];
const wild: fc.Arbitrary<FuzzedRequest> = fc.record({
  method: fc.constantFrom(...METHODS),
  path: fc.tuple(wildPath, wildQuery).map((parts) => parts.join("")),
  headers: wildHeaders,
  body: wildBody,
  isValid: fc.constant(false),
});
/** One that would be valid but for some headers or parameters. */
const spoiled = fc.tuple(valid, wildHeaders, wildQuery).map(([request, more, parameters]): FuzzedRequest => {
  const names = new Set(request.headers.map(([one]) => one));
  const headers = [...request.headers, ...more.filter(([one]) => !names.has(one))];
  return { ...request, headers, path: request.path.split("?")[0]! + parameters, isValid: false };
});

/** The requests of one case, which all go to one store. */
export const requests = fc.array(
  fc.oneof({ weight: 4, arbitrary: valid }, { weight: 4, arbitrary: wild }, { weight: 2, arbitrary: spoiled }),
  { minLength: 1, maxLength: 14, size: "max" },
);

/** Null if it is one that no program on this platform can send. */
export function toRequest({ method, path, headers, body }: FuzzedRequest, store: string): Request | null {
  try {
    const url = `http://headwater${path.replaceAll(STORE, store)}`;
    return new Request(url, body === null ? { method, headers } : { method, headers, body });
  } catch {
    return null;
  }
}

// --- answers

const FINE = new Set([101, 200, 204, 304]);
/** Of these it is not said, or it is not true, that nothing has happened. */
const MAYBE_APPLIED: readonly string[] = ["unconfirmed", "in-doubt", "expired", "unavailable", "overloaded"];

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
}

/** L2: every answer is one that is documented, says what went wrong in the one form, and repeats no token. */
export function demandDocumented(request: Request, { status, headers, text }: Answer): void {
  const what = (): string => `${request.method} ${request.url}: ${status} ${text.slice(0, 300)}`;
  for (const said of [text, ...[...headers].map((pair) => pair.join(": "))])
    demand(!said.includes(TOKEN), "S3", () => `a token is echoed: ${said.slice(0, 300)}`);
  if (FINE.has(status)) return;
  demand(status !== 500, "L2", what);
  if (request.method === "HEAD") return demand(text === "", "L2", what);
  demand(headers.get("Content-Type") === PROBLEM_TYPE, "L2", what);
  const {
    code,
    applied,
    status: stated,
  } = JSON.parse(text) as { code: ProblemCode; applied?: boolean; status: number };
  demand(PROBLEMS[code]?.status === status && stated === status, "L2", what);
  if (request.method === "GET" || MAYBE_APPLIED.includes(code)) return;
  demand(applied === false, "A3", what);
}

/** A value as it is written again: -0 is 0. */
const plainOf = (json: string): unknown => JSON.parse(JSON.stringify(JSON.parse(json)));

interface Meaning {
  writes: { key: string; json: string | null }[];
  checks: { key: string; seq: number | null }[];
}

/** What the store must hold. */
export class Model {
  head = 0;
  readonly entries = new Map<string, { value: unknown; seq: number }>();
  readonly #outcomes = new Map<string, [status: number, text: string]>();

  /** Takes an answer to an update of this store: it must be true, and then so is what it says. */
  take(request: FuzzedRequest, sent: Request, store: string, { status, text }: Answer): void {
    const what = (): string => `${sent.method} ${sent.url}: ${status} ${text.slice(0, 300)} over head ${this.head}`;
    const isDecided = status === 200 || status === 412 || status === 503;
    demand(isDecided || !request.isValid, "A1", what);
    const meaning = isDecided ? meaningOf(request, sent, store) : undefined;
    if (!meaning) return;
    const name = sent.headers.get("Idempotency-Key");
    const known = name === null ? undefined : this.#outcomes.get(name);
    if (known) return demandEqual([status, text], known, "I1 the repeat's answer");
    if (name !== null) this.#outcomes.set(name, [status, text]);
    const isHeld = meaning.checks.every(({ key, seq }) => (this.entries.get(key)?.seq ?? null) === seq);
    if (status !== 503) demand(isHeld === (status === 200), "A3", what);
    if (status !== 200) return;
    this.#apply(meaning);
    demand((JSON.parse(text) as { seq: number }).seq === this.head, "O1", what);
  }

  #apply({ writes }: Meaning): void {
    const effective = writes.filter(({ key, json }) => json !== null || this.entries.has(key));
    if (effective.length > 0) this.head += 1;
    for (const { key, json } of effective) {
      if (json === null) this.entries.delete(key);
      else this.entries.set(key, { value: plainOf(json), seq: this.head });
    }
  }
}

/** What a request asks to be changed, read in the plainest way; undefined if it does not. */
function meaningOf({ body }: FuzzedRequest, sent: Request, store: string): Meaning | undefined {
  const [path, ...rest] = new URL(sent.url).pathname.split(`/v1/stores/${store}/`).reverse();
  if (path === undefined || rest.length !== 1 || rest[0] !== "") return undefined;
  const text = typeof body === "string" ? body : body === null ? "" : new TextDecoder().decode(body);
  const json = text.replace(/^\ufeff/, "");
  if (path === "batch") return sent.method === "POST" ? batchOf(json) : undefined;
  const encoded = /^entries\/([^/]+)$/.exec(path)?.[1];
  if (encoded === undefined || (sent.method !== "PUT" && sent.method !== "DELETE")) return undefined;
  const key = decodeURIComponent(encoded);
  const match = sent.headers.get("If-Match");
  const isAbsent = sent.headers.get("If-None-Match") !== null;
  return {
    writes: [{ key, json: sent.method === "PUT" ? json : null }],
    checks: match !== null ? [{ key, seq: Number(match.trim().slice(1, -1)) }] : isAbsent ? [{ key, seq: null }] : [],
  };
}

function batchOf(text: string): Meaning {
  interface Op {
    insert?: { key: string; value: unknown };
    remove?: { key: string };
  }
  const { ops, checks = [] } = JSON.parse(text) as { ops: Op[]; checks?: Meaning["checks"] | null };
  const writes = ops.map(({ insert, remove }) =>
    insert ? { key: insert.key, json: JSON.stringify(insert.value) } : { key: remove!.key, json: null },
  );
  return { writes, checks: checks ?? [] };
}
