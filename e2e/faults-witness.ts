// The common witness of the fault specs: it opens the pages, keeps what they were told about their writes and what they
// showed, and holds it against the primary in the end. It sees the product from outside.
//
// - Nothing acknowledged is lost: the primary and every replica hold each acknowledged write, or a later one of its key.
// - What failed with `applied: false` is nowhere, and no page has ever shown it.
// - No page goes back, in its seq or in that of a key.
// - Whoever says `inSync` is listed as such by the primary, but for the time that it may take to notice a fault.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "@playwright/test";
import type { BrowserContext, Page } from "@playwright/test";
import type { BarePrimary } from "./bare-primary.ts";
import { watchPage } from "./faults-page.ts";
import type { Outcome, WitnessLine } from "./faults-page.ts";
import { waitForReplica } from "./kit/index.ts";
import type { TabStatus } from "./kit/index.ts";
import { POLLING } from "./tab.ts";

/** Which worker a page's replica lives in: the board's own, one of another build, one per page, or one with a clock to turn. */
export type WorkerKind = "board" | "other build" | "dedicated" | "own clock";

interface PageRecord {
  /** The profile and, where it has several, which worker. */
  replica: string;
  kind: WorkerKind;
  /** As it has last told. */
  status: TabStatus | undefined;
  /** Stopped or put away: it shows nothing to anyone. */
  isSuspended: boolean;
}

/** What a replica says of itself may be out of date for so long, unless a spec knows better. */
const CLAIM_LIMIT_MS = 4000;
const SAMPLE_MS = 200;
/** What a healthy page is asked is answered within this. */
const PAGE_MS = 15_000;

/** The worker's script in the page that was built. */
function findWorker(): string {
  const names = readdirSync(join(import.meta.dirname, "..", "dist", "page", "assets"));
  return `/assets/${names.find((name) => /^worker-.*\.js$/.test(name))!}`;
}

export class Witness {
  readonly store: string;
  readonly violations: string[] = [];
  /** A replica that cannot hear may be wrong about itself until its watchdog barks. */
  claimLimitMs = CLAIM_LIMIT_MS;
  readonly #primary: BarePrimary;
  readonly #pages = new Map<Page, PageRecord>();
  readonly #contexts = new Map<BrowserContext, string>();
  readonly #outcomes: { key: string; value: string; outcome: Outcome }[] = [];
  readonly #ended = new AbortController();
  readonly #sampling: Promise<void>;
  #written = 0;

  constructor(primary: BarePrimary, store: string) {
    this.#primary = primary;
    this.store = store;
    this.#sampling = this.#sample();
  }

