// `dev`: runs the app of a folder on this machine, primary, API and page, with no account and no network. This project's own
// `npm start` is it.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CommandFailedError } from "./failure.ts";
import type { Output } from "./output.ts";

export interface DevOptions {
  port: number;
  /** The folder that keeps the stores across restarts. */
  state: string;
  /** The page is served as it was built last: several of these at once must not build it over each other. */
  built?: boolean;
}

/** What wrangler, which serves the app, runs on. */
const NODE_NEEDED = "22.12.0";
const HOST = "127.0.0.1";
const START_MS = 60_000;
const STOP_MS = 5_000;
const isWindows = process.platform === "win32";

/** Serves the app in the current folder until it is told to stop. */
export async function dev(output: Output, { port, state, built }: DevOptions): Promise<void> {
  if (isOlder(process.versions.node, NODE_NEEDED))
    throw failed(`wrangler needs Node ${NODE_NEEDED} or newer, and this is ${process.versions.node}`);
  if (!(await isFree(port))) throw failed(`port ${port} is taken: stop what listens there, or choose another --port`);
  const isPage = readdirSync(".").some((name) => name.startsWith("vite.config."));
  if (isPage && !built) buildPage();
  await serve(output, port, state);
}

const isOlder = (version: string, than: string): boolean => version.localeCompare(than, "en", { numeric: true }) < 0;

/** What the app has installed comes first. */
function environment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PATH: [join(process.cwd(), "node_modules", ".bin"), process.env.PATH].join(delimiter),
    // All three would reach for the network: for usage reports, for a newer version, for the properties of a real request.
    WRANGLER_SEND_METRICS: "false",
    WRANGLER_HIDE_BANNER: "true",
    CLOUDFLARE_CF_FETCH_ENABLED: "false",
  };
}

function buildPage(): void {
  const { status } = spawnSync("vite", ["build", "--logLevel", "warn"], {
    env: environment(),
    shell: isWindows,
    stdio: ["ignore", STDERR, STDERR],
  });
  if (status !== 0) throw failed("the page could not be built");
}

/** What is started speaks on stderr, so that stdout holds nothing but results. */
const STDERR = 2;

async function serve(output: Output, port: number, state: string): Promise<void> {
  const args = ["dev", "--ip", HOST, "--port", String(port), "--inspector-port", "0", "--persist-to", state];
  args.push("--var", "ALLOW_ANONYMOUS:true", "--show-interactive-dev-session=false", "--log-level", "warn");
  // Tokens that are signed with it are taken, besides letting everyone in.
  if (process.env.JWT_SECRET) args.push("--var", `JWT_SECRET:${process.env.JWT_SECRET}`);
  const wrangler = spawn("wrangler", args, {
    env: environment(),
    // Wrangler, killed, leaves workerd and esbuild running. In a group of their own they can be ended together.
    detached: !isWindows,
    shell: isWindows,
    stdio: ["ignore", STDERR, STDERR],
  });
  const ended = once(wrangler, "exit").catch(() => undefined);
  const group = wrangler.pid;
  if (group === undefined) throw failed("wrangler did not start; is it installed here (`npm install`)?");

  const stopped = endWithProcess(group);
  if (await isReady(port, ended)) {
    const url = `http://localhost:${port}`;
    // The group is named so that a test can end all of it at once, as a power cut would.
    await output.result(
      { url, state, group },
      () => `Headwater is ready on ${url} (state in ${state}, process group ${group})`,
    );
  } else if (!stopped.aborted) {
    endGroup(group, "SIGKILL");
    throw failed("the primary did not start");
  }
  await ended;
  endGroup(group, "SIGKILL");
  if (!stopped.aborted) throw failed("the primary has ended unexpectedly");
}

/** Ends the group when this process is told to end: that is the ordinary end of this command, and no failure. */
function endWithProcess(group: number): AbortSignal {
  const stopped = new AbortController();
  const stop = (signal: NodeJS.Signals): void => {
    stopped.abort();
    endGroup(group, signal);
    setTimeout(() => endGroup(group, "SIGKILL"), STOP_MS).unref();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.removeAllListeners(signal).on(signal, stop);
  if (process.env.npm_lifecycle_event !== undefined) {
    // Told to end, npm ends only the shell between itself and this process.
    const parent = process.ppid;
    setInterval(() => process.ppid !== parent && stop("SIGTERM"), 250).unref();
  }
  return stopped.signal;
}

/** True once the primary answers; false when it has ended or has not answered in time. */
async function isReady(port: number, ended: Promise<unknown>): Promise<boolean> {
  const stop = new AbortController();
  void ended.then(() => stop.abort());
  const deadline = performance.now() + START_MS;
  while (performance.now() < deadline && !stop.signal.aborted) {
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(2_000)]);
    const answer = await fetch(`http://${HOST}:${port}/healthz`, { signal }).catch(() => null);
    if (answer?.ok) return true;
    await sleep(50);
  }
  return false;
}

function endGroup(group: number, signal: NodeJS.Signals): void {
  if (isWindows) {
    spawnSync("taskkill", ["/pid", String(group), "/t", "/f"]);
    return;
  }
  try {
    process.kill(-group, signal);
  } catch {
    // Nothing of it is left.
  }
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  try {
    probe.listen(port, HOST);
    await once(probe, "listening");
    return true;
  } catch {
    return false;
  } finally {
    probe.close();
  }
}

const failed = (message: string): CommandFailedError => new CommandFailedError("failed", message);
