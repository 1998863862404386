// The command line as a shell runs it: a process of its own.

import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";

const MAIN = join(import.meta.dirname, "..", "main.ts");

/** A command starts in a third of the time when what it consists of has been compiled before. */
const NODE_COMPILE_CACHE = join(tmpdir(), "headwater-compiled");

export type Command = ChildProcessByStdio<Writable, Readable, Readable>;

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  /** Where the stores are. */
  url?: string;
  input?: string;
  env?: Record<string, string>;
}

export function start(args: readonly string[], { url = "", env = {} }: CommandOptions = {}): Command {
  // Whatever this process is given for its own sake is not for the command.
  const { HEADWATER_TOKEN: _, JWT_SECRET: __, FORCE_COLOR: ___, ...inherited } = process.env;
  return spawn(process.execPath, [MAIN, ...args], {
    env: { ...inherited, NODE_COMPILE_CACHE, HEADWATER_URL: url, ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
}

export async function run(args: readonly string[], options: CommandOptions = {}): Promise<Ended> {
  const command = start(args, options);
  command.stdin.end(options.input ?? "");
  return ended(command);
}

async function ended(command: Command): Promise<Ended> {
  const closed = new Promise<number | null>((resolve) => command.once("close", resolve));
  const [stdout, stderr, code] = await Promise.all([text(command.stdout), text(command.stderr), closed]);
  return { code, stdout, stderr };
}