  /** Opens a page whose replica can be read, on the primary's own port or on that of a proxy. */
  async open(
    context: BrowserContext,
    { port = this.#primary.port, worker = "board" }: { port?: number; worker?: WorkerKind } = {},
  ): Promise<Page> {
    const page = await context.newPage();
    if (!this.#contexts.has(context)) this.#contexts.set(context, `browser ${this.#contexts.size + 1}`);
    const profile = this.#contexts.get(context)!;
    const replica = worker === "dedicated" ? `${profile}, page ${this.#pages.size + 1}` : `${profile}, ${worker}`;
    const record: PageRecord = { replica, kind: worker, status: undefined, isSuspended: false };
    this.#pages.set(page, record);
    for (const event of ["crash", "close"] as const) page.on(event as "close", () => this.#pages.delete(page));
    page.on("pageerror", (error) => this.violations.push(`${replica}: ${error.message}`));
    await page.exposeBinding("tellWitness", (_, line: WitnessLine) => this.#take(record, line));
    await page.addInitScript(watchPage);
    await page.goto(`http://localhost:${port}/?store=${worker === "board" ? this.store : "nothing"}`);
    await this.follow(page);
    return page;
  }

  /** Watches the page's document, which is new. */
  async follow(page: Page): Promise<void> {
    await waitForReplica(page);
    const { kind } = this.#pages.get(page)!;
    if (kind === "board") return page.evaluate(() => window.witness.follow(window.headwater.replica));
    // The board's own replica is one of another store there, and does nothing.
    await page.evaluate(openOwnReplica, { url: `/v1/stores/${this.store}`, kind, script: findWorker() });
  }

  /** The page is stopped or put away from now on. */
  suspend(page: Page): void {
    this.#pages.get(page)!.isSuspended = true;
  }

  resume(page: Page): void {
    this.#pages.get(page)!.isSuspended = false;
  }

  /** One write, with so many letters in its value. */
  async write(page: Page, key = `single/${this.#written}`, letters = 0): Promise<Outcome> {
    const value = `value ${this.#written++}`.padEnd(letters, ".");
    return page.evaluate(([key, value]) => window.witness.write(key, value), [key, value] as const);
  }

  /** Begins to write without end; resolves when it goes well. */
  async keepWriting(page: Page, name: string): Promise<void> {
    await page.evaluate((name) => window.witness.keepWriting(name), name);
    await this.progress(page, 4);
  }

  /** Resolves when the page's writes have been acknowledged so many times from now on. */
  async progress(page: Page, times = 20, limitMs = PAGE_MS): Promise<void> {
    const from = await page.evaluate(() => window.witness.acked());
    const options = { ...POLLING, timeout: limitMs };
    await page.waitForFunction((enough) => window.witness.acked() >= enough, from + times, options);
  }

  /** Resolves when everything that was begun has ended: no operation may hang. */
  async stopWriting(page: Page): Promise<void> {
    const stopped = page.evaluate(() => window.witness.stopWriting());
    await within(stopped, PAGE_MS, "some writes have not ended");
  }

  /** What became of the writes so far. */
  outcomes(name: string): Outcome[] {
    return this.#outcomes.filter(({ key }) => key.startsWith(`${name}/`)).map(({ outcome }) => outcome);
  }

  async statusOf(page: Page): Promise<TabStatus> {
    return page.evaluate(() => window.witness.status());
  }

  async inSyncAtPrimary(): Promise<string[]> {
    const { secondaries } = await this.#primary.status(this.store);
    return secondaries.filter(({ state }) => state === "in-sync").map(({ id }) => id);
  }

  /**
   * Everything is as if nothing had happened, within the limit: all pages follow and show the head, nothing is pending,
   * each browser has one replica in the in-sync set, and that one knows it.
   */
  async recovered(limitMs: number): Promise<void> {
    await expect(async () => {
      const { head } = await this.#primary.status(this.store);
      const statuses = await Promise.all(this.#awake().map(([page]) => within(this.statusOf(page), PAGE_MS, "a page")));
      for (const status of statuses) expect(status).toMatchObject({ state: "following", seq: head, head, pending: 0 });
      const profiles = new Set(this.#awake().map(([page]) => page.context())).size;
      expect((await this.inSyncAtPrimary()).length, "in-sync replicas").toBe(profiles);
      expect(this.#claims(), "replicas that say so").toHaveLength(profiles);
    }).toPass({ timeout: limitMs, intervals: [50, 100, 200] });
  }

  /** After recovery and with all writers stopped: nothing is lost, and nothing is anywhere that must not be. */
  async verify(): Promise<void> {
    // With everything in order a write is on every disk when it is acknowledged, whoever writes it.
    const durable = (await this.inSyncAtPrimary()).length;
    for (const [page, { replica }] of this.#awake()) {
      const outcome = await this.write(page);
      expect(outcome, `a write through ${replica}`).toMatchObject({ result: "acked", replicas: durable });
    }
    const { entries, seq } = await this.#primary.list(this.store);
    const stored = new Map(entries.map((entry) => [entry.key, entry]));
    const failed = new Set<string>();
    for (const { key, value, outcome } of this.#outcomes) {
      const entry = stored.get(key);
      const isDurable = outcome.result === "acked" || (outcome.result === "failed" && outcome.applied === true);
      if (isDurable) {
        expect(entry?.seq ?? 0, `${key} was ${outcome.result} as ${value}`).toBeGreaterThanOrEqual(outcome.seq!);
        if (entry?.seq === outcome.seq) expect(entry?.value).toBe(value);
      } else if (outcome.result === "failed" && outcome.applied === false) failed.add(value);
    }
    expect(entries.filter(({ value }) => failed.has(value))).toEqual([]);
    for (const [page, { replica }] of this.#awake()) {
      await page.waitForFunction((seq) => window.witness.status().seq >= seq, seq, POLLING);
      expect(await page.evaluate(() => window.witness.entries()), replica).toEqual(entries);
      const shown = await page.evaluate(() => window.witness.shown());
      expect(shown.filter((value) => failed.has(value))).toEqual([]);
    }
  }

  /** Ends the watch; nothing may have been wrong. */
  async end(): Promise<void> {
    this.#ended.abort();
    await this.#sampling;
    expect(this.violations).toEqual([]);
  }

  #awake(): [Page, PageRecord][] {
    return [...this.#pages].filter(([, { isSuspended }]) => !isSuspended);
  }

  /** The replicas that say that they are in sync. */
  #claims(): string[] {
    const claiming = this.#awake().filter(([, { status }]) => status?.inSync);
    return [...new Set(claiming.map(([, { replica }]) => replica))];
  }

  #take(record: PageRecord, line: WitnessLine): void {
    if (line.type === "outcome") this.#outcomes.push(line);
    else if (line.type === "violation") this.violations.push(`${record.replica}: ${line.what}`);
    else {
      record.status = line.status;
      const { state, inSync, persisted } = line.status;
      const isPossible = !inSync || (state === "following" && persisted !== null);
      if (!isPossible) this.violations.push(`${record.replica} is in sync: ${JSON.stringify(line.status)}`);
    }
  }

  /** Compares what replicas say of themselves with what the primary says, again and again. */
  async #sample(): Promise<void> {
    const { signal } = this.#ended;
    let wrongSince: number | undefined;
    while (!signal.aborted) {
      await sleep(SAMPLE_MS, undefined, { signal }).catch(() => {});
      // Where the primary cannot say anything there is nothing to compare.
      const listed = await this.inSyncAtPrimary().catch(() => undefined);
      const claims = this.#claims();
      if (!listed || claims.length <= listed.length) wrongSince = undefined;
      else if (performance.now() - (wrongSince ??= performance.now()) > this.claimLimitMs) {
        this.violations.push(`${claims.join(" and ")}: in sync, but the primary lists ${listed.length}`);
        return;
      }
    }
  }
}

/** Rejects if it takes longer. */
async function within<Value>(asked: Promise<Value>, limitMs: number, what: string): Promise<Value> {
  const limit = new AbortController();
  const late = sleep(limitMs, undefined, { signal: limit.signal }).then(() => {
    throw new Error(`${what}: nothing within ${limitMs} ms`);
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    limit.abort();
    late.catch(() => {});
  }
}

/** Runs in the page. */
async function openOwnReplica({ url, kind, script }: { url: string; kind: string; script: string }): Promise<void> {
  const worker = (name: string): SharedWorker | Worker => {
    if (kind === "other build") return new SharedWorker(`${script}?build=2`, { type: "module", name });
    if (kind === "dedicated") return new Worker(script, { type: "module", name });
    const clock = `
      import ${JSON.stringify(new URL(script, location.href).href)};
      const real = { date: Date.now, elapsed: performance.now.bind(performance) };
      const shift = { dateMs: 0, elapsedMs: 0 };
      Date.now = () => real.date() + shift.dateMs;
      performance.now = () => real.elapsed() + shift.elapsedMs;
      const channel = new BroadcastChannel("clock");
      channel.onmessage = ({ data }) => {
        if (data === "set") return;
        Object.assign(shift, data);
        channel.postMessage("set");
      };`;
    return new Worker(URL.createObjectURL(new Blob([clock], { type: "text/javascript" })), { type: "module", name });
  };
  window.witness.follow(await window.headwater.openReplica({ url, worker }));
}
