// Reads an export as it comes: no more of it than one part and one line is ever in memory, and what comes next waits
// until the part is taken. It knows nothing of stores.

import { LineReader, readExportHeader, readExportLine } from "../src/codec.ts";
import type { Parsed } from "../src/codec.ts";
import { changeBytes } from "../src/kv.ts";
import type { Change, Json } from "../src/kv.ts";
import {
  BATCH_BYTES_MAX,
  BATCH_OPERATIONS_MAX,
  IMPORT_PATIENCE_MS,
  IMPORT_SEQ_MAX,
  PART_BYTES_MAX,
  PART_CHANGES_MAX,
} from "../src/limits.ts";
import type { ExportEnd } from "../src/protocol.ts";
import { LateError, chunksOf } from "./body.ts";
import type { ProblemCode } from "./problem.ts";

/** What is to be imported cannot be; the message says why. */
export class ImportRefused extends Error {
  override readonly name = "ImportRefused";
  readonly code: ProblemCode;

  constructor(code: ProblemCode, message: string) {
    super(message);
    this.code = code;
  }
}

type Bytes = ReadableStream<Uint8Array>;

/** A body may come in pieces so small that they cost more than their letters do: they are put together to this many. */
const PIECE_UNITS = 16 * 1024;

/**
 * The changes of an export in parts, at most one per key in each, and last its end, when all of it has come. Throws
 * ImportRefused where it is no whole export, or when nothing has come for `patienceMs`.
 */
export async function* readExport(
  body: Bytes,
  patienceMs = IMPORT_PATIENCE_MS,
): AsyncGenerator<Change<Json>[] | ExportEnd, void> {
  let part = new Map<string, Change<Json>>();
  let bytes = 0;
  let seq = 0;
  let step = { changes: 0, bytes: 0 };
  let end: ExportEnd | undefined;
  let number = 0;
  for await (const line of linesOf(body, patienceMs)) {
    number += 1;
    if (number === 1) {
      demand(readExportHeader(line), number);
      continue;
    }
    if (end) throw new ImportRefused("bad-request", `line ${number}: something follows the last line`);
    const read = demand(readExportLine(line), number);
    if (read.seq < seq) throw new ImportRefused("bad-request", `line ${number}: its seq is below the one before it`);
    if (read.seq > seq) step = { changes: 0, bytes: 0 };
    seq = read.seq;
    if ("entries" in read) {
      end = read;
      continue;
    }
    // A key that comes again moves behind the others, so that changes stay in the order of their seqs.
    part.delete(read.key);
    part.set(read.key, read);
    bytes += changeBytes(read);
    // What has one seq is sent as one line: no batch can write more than that.
    step = { changes: step.changes + 1, bytes: step.bytes + changeBytes(read) };
    if (step.changes > BATCH_OPERATIONS_MAX || step.bytes > BATCH_BYTES_MAX + 64 * BATCH_OPERATIONS_MAX) {
      throw new ImportRefused("too-large", `line ${number}: more has this seq than one batch can write`);
    }
    if (part.size < PART_CHANGES_MAX && bytes < PART_BYTES_MAX) continue;
    yield [...part.values()];
    part = new Map();
    bytes = 0;
  }
  if (!end) throw new ImportRefused("bad-request", `the export ends after line ${number}, without its last line`);
  if (seq > IMPORT_SEQ_MAX)
    throw new ImportRefused("too-large", `line ${number}: a seq is above ${IMPORT_SEQ_MAX} (IMPORT_SEQ_MAX)`);
  if (part.size > 0) yield [...part.values()];
  yield end;
}

async function* linesOf(body: Bytes, patienceMs: number): AsyncGenerator<string> {
  const lines = new LineReader();
  let number = 1;
  for await (const piece of piecesOf(body, patienceMs)) {
    for (const line of demand(lines.push(piece), number)) {
      yield line;
      number += 1;
    }
  }
  if (lines.isAmidLine) throw new ImportRefused("bad-request", `line ${number}: the export ends amid this line`);
}

async function* piecesOf(body: Bytes, patienceMs: number): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });
  let piece = "";
  for await (const chunk of incoming(body, patienceMs)) {
    piece += decode(decoder, chunk);
    if (piece.length < PIECE_UNITS) continue;
    yield piece;
    piece = "";
  }
  yield piece;
}

function decode(decoder: TextDecoder, chunk: Uint8Array): string {
  try {
    return decoder.decode(chunk, { stream: true });
  } catch {
    throw new ImportRefused("bad-request", "the export is not UTF-8");
  }
}

async function* incoming(body: Bytes, patienceMs: number): AsyncGenerator<Uint8Array> {
  try {
    yield* chunksOf(body, patienceMs);
  } catch (error) {
    const isLate = error instanceof LateError;
    throw new ImportRefused(
      "bad-request",
      isLate ? `${error.message} (IMPORT_PATIENCE_MS)` : "the export was cut off on its way",
    );
  }
}

function demand<Value>(parsed: Parsed<Value>, number: number): Value {
  if (!parsed.ok) throw new ImportRefused(parsed.code, `line ${number}: ${parsed.detail}`);
  return parsed.value;
}
