// Finds the browsers for the tests on this machine, or gets them, so that a fresh machine needs no preparation.

import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, globSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { chromium } from "@playwright/test";

export const ENGINES = ["chromium", "firefox", "webkit"] as const;
export type EngineName = (typeof ENGINES)[number];

/** How an engine is found and installed. */
interface Source {
  title: string;
  /** The environment variable that may name its path. */
  variable: string;
  places: () => string[];
  /** What it says of itself when it is asked for its version; left out if it does not answer without a display. */
  version?: RegExp;
  /** Commands that it takes to drive it. */
  tools: readonly string[];
  /** What it is made of on Debian. */
  packages: readonly string[];
  /** Whether Playwright has a build of it that these tests can use. */
  isPlaywrights?: true;
}

const SOURCES: Record<EngineName, Source> = {
  chromium: {
    title: "Chrome or Chromium",
    variable: "HEADWATER_CHROMIUM",
    places: () => [
      ...commandPaths("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"),
      ...macPaths("Google Chrome", "Chromium"),
      ...windowsPaths("Google\\Chrome\\Application\\chrome.exe", "Chromium\\Application\\chrome.exe"),
      "/usr/bin/chromium",
      "/usr/lib/chromium/chromium",
      "/opt/google/chrome/chrome",
      "/snap/bin/chromium",
      chromium.executablePath(),
    ],
    version: /chrom/i,
    tools: [],
    packages: ["chromium"],
    isPlaywrights: true,
  },
  firefox: {
    title: "Firefox",
    variable: "HEADWATER_FIREFOX",
    places: () => [
      ...commandPaths("firefox-esr", "firefox"),
      ...macPaths("firefox", "Firefox"),
      ...windowsPaths("Mozilla Firefox\\firefox.exe"),
    ],
    version: /firefox/i,
    tools: [],
    packages: ["firefox-esr"],
  },
  webkit: {
    title: "MiniBrowser of WebKitGTK",
    variable: "HEADWATER_WEBKIT",
    places: () => globSync("/usr/{lib,lib/*,libexec}/webkit{2gtk-4,gtk-6}.*/MiniBrowser"),
    tools: ["WebKitWebDriver", "Xvfb", "setpriv"],
    packages: ["webkit2gtk-driver", "xvfb"],
  },
};

const ANSWER_MS = 20_000;
// Playwright tries five times, so a network that swallows everything costs five of these.
const SILENCE_MS = 8_000;
const DOWNLOAD_MS = 300_000;
/** For all of a run's calls of apt-get together. */
const APT_MS = 600_000;
const APT_ARGS = ["-o", "Acquire::http::Timeout=15", "-o", "Acquire::Retries=1", "-o", "DPkg::Lock::Timeout=60"];

/** The path of a browser that is on this machine already with everything that it takes to drive it. */
export function locateBrowser(engine: EngineName = "chromium"): string | undefined {
  const { tools } = SOURCES[engine];
  return tools.every(isCommand) ? locate(engine) : undefined;
}

/**
 * The path of a browser: the one that its variable names, else one of this machine, else one installed now.
 * Throws one sentence when there is none to be had.
 */
export function findBrowser(engine: EngineName = "chromium"): string {
  const { title, variable, isPlaywrights } = SOURCES[engine];
  const present = locateBrowser(engine);
  if (present) return present;
  const named = process.env[variable];
  if (named && !locate(engine)) throw new Error(`${variable} names ${named}, which is not a ${title} that runs.`);

  // What the attempts print is kept, so that it hides nothing; the last line of each goes into the final sentence.
  const refusals: string[] = [];
  for (const attempt of isPlaywrights ? [installWithPlaywright, installWithApt] : [installWithApt]) {
    refusals.push(attempt(engine));
    const installed = locateBrowser(engine);
    if (installed) return installed;
  }
  throw new Error(describeLack(engine, refusals));
}

/** One sentence on what is not there of an engine, and how to get it. */
export function describeLack(engine: EngineName, refusals: readonly string[] = []): string {
  const { title, variable, tools, packages } = SOURCES[engine];
  const lacking = [...(locate(engine) ? [] : [title]), ...tools.filter((tool) => !isCommand(tool))];
  const attempts = refusals.length > 0 ? ` and none could be installed (${refusals.join("; ")})` : "";
  return (
    `There is no ${lacking.join(" and no ")} on this machine${attempts}: ` +
    `apt-get install ${packages.join(" ")}, or set ${variable} to its path.`
  );
}

