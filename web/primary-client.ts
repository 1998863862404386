// A client of the primary itself, over HTTP: no local copy, for Node, edge runtimes and browsers alike.

import { decodeDownstream, encodeWrites } from "../src/codec.ts";
import type { Change, JsonValue } from "../src/kv.ts";
import type { FailureCode, OperationFailed } from "../src/protocol.ts";
import { StoreSchema } from "../src/schema.ts";
import type { Schemas } from "../src/schema.ts";
import { demandRight, toAck, toBatch, toJson, toKey, toStoreUrl } from "./door.ts";
import type { BatchOperation, BatchOptions, TokenSource, UpdateOptions } from "./door.ts";
import { OperationFailedError, OutcomeUnknownError } from "./errors.ts";
import type { ListOptions, ReadonlyEntry, ReadonlyJson } from "./mirror.ts";
import type { Acknowledged } from "./page-replica.ts";
import { randomId } from "./random-id.ts";
import type { EntriesOf, TypedPrimaryClient } from "./typed.ts";

/** Where a store's primary is, and how it is asked. */
export interface PrimaryOptions {
  /** The store's address, absolute; in a browser also a path on the page's own origin. */
  url: string;
  /** Sent as `Authorization: Bearer`. A function is asked for a token at first, and for another one when that is refused. */
  token?: TokenSource;
  /**
   * In place of the global `fetch`: a service binding's, or a test's. With an OperationFailedError it ends what the client would
   * otherwise try again.
   */
  fetch?: typeof fetch;
  /** What may be written, key by key; anything else fails as `invalid-value` before it is sent. */
  schema?: Schemas;
}

/** Entries of a range, as many as one answer holds. */
export interface ListPage {
  /** In the order that was asked for. */
  entries: ReadonlyEntry[];
  /** Hand it to the next `list` to go on after this page; undefined after the last. */
  cursor?: string;
  /** The primary's head when this page was read. Pages are read one by one, so each may be of another state. */
  seq: number;
}

/** Where a stream of steps begins and when it ends. */
export interface WatchOptions {
  /** Begin after this state; left out, the first step brings all entries. */
  since?: { epoch: string; seq: number };
  /** Ends the stream; the iteration then ends without an error. */
  signal?: AbortSignal;
}

/** One step of the store's state, from `prev` to `seq`, with each key's latest change. */
export interface WatchedStep {
  /** With the first step and whenever the store's history was replaced: forget everything, `changes` is all there is. */
  reset: boolean;
  /** The history that the seqs belong to; undefined until a reset has told it, unless `since` did. */
  epoch: string | undefined;
  /** The seq of the state that the changes lead on from. */
  prev: number;
  /** The seq of the state that they lead to. */
  seq: number;
  /** One for each key that has changed, in the order of their seqs. */
  changes: Change<ReadonlyJson>[];
}

/**
 * The primary of one store. Updates reject with OperationFailedError, whose `applied` says whether they took effect, or
 * OutcomeUnknownError; an update whose answer was lost is asked again under its old name, so it never happens twice.
 */
export interface PrimaryClient {
  /** Sets a key's value. Resolves when everyone whom `ack` names has it on disk. */
  insert(key: string, value: ReadonlyJson, options?: UpdateOptions): Promise<Acknowledged>;
  /** Removes a key; one that is absent is acknowledged too. */
  remove(key: string, options?: UpdateOptions): Promise<Acknowledged>;
  /** Applies operations at once and whole, at one seq, if all checks hold; else it fails as `conflict`. */
  batch(operations: readonly BatchOperation[], options?: BatchOptions): Promise<Acknowledged>;
  /** The value of a key (linearizable); undefined if there is none. */
  get(key: string): Promise<ReadonlyJson | undefined>;
  /** The entry of a key, with the seq of its last write, which a batch may check; undefined if there is none. */
  entry(key: string): Promise<ReadonlyEntry | undefined>;
  /** Entries in the order of their keys: 100 at a time unless `limit` (at most 1,000) says otherwise. */
  list(options?: ListOptions & { cursor?: string }): Promise<ListPage>;
  /** What the primary says of the store and of its secondaries: of as much of it as the token lets read. */
  status(): Promise<StoreStatus>;
  /** Every step of the store's state from now on. Reconnects by itself; ends when the loop is left or by `signal`. */
  watch(options?: WatchOptions): AsyncIterableIterator<WatchedStep>;
}

