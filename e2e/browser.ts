// Finds a Chrome or Chromium for the browser tests, or gets one, so that a fresh machine needs no preparation.

import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { chromium } from "@playwright/test";

const COMMANDS = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"];

const ANSWER_MS = 20_000;
// Playwright tries five times, so a network that swallows everything costs five of these.
const SILENCE_MS = 8_000;
const DOWNLOAD_MS = 300_000;
const APT_MS = 600_000;

/** The path of a browser that is on this machine already. */
export function locateBrowser(): string | undefined {
  return [...commandPaths(), ...usualPlaces(), chromium.executablePath()].find((path) => isBrowser(path));
}

/**
 * The path of a browser: the one that HEADWATER_CHROMIUM names, else one of this machine, else one installed now.
 * Throws one sentence when there is none to be had.
 */
export function findBrowser(): string {
  const named = process.env.HEADWATER_CHROMIUM;
  if (named) {
    if (isBrowser(named)) return named;
    throw new Error(`HEADWATER_CHROMIUM names ${named}, which is not a Chrome or Chromium that runs.`);
  }
  const present = locateBrowser();
  if (present) return present;

  // What the attempts print is kept, so that it hides nothing; the last line of each goes into the final sentence.
  const refusals: string[] = [];
  for (const attempt of [installWithPlaywright, installWithApt]) {
    refusals.push(attempt());
    const installed = locateBrowser();
    if (installed) return installed;
  }
  throw new Error(
    `No Chrome or Chromium was found or could be installed (${refusals.join("; ")}): ` +
      "install one, or set HEADWATER_CHROMIUM to its path.",
  );
}

function commandPaths(): string[] {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return COMMANDS.flatMap((command) => folders.map((folder) => join(folder, command)));
}

function usualPlaces(): string[] {
  if (process.platform === "darwin") {
    return ["/Applications", join(process.env.HOME ?? "/", "Applications")].flatMap((folder) => [
      join(folder, "Google Chrome.app/Contents/MacOS/Google Chrome"),
      join(folder, "Chromium.app/Contents/MacOS/Chromium"),
    ]);
  }
  if (process.platform === "win32") {
    return ["PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"]
      .flatMap((name) => process.env[name] ?? [])
      .flatMap((folder) => [
        join(folder, "Google\\Chrome\\Application\\chrome.exe"),
        join(folder, "Chromium\\Application\\chrome.exe"),
      ]);
  }
  return ["/usr/bin/chromium", "/usr/lib/chromium/chromium", "/opt/google/chrome/chrome", "/snap/bin/chromium"];
}

/** A file of the right name may be a stub that only tells how to install the browser, so it must also say its version. */
function isBrowser(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
  } catch {
    return false;
  }
  // On Windows asking for the version opens a window.
  if (process.platform === "win32") return true;
  const answer = spawnSync(path, ["--version"], { encoding: "utf8", timeout: ANSWER_MS });
  return answer.status === 0 && /chrom/i.test(answer.stdout);
}

function installWithPlaywright(): string {
  console.error("No Chrome or Chromium on this machine: trying playwright install chromium");
  const cli = createRequire(import.meta.url).resolve("@playwright/test/cli");
  const env = { PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT: String(SILENCE_MS) };
  return attempt("playwright install", process.execPath, [cli, "install", "chromium"], env, DOWNLOAD_MS);
}

function installWithApt(): string {
  const isRoot = process.getuid?.() === 0;
  if (!existsSync("/usr/bin/apt-get") || !isRoot) return "apt-get: only on Debian as root";
  console.error("Trying apt-get install chromium");
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  // An update may fail for one of several sources while the others still offer the package, so the install decides.
  attempt("apt-get", "/usr/bin/apt-get", ["update"], env, APT_MS);
  return attempt("apt-get", "/usr/bin/apt-get", ["install", "-y", "chromium"], env, APT_MS);
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
  if (end.signal) return `${name}: gave up after ${limitMs / 1000} s`;
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
