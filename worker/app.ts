// The HTTP door: a Hono app that finds the store's primary, asks it, and says what it said in terms of HTTP. It holds
// no state of any store. Whatever a request gets wrong is answered here and never reaches the primary.

import { Hono } from "hono";
import { cors } from "hono/cors";
import { secureHeaders } from "hono/secure-headers";
import type { Context, Handler, MiddlewareHandler } from "hono";
import { describeRoute, openAPIRouteHandler } from "hono-openapi";
import type { DescribeRouteOptions } from "hono-openapi";
import {
  encodeCursor,
  encodeEntry,
  readAck,
  readBatch,
  readCursor,
  readEpoch,
  readFlag,
  readIdempotencyKey,
  readInteger,
  readKey,
  readPrecondition,
  readSegment,
  readStoreName,
  readValue,
} from "../src/codec.ts";
import type { Refusal } from "../src/codec.ts";
import { compareKeys } from "../src/kv.ts";
import type { Range, Write } from "../src/kv.ts";
import { LIST_LIMIT_MAX, METRICS_STORES_MAX } from "../src/limits.ts";
import { DEFLATE_SUBPROTOCOL, SUBPROTOCOL } from "../src/protocol.ts";
import type { Outcome, Update } from "../src/protocol.ts";
import { joinRefusalOf, refusalOf } from "../src/rights.ts";
import type { Schemas } from "../src/schema.ts";
import { Authenticator, Unauthorized } from "./auth.ts";
import type { AuthEnv } from "./auth.ts";
import { discard, readBody } from "./body.ts";
import { offersDeflate } from "./deflate.ts";
import { ANYONE, attachGrant } from "./grant.ts";
import type { Grant } from "./grant.ts";
import { BETWEEN_HISTORIES } from "./histories.ts";
import { logFailure } from "./log.ts";
import { METRICS_TYPE, formatMetrics } from "./metrics.ts";
import {
  DELETE_ENTRY,
  DELETE_STORE,
  DOCUMENTATION,
  EXPORT_STORE,
  GET_ENTRY,
  GET_HEALTH,
  GET_METRICS,
  GET_OPENAPI,
  GET_STATUS,
  IMPORT_STORE,
  LIST_ENTRIES,
  POST_BATCH,
  PUT_ENTRY,
  REPLICATE,
} from "./openapi.ts";
import type { PrimaryDriver, StoreMetrics } from "./primary-driver.ts";
import type { Primary } from "./primary-host.ts";
import { problem } from "./problem.ts";
import type { ProblemCode } from "./problem.ts";
import { setStoreSchema } from "./store-schema.ts";
import { NDJSON, SSE } from "./stream.ts";

/** What the app reads of its environment unless its options say otherwise. */
export interface AppEnv extends AuthEnv {
  /** The primaries, one for each store's name. */
  PRIMARY: DurableObjectNamespace<Primary>;
  /** Origins whose pages may use the stores besides those of the app's own, separated by commas. */
  ALLOWED_ORIGINS?: string;
}

/** A primary as it is asked from here, wherever it runs. */
export type PrimaryStub = {
  [Method in "operate" | "get" | "list" | "status" | "metrics"]: (
    ...args: Parameters<PrimaryDriver[Method]>
  ) => Promise<Awaited<ReturnType<PrimaryDriver[Method]>>>;
} & {
  /**
   * Opens a session: a WebSocket if asked to upgrade, else a stream from `?since=&epoch=` in the `form` wanted. A POST carries
   * an export to be imported, a DELETE deletes the store.
   */
  fetch(request: Request): Promise<Response>;
};

/** Where primaries are found: a namespace of Durable Objects, or whatever else knows them by their store's name. */
export interface PrimaryNamespace {
  getByName(store: string): PrimaryStub;
}

/** What an app may decide for itself. */
export interface AppOptions<Env extends object = AppEnv> {
  /** Finds the namespace of the primaries; `env.PRIMARY` unless given. */
  primary?: (env: Env) => PrimaryNamespace;
  /**
   * Decides what a request may do with a store, before anything is read of the store, in place of tokens: `true` is everything
   * but `admin`, `false` and null nothing (403). Whoever throws `Unauthorized` is asked for credentials (401).
   */
  authorize?: (request: Request, target: { store: string }) => Access | Promise<Access>;
  /**
   * What may be written, key by key, as Standard Schemas: the primaries of this worker refuse everything else as `invalid-value`,
   * whatever door it comes by. What was written before stays.
   */
  schema?: Schemas;
}

