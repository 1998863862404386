// An app's own worker in `wrangler dev`, which a test can kill like a power cut and start again on what it left on disk.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Which app is served, and how. */
export interface DevPrimaryOptions {
  /** The app's folder, with its wrangler.toml and wrangler among its packages; the present one unless given. */
  folder?: string;
  /** Any that is free, unless given. */
  port?: number;
  /** Variables of the worker. */
  vars?: Record<string, string>;
}

const START_MS = 60_000;
const LOOK_MS = 100;

/** One `wrangler dev` with stores of its own. */
export class DevPrimary {
  /** Where it listens, on this machine. */
  readonly port: number;
  readonly #folder: string;
  readonly #stateFolder: string;
  readonly #vars: Record<string, string>;
  #process: ChildProcess | undefined;
  #said = "";

  private constructor(port: number, folder: string, stateFolder: string, vars: Record<string, string>) {
    this.port = port;
    this.#folder = folder;
    this.#stateFolder = stateFolder;
    this.#vars = vars;
  }

  /** Starts it with empty stores; resolves when it answers. */
  static async start({ folder = process.cwd(), port, vars = {} }: DevPrimaryOptions = {}): Promise<DevPrimary> {
    const stateFolder = await mkdtemp(join(tmpdir(), "headwater-dev-"));
    const primary = new DevPrimary(port ?? (await freePort()), folder, stateFolder, vars);
    await primary.restart();
    return primary;
  }

  /** Its address: `http://127.0.0.1:<port>`. */
  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it on what it left on disk; resolves when it answers. */
  async restart(): Promise<void> {
    await this.kill();
    const args = ["dev", "--ip", "127.0.0.1", "--port", `${this.port}`, "--inspector-port", "0"];
    args.push("--persist-to", this.#stateFolder, "--show-interactive-dev-session=false");
    for (const [name, value] of Object.entries(this.#vars)) args.push("--var", `${name}:${value}`);
    const path = [join(this.#folder, "node_modules", ".bin"), process.env.PATH].join(delimiter);
    const started = spawn("wrangler", args, {
      cwd: this.#folder,
      env: { ...process.env, PATH: path, CI: "1", WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true" },
      // Wrangler, killed, leaves workerd running. In a group of their own they end together.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = started;
    this.#said = "";
    for (const stream of [started.stdout, started.stderr]) {
      stream.on("data", (text: Buffer) => (this.#said = `${this.#said}${text.toString()}`.slice(-10_000)));
    }
    started.on("error", (error) => (this.#said += String(error)));
    const end = performance.now() + START_MS;
    while (performance.now() < end && started.exitCode === null) {
      const answer = await fetch(`${this.origin}/healthz`, { signal: AbortSignal.timeout(1000) }).catch(() => null);
      if (answer?.ok) return;
      await sleep(LOOK_MS);
    }
    await this.kill();
    throw new Error(`wrangler dev does not answer:\n${this.#said}`);
  }

  /** kill -9 of all that was started: nothing gets to say goodbye. */
  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (running?.pid === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const ended = once(running, "exit");
    process.kill(-running.pid, "SIGKILL");
    await ended;
  }

  /** Ends it and deletes its stores. */
  async stop(): Promise<void> {
    await this.kill();
    await rm(this.#stateFolder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** A port of this machine that nothing listens on. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}
