// `npm run chaos -- --seconds N --seed S --out FILE`: real browsers with replicas on a real primary, under everything
// that can happen to them, and then the verdict of the history checker on what users and replicas have seen. The seed
// decides what is done; what comes of it is decided by real clocks and processes, so a run is not repeated exactly.

import { randomInt } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { chromium } from "@playwright/test";
import type { Browser, BrowserContext, Page } from "@playwright/test";
import { checkHistory } from "../src/testing/history-checker.ts";
import { formatHistory } from "../src/testing/history.ts";
import { Random } from "../src/testing/random.ts";
import { BarePrimary } from "./bare-primary.ts";
import { CHROMIUM_ARGS, findBrowser } from "./browser.ts";
import { watchReplica } from "./chaos-page.ts";
import type { ChaosWindow, PageLine, PageOperation } from "./chaos-page.ts";
import { ChaosRecorder } from "./chaos-recorder.ts";
import { findProcess, findRenderers, signal } from "./processes.ts";
import { Network } from "./kit/network.ts";

const STORE = "chaos";
const KEYS = ["a", "b", "c", "d/1", "d/2", "é", "😀"];
/** A page hears of its disk late when it was stopped for a while, and a busy machine adds to that. */
const STATUS_LAG_MS = 8000;
const FREEZE_MS = 3000;
const LOAD_MS = 15_000;
/** What is asked of a page must be answered within this, or the page is stuck. */
const PAGE_MS = 10_000;
/** All faults have healed: by then everything is answered and equal. Replicas that were refused wait for up to 30 s. */
const CONVERGENCE_MS = 60_000;

type Look = ReturnType<NonNullable<ChaosWindow["chaos"]>["look"]>;

/** One tab of a profile, with one page after the other in it. */
class Tab {
  readonly name: string;
  readonly profile: Profile;
  readonly #recorder: ChaosRecorder;
  page: Page | undefined;

  constructor(name: string, profile: Profile, recorder: ChaosRecorder) {
    this.name = name;
    this.profile = profile;
    this.#recorder = recorder;
  }

  get isOpen(): boolean {
    return this.page !== undefined && !this.page.isClosed();
  }

  /** Loads a page, in place of one that has gone; false if that did not succeed this time. */
  async open(): Promise<boolean> {
    await this.close();
    try {
      const page = await this.profile.context!.newPage();
      this.page = page;
      this.profile.tabs.set(page, this);
      page.on("crash", () => this.#drop(page));
      page.on("close", () => this.#drop(page));
      page.on("pageerror", (error) => this.profile.errors.add(error.message));
      await page.goto(`http://localhost:${this.profile.proxy.port}/?store=${STORE}`, { timeout: LOAD_MS });
      await page.waitForFunction(() => (window as unknown as ChaosWindow).chaos !== undefined, null, {
        timeout: LOAD_MS,
      });
      return true;
    } catch {
      await this.close();
      return false;
    }
  }

  #drop(page: Page): void {
    if (this.page === page) this.page = undefined;
  }

  async close(): Promise<void> {
    const { page } = this;
    this.page = undefined;
    await inTime(page?.close());
  }

  async reload(): Promise<void> {
    await inTime(this.page?.reload({ timeout: LOAD_MS }));
  }

  /** The renderer dies, and with it every worker that it hosts. */
  async crash(): Promise<void> {
    const { page } = this;
    if (!page) return;
    const session = await inTime(this.profile.context!.newCDPSession(page));
    // The one command that is never answered.
    void session?.send("Page.crash").catch(() => {});
    await sleep(200);
    await this.close();
  }

  /** Gives operations to the page. What becomes of them is told by the page, or unknown. */
  async operate(operations: PageOperation[]): Promise<void> {
    for (const operation of operations) this.#recorder.invoke(this.name, operation);
    const before = performance.now();
    const told = await inTime(
      this.page?.evaluate((all) => {
        const { chaos } = window as unknown as ChaosWindow;
        return chaos && ([chaos.document, chaos.operate(all)] as const);
      }, operations),
    );
    if (told) this.#recorder.bound(told[0], before, told[1]);
  }

  async look(): Promise<Look | undefined> {
    return inTime(this.page?.evaluate(() => (window as unknown as ChaosWindow).chaos?.look()));
  }

  async wipe(): Promise<void> {
    const wiped = this.#recorder.wiping(this.profile.name);
    const isDone = await inTime(
      this.page?.evaluate(async () => {
        for (const { name } of await indexedDB.databases()) {
          await new Promise((resolve, reject) => {
            const request = indexedDB.deleteDatabase(name!);
            request.onsuccess = resolve;
            request.onerror = reject;
          });
        }
        return true;
      }),
    );
    if (isDone !== true) return;
    // What was on its way from the worker to the page when it happened arrives first.
    await sleep(1000);
    wiped();
  }
}

/** What a browser keeps apart: storage, workers, connections. All of its replicas share one disk. */
class Profile {
  readonly name: string;
  readonly proxy: Network;
  readonly tabs = new Map<Page, Tab>();
  readonly errors = new Set<string>();
  /** Its person has closed everything and will be back. */
  isAway = false;
  context: BrowserContext | undefined;
  readonly #recorder: ChaosRecorder;