/** Where a store and its secondaries stand. */
export interface StoreStatus {
  /** Names the history that the seqs belong to. */
  epoch: string;
  /** The latest seq. */
  head: number;
  /** What is below is not remembered any more: whoever stands there gets the whole store. */
  floor: number;
  /** How many keys it holds. */
  entries: number;
  /** Those that are connected, and those that writers still wait for. */
  secondaries: SecondaryRow[];
  /** What the primary runs with; rates in operations per second. */
  settings: {
    lagLimitMs: number;
    tombstonesKept: number;
    clientLeaseMs: number;
    rates: { identity: number; store: number };
  };
}

/** One secondary, as its primary sees it. */
export interface SecondaryRow {
  /** `status.secondaryId` of the replica that it is. */
  id: string;
  /** `durable` ones may be waited for; `memory` keeps nothing; `reader` is a stream. */
  mode: "durable" | "memory" | "reader";
  /** Writers wait for those that are `in-sync`; `lagging` ones were, and have to catch up before they are again. */
  state: "catching-up" | "in-sync" | "lagging" | "following";
  /** The seq up to which it has said that it is on its disk. */
  acked: number;
  /** For how long the oldest that it was sent has been without that word, in milliseconds. */
  lagMs: number;
}

/** Makes a client of a store's primary. Nothing is sent before the first call. */
export function connectPrimary<Of extends Schemas>(
  options: PrimaryOptions & { schema: Of },
): TypedPrimaryClient<EntriesOf<Of>>;
export function connectPrimary(options: PrimaryOptions): PrimaryClient;
export function connectPrimary<Entries extends object>(options: PrimaryOptions): TypedPrimaryClient<Entries>;
export function connectPrimary({ url, token, fetch = globalThis.fetch, schema }: PrimaryOptions): object {
  return new HttpPrimary(toStoreUrl(url, globalThis.location?.href), token, fetch, schema && new StoreSchema(schema));
}

/** An update is asked again until it has been asked for so long. A request that stays silent for so long is given up. */
const PATIENCE_MS = 10_000;
const RETRY_BASE_MS = 100;
const RETRY_CAP_MS = 10_000;
/** Operations under one client id: the primary keeps the outcomes of one client together, and they should stay few. */
const IDS_PER_CLIENT = 64;

interface Problem extends Omit<OperationFailed, "type" | "clientId" | "id" | "code"> {
  code: string;
}

class HttpPrimary implements PrimaryClient {
  readonly #url: string;
  readonly #tokens: TokenSource | undefined;
  #token: string | undefined;
  readonly #plainFetch: typeof fetch;
  readonly #schema: StoreSchema | undefined;
  #clientId = randomId();
  #lastId = 0;

  constructor(
    url: string,
    tokens: TokenSource | undefined,
    fetch: PrimaryOptions["fetch"] & {},
    schema: StoreSchema | undefined,
  ) {
    this.#url = url;
    this.#schema = schema;
    this.#tokens = tokens;
    if (typeof tokens === "string") this.#token = tokens;
    // A browser's own fetch refuses to be called as a method.
    this.#plainFetch = (...args) => fetch(...args);
  }

