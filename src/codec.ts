// The only reader of untrusted bytes, and the writer of the same. A connection carries lines of JSON, in both
// directions; a frame is any piece of that stream, so a message may span frames and a frame may hold many messages.
// docs/protocol.md shows each message.

import { faultOfKey, hasInfinity, isTooDeep, utf8Length, writeBytes } from "./kv.ts";
import type { Change, Check, Entry, Json, JsonValue, Write } from "./kv.ts";
import {
  BATCH_BYTES_MAX,
  BATCH_CHECKS_MAX,
  BATCH_OPERATIONS_MAX,
  FRAME_BYTES_MAX,
  LINE_BYTES_MAX,
  LINE_FRAMES_MAX,
  NAME_LENGTH_MAX,
  PREFIXES_BYTES_MAX,
  PREFIXES_MAX,
  VALUE_BYTES_MAX,
  VALUE_DEPTH_MAX,
} from "./limits.ts";
import { EXPORT_VERSION, PROTOCOL_VERSION } from "./protocol.ts";
import type {
  Ack,
  Batch,
  Downstream,
  ExportEnd,
  ExportHeader,
  FailureCode,
  Insert,
  Join,
  Mode,
  OperationFailed,
  Snapshot,
  Update,
  Upstream,
} from "./protocol.ts";

/** What reading gives: the thing, or why it is refused. `detail` is a sentence for people and names the limit, if any. */
export type Parsed<Value> = { ok: true; value: Value } | Refusal;
export interface Refusal {
  ok: false;
  code: "bad-request" | "too-large";
  detail: string;
}

// --- writing

/** One message as a line of the protocol, with its line feed. */
export function encodeUpstream(message: Upstream): string {
  switch (message.type) {
    case "insert":
      return `${openUpdate(message, { key: message.key })},"value":${message.json}}\n`;
    case "remove":
      return `${openUpdate(message, { key: message.key })}}\n`;
    case "batch": {
      const { writes, checks } = message;
      return `${openUpdate(message, checks.length > 0 ? { checks } : {})},"ops":${encodeWrites(writes)}}\n`;
    }
    case "join":
    case "leave":
    case "snapshot-ack":
    case "part-ack":
    case "resend":
    case "get":
      return `${JSON.stringify(message)}\n`;
  }
}

/** An update's JSON text, left open for what holds values. What is left out means the default. */
function openUpdate({ type, clientId, id, ack, settled, repeat }: Update, more: object): string {
  const stated = { ...(ack !== "all" && { ack }), ...(settled > 0 && { settled }), ...(repeat && { repeat }) };
  return JSON.stringify({ type, clientId, id, ...stated, ...more }).slice(0, -1);
}

/** The `ops` of a batch as JSON text. */
export function encodeWrites(writes: readonly Write[]): Json {
  const ops = writes.map((write) => {
    const key = JSON.stringify(write.key);
    return "removed" in write ? `{"remove":{"key":${key}}}` : `{"insert":{"key":${key},"value":${write.json}}}`;
  });
  return `[${ops.join(",")}]`;
}

/** One message as a line of the protocol, with its line feed. */
export function encodeDownstream(message: Downstream<Json>): string {
  if (message.type === "snapshot") return encodeSnapshot(message);
  if (message.type !== "get-result") return `${JSON.stringify(message)}\n`;
  const { entry, ...rest } = message;
  return `${JSON.stringify(rest).slice(0, -1)},"entry":${entry ? encodeEntry(entry) : "null"}}\n`;
}

/** A snapshot is the one message without a type: the frequent one, in the form that streams print, too. */
function encodeSnapshot({ prev, seq, changes, until }: Snapshot<Json>): string {
  const parts = changes.map((change) => {
    const own = change.seq === seq ? "" : `,"seq":${change.seq}`;
    const state = "value" in change ? `"value":${change.value}` : `"removed":true`;
    return `{"key":${JSON.stringify(change.key)},${state}${own}}`;
  });
  return `{"prev":${prev},"seq":${seq},"changes":[${parts.join(",")}]${until > seq ? `,"until":${until}` : ""}}\n`;
}

/** An entry as JSON text. */
export function encodeEntry({ key, value, seq }: Entry<Json>): Json {
  return `{"key":${JSON.stringify(key)},"value":${value},"seq":${seq}}`;
}