/** What `authorize` answers. */
export type Access = boolean | Grant | null;

interface Types {
  Bindings: AppEnv;
  Variables: { primary: PrimaryStub; grant: Grant };
}
type RequestContext = Context<Types>;

const LIST_LIMIT_DEFAULT = 100;
const CHALLENGE = { "WWW-Authenticate": "Bearer" };

/**
 * Makes the app that serves every route of Headwater; its `fetch` is a worker's. Who is let in, `authorize` says or the
 * environment (`AuthEnv`); where neither does, every store is closed: it answers 401 `unauthorized`.
 */
export function createApp<Env extends object = AppEnv>(options: AppOptions<Env> = {}): Hono<{ Bindings: Env }> {
  const app = new Hono<Types>();
  const stores = new Stores(options);
  if (options.schema) setStoreSchema(options.schema);
  // A response that opens a socket has no use for these headers, nor room for them.
  app.use(async (c, next) => (isUpgrade(c) ? next() : SECURE(c, next)));
  app.use(async (c, next) => (isUpgrade(c) ? next() : CROSS_ORIGIN(c, next)));
  app.use(async (c, next) => {
    await next();
    if (!c.req.raw.bodyUsed) await discard(c.req.raw.body);
  });
  app.use("/v1/*", async (c, next) => stores.requireConfiguration(c) ?? refuseStrangePage(c) ?? next());
  app.use("/v1/stores/:store/*", stores.open());

  const entry = "/v1/stores/:store/entries/:key";
  const methods = new Map<string, string[]>();
  const add = (method: string, path: string, description: DescribeRouteOptions, answer: Handler<Types>): void => {
    methods.set(path, [...(methods.get(path) ?? []), method]);
    app.on(method, path, describeRoute(description), answer);
  };
  add("GET", entry, GET_ENTRY, getEntry);
  add("PUT", entry, PUT_ENTRY, putEntry);
  add("DELETE", entry, DELETE_ENTRY, deleteEntry);
  add("POST", "/v1/stores/:store/batch", POST_BATCH, postBatch);
  add("GET", "/v1/stores/:store/entries", LIST_ENTRIES, listEntries);
  add("GET", "/v1/stores/:store/replicate", REPLICATE, replicate);
  add("GET", "/v1/stores/:store/status", GET_STATUS, async (c) =>
    c.json(await asked(c.var.primary.status(c.var.grant))),
  );
  add("GET", "/v1/stores/:store/export", EXPORT_STORE, forAdmins(exportStore));
  add("POST", "/v1/stores/:store/import", IMPORT_STORE, forAdmins(importStore));
  add("DELETE", "/v1/stores/:store", DELETE_STORE, forAdmins(deleteStore));
  add("GET", "/healthz", GET_HEALTH, (c) => c.json({ status: "ok" }));
  add("GET", "/metrics", GET_METRICS, (c) => stores.metrics(c));
  const openapi = openAPIRouteHandler(app, { documentation: DOCUMENTATION, excludeStaticFile: false });
  add("GET", "/openapi.json", GET_OPENAPI, openapi);

  for (const [path, known] of methods) app.all(path, (c) => methodNotAllowed(c, known));
  app.notFound((c) => fail(c, "not-found", "no such route"));
  app.onError((error, c) => answerError(error, c));
  return app as unknown as Hono<{ Bindings: Env }>;
}

/**
 * A browser says whose page a request comes from, also when it opens a socket, to which its own rules do not apply. Other
 * people's pages are kept out; what is no browser says nothing and is none of this check's business.
 */
function refuseStrangePage(c: RequestContext): Response | undefined {
  const origin = c.req.header("Origin");
  if (origin === undefined || isKnownOrigin(origin, c)) return undefined;
  return fail(c, "forbidden", `pages of ${origin} may not use these stores; ALLOWED_ORIGINS names those that may`);
}

