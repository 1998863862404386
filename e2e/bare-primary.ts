// The primary on the bare runtime: the bundle that would be deployed, in a workerd of its own without wrangler around
// it. It starts in under a second and is one process, so it can be killed and started again many times a minute.

import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "./kit/index.ts";

const ROOT = join(import.meta.dirname, "..");
const BIN = join(ROOT, "node_modules", ".bin");
const START_MS = 20_000;

/** What wrangler's assets do: the paths of the API go to the app, all others are files. */
const ENTRY = `
import app, { Primary } from "./index.js";
export { Primary };
const TYPES = { html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
export default {
  async fetch(request, env, context) {
    const { pathname } = new URL(request.url);
    if (/^\\/(v1\\/|healthz|metrics|openapi)/.test(pathname)) return app.fetch(request, env, context);
    const path = pathname === "/" ? "/index.html" : pathname;
    const file = await env.PAGE.fetch("http://page" + path);
    const headers = { "Content-Type": TYPES[path.split(".").pop()] ?? "application/octet-stream" };
    return file.ok ? new Response(file.body, { headers }) : new Response("not found", { status: 404 });
  },
};
`;

/** What `GET status` tells. */
export interface StoreStatus {
  epoch: string;
  head: number;
  floor: number;
  entries: number;
  secondaries: { id: string; mode: string; state: string; acked: number; lagMs: number }[];
}

interface Page {
  entries: { key: string; value: unknown }[];
  cursor?: string;
}

export class BarePrimary {
  readonly port: number;
  readonly #folder: string;
  #process: ChildProcess | undefined;
  readonly #said: string[] = [];

  private constructor(port: number, folder: string) {
    this.port = port;
    this.#folder = folder;
  }

  /** Bundles the worker and starts it with empty stores. It shows the page that was built last, if one was. */
  static async start(env: Record<string, string> = { ALLOW_ANONYMOUS: "true" }): Promise<BarePrimary> {
    const primary = new BarePrimary(await freePort(), await mkdtemp(join(tmpdir(), "headwater-bare-")));
    await primary.#prepare(env);
    await primary.restart();
    return primary;
  }

  async #prepare(env: Record<string, string>): Promise<void> {
    const folder = this.#folder;
    const path = [BIN, process.env.PATH].join(delimiter);
    // The assets that the bundler is told of must be there, whatever is in them.
    await mkdir(join(ROOT, "dist", "page"), { recursive: true });
    const bundled = spawnSync("wrangler", ["deploy", "--dry-run", "--outdir", folder], {
      cwd: ROOT,
      env: { ...process.env, PATH: path, WRANGLER_SEND_METRICS: "false" },
      encoding: "utf8",
    });
    if (bundled.status !== 0) throw new Error(`the worker could not be bundled:\n${bundled.stdout}${bundled.stderr}`);
    const toml = await readFile(join(ROOT, "wrangler.toml"), "utf8");
    const date = /^compatibility_date = (".*")$/m.exec(toml)![1];
    const flags = /^compatibility_flags = (\[.*\])$/m.exec(toml)![1];
    await mkdir(this.#state);
    await writeFile(join(folder, "entry.js"), ENTRY);
    await writeFile(
      join(folder, "config.capnp"),
      `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "internet", network = (allow = ["public", "private"])),
    (name = "page", disk = (path = ${JSON.stringify(join(ROOT, "dist", "page"))})),
    (name = "state", disk = (path = ${JSON.stringify(this.#state)}, writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${this.port}", http = (), service = "main")],
);
const main :Workerd.Worker = (
  modules = [(name = "entry.js", esModule = embed "entry.js"), (name = "index.js", esModule = embed "index.js")],
  compatibilityDate = ${date},
  compatibilityFlags = ${flags},
  bindings = [
    (name = "PRIMARY", durableObjectNamespace = "Primary"),
    ${Object.entries(env)
      .map(([name, value]) => `(name = ${JSON.stringify(name)}, text = ${JSON.stringify(value)}),`)
      .join("\n    ")}
    (name = "PAGE", service = "page"),
  ],
  durableObjectNamespaces = [(className = "Primary", uniqueKey = "headwater", enableSql = true)],
  durableObjectStorage = (localDisk = "state"),
);
`,
    );
  }

  /** Starts it on what it left on disk; resolves when it answers. */
  async restart(): Promise<void> {
    const started = spawn(join(BIN, "workerd"), ["serve", join(this.#folder, "config.capnp")], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = started;
    for (const stream of [started.stdout, started.stderr]) {
      stream.on("data", (text: Buffer) => this.#said.push(text.toString()));
    }
    const deadline = performance.now() + START_MS;
    while (performance.now() < deadline && started.exitCode === null) {
      const signal = AbortSignal.timeout(1000);
      const answer = await fetch(`http://127.0.0.1:${this.port}/healthz`, { signal }).catch(() => null);
      if (answer?.ok) return;
      await sleep(20);
    }
    throw new Error(`the primary did not start:\n${this.said}`);
  }

  /** Starts it anew, with empty stores. */
  async reset(): Promise<void> {
    await this.kill();
    await rm(this.#state, { recursive: true });
    await mkdir(this.#state);
    await this.restart();
  }

  get origin(): string {
    return `http://localhost:${this.port}`;
  }

  url(path: string): string {
    return `${this.origin}${path}`;
  }

  get #state(): string {
    return join(this.#folder, "state");
  }

  /** The one process that it is; undefined while it does not run. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** What it has printed last. */
  get said(): string {
    return this.#said.slice(-50).join("");
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (!running || running.exitCode !== null || running.signalCode !== null) return;
    const ended = once(running, "exit");
    running.kill("SIGKILL");
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async status(store: string): Promise<StoreStatus> {
    return (await this.#get(`/v1/stores/${store}/status`)) as StoreStatus;
  }

  /** All entries of a small store, and the head at which they were read. */
  async list(store: string): Promise<{ entries: { key: string; value: string; seq: number }[]; seq: number }> {
    return (await this.#get(`/v1/stores/${store}/entries?limit=1000`)) as Awaited<ReturnType<BarePrimary["list"]>>;
  }

  /** All entries of a store, page by page. */
  async readStore(store: string): Promise<Map<string, unknown>> {
    const entries = new Map<string, unknown>();
    for (let cursor: string | undefined = ""; cursor !== undefined;) {
      const query = new URLSearchParams({ limit: "1000", ...(cursor && { cursor }) });
      const page = (await this.#get(`/v1/stores/${store}/entries?${query}`)) as Page;
      for (const { key, value } of page.entries) entries.set(key, value);
      cursor = page.cursor;
    }
    return entries;
  }

  async #get(path: string): Promise<unknown> {
    const answer = await fetch(`http://127.0.0.1:${this.port}${path}`, { signal: AbortSignal.timeout(5000) });
    return answer.json();
  }
}