/** The first line of an export. */
export function encodeExportHeader({ store, epoch }: ExportHeader): string {
  return `${JSON.stringify({ headwater: EXPORT_VERSION, store, epoch })}\n`;
}

/** A change as a line of an export. */
export function encodeExportLine(change: Change<Json>): string {
  if ("value" in change) return `${encodeEntry(change)}\n`;
  const { key, removed, seq } = change;
  return `${JSON.stringify({ key, removed, seq })}\n`;
}

/** The last line of an export. */
export function encodeExportEnd({ seq, entries }: ExportEnd): string {
  return `${JSON.stringify({ seq, entries })}\n`;
}

// A UTF-16 unit is at most three bytes in UTF-8.
const FRAME_UNITS_MAX = FRAME_BYTES_MAX / 3;

/** Packs lines into as few frames as their limit allows. */
export function packFrames(lines: readonly string[]): string[] {
  const text = lines.length === 1 ? lines[0]! : lines.join("");
  const frames: string[] = [];
  let start = 0;
  while (text.length - start > FRAME_UNITS_MAX) {
    let end = start + FRAME_UNITS_MAX;
    // Half a surrogate pair would not survive the way.
    if ((text.charCodeAt(end - 1) & 0xfc00) === 0xd800) end -= 1;
    frames.push(text.slice(start, end));
    start = end;
  }
  frames.push(text.slice(start));
  return frames;
}

// --- reading

/** Puts frames together to lines. Holds at most one unfinished line, and looks at each letter once. */
export class LineReader {
  #pieces: string[] = [];
  #bytes = 0;

  /** Whether a line has begun and not ended. */
  get isAmidLine(): boolean {
    return this.#pieces.length > 0;
  }

