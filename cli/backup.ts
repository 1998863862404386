// Commands on a store as a whole: export, import, delete.

import { createReadStream, rmSync } from "node:fs";
import { open, rename, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { Readable } from "node:stream";
import type { Connection } from "./connection.ts";
import { CommandFailedError } from "./failure.ts";
import type { Output } from "./output.ts";
import { Progress, formatBytes, formatCount } from "./progress.ts";

/** What import and deletion answer: the history that they have begun. */
interface Begun {
  epoch: string;
  seq: number;
  entries: number;
}

/** Writes an export to a file, or to stdout. A file gets its name only when it is whole. */
export async function exportStore(connection: Connection, output: Output, file: string): Promise<void> {
  const { entries } = await connection.connect().status();
  const progress = new Progress(entries, (lines) => `${formatCount(lines)} of ${formatCount(entries)} entries`);
  const part = file === "-" ? undefined : await Part.create(file);
  const meter = new Meter();
  try {
    const response = await connection.ask("/export");
    for await (const chunk of chunksOf(response)) {
      meter.count(chunk);
      await (part ?? output).write(chunk);
      progress.advance(meter.lines);
    }
    const end = meter.end();
    if (!part) return;
    await part.keep();
    progress.end();
    await output.result({ file, ...end, bytes: meter.bytes }, () =>
      [file, `${formatCount(end.entries)} entries at seq ${end.seq}`, formatBytes(meter.bytes)].join(", "),
    );
  } finally {
    progress.end();
    await part?.drop();
  }
}

export async function importStore(
  connection: Connection,
  output: Output,
  file: string,
  isReplacing: boolean,
): Promise<void> {
  const bytes = file === "-" ? 0 : (await stat(file)).size;
  const progress = new Progress(bytes, (done) => `${formatBytes(done)} of ${formatBytes(bytes)} sent`);
  const source = file === "-" ? process.stdin : createReadStream(file);
  const body = (Readable.toWeb(source) as ReadableStream<Uint8Array>).pipeThrough(
    counting((done) => bytes > 0 && progress.advance(done)),
  );
  try {
    // Node wants to be told that a body is streamed.
    const init = { method: "POST", body, duplex: "half" };
    await report(output, connection.store, await connection.ask(`/import${isReplacing ? "?replace=true" : ""}`, init));
  } finally {
    progress.end();
  }
}

export async function deleteStore(connection: Connection, output: Output): Promise<void> {
  await report(output, connection.store, await connection.ask("", { method: "DELETE" }));
}

async function report(output: Output, store: string, response: Response): Promise<void> {
  const begun = (await response.json()) as Begun;
  await output.result(begun, () => `${store}: ${formatCount(begun.entries)} entries at seq ${begun.seq}`);
}

function counting(taken: (bytes: number) => unknown): TransformStream<Uint8Array, Uint8Array> {
  let bytes = 0;
  return new TransformStream({
    transform: (chunk, controller) => {
      controller.enqueue(chunk);
      taken((bytes += chunk.length));
    },
  });
}

async function* chunksOf({ body }: Response): AsyncGenerator<Uint8Array> {
  try {
    if (body) yield* body;
  } catch {
    throw new CommandFailedError("cut-off", "the export was cut off; it is not whole");
  }
}

/** Counts an export's lines and knows its end. */
class Meter {
  lines = 0;
  bytes = 0;
  #tail = Buffer.alloc(0);

  count(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, at + 1)) this.lines += 1;
    this.#tail = Buffer.from(Buffer.concat([this.#tail, chunk]).subarray(-END_BYTES_MAX));
  }

  /** What the last line says; throws if it is not the one that makes an export whole. */
  end(): Omit<Begun, "epoch"> {
    const [, line] = /\n(\{"seq":\d+,"entries":\d+\})\n$/.exec(this.#tail.toString()) ?? [];
    if (line === undefined)
      throw new CommandFailedError("cut-off", "the export ends without its last line; it is not whole");
    return JSON.parse(line) as Omit<Begun, "epoch">;
  }
}

const LINE_FEED = 10;
/** An export's last line holds two numbers. */
const END_BYTES_MAX = 128;

/** A file on its way: under another name until it is whole, and gone if it never is, however the process ends. */
class Part {
  readonly #file: string;
  readonly #path: string;
  #handle: FileHandle | undefined;
  readonly #remove = (): void => rmSync(this.#path, { force: true });

  private constructor(file: string) {
    this.#file = file;
    this.#path = `${file}.${process.pid}.part`;
    process.on("exit", this.#remove);
  }

  static async create(file: string): Promise<Part> {
    const part = new Part(file);
    part.#handle = await open(part.#path, "w");
    return part;
  }

  async write(chunk: Uint8Array): Promise<void> {
    await this.#handle!.writeFile(chunk);
  }

  async keep(): Promise<void> {
    await this.#handle!.sync();
    await this.#handle!.close();
    await rename(this.#path, this.#file);
  }

  /** Removes what was not kept. */
  async drop(): Promise<void> {
    process.off("exit", this.#remove);
    await this.#handle!.close();
    this.#remove();
  }
}