  constructor(name: string, proxy: Network, recorder: ChaosRecorder) {
    this.name = name;
    this.proxy = proxy;
    this.#recorder = recorder;
  }

  async use(context: BrowserContext): Promise<void> {
    await context.exposeBinding("chaosTell", ({ page }, document: string, lines: PageLine[]) => {
      const tab = this.tabs.get(page);
      if (tab) this.#recorder.take(tab.name, this.name, document, lines);
    });
    await context.addInitScript(watchReplica);
    this.context = context;
  }
}

class Chaos {
  readonly #chance: Random;
  readonly #executablePath = findBrowser();
  readonly #token = `${process.pid}-${randomInt(1_000_000)}`;
  readonly #recorder = new ChaosRecorder();
  readonly #profiles: Profile[] = [];
  readonly #tabs: Tab[] = [];
  readonly #faults = new Map<string, number>();
  readonly #healing = new Set<Promise<unknown>>();
  readonly #frozen = new Set<number>();
  #primary!: BarePrimary;
  #browser!: Browser;
  #userData = "";
  #isRunning = true;
  #isPrimaryFailing = false;
  #isBrowserFailing = false;
  #nextId = 1;
  readonly #findings: string[] = [];

  constructor(seed: number) {
    this.#chance = new Random(seed);
  }