  /** The lines that this frame completes, or a refusal, after which the connection is of no more use. */
  push(frame: string): Parsed<string[]> {
    const lines = frame.split("\n");
    const rest = lines.pop()!;
    if (lines.length > 0) {
      lines[0] = this.#pieces.join("") + lines[0]!;
      this.#pieces = [];
      this.#bytes = 0;
    }
    if (rest === "") return { ok: true, value: lines };
    this.#pieces.push(rest);
    this.#bytes += utf8Length(rest);
    if (this.#bytes > LINE_BYTES_MAX)
      return tooLarge(`a message is longer than ${LINE_BYTES_MAX} bytes (LINE_BYTES_MAX)`);
    if (this.#pieces.length > LINE_FRAMES_MAX)
      return tooLarge(`a message is in more than ${LINE_FRAMES_MAX} frames (LINE_FRAMES_MAX)`);
    return { ok: true, value: lines };
  }
}

/** Reads a line that came from a secondary. */
export function decodeUpstream(line: string): Parsed<Upstream> {
  return attempt(() => upstream(parseObject(line, "a message")));
}

/** Reads a line that came from the primary. */
export function decodeDownstream(line: string): Parsed<Downstream> {
  return attempt(() => downstream(parseObject(line, "a message")));
}

/** Reads a JSON value and gives it back as compact JSON text. */
export function readValue(text: string): Parsed<Json> {
  return attempt(() => toJson(parseJson(text, "the body")));
}

/** Takes a value from a program, as `JSON.stringify` writes it; what it cannot write is refused. */
export function encodeValue(value: unknown): Parsed<Json> {
  return attempt(() => toJson(value as JsonValue));
}

export function readKey(key: string, what = "the key"): Parsed<string> {
  return attempt(() => toKey(key, what));
}

/** Reads the name of a store: letters, digits and `-_.`, so that it can stand in paths, labels and logs as it is. */
export function readStoreName(text: string): Parsed<string> {
  return attempt(() => {
    if (!/^[\w.-]+$/.test(text)) refuse("a store's name is made of letters, digits and -_.");
    if (text.length > NAME_LENGTH_MAX)
      refuse(`the store's name is longer than ${NAME_LENGTH_MAX} letters (NAME_LENGTH_MAX)`, "too-large");
    return text;
  });
}

/** Decodes one percent-encoded segment of a path. */
export function readSegment(segment: string): Parsed<string> {
  return attempt(() => percentDecode(segment, "the path"));
}

/** Names a place between keys for a list's next page. It needs no encoding in a query. */
export function encodeCursor(key: string): string {
  const encoded = encodeURIComponent(key).replace(/[!'()*~]/g, (mark) => `%${mark.charCodeAt(0).toString(16)}`);
  return encoded.replaceAll("%", "~");
}

/** Reads a cursor: the key that the page before ended with. */
export function readCursor(text: string): Parsed<string> {
  return attempt(() => {
    if (!/^[\w.~-]*$/.test(text)) refuse("the cursor is not one that a list has handed out");
    return toKey(percentDecode(text.replaceAll("~", "%"), "the cursor"), "the key in the cursor");
  });
}

/**
 * Reads the preconditions of a write and gives the seq that the key must have, null where it must be absent, undefined
 * where nothing is demanded. Other forms than these two are refused rather than left out.
 */
export function readPrecondition(
  ifMatch: string | undefined,
  ifNoneMatch: string | undefined,
): Parsed<number | null | undefined> {
  return attempt(() => {
    if (ifMatch !== undefined && ifNoneMatch !== undefined)
      refuse("If-Match and If-None-Match contradict each other: use one");
    if (ifMatch !== undefined) {
      const match = /^"(\d{1,15})"$/.exec(ifMatch.trim());
      return match ? Number(match[1]) : refuse('If-Match must be one ETag, "<seq>"');
    }
    if (ifNoneMatch !== undefined && ifNoneMatch.trim() !== "*") refuse("If-None-Match of a write must be *");
    return ifNoneMatch === undefined ? undefined : null;
  });
}

/** Reads the name of a history of the store. */
export function readEpoch(text: string): Parsed<string> {
  return attempt(() => toName(text, "epoch"));
}

/** Reads a yes or no of a query. */
export function readFlag(text: string, name: string): Parsed<boolean> {
  return attempt(() => {
    if (text === "true" || text === "1") return true;
    return text === "false" || text === "0" ? false : refuse(`${name} must be true or false`);
  });
}

/** Reads the body of a batch request. */
export function readBatch(text: string): Parsed<Pick<Batch, "writes" | "checks">> {
  return attempt(() => {
    if (text.length > LINE_BYTES_MAX)
      refuse(`the body is longer than ${LINE_BYTES_MAX} bytes (LINE_BYTES_MAX)`, "too-large");
    return toBatch(parseObject(text, "the body"));
  });
}

/** Checks a batch that a program has put together. */
export function checkBatch(writes: Write[], checks: Check[]): Parsed<Pick<Batch, "writes" | "checks">> {
  return attempt(() => checkedBatch(writes, checks.map(toCheck)));
}

/** Reads the `ack` of a query; undefined means the default. */
export function readAck(text: string | undefined): Parsed<Ack> {
  return attempt(() => toAck(text !== undefined && /^\d+$/.test(text) ? Number(text) : text));
}

/** Reads an `Idempotency-Key`, `<clientId>:<id>`. */
export function readIdempotencyKey(text: string): Parsed<{ clientId: string; id: number }> {
  return attempt(() => {
    const match = /^(.+):(\d{1,15})$/.exec(text);
    if (!match) refuse("Idempotency-Key must be <clientId>:<id>, the id a whole number");
    return { clientId: toName(match[1], "clientId"), id: toId(Number(match[2])) };
  });
}

/** Reads the first line of an export. */
export function readExportHeader(line: string): Parsed<ExportHeader> {
  return attempt(() => {
    const { headwater, store, epoch } = parseObject(line, "the header");
    if (headwater !== EXPORT_VERSION) refuse(`this is no export: its first line has no "headwater":${EXPORT_VERSION}`);
    return { store: toText(store, "store"), epoch: toName(epoch, "epoch") };
  });
}

/** Reads any other line of an export: what has no key is its end. */
export function readExportLine(line: string): Parsed<Change<Json> | ExportEnd> {
  return attempt(() => {
    const { key, value, removed, seq, entries } = parseObject(line, "it");
    if (key === undefined) return { seq: toSeq(seq, "seq"), entries: toSeq(entries, "entries") };
    const change = { key: toKey(key, "the key"), seq: toSeq(seq, "seq") };
    if (change.seq === 0) refuse("seqs begin at 1");
    if (value !== undefined && removed === undefined) return { ...change, value: toJson(value) };
    return removed === true && value === undefined ? { ...change, removed } : refuse("a change without key or value");
  });
}

/** Reads a whole number between `min` and `max`. */
export function readInteger(text: string, name: string, min: number, max: number): Parsed<number> {
  return attempt(() => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
    if (!(value >= min && value <= max)) refuse(`${name} must be a whole number from ${min} to ${max}`);
    return value;
  });
}

// --- the parts of messages. They throw Refused, which `attempt` turns into a value.

class Refused extends Error {
  readonly code: Refusal["code"];
  constructor(detail: string, code: Refusal["code"]) {
    super(detail);
    this.code = code;
  }
}

function refuse(detail: string, code: Refusal["code"] = "bad-request"): never {
  throw new Refused(detail, code);
}

const tooLarge = (detail: string): Refusal => ({ ok: false, code: "too-large", detail });

function attempt<Value>(read: () => Value): Parsed<Value> {
  try {
    return { ok: true, value: read() };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, code: error.code, detail: error.message };
    throw error;
  }
}

function percentDecode(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return refuse(`${what} is not percent-encoded UTF-8`);
  }
}

type Fields = Record<string, JsonValue | undefined>;

function parseJson(text: string, what: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return refuse(`${what} is not JSON`);
  }
}

