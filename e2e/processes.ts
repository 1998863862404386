// Finds the processes of a browser, which no driver tells: by a mark on its command line, through /proc. On systems
// without it there are none to be found.

import { readFileSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

interface Process {
  pid: number;
  parent: number;
  /** Arguments, each followed by a zero; browsers rewrite theirs with spaces. */
  command: string;
}

function listProcesses(): Process[] {
  let names: string[];
  try {
    names = readdirSync("/proc");
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8");
      const parent = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${name}/status`, "utf8"))?.[1];
      return [{ pid: Number(name), parent: Number(parent), command }];
    } catch {
      return []; // It has ended meanwhile.
    }
  });
}

/** The first process of a family whose command line has this argument. */
export function findProcess(argument: string): number | undefined {
  const marked = listProcesses().filter(({ command }) => command.split(/[\0 ]/).includes(argument));
  return marked.find(({ parent }) => !marked.some(({ pid }) => pid === parent))?.pid;
}

/** A process and everything that it has started. */
export function findFamily(root: number): number[] {
  return listFamily(root).map(({ pid }) => pid);
}

/** The renderers below a browser's process. */
export function findRenderers(browser: number): number[] {
  const renderers = listFamily(browser).filter(({ command }) => command.includes("--type=renderer"));
  return renderers.map(({ pid }) => pid);
}

function listFamily(root: number): Process[] {
  const all = listProcesses();
  const family = new Set([root]);
  for (let size = 0; size !== family.size;) {
    size = family.size;
    for (const { pid, parent } of all) if (family.has(parent)) family.add(pid);
  }
  return all.filter(({ pid }) => family.has(pid));
}

/** How long a process has kept a processor busy so far, in the kernel's ticks. */
export function busyTicks(pid: number): number {
  try {
    // The name before it may hold anything but the last bracket.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
    return Number(fields[11]) + Number(fields[12]);
  } catch {
    return 0; // It has ended.
  }
}

/** Resolves when none of these processes holds anything any more. One that has been killed ends when its disk lets it. */
export async function waitForEnd(pids: readonly number[]): Promise<void> {
  while (pids.some(isRunning)) await sleep(5);
}

/** One that has ended may stand in the list until its parent has taken note. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Sends a signal; a process that has ended meanwhile does not get it. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended.
  }
}
