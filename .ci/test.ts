// Runs every check and every suite, and counts them: the whole of `npm test`. The checks run side by side; the suites measure, or
// count on the machine, and run one after the other.
//
//   npm test                          everything
//   npm test -- --only core,workerd   some steps
//
// A failed step does not keep the others from running. The last line says how many passed and failed.

import { spawn } from "node:child_process";
import { globSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";
import { parseArgs } from "node:util";
import { ENGINES, findBrowser } from "../e2e/browser.ts";

/** How many checks or tests of a step ended which way. */
interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

/** The parts that are read of the reports that the test runners write. */
interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: { status: string; assertionResults: unknown[] }[];
}
interface PlaywrightReport {
  errors: unknown[];
  stats: { expected: number; unexpected: number; flaky: number; skipped: number };
  suites: PlaywrightSuite[];
}
interface PlaywrightSuite {
  specs: { tests: { annotations: { type: string; description?: string }[] }[] }[];
  suites?: PlaywrightSuite[];
}

const root = join(import.meta.dirname, "..");
const reports = join(root, "reports");
const STEP_MS = 20 * 60_000;
const STOP_MS = 10_000;
const CHAOS_SECONDS = 40;

// Children run on this process's Node and find the project's own commands first, however the runner was started.
process.env.PATH = [join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter);
process.env.WRANGLER_SEND_METRICS = "false";
// Its banner asks the registry for a newer version.
process.env.WRANGLER_HIDE_BANNER = "true";

type Steps = Record<string, (log?: string[]) => Promise<Count>>;

/** Each shows what it has said when it has ended. */
const checks: Steps = {
  format: (log) => check(log, "oxfmt", "--check"),
  lint: (log) => check(log, "oxlint"),
  types: checkTypes,
  dead: (log) => check(log, "knip", "--no-config-hints"),
  dependencies: (log) => check(log, "node", ".ci/dependencies.ts", "--check"),
  page: (log) => check(log, "vite", "build"),
  docs: (log) => check(log, "vitepress", "build", "docs"),
};
const suites: Steps = {
  core: () => vitest("core"),
  workerd: () => vitest("workerd"),
  // It takes the page along.
  deploy: () => check(undefined, "wrangler", "deploy", "--dry-run", "--outdir", "dist/worker"),
  perf: () => check(undefined, "npm", "run", "--silent", "perf"),
  load: () => check(undefined, "npm", "run", "--silent", "load", "--", "--quick"),
  e2e: playwright,
  chaos: () => check(undefined, "node", "e2e/chaos.ts", "--seconds", String(CHAOS_SECONDS)),
};

/** What the tests have said of themselves as they were skipped. */
const skipReasons = new Set<string>();

const running = new Set<number>();
let stoppedBy: NodeJS.Signals | undefined;

/** Runs a command, whose output is shown or kept; returns its exit status. Whatever it leaves running is ended with it. */
async function run(log: string[] | undefined, command: string, ...args: string[]): Promise<number> {
  const isWindows = process.platform === "win32";
  const child = spawn(command, args, {
    cwd: root,
    // A group of its own, so that it can be ended as a whole.
    detached: !isWindows,
    shell: isWindows,
    stdio: ["ignore", log ? "pipe" : "inherit", log ? "pipe" : "inherit"],
  });
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text: Buffer) => log?.push(text.toString()));
  if (child.pid !== undefined) running.add(child.pid);
  const closed = new Promise((resolve) => child.once("close", resolve));
  const limit = setTimeout(() => {
    console.log(`${command} has not ended after ${STEP_MS / 60_000} minutes and is stopped`);
    end(child.pid, "SIGKILL");
  }, STEP_MS);
  const status = await new Promise<number>((resolve) => {
    child.once("error", (error) => {
      console.log(`${command} did not start: ${error.message}`);
      resolve(1);
    });
    child.once("exit", (code) => resolve(code ?? 1));
  });
  clearTimeout(limit);
  if (child.pid === undefined) return status;
  end(child.pid, "SIGKILL");
  running.delete(child.pid);
  // What it has said last may still be on its way.
  if (log) await closed;
  return status;
}

function end(group: number | undefined, signal: NodeJS.Signals): void {
  if (group === undefined) return;
  try {
    process.kill(process.platform === "win32" ? group : -group, signal);
  } catch {
    // Nothing of it is left.
  }
}

/** A step that is one check: it passes or fails as a whole. */
async function check(log: string[] | undefined, command: string, ...args: string[]): Promise<Count> {
  const status = await run(log, command, ...args);
  return status === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 };
}

/** The rooms' projects share source files, so the compiler takes them one by one and not as a build of references. */
async function checkTypes(log: string[] = []): Promise<Count> {
  const projects = globSync("{.ci,*,*/*}/tsconfig*.json", { cwd: root, exclude: ["node_modules", "dist"] });
  const failed: string[] = [];
  for (const project of projects.toSorted()) {
    if ((await run(log, "tsc", "--project", project)) !== 0) failed.push(project);
  }
  log.push(`${projects.length} projects${failed.length > 0 ? `, errors in ${failed.join(", ")}` : ""}\n`);
  return failed.length === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 };
}