function parseObject(text: string, what: string): Fields {
  return toFields(parseJson(text, what), what);
}

function toFields(value: JsonValue | undefined, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuse(`${what} must be a JSON object`);
  return value;
}

function toList(value: JsonValue | undefined, what: string, max: number, limit: string): JsonValue[] {
  if (!Array.isArray(value)) refuse(`${what} must be a list`);
  if (value.length > max) refuse(`${what} has ${value.length} items, more than ${max} (${limit})`, "too-large");
  return value;
}

function upstream(fields: Fields): Upstream {
  const type: unknown = fields.type;
  switch (type) {
    case "join":
      return toJoin(fields);
    case "leave":
      return { type: "leave" };
    case "snapshot-ack":
    case "part-ack":
      return { type, seq: toSeq(fields.seq, "seq") };
    case "resend":
      return { type: "resend", since: toSeq(fields.since, "since") };
    case "insert": {
      if (fields.value === undefined) refuse("an insert needs a value");
      return { type: "insert", ...toHeader(fields), key: toKey(fields.key, "the key"), json: toJson(fields.value) };
    }
    case "remove":
      return { type: "remove", ...toHeader(fields), key: toKey(fields.key, "the key") };
    case "batch":
      return { type: "batch", ...toHeader(fields), ...toBatch(fields) };
    case "get":
      return {
        type: "get",
        clientId: toName(fields.clientId, "clientId"),
        id: toId(fields.id),
        key: toKey(fields.key, "the key"),
      };
    default:
      return refuse("a message of unknown type");
  }
}

function downstream(fields: Fields): Downstream {
  const type: unknown = fields.type;
  switch (type) {
    case undefined:
      return toSnapshot(fields);
    case "joined-secondary":
      return {
        type: "joined-secondary",
        epoch: toName(fields.epoch, "epoch"),
        head: toSeq(fields.head, "head"),
        reset: fields.reset === true,
      };
    case "membership":
      return { type: "membership", inSync: fields.inSync === true };
    case "operation-ack":
      return {
        type: "operation-ack",
        ...toOwnName(fields),
        seq: toSeq(fields.seq, "seq"),
        replicas: toSeq(fields.replicas, "replicas"),
      };
    case "operation-failed":
      return toFailure(fields);
    case "get-result": {
      const entry = fields.entry === null ? null : toFields(fields.entry, "entry");
      const seq = toSeq(fields.seq, "seq");
      if (entry === null) return { type: "get-result", ...toOwnName(fields), entry, seq };
      const value = toJson(entry.value ?? null);
      return {
        type: "get-result",
        ...toOwnName(fields),
        entry: { key: toText(entry.key, "key"), value, seq: toSeq(entry.seq, "seq") },
        seq,
      };
    }
    default:
      return refuse("a message of unknown type");
  }
}

