// A system's server: plain workerd with the bundle of its worker, without wrangler around it; or a Node process. Each
// runs in a process group of its own, on loopback, with a state folder that is thrown away.

import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { System, WorkerdServer } from "./system.ts";

export const ROOT = join(import.meta.dirname, "..");
const BIN = join(ROOT, "node_modules", ".bin");
const START_MS = 20_000;

/** Pages and what they load are served from the folder of the bundles, everything else by the system. */
const entryOf = (classes: readonly string[]): string => `
import app from "./index.js";
export { ${classes.join(", ")} } from "./index.js";
const TYPES = { html: "text/html", js: "text/javascript" };
export default {
  async fetch(request, env, context) {
    const { pathname } = new URL(request.url);
    if (pathname === "/bench/up") return new Response("up");
    if (!pathname.startsWith("/bench/")) return app.fetch(request, env, context);
    const file = await env.PAGE.fetch("http://page" + pathname.slice("/bench".length));
    const headers = { "Content-Type": TYPES[pathname.split(".").pop()] ?? "application/octet-stream" };
    return file.ok ? new Response(file.body, { headers }) : new Response("not found", { status: 404 });
  },
};
`;

/** A folder with what the systems' servers are made of. */
export class Workshop {
  readonly folder: string;
  readonly #bundled = new Map<string, Promise<string>>();
  readonly #paged = new Set<string>();

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(): Promise<Workshop> {
    return new Workshop(await mkdtemp(join(tmpdir(), "headwater-bench-")));
  }

  async close(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** The folder that holds a system's bundled worker, index.js. */
  bundleWorker(system: System): Promise<string> {
    const done = this.#bundled.get(system.folder) ?? this.#bundleWorker(system);
    this.#bundled.set(system.folder, done);
    return done;
  }

  /** Where pages are served from. */
  get pages(): string {
    return join(this.folder, "pages");
  }

  /** Builds a system's page and what it loads, once. */
  async bundlePage({ folder, workers = {} }: System): Promise<void> {
    if (this.#paged.has(folder)) return;
    this.#paged.add(folder);
    const out = join(this.pages, folder);
    const options = [
      "--minify",
      "--platform=browser",
      '--define:process.env.NODE_ENV="production"',
      "--define:global=globalThis",
    ];
    bundle(join("systems", folder, "page.ts"), join(out, "page.js"), options);
    for (const [name, entry] of Object.entries(workers)) bundle(entry, join(out, name), options);
    await writeFile(join(out, "index.html"), '<!doctype html><script type="module" src="page.js"></script>');
  }

  async #bundleWorker(system: System): Promise<string> {
    const folder = join(this.folder, "servers", system.folder);
    await mkdir(folder, { recursive: true });
    await mkdir(this.pages, { recursive: true });
    if (system.server.kind === "workerd" && system.server.isProject) {
      const env = { ...process.env, PATH: [BIN, process.env.PATH].join(delimiter), WRANGLER_SEND_METRICS: "false" };
      // The assets that it names must be there, whatever is in them.
      await mkdir(join(ROOT, "dist", "page"), { recursive: true });
      run("wrangler", ["deploy", "--dry-run", "--outdir", folder], env);
    } else if (system.server.kind === "workerd") {
      bundle(join("systems", system.folder, "server.ts"), join(folder, "index.js"), [
        "--external:cloudflare:*",
        "--external:node:*",
        "--conditions=workerd,worker,browser",
      ]);
    }
    return folder;
  }
}

/** Bundles a file of this folder to one ES module. */
export function bundle(entry: string, outfile: string, options: readonly string[] = []): void {
  const args = [entry, "--bundle", "--format=esm", "--target=es2023", "--log-level=warning", `--outfile=${outfile}`];
  run(join(BIN, "esbuild"), [...args, ...options], process.env);
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv): void {
  const cwd = command === "wrangler" ? ROOT : import.meta.dirname;
  const end = spawnSync(command, args, { cwd, env, encoding: "utf8" });
  if (end.status !== 0)
    throw new Error(`${command} ${args.join(" ")}:\n${end.error?.message ?? ""}${end.stdout}${end.stderr}`);
}

export class SystemServer {
  readonly origin: string;
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(origin: string, process: ChildProcess, folder: string) {
    this.origin = origin;
    this.#process = process;
    this.#folder = folder;
  }