  async start(): Promise<void> {
    this.#primary = await BarePrimary.start();
    this.#browser = await chromium.launch({ executablePath: this.#executablePath, args: this.#args("shared") });
    this.#userData = await mkdtemp(join(tmpdir(), "headwater-chaos-"));
    for (const name of ["c1", "c2", "c3", "persistent"]) {
      const profile = new Profile(name, await Network.start(this.#primary.port), this.#recorder);
      this.#profiles.push(profile);
      if (name !== "persistent") await profile.use(await this.#browser.newContext());
      for (const tab of name === "persistent" ? ["t1"] : ["t1", "t2"]) {
        this.#tabs.push(new Tab(`${name}.${tab}`, profile, this.#recorder));
      }
    }
    await this.#launchPersistent();
    for (const tab of this.#tabs) await tab.open();
  }

  async run(seconds: number): Promise<void> {
    const end = performance.now() + seconds * 1000;
    const users = this.#tabs.map((tab) => this.#use(tab));
    while (performance.now() < end) {
      await sleep(this.#chance.between(200, 1600));
      this.#fault();
    }
    this.#isRunning = false;
    await Promise.all(users);
  }

  /** Ends all faults and waits until everything has come right; says what has not. */
  async heal(): Promise<void> {
    await Promise.all(this.#healing);
    for (const profile of this.#profiles) profile.proxy.heal();
    const begin = performance.now();
    while (!(await this.#hasConverged(true))) {
      if (performance.now() - begin > CONVERGENCE_MS) {
        this.#findings.push(`V3: not everything has come right ${CONVERGENCE_MS / 1000} s after the last fault`);
        return;
      }
      await sleep(250);
    }
    console.log(`healed in ${((performance.now() - begin) / 1000).toFixed(1)} s`);
    // With everything in order a write is on every disk, whoever writes it.
    await Promise.all(this.#tabs.map((tab) => tab.operate([this.#draw("insert", "all")])));
    for (const last = performance.now() + 10_000; performance.now() < last && !(await this.#hasConverged(false));) {
      await sleep(100);
    }
    if (!(await this.#hasConverged(true))) this.#findings.push("V3: the last writes have not come everywhere");
  }

  /** The verdict; true if nothing is wrong. */
  async judge(seed: number, seconds: number, out: string | undefined): Promise<boolean> {
    const { epoch } = await this.#primary.status(STORE);
    const { entries, seq: head } = await this.#primary.list(STORE);
    const replicas = this.#tabs.map(({ name }) => name);
    const lines = this.#recorder.finish(STATUS_LAG_MS, {
      epoch,
      head,
      entries: entries.map(({ key, value, seq }) => [key, value, seq]),
      replicas,
    });
    const violations = checkHistory(lines);
    const isClean = violations.length === 0 && this.#findings.length === 0;
    const path = out ?? (isClean ? undefined : join("reports", `chaos-${seed}.jsonl`));
    if (path !== undefined) {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, formatHistory(lines));
    }
    console.log(`${seconds} s of chaos with seed ${seed}; head is ${head}`);
    console.log(`faults: ${show(this.#faults)}`);
    console.log(`outcomes: ${show(this.#recorder.outcomes)}`);
    console.log(`${this.#nextId - 1} operations, ${this.#recorder.observations} observations, ${lines.length} lines`);
    for (const error of new Set(this.#profiles.flatMap(({ errors }) => [...errors]))) console.log(`page: ${error}`);
    for (const finding of this.#findings) console.log(finding);
    for (const rule of new Set(violations.map((one) => one.rule))) {
      const broken = violations.filter((one) => one.rule === rule);
      console.log(`${rule} is broken ${broken.length} times`);
      for (const { what } of broken.slice(0, 5)) console.log(`  ${what}`);
    }
    if (path !== undefined) console.log(`the history is in ${path}`);
    console.log(isClean ? "no rule broken" : "RULES WERE BROKEN");
    return isClean;
  }

  async stop(): Promise<void> {
    for (const pid of this.#frozen) signal(pid, "SIGCONT");
    await inTime(this.#profiles.at(-1)?.context?.close());
    await inTime(this.#browser?.close());
    for (const { proxy } of this.#profiles) await proxy.stop();
    await this.#primary?.stop();
    if (this.#userData) await rm(this.#userData, { recursive: true, force: true, maxRetries: 5 });
  }

  async #launchPersistent(): Promise<void> {
    const options = { executablePath: this.#executablePath, args: this.#args("persistent") };
    await this.#profiles.at(-1)!.use(await chromium.launchPersistentContext(this.#userData, options));
  }

  /** A mark of our own by which the browser's process is found; browsers do not mind switches that they do not know. */
  #args(name: string): string[] {
    return [...CHROMIUM_ARGS, this.#mark(name)];
  }

  #mark(name: string): string {
    return `--headwater-chaos=${name}-${this.#token}`;
  }

  // --- users

  /** Uses a tab, and opens it again whenever it has gone. */
  async #use(tab: Tab): Promise<void> {
    while (this.#isRunning) {
      if (tab.profile.isAway) await sleep(100);
      else if (!tab.isOpen) await tab.open();
      else {
        const count = this.#chance.chance(0.1) ? 8 : 1;
        await tab.operate(Array.from({ length: count }, () => this.#draw()));
      }
      await sleep(this.#chance.between(10, 250));
    }
  }

  #draw(
    kind = this.#chance.pick(["insert", "insert", "insert", "remove", "batch", "get", "get"] as const),
    ack = this.#chance.pick(["all", "all", "primary", 1, 2] as const),
  ): PageOperation {
    const id = this.#nextId++;
    const key = this.#chance.pick(KEYS);
    const value = (one: string): string => `${id}:${one}`;
    const writes =
      kind === "batch"
        ? KEYS.filter((one) => one === key || this.#chance.chance(0.3)).map((one) => ({
            key: one,
            value: one === key || this.#chance.chance(0.8) ? value(one) : null,
          }))
        : [{ key, value: kind === "remove" ? null : value(key) }];
    const checked = kind === "batch" && this.#chance.chance(0.6) ? [key, this.#chance.pick(KEYS)] : [];
    const isFinal = ack === "all" && kind === "insert" && !this.#isRunning;
    const optimistic = !isFinal && kind !== "get" && this.#chance.chance(0.1);
    const queue = !isFinal && kind !== "get" && this.#chance.chance(0.2);
    return { id, kind, key, writes, checked: [...new Set(checked)], ack, optimistic, queue };
  }

  // --- faults

  #fault(): void {
    const chance = this.#chance;
    const tab = chance.pick(this.#tabs);
    const { proxy } = tab.profile;
    const forMs = chance.between(200, chance.pick([500, 2000, 6000]));
    const faults: [string, number, () => Promise<unknown> | undefined][] = [
      ["kill -9 of the primary", 2, () => this.#killPrimary()],
      ["kill -9 of a browser", 1, () => this.#killBrowser()],
      ["page closed", 2, () => tab.close()],
      ["page reloaded", 3, () => tab.reload()],
      ["page crashed", 2, () => tab.crash()],
      ["renderer stopped", 3, () => this.#freeze(Math.min(forMs, FREEZE_MS))],
      ["IndexedDB deleted", 1, () => tab.wipe()],
      ["connections dropped", 2, () => this.#meanwhile(0, () => proxy.drop())],
      [
        "half-open to the browser",
        1,
        () =>
          this.#meanwhile(
            forMs,
            () => proxy.halfOpen("primary"),
            () => proxy.heal(),
          ),
      ],
      [
        "half-open to the primary",
        1,
        () =>
          this.#meanwhile(
            forMs,
            () => proxy.halfOpen("browser"),
            () => proxy.heal(),
          ),
      ],
      ["black hole", 2, () => this.#hold(proxy, [proxy.up, proxy.down], forMs)],
      ["nothing up", 1, () => this.#hold(proxy, [proxy.up], forMs)],
      ["nothing down", 1, () => this.#hold(proxy, [proxy.down], forMs)],
      ["slow network", 2, () => this.#slow(proxy, forMs)],
      ["restart without network", 2, () => this.#restartOffline(tab.profile)],
      [
        "network away",
        2,
        () =>
          this.#meanwhile(
            forMs,
            () => this.#cutOff(proxy),
            () => proxy.heal(),
          ),
      ],
    ];
    const [name, , run] = chance.pick(faults.flatMap((fault) => Array.from({ length: fault[1] }, () => fault)));
    const healed = run();
    if (!healed) return;
    this.#faults.set(name, (this.#faults.get(name) ?? 0) + 1);
    const healing = healed.catch((error: unknown) => this.#findings.push(`${name}: ${String(error)}`));
    this.#healing.add(healing);
    void healing.then(() => this.#healing.delete(healing));
  }

  async #meanwhile(forMs: number, begin: () => void, end: () => void = () => {}): Promise<void> {
    begin();
    await sleep(forMs);
    end();
  }

  #hold(proxy: Network, flows: { isHeld: boolean }[], forMs: number): Promise<void> {
    const begin = (): void => flows.forEach((flow) => (flow.isHeld = true));
    return this.#meanwhile(forMs, begin, () => proxy.heal());
  }

  #slow(proxy: Network, forMs: number): Promise<void> {
    const begin = (): void => {
      for (const flow of [proxy.up, proxy.down]) flow.delayMs = this.#chance.between(20, 400);
    };
    return this.#meanwhile(forMs, begin, () => proxy.heal());
  }

  #cutOff(proxy: Network): void {
    proxy.isRefusing = true;
    proxy.drop();
  }

  #killPrimary(): Promise<void> | undefined {
    if (this.#isPrimaryFailing) return undefined;
    this.#isPrimaryFailing = true;
    const forMs = this.#chance.pick([0, 0, 300, 1500]);
    return (async () => {
      await this.#primary.kill();
      await sleep(forMs);
      await this.#primary.restart();
      this.#isPrimaryFailing = false;
    })();
  }

  /** The whole browser with the lasting profile is killed and started again on what it left. */
  #killBrowser(): Promise<void> | undefined {
    const pid = findProcess(this.#mark("persistent"));
    if (pid === undefined || this.#isBrowserFailing) return undefined;
    this.#isBrowserFailing = true;
    return (async () => {
      signal(pid, "SIGKILL");
      await sleep(500);
      await this.#launchPersistent();
      this.#isBrowserFailing = false;
    })();
  }

  /** All tabs are closed, until their worker has ended as well, and opened again where only the disk can tell anything. */
  #restartOffline(profile: Profile): Promise<void> | undefined {
    if (profile.isAway) return undefined;
    profile.isAway = true;
    this.#cutOff(profile.proxy);
    return (async () => {
      await Promise.all(this.#tabs.filter((tab) => tab.profile === profile).map((tab) => tab.close()));
      await sleep(3000);
      profile.isAway = false;
      await sleep(3000);
      profile.proxy.heal();
    })();
  }

  /** A renderer is stopped with everything in it, in whatever it is doing; it holds its locks and its connections. */
  #freeze(forMs: number): Promise<void> | undefined {
    const browser = findProcess(this.#mark(this.#chance.chance(0.8) ? "shared" : "persistent"));
    const renderers = browser === undefined ? [] : findRenderers(browser).filter((pid) => !this.#frozen.has(pid));
    if (renderers.length === 0) return undefined;
    const pid = this.#chance.pick(renderers);
    const begin = (): void => {
      this.#frozen.add(pid);
      signal(pid, "SIGSTOP");
    };
    return this.#meanwhile(forMs, begin, () => {
      signal(pid, "SIGCONT");
      this.#frozen.delete(pid);
    });
  }

  // --- the end

  /** Whether all tabs are open, in sync, have no operation open and show the primary's state. */
  async #hasConverged(isReopening: boolean): Promise<boolean> {
    const { epoch, head } = await this.#primary.status(STORE);
    const looks = await Promise.all(
      this.#tabs.map(async (tab) => {
        if (!tab.isOpen && isReopening) await tab.open();
        return tab.look();
      }),
    );
    return looks.every(
      (look) =>
        look?.state === "following" && look.inSync && look.pending === 0 && look.epoch === epoch && look.seq === head,
    );
  }
}

/** Waits only so long for what is asked of a browser; undefined if it fails or takes longer. */
async function inTime<Value>(asked: Promise<Value> | undefined): Promise<Value | undefined> {
  const limit = new AbortController();
  const late = sleep(PAGE_MS, undefined, { signal: limit.signal }).catch(() => undefined);
  const answer = await Promise.race([asked?.catch(() => undefined), late]);
  limit.abort();
  return answer;
}

const show = (counts: ReadonlyMap<string, number>): string =>
  [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${count} ${name}`)
    .join(", ") || "none";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { seconds: { type: "string", default: "60" }, seed: { type: "string" }, out: { type: "string" } },
  });
  const seed = Number(values.seed ?? randomInt(1_000_000));
  const seconds = Number(values.seconds);
  const chaos = new Chaos(seed);
  try {
    await chaos.start();
    await chaos.run(seconds);
    await chaos.heal();
    return (await chaos.judge(seed, seconds, values.out)) ? 0 : 1;
  } finally {
    await chaos.stop();
  }
}

process.exitCode = await main();