function toSnapshot(fields: Fields): Snapshot {
  const seq = toSeq(fields.seq, "seq");
  const changes = toList(fields.changes, "changes", Infinity, "").map((item) => {
    const change = toFields(item, "a change");
    const isRemoved = change.removed === true && change.value === undefined;
    const isWritten = change.removed === undefined && change.value !== undefined;
    if (typeof change.key !== "string" || !(isRemoved || isWritten)) refuse("a change without key or value");
    change.seq = change.seq === undefined ? seq : toSeq(change.seq, "the seq of a change");
    // Checked above; the parsed objects are used as they are, since there may be a hundred thousand of them.
    return change as unknown as Change;
  });
  const until = fields.until === undefined ? seq : toSeq(fields.until, "until");
  return { type: "snapshot", prev: toSeq(fields.prev, "prev"), seq, changes, until };
}

/** What is left out is not known; whatever else a later version may say here is left behind. */
function toFailure(fields: Fields): OperationFailed {
  const failure: OperationFailed = {
    type: "operation-failed",
    ...toOwnName(fields),
    code: toText(fields.code, "code") as FailureCode,
  };
  const { applied, check, detail } = fields;
  if (applied !== undefined) {
    if (typeof applied !== "boolean") refuse("applied must be true or false");
    failure.applied = applied;
  }
  for (const name of ["seq", "replicas", "expected"] as const)
    if (fields[name] !== undefined) failure[name] = toSeq(fields[name], name);
  if (check !== undefined) {
    const { key, seq } = toFields(check, "check");
    failure.check = toCheck({ key, seq });
  }
  if (detail !== undefined) failure.detail = toText(detail, "detail");
  return failure;
}

function toJoin(fields: Fields): Join {
  const version = toSeq(fields.version, "version");
  if (version !== PROTOCOL_VERSION)
    refuse(`version ${version} of the protocol is not spoken here, only ${PROTOCOL_VERSION}`);
  const join: Join = {
    type: "join",
    version,
    secondaryId: toName(fields.secondaryId, "secondaryId"),
    mode: toMode(fields.mode),
    epoch: fields.epoch === null ? null : toName(fields.epoch, "epoch"),
    since: toSeq(fields.since, "since"),
  };
  if (fields.prefixes === undefined) return join;
  const prefixes = toList(fields.prefixes, "prefixes", PREFIXES_MAX, "PREFIXES_MAX").map((prefix) =>
    toKey(prefix, "a prefix"),
  );
  const bytes = utf8Length(JSON.stringify(prefixes));
  if (bytes > PREFIXES_BYTES_MAX)
    refuse(`the prefixes have ${bytes} bytes, more than ${PREFIXES_BYTES_MAX} (PREFIXES_BYTES_MAX)`, "too-large");
  return { ...join, prefixes };
}

function toMode(value: JsonValue | undefined): Mode {
  if (value === "durable" || value === "memory" || value === "reader") return value;
  return refuse('mode must be "durable", "memory" or "reader"');
}

function toHeader(fields: Fields): Omit<Insert, "type" | "clientId" | "key" | "json"> & { clientId: string } {
  const { ack, settled, repeat } = fields;
  return {
    ...toOwnName(fields),
    ack: toAck(ack),
    settled: settled === undefined ? 0 : toSeq(settled, "settled"),
    repeat: repeat === true,
  };
}

const toOwnName = (fields: Fields): { clientId: string; id: number } => ({
  clientId: toName(fields.clientId, "clientId"),
  id: toId(fields.id),
});

function toAck(value: JsonValue | undefined): Ack {
  if (value === undefined || value === "all") return "all";
  if (value === "primary") return "primary";
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  return refuse('ack must be "all", "primary" or a whole number of secondaries');
}

function toBatch(fields: Fields): Pick<Batch, "writes" | "checks"> {
  const writes = toList(fields.ops, "ops", BATCH_OPERATIONS_MAX, "BATCH_OPERATIONS_MAX").map(toWrite);
  const checks = toList(fields.checks ?? [], "checks", BATCH_CHECKS_MAX, "BATCH_CHECKS_MAX").map((item) => {
    const { key, seq } = toFields(item, "a check");
    return toCheck({ key, seq });
  });
  return checkedBatch(writes, checks);
}