  /** Starts it with empty stores. */
  static async start(system: System, workshop: Workshop, inspectorPort?: number): Promise<SystemServer> {
    const port = await freePort();
    const folder = await mkdtemp(join(tmpdir(), `headwater-bench-${system.name}-`));
    await mkdir(join(folder, "state"));
    const [command, args] =
      system.server.kind === "workerd"
        ? await workerd(system.server, await workshop.bundleWorker(system), workshop.pages, folder, port)
        : nodeServer(system, folder, workshop.pages, port);
    if (inspectorPort !== undefined) args.push(`--inspector-addr=127.0.0.1:${inspectorPort}`);
    const started = spawn(command, args, { detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const said: string[] = [];
    for (const stream of [started.stdout, started.stderr]) stream.on("data", (text: Buffer) => said.push(String(text)));
    const server = new SystemServer(`http://127.0.0.1:${port}`, started, folder);
    const deadline = performance.now() + START_MS;
    while (performance.now() < deadline && started.exitCode === null) {
      const answer = await fetch(`${server.origin}/bench/up`, { signal: AbortSignal.timeout(1000) }).catch(() => null);
      if (answer) return server;
      await sleep(20);
    }
    await server.stop();
    throw new Error(`the server of ${system.name} did not start:\n${said.join("")}`);
  }

  get pid(): number {
    return this.#process.pid!;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, "exit");
      this.kill();
      await ended;
    }
    await rm(this.#folder, { recursive: true, force: true });
  }

  kill(): void {
    if (this.#process.exitCode === null && this.#process.signalCode === null) process.kill(-this.pid, "SIGKILL");
  }
}

async function workerd(
  server: WorkerdServer,
  bundled: string,
  pages: string,
  folder: string,
  port: number,
): Promise<[string, string[]]> {
  const toml = await readFile(join(ROOT, "wrangler.toml"), "utf8");
  const date = /^compatibility_date = (".*")$/m.exec(toml)![1];
  const own = JSON.parse(/^compatibility_flags = (\[.*\])$/m.exec(toml)![1]!) as string[];
  const flags = JSON.stringify([...own, ...(server.flags ?? [])]);
  const classes = Object.values(server.objects);
  const bindings = Object.entries(server.objects).map(
    ([name, object]) => `(name = "${name}", durableObjectNamespace = "${object}")`,
  );
  const namespaces = classes.map((name) => `(className = "${name}", uniqueKey = "${name}", enableSql = true)`);
  await access(join(bundled, "index.js"));
  await writeFile(join(folder, "index.js"), await readFile(join(bundled, "index.js")));
  await writeFile(join(folder, "entry.js"), entryOf(classes));
  await writeFile(
    join(folder, "config.capnp"),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "page", disk = (path = ${JSON.stringify(pages)})),
    (name = "state", disk = (path = ${JSON.stringify(join(folder, "state"))}, writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const main :Workerd.Worker = (
  modules = [(name = "entry.js", esModule = embed "entry.js"), (name = "index.js", esModule = embed "index.js")],
  compatibilityDate = ${date},
  compatibilityFlags = ${flags},
  bindings = [
    ${bindings.join(",\n    ")},
    (name = "ALLOW_ANONYMOUS", text = "true"),
    (name = "PAGE", service = "page"),
  ],
  durableObjectNamespaces = [${namespaces.join(", ")}],
  durableObjectStorage = (localDisk = "state"),
);
`,
  );
  return [join(BIN, "workerd"), ["serve", join(folder, "config.capnp")]];
}

function nodeServer(system: System, folder: string, pages: string, port: number): [string, string[]] {
  const file = join(import.meta.dirname, "systems", system.folder, "server.ts");
  return [process.execPath, [file, String(port), join(folder, "state"), pages]];
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
