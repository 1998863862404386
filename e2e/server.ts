// A primary of its own for each test that asks for one: the same `npm start` that a person runs, on a free port, with a
// state folder that is thrown away afterwards. It can be killed like by a power cut and started again on its state.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { freePort } from "./kit/index.ts";

const ROOT = join(import.meta.dirname, "..");
const COMMAND_LINE = join(ROOT, "cli", "main.ts");

export class Server {
  readonly origin: string;
  readonly #port: number;
  readonly #stateFolder: string;
  #process: ChildProcess | undefined;
  /** Everything that was started: npm's child, wrangler and workerd are one group. */
  #group: number | undefined;

  private constructor(port: number, stateFolder: string) {
    this.#port = port;
    this.#stateFolder = stateFolder;
    this.origin = `http://localhost:${port}`;
  }

  static async start(): Promise<Server> {
    const server = new Server(await freePort(), await mkdtemp(join(tmpdir(), "headwater-e2e-")));
    await server.restart();
    return server;
  }

  /** Starts it on what it left on disk; resolves when it answers. */
  async restart(): Promise<void> {
    const env = { ...process.env, PORT: String(this.#port), HEADWATER_STATE: this.#stateFolder };
    const started = spawn(process.execPath, [COMMAND_LINE, "dev", "--built"], {
      cwd: ROOT,
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = started;
    const said: string[] = [];
    started.stderr.on("data", (text: Buffer) => said.push(text.toString()));
    const lines = createInterface({ input: started.stdout });
    const ready = (async () => {
      for await (const line of lines) {
        said.push(line);
        const group = /process group (\d+)/.exec(line)?.[1];
        if (group !== undefined) return Number(group);
      }
      throw new Error(`the primary did not start:\n${said.join("\n")}`);
    })();
    this.#group = await ready;
    // What it says from now on is not needed, but must be taken.
    started.stdout.resume();
  }

  /** kill -9 of the whole process group: nothing gets to say goodbye. */
  async kill(): Promise<void> {
    if (!this.#process || this.#group === undefined) return;
    const ended = once(this.#process, "exit");
    process.kill(-this.#group, "SIGKILL");
    this.#group = undefined;
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.#stateFolder, { recursive: true, force: true });
  }

  url(path: string): string {
    return `${this.origin}${path}`;
  }

  /** All entries of a store as the primary has them, page by page. */
  async readStore(store: string): Promise<Map<string, unknown>> {
    const entries = new Map<string, unknown>();
    for (let cursor: string | undefined = ""; cursor !== undefined;) {
      const query = new URLSearchParams({ limit: "1000", ...(cursor && { cursor }) });
      const answer = await fetch(this.url(`/v1/stores/${store}/entries?${query}`));
      const page = (await answer.json()) as { entries: { key: string; value: unknown }[]; cursor?: string };
      for (const { key, value } of page.entries) entries.set(key, value);
      cursor = page.cursor;
    }
    return entries;
  }

  async status(store: string): Promise<StoreStatus> {
    return (await (await fetch(this.url(`/v1/stores/${store}/status`))).json()) as StoreStatus;
  }
}

export interface StoreStatus {
  epoch: string;
  head: number;
  floor: number;
  entries: number;
  secondaries: { id: string; mode: string; state: string; acked: number; lagMs: number }[];
}