function toWrite(item: JsonValue): Write {
  const { insert, remove } = toFields(item, "an operation");
  if (insert !== undefined && remove === undefined) {
    const { key, value } = toFields(insert, "insert");
    if (value === undefined) refuse("an insert needs a value");
    return { key: toKey(key, "the key"), json: toJson(value) };
  }
  if (remove === undefined || insert !== undefined)
    refuse('an operation is {"insert":{"key","value"}} or {"remove":{"key"}}');
  return { key: toKey(toFields(remove, "remove").key, "the key"), removed: true };
}

function toCheck({ key, seq }: { key?: JsonValue | undefined; seq?: JsonValue | undefined }): Check {
  return { key: toKey(key, "the key of a check"), seq: seq === null ? null : toSeq(seq, "the seq of a check") };
}

function checkedBatch(writes: Write[], checks: Check[]): Pick<Batch, "writes" | "checks"> {
  if (writes.length > BATCH_OPERATIONS_MAX) {
    refuse(
      `the batch has ${writes.length} operations, more than ${BATCH_OPERATIONS_MAX} (BATCH_OPERATIONS_MAX)`,
      "too-large",
    );
  }
  if (checks.length > BATCH_CHECKS_MAX) {
    refuse(`the batch has ${checks.length} checks, more than ${BATCH_CHECKS_MAX} (BATCH_CHECKS_MAX)`, "too-large");
  }
  const keys = new Set<string>();
  let bytes = 0;
  for (const write of writes) {
    if (keys.has(write.key)) refuse(`the batch names ${quote(write.key)} twice`);
    keys.add(write.key);
    bytes += writeBytes(write);
  }
  if (bytes > BATCH_BYTES_MAX)
    refuse(`the batch has ${bytes} bytes, more than ${BATCH_BYTES_MAX} (BATCH_BYTES_MAX)`, "too-large");
  return { writes, checks };
}

function toKey(value: JsonValue | undefined, what: string): string {
  if (typeof value !== "string") refuse(`${what} must be a string`);
  const fault = faultOfKey(value);
  if (fault?.startsWith("is longer")) refuse(`${what} ${fault} (KEY_BYTES_MAX)`, "too-large");
  if (fault !== undefined) refuse(`${what} ${fault}`);
  return value;
}

function toJson(value: JsonValue): Json {
  let json: Json | undefined;
  try {
    json = JSON.stringify(value);
  } catch (error) {
    // A cycle, a BigInt, or nesting deeper than the stack.
    return refuse(
      `the value cannot be written as JSON: ${error instanceof Error ? error.message.split("\n")[0] : "unknown"}`,
    );
  }
  if (json === undefined) return refuse(`a value cannot be ${typeof value}`);
  const bytes = json.length > VALUE_BYTES_MAX ? json.length : utf8Length(json);
  if (bytes > VALUE_BYTES_MAX)
    refuse(`the value has ${bytes} bytes or more, over ${VALUE_BYTES_MAX} (VALUE_BYTES_MAX)`, "too-large");
  if (isTooDeep(json)) refuse(`the value nests deeper than ${VALUE_DEPTH_MAX} (VALUE_DEPTH_MAX)`, "too-large");
  // Text like 1e999 is read as infinity, which would be written as null: another value than was meant.
  if (json.includes("null") && hasInfinity(value)) refuse("the value has a number that JSON numbers cannot hold");
  return json;
}

function toSeq(value: JsonValue | undefined, what: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) refuse(`${what} must be a whole number`);
  return value;
}

function toId(value: JsonValue | undefined): number {
  const id = toSeq(value, "id");
  if (id === 0) refuse("ids begin at 1");
  return id;
}

function toText(value: JsonValue | undefined, what: string): string {
  return typeof value === "string" ? value : refuse(`${what} must be a string`);
}

/** Ids of clients, secondaries and histories: printable ASCII without blanks, so that they can stand in headers and logs. */
function toName(value: JsonValue | undefined, what: string): string {
  if (typeof value !== "string" || !/^[\x21-\x7e]+$/.test(value))
    refuse(`${what} must be printable ASCII without blanks`);
  if (value.length > NAME_LENGTH_MAX)
    refuse(`${what} is longer than ${NAME_LENGTH_MAX} letters (NAME_LENGTH_MAX)`, "too-large");
  return value;
}

const quote = (key: string): string => JSON.stringify(key.length > 40 ? `${key.slice(0, 40)}…` : key);
