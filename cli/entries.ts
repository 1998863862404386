// Commands on entries: get, put, rm, list, batch.

import type { Ack, Acknowledged, BatchOperation, Check, JsonValue, Range } from "../web/client.ts";
import type { Connection } from "./connection.ts";
import { CommandFailedError } from "./failure.ts";
import { parseJson, readArgument, readInput } from "./input.ts";
import { showKey, showValue } from "./output.ts";
import type { Output } from "./output.ts";

export interface WriteOptions {
  ack?: Ack;
  ifSeq?: number;
  ifAbsent?: boolean;
}

const PAGE_ENTRIES = 1000;

export async function get(
  connection: Connection,
  output: Output,
  key: string,
  options: { text?: boolean },
): Promise<void> {
  const entry = await connection.connect().entry(key);
  if (!entry) throw new CommandFailedError("not-found", `the store has no key ${showKey(key)}`);
  const { value } = entry;
  const isPlain = options.text === true && typeof value === "string";
  await output.result(entry, () => (isPlain ? value : JSON.stringify(value, null, process.stdout.isTTY ? 2 : 0)));
}

export async function put(
  connection: Connection,
  output: Output,
  [key, argument]: [string, string],
  { text, ...options }: WriteOptions & { text?: boolean },
): Promise<void> {
  const given = await readArgument(argument);
  const value = text ? given : (parseJson(given, "the value (--text takes it as it is)") as JsonValue);
  await write(connection, output, { insert: { key, value } }, key, options);
}

export async function remove(
  connection: Connection,
  output: Output,
  key: string,
  options: WriteOptions,
): Promise<void> {
  await write(connection, output, { remove: { key } }, key, options);
}

/** A write with a condition is a batch of one with a check. */
async function write(
  connection: Connection,
  output: Output,
  operation: BatchOperation,
  key: string,
  { ack, ifSeq, ifAbsent }: WriteOptions,
): Promise<void> {
  const checks: Check[] = [];
  if (ifSeq !== undefined) checks.push({ key, seq: ifSeq });
  if (ifAbsent) checks.push({ key, seq: null });
  await report(output, await connection.connect().batch([operation], { ack, checks }));
}

export async function batch(
  connection: Connection,
  output: Output,
  file: string,
  { ack }: Pick<WriteOptions, "ack">,
): Promise<void> {
  const body = parseJson(await readInput(file), "the batch") as { ops?: BatchOperation[]; checks?: Check[] } | null;
  const { ops: operations, checks = [] } = body ?? {};
  const isRight = Array.isArray(operations) && operations.every(isOperation);
  if (!isRight || !Array.isArray(checks))
    throw new CommandFailedError(
      "usage",
      'a batch is {"ops":[{"insert":{"key","value"}},{"remove":{"key"}}],"checks":[]}',
    );
  await report(output, await connection.connect().batch(operations, { ack, checks }));
}

function isOperation(one: unknown): boolean {
  const { insert, remove } = (one ?? {}) as { insert?: { key: unknown }; remove?: { key: unknown } };
  return typeof (insert ?? remove)?.key === "string";
}

async function report(output: Output, acknowledged: Acknowledged): Promise<void> {
  const { seq, replicas } = acknowledged;
  await output.result(acknowledged, () => `seq ${seq}, on ${replicas} ${replicas === 1 ? "replica" : "replicas"}`);
}

/** Pages are read one by one, so what is written meanwhile may show in the later ones. */
export async function list(
  connection: Connection,
  output: Output,
  { limit = Infinity, ...options }: Range & { limit?: number; reverse?: boolean },
): Promise<void> {
  const primary = connection.connect();
  let rest = limit;
  let cursor: string | undefined;
  do {
    const page = await primary.list({
      ...options,
      limit: Math.min(rest, PAGE_ENTRIES),
      ...(cursor !== undefined && { cursor }),
    });
    const lines = page.entries.map((entry) =>
      output.isJson ? JSON.stringify(entry) : `${showKey(entry.key)}\t${showValue(entry.value)}`,
    );
    await output.write(lines.map((line) => `${line}\n`).join(""));
    rest -= page.entries.length;
    cursor = page.cursor;
  } while (cursor !== undefined && rest > 0);
}