  async insert(key: string, value: ReadonlyJson, { ack }: UpdateOptions = {}): Promise<Acknowledged> {
    demandRight(this.#schema, [{ insert: { key, value } }]);
    const body = toJson(value);
    const path = entryPath(toKey(key));
    if (path === undefined) return this.batch([{ insert: { key, value } }], { ack });
    return this.#update("PUT", path, body, { ack });
  }

  async remove(key: string, { ack }: UpdateOptions = {}): Promise<Acknowledged> {
    const path = entryPath(toKey(key));
    if (path === undefined) return this.batch([{ remove: { key } }], { ack });
    return this.#update("DELETE", path, null, { ack });
  }

  async batch(operations: readonly BatchOperation[], { ack, checks = [] }: BatchOptions = {}): Promise<Acknowledged> {
    demandRight(this.#schema, operations);
    const { writes, checks: checked } = toBatch(operations, checks);
    const body = `{"ops":${encodeWrites(writes)},"checks":${JSON.stringify(checked)}}`;
    return this.#update("POST", "/batch", body, { ack });
  }

  async get(key: string): Promise<ReadonlyJson | undefined> {
    return (await this.entry(key))?.value;
  }

  async entry(key: string): Promise<ReadonlyEntry | undefined> {
    const path = entryPath(toKey(key));
    if (path === undefined)
      return (await this.list({ start: key, limit: 1 })).entries.find((entry) => entry.key === key);
    const response = await this.#ask(path);
    if (response.status === 404) return undefined;
    const value = (await readJson(response)) as JsonValue;
    return { key, value, seq: Number(/\d+/.exec(response.headers.get("ETag") ?? "")?.[0]) };
  }

  async list(options: ListOptions & { cursor?: string } = {}): Promise<ListPage> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(options)) if (value !== undefined) query.set(name, String(value));
    const response = await this.#ask(`/entries?${query}`);
    if (response.status === 404) throw await failureOf(response);
    return (await readJson(response)) as ListPage;
  }

  async status(): Promise<StoreStatus> {
    const response = await this.#ask("/status");
    if (response.status === 404) throw await failureOf(response);
    return (await readJson(response)) as StoreStatus;
  }

  async *watch({ since, signal }: WatchOptions = {}): AsyncGenerator<WatchedStep, undefined> {
    let epoch = since?.epoch;
    let seq = since?.seq;
    let failures = 0;
    for (;;) {
      if (signal?.aborted) return undefined;
      try {
        for await (const step of this.#stream(epoch, seq, signal)) {
          failures = 0;
          ({ epoch, seq } = step);
          yield step;
          if (signal?.aborted) return undefined;
        }
      } catch (error) {
        // What the primary refuses, it will refuse again; the connection may come back.
        if (error instanceof OperationFailedError && !isPassing(error.code)) throw error;
      }
      await sleep(Math.random() * Math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ** failures), signal);
      failures += 1;
    }
  }

  /** The steps of one connection. Parts of a step are kept aside until it is whole. */
  async *#stream(
    epoch: string | undefined,
    since: number | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<WatchedStep> {
    const query = new URLSearchParams();
    if (since !== undefined) query.set("since", String(since));
    if (epoch !== undefined) query.set("epoch", epoch);
    const headers = { Accept: "application/x-ndjson" };
    const response = await this.#fetch(`${this.#url}/replicate?${query}`, { headers, signal: signal ?? null });
    if (!response.ok) throw await failureOf(response);
    let aside: WatchedStep | undefined;
    let until = 0;
    for await (const line of linesOf(response)) {
      const message = decodeDownstream(line);
      if (!message.ok || message.value.type !== "snapshot")
        throw new TypeError("the stream holds something else than snapshots");
      const snapshot = message.value;
      if (line.startsWith('{"reset":true')) {
        ({ epoch } = JSON.parse(line) as { epoch: string });
        aside = { reset: true, epoch, prev: 0, seq: 0, changes: [] };
        until = 0;
      }
      aside ??= { reset: false, epoch, prev: snapshot.prev, seq: 0, changes: [] };
      for (const change of snapshot.changes) aside.changes.push(change);
      aside.seq = snapshot.seq;
      until = Math.max(until, snapshot.until);
      if (snapshot.seq < until) continue;
      yield { ...aside, changes: latest(aside.changes, aside.reset) };
      aside = undefined;
    }
  }

  async #update(method: string, path: string, body: string | null, { ack }: UpdateOptions): Promise<Acknowledged> {
    const headers: Record<string, string> = { "Idempotency-Key": this.#nextName() };
    if (body !== null) headers["Content-Type"] = "application/json";
    const url = `${this.#url}${path}${ack === undefined ? "" : `?ack=${toAck(ack)}`}`;
    const endAt = Date.now() + PATIENCE_MS;
    for (let failures = 0; ; failures += 1) {
      const signal = AbortSignal.timeout(Math.max(1, endAt - Date.now()));
      try {
        const response = await this.#fetch(url, { method, headers, body, signal });
        if (response.ok) return (await readJson(response)) as Acknowledged;
        const failure = await failureOf(response);
        if (isOutcome(failure)) throw failure;
      } catch (error) {
        if (error instanceof OperationFailedError) throw error;
      }
      // Between half and the whole of a span that doubles: a crowd that was cut off together does not come back together.
      const delayMs = RETRY_BASE_MS * 2 ** failures * (0.5 + Math.random() / 2);
      if (Date.now() + delayMs >= endAt) throw new OutcomeUnknownError();
      await sleep(delayMs);
    }
  }

  async #ask(path: string): Promise<Response> {
    let response: Response;
    try {
      response = await this.#fetch(`${this.#url}${path}`, {
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
    } catch (error) {
      if (error instanceof OperationFailedError) throw error;
      throw new OperationFailedError({ code: "offline", applied: false, detail: String(error) });
    }
    if (response.ok || response.status === 404) return response;
    throw await failureOf(response);
  }

  /** Says who this is; where that is not taken and there may be a better token, once more with that. */
  async #fetch(url: string, init: RequestInit): Promise<Response> {
    const ask = async (): Promise<Response> => {
      const headers = new Headers(init.headers);
      if (this.#token !== undefined) headers.set("Authorization", `Bearer ${this.#token}`);
      return this.#plainFetch(url, { ...init, headers });
    };
    if (typeof this.#tokens !== "function") return ask();
    this.#token ??= await this.#tokens();
    const response = await ask();
    if (response.status !== 401) return response;
    this.#token = await this.#tokens();
    return ask();
  }

  #nextName(): string {
    if (this.#lastId === IDS_PER_CLIENT) {
      this.#clientId = randomId();
      this.#lastId = 0;
    }
    this.#lastId += 1;
    return `${this.#clientId}:${this.#lastId}`;
  }
}

