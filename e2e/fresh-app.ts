// An app outside of this project that installs the package as its users do: from the tarball, with nothing else but what it
// names. Its files are those of a folder under apps/, or those that `headwater init` makes.

import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { stripVTControlCharacters } from "node:util";

const ROOT = join(import.meta.dirname, "..");
const START_MS = 60_000;

/** Packs the project; returns the tarball's path, in a folder of its own. */
export async function pack(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "headwater-package-"));
  const said = run(ROOT, "npm", "pack", "--pack-destination", folder);
  return join(folder, said.trim().split("\n").at(-1)!);
}

/** What a clone of the project, installed there, holds: to be packed by a person's commands. */
export async function cloneInto(folder: string): Promise<void> {
  const left = ["node_modules", "dist", "reports", "bench", ".git", ".wrangler", ".headwater"];
  await cp(ROOT, folder, { recursive: true, filter: (path) => path === ROOT || !left.includes(basename(path)) });
  await symlink(join(ROOT, "node_modules"), join(folder, "node_modules"));
}

export class FreshApp {
  #folder: string;
  /** What is removed with it. */
  readonly #top: string;
  readonly #running: ChildProcess[] = [];

  private constructor(folder: string) {
    this.#folder = folder;
    this.#top = folder;
  }

  /** An empty folder: everything in it is done by the commands that are run there. */
  static async empty(name: string): Promise<FreshApp> {
    return new FreshApp(await mkdtemp(join(tmpdir(), `headwater-${name}-`)));
  }

  /** Installs the tarball and other packages, in the versions that this project has. */
  static async create(name: string, tarball: string, others: readonly string[]): Promise<FreshApp> {
    const folder = await mkdtemp(join(tmpdir(), `headwater-${name}-`));
    await cp(join(import.meta.dirname, "apps", name), folder, { recursive: true });
    await writeFile(join(folder, "package.json"), JSON.stringify({ name, private: true, type: "module" }));
    const manifest = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as {
      devDependencies: Record<string, string>;
    };
    const pinned = others.map((other) => `${other}@${manifest.devDependencies[other]}`);
    return FreshApp.#install(folder, tarball, ...pinned);
  }

  /** The app that the packed command line makes, with what it names. */
  static async init(tarball: string): Promise<FreshApp> {
    const folder = await mkdtemp(join(tmpdir(), "headwater-init-"));
    run(folder, "npm", "exec", "--yes", "--prefer-offline", `--package=${tarball}`, "--", "headwater", "init");
    return FreshApp.#install(folder, tarball);
  }

  static #install(folder: string, ...packages: string[]): FreshApp {
    run(folder, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", ...packages);
    return new FreshApp(folder);
  }

  /** Runs one of the app's commands to its end; returns what it has printed. */
  run(command: string, ...args: string[]): string {
    return run(this.#folder, command, ...args);
  }

  /** Runs lines of a shell one after the other, as a person types them: where they go, the next ones begin. */
  type(lines: string): string {
    const said = this.run("sh", "-ec", `${lines}\necho; pwd`);
    this.#folder = said.trimEnd().split("\n").at(-1)!;
    return said;
  }

  get folder(): string {
    return this.#folder;
  }

  async read(file: string): Promise<string> {
    return readFile(join(this.#folder, file), "utf8");
  }

  async write(file: string, text: string): Promise<void> {
    const path = join(this.#folder, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }

  /** Starts one of the app's commands; resolves with where it says that it serves: at `port`, if that is not 0. */
  async start(env: Record<string, string>, port: number, command: string, ...args: string[]): Promise<string> {
    const child = spawn(command, args, {
      cwd: this.#folder,
      env: { ...process.env, ...env, PATH: pathOf(this.#folder) },
      // A group of its own, so that it ends with all that it has started.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#running.push(child);
    const address = new RegExp(`http://[\\w.]+:${port === 0 ? "\\d+" : port}\\b`);
    let said = "";
    const ready = new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${command} does not serve:\n${said}`)), START_MS);
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (text: Buffer) => {
          said += stripVTControlCharacters(text.toString());
          const [origin] = address.exec(said) ?? [];
          if (origin === undefined) return;
          clearTimeout(timer);
          resolve(origin);
        });
      }
    });
    const ended = once(child, "exit").then(() => Promise.reject(new Error(`${command} has ended:\n${said}`)));
    ended.catch(() => {}); // That it ends later is as it should be.
    return Promise.race([ready, ended]);
  }

  /** Ends what was started. */
  async stop(): Promise<void> {
    for (const child of this.#running.splice(0)) {
      if (child.exitCode !== null) continue;
      // What has started others in groups of their own ends them; only then its output is closed.
      const ended = once(child, "close");
      process.kill(-child.pid!, "SIGTERM");
      await ended;
    }
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.#top, { recursive: true, force: true });
  }
}

/** What the app has installed comes first; the compiler is this project's. */
const pathOf = (folder: string): string =>
  [join(folder, "node_modules", ".bin"), join(ROOT, "node_modules", ".bin"), process.env.PATH].join(delimiter);

function run(folder: string, command: string, ...args: string[]): string {
  const env = { ...process.env, PATH: pathOf(folder), WRANGLER_SEND_METRICS: "false" };
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, env, encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}:\n${stdout}${stderr}`);
  return stdout;
}
