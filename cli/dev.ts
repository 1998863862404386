// `npm start`: builds the page and runs primary, API and page on this machine, with no account and no network.
//
//   PORT             the port, 8787 unless set
//   JWT_SECRET       tokens that are signed with it are taken, besides letting everyone in (`npm run token` makes them)
//   HEADWATER_STATE  the folder that keeps the stores across restarts, .headwater unless set
//   --built          serve the page as it was built last (several of these at once must not build it over each other)

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

const HOST = "127.0.0.1";
const PORT_DEFAULT = 8787;
const START_MS = 60_000;
const STOP_MS = 5_000;

const root = join(import.meta.dirname, "..");
const env = {
  ...process.env,
  PATH: [join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter),
  // All three would reach for the network: for usage reports, for a newer version, for the properties of a real request.
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_HIDE_BANNER: "true",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
};
const isWindows = process.platform === "win32";

async function main(): Promise<number> {
  const { values: options } = parseArgs({ options: { built: { type: "boolean" } } });
  const port = Number(process.env.PORT || PORT_DEFAULT);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return fail(`PORT is not a port: ${process.env.PORT}`);
  if (!(await isFree(port))) return fail(`Port ${port} is taken: stop what listens there, or set PORT to another.`);

  if (!options.built) {
    const build = spawnSync("vite", ["build", "--logLevel", "warn"], {
      cwd: root,
      env,
      shell: isWindows,
      stdio: "inherit",
    });
    if (build.status !== 0) return fail("The page could not be built.");
  }
  return await serve(port, process.env.HEADWATER_STATE || ".headwater");
}

/** Runs wrangler until it ends or this process is told to stop; returns the exit status. */
async function serve(port: number, stateFolder: string): Promise<number> {
  const args = ["dev", "--ip", HOST, "--port", String(port), "--inspector-port", "0", "--persist-to", stateFolder];
  args.push("--var", "ALLOW_ANONYMOUS:true", "--show-interactive-dev-session=false", "--log-level", "warn");
  if (process.env.JWT_SECRET) args.push("--var", `JWT_SECRET:${process.env.JWT_SECRET}`);
  const wrangler = spawn("wrangler", args, {
    cwd: root,
    env,
    // Wrangler, killed, leaves workerd and esbuild running. In a group of their own they can be ended together.
    detached: !isWindows,
    shell: isWindows,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const ended = once(wrangler, "exit").catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
  });
  const group = wrangler.pid;
  if (group === undefined) {
    await ended;
    return fail("wrangler did not start; has `npm ci` been run?");
  }

  let isStopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    isStopping = true;
    endGroup(group, signal);
    setTimeout(() => endGroup(group, "SIGKILL"), STOP_MS).unref();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  if (process.env.npm_lifecycle_event === "start") {
    // Told to end, npm ends only the shell between itself and this process.
    const parent = process.ppid;
    setInterval(() => process.ppid !== parent && stop("SIGTERM"), 250).unref();
  }

  if (await isReady(port, ended)) {
    // The group is named so that a test can end all of it at once, as a power cut would.
    console.log(`Headwater is ready on http://localhost:${port} (state in ${stateFolder}, process group ${group})`);
  } else if (!isStopping) {
    endGroup(group, "SIGKILL");
    return fail("The primary did not start.");
  }
  await ended;
  endGroup(group, "SIGKILL");
  return isStopping ? 0 : fail("The primary has ended unexpectedly.");
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

function fail(sentence: string): number {
  console.error(sentence);
  return 1;
}

process.exitCode = await main();