function locate(engine: EngineName): string | undefined {
  const { variable, places, version } = SOURCES[engine];
  const named = process.env[variable];
  return (named ? [named] : places()).find((path) => isBrowser(path, version));
}

function isCommand(name: string): boolean {
  return commandPaths(name).some(isExecutable);
}

function commandPaths(...names: string[]): string[] {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return names.flatMap((name) => folders.map((folder) => join(folder, name)));
}

function macPaths(...names: string[]): string[] {
  if (process.platform !== "darwin") return [];
  return ["/Applications", join(process.env.HOME ?? "/", "Applications")].flatMap((folder) =>
    names.map((name) => join(folder, `${name}.app`, "Contents", "MacOS", name)),
  );
}

function windowsPaths(...paths: string[]): string[] {
  if (process.platform !== "win32") return [];
  return ["PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"]
    .flatMap((name) => process.env[name] ?? [])
    .flatMap((folder) => paths.map((path) => join(folder, path)));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A file of the right name may be a stub that only tells how to install the browser, so it must also say its version. */
function isBrowser(path: string, version: RegExp | undefined): boolean {
  if (!isExecutable(path)) return false;
  // On Windows asking for the version opens a window.
  if (!version || process.platform === "win32") return true;
  const answer = spawnSync(path, ["--version"], { encoding: "utf8", timeout: ANSWER_MS });
  return answer.status === 0 && version.test(answer.stdout);
}

function installWithPlaywright(engine: EngineName): string {
  console.error(`No ${SOURCES[engine].title} on this machine: trying playwright install ${engine}`);
  const cli = createRequire(import.meta.url).resolve("@playwright/test/cli");
  const env = { PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT: String(SILENCE_MS) };
  return attempt("playwright install", process.execPath, [cli, "install", engine], env, DOWNLOAD_MS);
}

let aptDeadline: number | undefined;

function installWithApt(engine: EngineName): string {
  const isRoot = process.getuid?.() === 0;
  if (!existsSync("/usr/bin/apt-get") || !isRoot) return "apt-get: only on Debian as root";
  const { packages } = SOURCES[engine];
  console.error(`Trying apt-get install ${packages.join(" ")}`);
  // An update may fail for one of several sources while the others still offer the package, so the install decides.
  if (aptDeadline === undefined) {
    aptDeadline = performance.now() + APT_MS;
    apt(aptDeadline, "update");
  }
  return apt(aptDeadline, "install", "-y", "--no-install-recommends", ...packages);
}

function apt(deadline: number, ...args: string[]): string {
  const leftMs = Math.round(deadline - performance.now());
  if (leftMs <= 0) return `apt-get: gave up after ${APT_MS / 1000} s in all`;
  return attempt("apt-get", "/usr/bin/apt-get", [...APT_ARGS, ...args], { DEBIAN_FRONTEND: "noninteractive" }, leftMs);
}

/** Runs a command without showing its output; returns how it ended, in a few words. */
function attempt(name: string, command: string, args: string[], env: Record<string, string>, limitMs: number): string {
  const end = spawnSync(command, args, {
    encoding: "utf8",
    env: { ...process.env, ...env },
    maxBuffer: 64 * 1024 * 1024,
    // Not asked but killed, as an attempt that hangs may not listen.
    killSignal: "SIGKILL",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: limitMs,
  });
  if (end.status === 0) return `${name}: done, but no browser appeared`;
  if (end.signal) return `${name}: gave up after ${Math.round(limitMs / 1000)} s`;
  const output = `${end.stdout}\n${end.stderr}`;
  const reason = output.split("\n").findLast((line) => /^(E|Error):? /.test(line)) ?? end.error?.message;
  return `${name}: ${(reason ?? `status ${end.status}`).replace(/^(E|Error): /, "")}`;
}

/** How Chromium is started: what it does by itself in the background would only add noise to what the tests see. */
export const CHROMIUM_ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
