// A command that serves, and whatever it has started: known by the address that it prints, and ended as a whole.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { stripVTControlCharacters } from "node:util";

/** Where it is started, and with what. */
export interface Start {
  folder: string;
  env: NodeJS.ProcessEnv;
  /** Where it is to serve; wherever it says that it does, if this is 0. */
  port: number;
}

const START_MS = 60_000;

export class Served {
  readonly #process: ChildProcess;
  readonly origin: string;

  private constructor(process: ChildProcess, origin: string) {
    this.#process = process;
    this.origin = origin;
  }

  /** Resolves when the command has said where it serves. */
  static async start({ folder, env, port }: Start, command: string, ...args: string[]): Promise<Served> {
    const child = spawn(command, args, {
      cwd: folder,
      env,
      // A group of its own, so that it ends with all that it has started.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const address = new RegExp(`http://[\\w.]+:${port === 0 ? "\\d+" : port}\\b`);
    let said = "";
    const ready = new Promise<string>((resolve) => {
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (text: Buffer) => {
          said += stripVTControlCharacters(text.toString());
          const [origin] = address.exec(said) ?? [];
          if (origin !== undefined) resolve(origin);
        });
      }
    });
    const limit = setTimeout(() => void end(child), START_MS);
    const origin = await Promise.race([ready, once(child, "close").then(() => undefined)]);
    clearTimeout(limit);
    if (origin === undefined) throw new Error(`${command} does not serve:\n${said}`);
    return new Served(child, origin);
  }

  async stop(): Promise<void> {
    await end(this.#process);
  }
}

/** What has started others in groups of their own ends them; only then its output is closed. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "close");
  process.kill(-child.pid!, "SIGTERM");
  await ended;
}
