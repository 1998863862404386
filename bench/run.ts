// When, where and with what a run was made.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";
import { locateBrowser } from "../e2e/browser.ts";
import { ROOT } from "./server.ts";
import type { System } from "./system.ts";

export interface Run {
  date: string;
  mode: "full" | "quick";
  machine: string;
  /** Of the last minute, when the run had ended. */
  load: number;
  commit: string;
  versions: Record<string, string>;
}

export function describeRun(systems: readonly System[], isQuick: boolean): Run {
  const versions: Record<string, string> = {
    node: process.versions.node,
    workerd: versionOf(join(ROOT, "node_modules"), "workerd"),
    chromium: say(locateBrowser() ?? "false", "--version").replace(/^\D*([\d.]+).*$/s, "$1"),
  };
  for (const name of new Set(systems.flatMap(({ packages }) => packages))) {
    versions[name] = versionOf(join(import.meta.dirname, "node_modules"), name);
  }
  const [cpu] = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    mode: isQuick ? "quick" : "full",
    machine: `${cpus().length} x ${cpu?.model.trim() ?? "unknown"}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`,
    load: loadavg()[0]!,
    commit: say("git", "-C", ROOT, "rev-parse", "--short", "HEAD"),
    versions,
  };
}

function versionOf(modules: string, name: string): string {
  const text = readFileSync(join(modules, name, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

function say(command: string, ...args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "unknown";
  }
}