function isKnownOrigin(origin: string, c: Context<Types>): boolean {
  if (origin === new URL(c.req.url).origin) return true;
  const allowed = (c.env.ALLOWED_ORIGINS ?? "").split(",").map((one) => one.trim());
  return allowed.includes(origin);
}

const isUpgrade = (c: Context<Types>): boolean => c.req.header("Upgrade")?.toLowerCase() === "websocket";

/** What is answered here is data: nothing of it may run, be framed or be taken for something else. */
const SECURE: MiddlewareHandler<Types> = secureHeaders({
  contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
  // Both put what is answered into a process of its own. A page that is left for it is stopped before its worker has heard of
  // that, and writers wait for its replica.
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
});

/** Pages of other origins that are allowed may read what they are answered. */
const CROSS_ORIGIN: MiddlewareHandler<Types> = cors({
  origin: (origin, c: Context<Types>) => (isKnownOrigin(origin, c) ? origin : null),
  allowMethods: ["GET", "HEAD", "PUT", "POST", "DELETE"],
  allowHeaders: ["Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key", "Last-Event-ID"],
  exposeHeaders: ["ETag", "Retry-After", "WWW-Authenticate"],
  maxAge: 600,
});

/** Who may use which store, where its primary is, and which ones were served lately. */
class Stores {
  readonly #options: AppOptions<never>;
  /** By rising time of their last use. */
  readonly #served = new Set<string>();
  #authenticator: { env: string; value: Authenticator } | undefined;

  constructor(options: AppOptions<never>) {
    this.#options = options;
  }