/** The path of an entry; undefined for the two keys that no URL can name in a path, however encoded. */
function entryPath(key: string): string | undefined {
  return key === "." || key === ".." ? undefined : `/entries/${encodeURIComponent(key)}`;
}

/** A step that was read in parts may name a key twice. What was removed from nothing is not told. */
function latest(changes: readonly Change<ReadonlyJson>[], isReset: boolean): Change<ReadonlyJson>[] {
  const byKey = new Map<string, Change<ReadonlyJson>>();
  for (const change of changes) {
    byKey.delete(change.key);
    if (!isReset || "value" in change) byKey.set(change.key, change);
  }
  return [...byKey.values()];
}

async function readJson(response: Response): Promise<unknown> {
  return response.json();
}

async function failureOf(response: Response): Promise<OperationFailedError> {
  const text = await response.text().catch(() => "");
  let problem: Partial<Problem> = {};
  try {
    problem = JSON.parse(text) as Partial<Problem>;
  } catch {
    // Something between here and the primary has answered.
  }
  const { code = "unavailable", detail = `HTTP ${response.status}`, ...rest } = problem;
  return new OperationFailedError({ ...rest, code: code as FailureCode, detail });
}

/** Whether an answer tells how an update ended; otherwise it must be asked again. */
function isOutcome({ applied, code }: OperationFailedError): boolean {
  return applied !== undefined || !isPassing(code);
}

const PASSING: readonly string[] = ["unavailable", "overloaded", "rate-limited", "internal"];
const isPassing = (code: string): boolean => PASSING.includes(code);

async function* linesOf(response: Response): AsyncGenerator<string> {
  let rest = "";
  for await (const text of textOf(response)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (line !== "") yield line;
  }
}

/** Not every browser's streams can be iterated. */
async function* textOf(response: Response): AsyncGenerator<string> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  try {
    for (let read = await reader?.read(); read && !read.done; read = await reader?.read()) {
      yield decoder.decode(read.value, { stream: true });
    }
  } finally {
    await reader?.cancel().catch(() => {});
  }
}

function sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, delayMs);
    signal?.addEventListener("abort", end);
  });
}
