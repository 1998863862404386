// An app outside of this project that installs the package as its users do: from the tarball, with nothing else but what it
// names. Its files are those of a folder under apps/, or what the commands make that are run there.

import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { Served } from "./served.ts";

const ROOT = join(import.meta.dirname, "..");

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
  readonly #running: Served[] = [];

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
    run(folder, "npm", "install", tarball, ...pinned);
    return new FreshApp(folder);
  }

  /** Another one to run commands with, which stays in the present folder. */
  here(): FreshApp {
    return new FreshApp(this.#folder);
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
    const start = { folder: this.#folder, env: { ...process.env, ...env, PATH: pathOf(this.#folder) }, port };
    const served = await Served.start(start, command, ...args);
    this.#running.push(served);
    return served.origin;
  }

  /** Ends what was started. */
  async stop(): Promise<void> {
    for (const served of this.#running.splice(0)) await served.stop();
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
  const env = {
    ...process.env,
    PATH: pathOf(folder),
    WRANGLER_SEND_METRICS: "false",
    // Playwright asks for colours, which nobody sees here.
    FORCE_COLOR: "0",
    // A person answers npx, and types no options that only save time.
    npm_config_yes: "true",
    npm_config_audit: "false",
    npm_config_fund: "false",
    npm_config_prefer_offline: "true",
  };
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, env, encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}:\n${stdout}${stderr}`);
  return stdout;
}