  /** Stores are closed until someone has said who may use them. */
  requireConfiguration(c: RequestContext): Response | undefined {
    if (this.#options.authorize) return undefined;
    try {
      if (this.#authenticatorOf(c.env).isConfigured) return undefined;
    } catch (error) {
      logFailure("auth-misconfigured", error);
      return fail(c, "unauthorized", "how tokens are checked is not configured rightly; the log says what is wrong");
    }
    const detail =
      "nobody is let in until it is said who may be: set JWT_SECRET or JWKS_URL to check bearer tokens, pass `authorize` " +
      'to createApp, or set the variable ALLOW_ANONYMOUS to "true" to let everyone in';
    return fail(c, "unauthorized", detail, CHALLENGE);
  }

  open(): MiddlewareHandler<Types> {
    return async (c, next) => {
      const store = demand(readStoreName(demand(readSegment(segmentOf(c, 3)))));
      const granted = await this.#grantTo(c, store);
      if (granted instanceof Response) return granted;
      if (!granted) return fail(c, "forbidden", "this request may not use this store");
      c.set("grant", granted);
      c.set("primary", this.#primaryOf(c, store));
      this.#served.delete(store);
      this.#served.add(store);
      for (const oldest of this.#served) {
        if (this.#served.size <= METRICS_STORES_MAX) break;
        this.#served.delete(oldest);
      }
      return next();
    };
  }

  /** A store's figures tell about its users, so they are shown to whoever may use the store. */
  async metrics(c: RequestContext): Promise<Response> {
    const asked = c.req.queries("store");
    if (asked && asked.length > METRICS_STORES_MAX) {
      return fail(c, "bad-request", `more than ${METRICS_STORES_MAX} stores (METRICS_STORES_MAX)`);
    }
    const closed = this.requireConfiguration(c);
    if (closed && asked) return closed;
    const shown = new Map<string, Promise<StoreMetrics | undefined>>();
    for (const name of closed ? [] : (asked ?? this.#served)) {
      const store = demand(readStoreName(name));
      const granted = await this.#grantTo(c, store);
      if (granted && !(granted instanceof Response)) shown.set(store, this.#readMetrics(c, store));
      else if (asked) return granted ?? fail(c, "forbidden", `this request may not use the store ${store}`);
    }
    const metrics = new Map<string, StoreMetrics | undefined>();
    for (const [store, figures] of shown) metrics.set(store, await figures);
    return c.body(formatMetrics(metrics), 200, { "Content-Type": METRICS_TYPE, "Cache-Control": "no-store" });
  }

  async #readMetrics(c: RequestContext, store: string): Promise<StoreMetrics | undefined> {
    try {
      return await this.#primaryOf(c, store).metrics();
    } catch (error) {
      logFailure("metrics-failed", error);
      return undefined;
    }
  }

  /** What a request may do with a store: null is nothing, a response says why that is not known. */
  async #grantTo(c: RequestContext, store: string): Promise<Grant | Response | null> {
    const { authorize } = this.#options;
    try {
      const access = authorize
        ? await authorize(c.req.raw, { store })
        : await this.#authenticatorOf(c.env).grantTo(c.req.raw.headers, store);
      return typeof access === "boolean" ? (access ? ANYONE : null) : access;
    } catch (error) {
      if (error instanceof Unauthorized) return fail(c, "unauthorized", error.message, CHALLENGE);
      logFailure("authorize-failed", error);
      return fail(c, "unavailable", "it cannot be decided at present who may use this store");
    }
  }

  /** Made once, as it keeps the keys that it fetches. */
  #authenticatorOf(env: AuthEnv): Authenticator {
    const { JWT_SECRET, JWKS_URL, JWT_ISSUER, JWT_AUDIENCE, ALLOW_ANONYMOUS } = env;
    const name = JSON.stringify([JWT_SECRET, JWKS_URL, JWT_ISSUER, JWT_AUDIENCE, ALLOW_ANONYMOUS]);
    if (this.#authenticator?.env !== name) this.#authenticator = { env: name, value: new Authenticator(env) };
    return this.#authenticator.value;
  }

  #primaryOf(c: RequestContext, store: string): PrimaryStub {
    const namespace: PrimaryNamespace = this.#options.primary?.(c.env as never) ?? c.env.PRIMARY;
    return namespace.getByName(store);
  }
}

// --- entries

async function getEntry(c: RequestContext): Promise<Response> {
  const key = keyOf(c);
  const refusal = refusalOf({ type: "get", clientId: null, id: 1, key }, c.var.grant);
  if (refusal !== undefined) return fail(c, "forbidden", refusal);
  const entry = demand(await asked(c.var.primary.get(key, c.var.grant)));
  if (!entry) return fail(c, "not-found", "the store has no such key");
  const headers = { ETag: `"${entry.seq}"`, "Cache-Control": "no-cache" };
  if (c.req.header("If-None-Match") === headers.ETag) return c.body(null, 304, headers);
  return c.body(entry.value, 200, { ...headers, "Content-Type": "application/json" });
}

async function putEntry(c: RequestContext): Promise<Response> {
  const key = keyOf(c);
  const header = headerOf(c);
  const seq = preconditionOf(c);
  const json = demand(readValue(demand(await readBody(c.req.raw))));
  return update(c, toUpdate(header, { key, json }, seq));
}

async function deleteEntry(c: RequestContext): Promise<Response> {
  return update(c, toUpdate(headerOf(c), { key: keyOf(c), removed: true }, preconditionOf(c)));
}

async function postBatch(c: RequestContext): Promise<Response> {
  const header = headerOf(c);
  const batch = demand(readBatch(demand(await readBody(c.req.raw))));
  return update(c, { type: "batch", ...header, ...batch });
}

type UpdateHeader = Pick<Update, "clientId" | "id" | "ack" | "settled" | "repeat">;

function headerOf(c: RequestContext): UpdateHeader {
  const ack = demand(readAck(c.req.query("ack")));
  const name = c.req.header("Idempotency-Key");
  // Whoever gives no name cannot ask again, so no outcome is kept.
  const { clientId, id } = name === undefined ? { clientId: null, id: 1 } : demand(readIdempotencyKey(name));
  // HTTP says neither what is settled nor what was asked before: a name that is not known any more is a new one.
  return { clientId, id, ack, settled: 0, repeat: false };
}

const preconditionOf = (c: RequestContext): number | null | undefined =>
  demand(readPrecondition(c.req.header("If-Match"), c.req.header("If-None-Match")));

/** A write with a precondition is a batch of one with a check. */
function toUpdate(header: UpdateHeader, write: Write, seq: number | null | undefined): Update {
  if (seq !== undefined) return { type: "batch", ...header, writes: [write], checks: [{ key: write.key, seq }] };
  return "json" in write ? { type: "insert", ...header, ...write } : { type: "remove", ...header, key: write.key };
}

async function update(c: RequestContext, update: Update): Promise<Response> {
  const outcome: Outcome = await asked(c.var.primary.operate(update, c.var.grant));
  if (outcome.type === "operation-ack") return c.json({ seq: outcome.seq, replicas: outcome.replicas });
  const { type: _type, clientId: _clientId, id: _id, code, ...details } = outcome;
  return problem(code, details);
}

async function listEntries(c: RequestContext): Promise<Response> {
  const reverse = demand(readFlag(c.req.query("reverse") || "false", "reverse"));
  const limit = demand(readInteger(c.req.query("limit") || `${LIST_LIMIT_DEFAULT}`, "limit", 1, LIST_LIMIT_MAX));
  const range = rangeOf(c, reverse);
  const { entries, hasMore, seq } = demand(await asked(c.var.primary.list(range, limit, reverse, c.var.grant)));
  const last = entries.at(-1);
  const cursor = hasMore && last ? `,"cursor":"${encodeCursor(last.key)}"` : "";
  const body = `{"entries":[${entries.map(encodeEntry).join(",")}]${cursor},"seq":${seq}}`;
  return c.body(body, 200, { "Content-Type": "application/json", "Cache-Control": "no-cache" });
}

/** What the query asks for, less what the pages before the cursor have shown. An empty parameter is left out. */
function rangeOf(c: RequestContext, reverse: boolean): Range {
  const range: Range = {};
  for (const name of ["prefix", "start", "end"] as const) {
    const text = c.req.query(name);
    if (text) range[name] = demand(readKey(text, name));
  }
  const cursor = c.req.query("cursor");
  if (!cursor) return range;
  const seen = demand(readCursor(cursor));
  if (reverse) return { ...range, end: range.end !== undefined && compareKeys(range.end, seen) < 0 ? range.end : seen };
  const next = `${seen}\0`;
  return { ...range, start: range.start !== undefined && compareKeys(range.start, next) > 0 ? range.start : next };
}

// --- replication

async function replicate(c: RequestContext): Promise<Response> {
  const request = isUpgrade(c) ? upgradeOf(c) : streamOf(c);
  attachGrant(request.headers, c.var.grant);
  // A HEAD never reads its stream to an end, so none is opened for it.
  if (c.req.raw.method === "HEAD") return c.body(null, 200, { "Content-Type": isSse(c) ? SSE.type : NDJSON.type });
  return passOn(c, request);
}

async function passOn(c: RequestContext, request: Request): Promise<Response> {
  const response = await asked(c.var.primary.fetch(request));
  // The headers of an object's response cannot be changed, which middleware of the app around this one may want.
  return new Response(response.body, response);
}

function upgradeOf(c: RequestContext): Request {
  const headers = new Headers({ Upgrade: "websocket" });
  const offered = c.req.header("Sec-WebSocket-Protocol");
  if (offered !== undefined) {
    const isSpoken = offered.split(",").some((name) => name.trim() === SUBPROTOCOL);
    if (!isSpoken) throw new Refused(badRequest(`of the subprotocols only ${SUBPROTOCOL} is spoken here`));
    // What else is offered may be a token, which is none of the primary's business.
    const passed = offersDeflate(c.req.raw.headers) ? `${SUBPROTOCOL}, ${DEFLATE_SUBPROTOCOL}` : SUBPROTOCOL;
    headers.set("Sec-WebSocket-Protocol", passed);
  }
  return new Request("http://primary/", { headers });
}

function streamOf(c: RequestContext): Request {
  const url = new URL("http://primary/");
  url.searchParams.set("form", isSse(c) ? "sse" : "ndjson");
  const since = c.req.header("Last-Event-ID") || c.req.query("since");
  if (since) url.searchParams.set("since", `${demand(readInteger(since, "since", 0, Number.MAX_SAFE_INTEGER))}`);
  const epoch = c.req.query("epoch");
  if (epoch) url.searchParams.set("epoch", demand(readEpoch(epoch)));
  return new Request(url);
}

const isSse = (c: RequestContext): boolean => c.req.header("Accept")?.includes(SSE.type) ?? false;

// --- the store as a whole

/** S4: leave to use a store is not leave to take it away. */
function forAdmins(answer: (c: RequestContext) => Promise<Response>): Handler<Types> {
  return async (c) =>
    c.var.grant.admin ? answer(c) : fail(c, "forbidden", "only an identity with `admin` may do this to a store");
}

async function exportStore(c: RequestContext): Promise<Response> {
  // E1: what is left out would be missing from a file that looks whole.
  const refusal = joinRefusalOf({}, c.var.grant);
  if (refusal !== undefined) return fail(c, "forbidden", `an export shows everything; ${refusal}`);
  const store = c.req.param("store")!;
  const headers = { "Content-Type": NDJSON.type, "Content-Disposition": `attachment; filename="${store}.ndjson"` };
  if (c.req.raw.method === "HEAD") return c.body(null, 200, headers);
  const request = new Request(`http://primary/?form=export&store=${store}`);
  attachGrant(request.headers, c.var.grant);
  const response = await passOn(c, request);
  if (response.ok) response.headers.set("Content-Disposition", headers["Content-Disposition"]);
  return response;
}

async function importStore(c: RequestContext): Promise<Response> {
  // Node wants to be told that a body is streamed.
  const init = { method: "POST", body: c.req.raw.body, duplex: "half" };
  const isReplacing = demand(readFlag(c.req.query("replace") || "false", "replace"));
  return passOn(c, new Request(`http://primary/?replace=${isReplacing}`, init));
}

async function deleteStore(c: RequestContext): Promise<Response> {
  return passOn(c, new Request("http://primary/", { method: "DELETE" }));
}

// --- requests and their errors

/** A key in the path is one percent-encoded segment, taken from the path as it came: a router would have decoded it. */
const keyOf = (c: RequestContext): string => demand(readKey(demand(readSegment(segmentOf(c, 5)))));

const segmentOf = (c: RequestContext, index: number): string => new URL(c.req.url).pathname.split("/")[index] ?? "";

/** The request is refused before the primary has heard of it. */
class Refused extends Error {
  readonly refusal: { ok: false; code: ProblemCode; detail: string };
  constructor(refusal: Refused["refusal"]) {
    super(refusal.detail);
    this.refusal = refusal;
  }
}

/** The primary was asked, and its answer is not known. */
class PrimaryFailed extends Error {
  override readonly name = "PrimaryFailed";
}

const badRequest = (detail: string): Refusal => ({ ok: false, code: "bad-request", detail });

function demand<Value>(parsed: { ok: true; value: Value } | Refused["refusal"]): Value {
  if (!parsed.ok) throw new Refused(parsed);
  return parsed.value;
}

async function asked<Value>(answer: Promise<Value>): Promise<Value> {
  try {
    return await answer;
  } catch (error) {
    throw new PrimaryFailed("the primary has not answered", { cause: error });
  }
}

function answerError(error: Error, c: RequestContext): Response {
  if (error instanceof Refused) return fail(c, error.refusal.code, error.refusal.detail);
  // Of an error that comes from an object only its message is left.
  if (String(error.cause).includes(BETWEEN_HISTORIES)) return problem("unavailable", { detail: BETWEEN_HISTORIES });
  logFailure(error instanceof PrimaryFailed ? "primary-failed" : "request-failed", error.cause ?? error);
  // Whether an update has happened is not known then, so nothing is said about it.
  if (!(error instanceof PrimaryFailed)) return problem("internal");
  const cause = error.cause as { overloaded?: boolean } | undefined;
  return problem(cause?.overloaded ? "overloaded" : "unavailable", { detail: error.message });
}

function methodNotAllowed(c: RequestContext, known: readonly string[]): Response {
  const allow = known.includes("GET") ? [...known, "HEAD"] : known;
  return fail(c, "method-not-allowed", `known here: ${allow.join(", ")}`, { Allow: allow.join(", ") });
}

/** An error that the app itself answers: if the request was to change anything, it has not. */
function fail(c: RequestContext, ...[code, detail, headers]: Failure): Response {
  const isRead = c.req.method === "GET" || c.req.method === "HEAD";
  return problem(code, isRead ? { detail } : { detail, applied: false }, headers);
}

type Failure = [code: Parameters<typeof problem>[0], detail: string, headers?: Record<string, string>];