async function vitest(project: string): Promise<Count> {
  const file = freshReport(project);
  const status = await run(
    undefined,
    "vitest",
    "run",
    `--project=${project}`,
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${file}`,
  );
  const report = readReport(file) as VitestReport | undefined;
  const unloaded =
    report?.testResults.filter((one) => one.status === "failed" && one.assertionResults.length === 0) ?? [];
  return suite(status, {
    passed: report?.numPassedTests ?? 0,
    failed: (report?.numFailedTests ?? 0) + unloaded.length,
    skipped: (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0),
  });
}

async function playwright(): Promise<Count> {
  const file = freshReport("e2e");
  findBrowsers();
  const status = await run(undefined, "playwright", "test", "--config", "e2e/playwright.config.ts");
  const report = readReport(file) as PlaywrightReport | undefined;
  const stats = report?.stats;
  for (const reason of listSkipReasons(report?.suites ?? [])) skipReasons.add(reason);
  return suite(status, {
    passed: (stats?.expected ?? 0) + (stats?.flaky ?? 0),
    failed: (stats?.unexpected ?? 0) + (report?.errors.length ?? 0),
    skipped: stats?.skipped ?? 0,
  });
}

/** Chromium must be had. Tests in another engine that cannot be had are skipped, and are told why. */
function findBrowsers(): void {
  for (const engine of ENGINES) {
    const name = engine.toUpperCase();
    try {
      const path = findBrowser(engine);
      process.env[`HEADWATER_${name}`] = path;
      console.log(`${engine}: ${path}`);
    } catch (error) {
      if (engine === "chromium" || !(error instanceof Error)) throw error;
      process.env[`HEADWATER_WITHOUT_${name}`] = error.message;
      console.log(`${engine}: ${error.message}`);
    }
  }
}

function listSkipReasons(suites: readonly PlaywrightSuite[]): string[] {
  return suites.flatMap(({ specs, suites }) => [
    ...specs
      .flatMap(({ tests }) => tests)
      .flatMap(({ annotations }) => annotations)
      .flatMap(({ type, description }) => (type === "skip" && description ? [description] : [])),
    ...listSkipReasons(suites ?? []),
  ]);
}

/** A suite that ends badly without a failed test (an error outside any test) or has no test at all has failed. */
function suite(status: number, count: Count): Count {
  if (count.passed + count.failed === 0) console.log("no test has run");
  else if (status === 0 || count.failed > 0) return count;
  else console.log(`every test passed, but the suite ended with status ${status}`);
  return { ...count, failed: count.failed + 1 };
}

/** The path for a suite's report, with what an earlier run left there removed. */
function freshReport(name: string): string {
  mkdirSync(reports, { recursive: true });
  const file = join(reports, `${name}.json`);
  rmSync(file, { force: true });
  return file;
}

function readReport(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

function chosenSteps(): Set<string> {
  const { values } = parseArgs({ options: { only: { type: "string" } } });
  const names = Object.keys({ ...checks, ...suites });
  if (values.only === undefined) return new Set(names);
  const chosen = new Set(values.only.split(","));
  const unknown = [...chosen].filter((name) => !names.includes(name));
  if (unknown.length > 0) {
    console.error(`No step is named ${unknown.join(", ")}; there are ${names.join(", ")}.`);
    process.exit(2);
  }
  // The browser is shown the built page.
  if (chosen.has("e2e") || chosen.has("chaos")) chosen.add("page");
  return chosen;
}

function describe({ passed, failed, skipped }: Count): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

const total: Count = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];

/** Does one step and counts it in. With a `log`, what it says is kept until it has ended. */
async function take(name: string, step: Steps[string], log?: string[]): Promise<void> {
  if (stoppedBy !== undefined) return;
  if (!log) console.log(`\n[${name}]`);
  const begin = performance.now();
  const count = await step(log).catch((error: unknown) => {
    console.log(error instanceof Error ? error.message : error);
    return { passed: 0, failed: 1, skipped: 0 };
  });
  if (log) console.log(`\n[${name}]\n${log.join("").trimEnd()}`);
  console.log(`[${name}] ${describe(count)} in ${((performance.now() - begin) / 1000).toFixed(1)} s`);
  total.passed += count.passed;
  total.failed += count.failed;
  total.skipped += count.skipped;
  if (count.failed > 0) failures.push(name);
}

async function main(): Promise<void> {
  const chosen = chosenSteps();
  const chosenOf = (steps: Steps): [string, Steps[string]][] =>
    Object.entries(steps).filter(([name]) => chosen.has(name));
  await Promise.all(chosenOf(checks).map(([name, step]) => take(name, step, [])));
  for (const [name, step] of chosenOf(suites)) await take(name, step);
  if (stoppedBy !== undefined) {
    console.log(`stopped by ${stoppedBy}`);
    total.failed++;
  }
  console.log(failures.length > 0 ? `\nfailed: ${failures.join(", ")}` : "");
  for (const reason of skipReasons) console.log(reason);
  console.log(describe(total));
  process.exitCode = total.failed > 0 ? 1 : 0;
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    stoppedBy = signal;
    // On this signal the test runners still tear down what their tests have started in groups of their own.
    for (const group of running) end(group, "SIGINT");
    setTimeout(() => running.forEach((group) => end(group, "SIGKILL")), STOP_MS).unref();
  });
}

await main();
