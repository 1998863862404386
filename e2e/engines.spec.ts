// The core of what a user expects, in every engine that browsers are made of. An engine that is not to be had on this
// machine is skipped by name.

import { expect } from "@playwright/test";
import { ENGINES } from "./browser.ts";
import { callIn, startEngine } from "./engines.ts";
import type { Engine, EngineTab } from "./engines.ts";
import { test as base } from "./fixtures.ts";
import type { TabStatus } from "./kit/index.ts";
import type { BarePrimary } from "./bare-primary.ts";

/** Between two attempts of a replica to reach its primary up to ten seconds pass. */
const PATIENT = { timeout: 30_000, intervals: [50] };
const IN_SYNC = { state: "following", inSync: true } as const;

for (const name of ENGINES) {
  const test = base.extend<{ engine: Engine }>({
    engine: async ({}, use, testInfo) => {
      const engine = await startEngine(name).catch((error: Error) => error);
      if (engine instanceof Error) {
        const line = `SKIPPED ENGINE: ${name} (${engine.message})`;
        console.log(line);
        if (engine.cause) console.log(engine.cause);
        return testInfo.skip(true, line);
      }
      try {
        await use(engine);
      } finally {
        await engine.end();
      }
    },
  });

  test(`${name}: two tabs make one replica, which outlives the tab that started it`, async ({ engine, primary }) => {
    const [first, second] = [await openBoard(engine, primary), await openBoard(engine, primary)];
    await waitForStatus(first, { ...IN_SYNC, persisted: 0 });
    expect(await callIn(first, insert, "a", { cups: 1 })).toEqual({ seq: 1, replicas: 1 });
    await waitForEntries(second, { a: { cups: 1 } });
    await waitForStatus(second, { ...IN_SYNC, persisted: 1 });

    const { secondaries } = await primary.status("board");
    expect(secondaries).toMatchObject([{ mode: "durable", state: "in-sync", acked: 1 }]);
    // Each worker holds a lock for as long as it lives, and the one that writes to the database holds another.
    const { locks, databases } = await callIn(second, lookAtStorage);
    expect(locks.filter((lock) => lock.startsWith("headwater:alive:"))).toHaveLength(1);
    expect(databases).toHaveLength(1);
    expect(locks).toContain(databases[0]);

    await first.close();
    expect(await callIn(second, insert, "b", 2)).toEqual({ seq: 2, replicas: 1 });
    expect(await callIn(second, entries)).toEqual({ a: { cups: 1 }, b: 2 });
    expect(await primary.status("board")).toMatchObject({
      head: 2,
      secondaries: [{ id: secondaries[0]!.id, acked: 2 }],
    });
    expect(await primary.readStore("board")).toEqual(
      new Map<string, unknown>(Object.entries({ a: { cups: 1 }, b: 2 })),
    );

    await callIn(second, openInspector);
    const expected = { primary: "reachable", head: "2", own: "in-sync", charts: 4 };
    await expect.poll(() => callIn(second, lookAtInspector), PATIENT).toEqual(expected);
  });

  test(`${name}: a reload without the primary shows everything, and the replica resumes when it is back`, async ({
    engine,
    primary,
  }) => {
    const [tab, other] = [await openBoard(engine, primary), await openBoard(engine, primary)];
    await waitForStatus(tab, IN_SYNC);
    expect(await callIn(tab, insert, "kept", [1, 2, 3])).toEqual({ seq: 1, replicas: 1 });
    await callIn(tab, serviceWorkerReady);

    await primary.kill();
    await tab.reload();
    await waitForReplica(tab);
    expect(await callIn(tab, entries)).toEqual({ kept: [1, 2, 3] });
    await expect.poll(() => callIn(tab, shownKeys), PATIENT).toEqual(["kept"]);
    await waitForStatus(tab, { state: "offline", inSync: false, persisted: 1 });
    expect(await callIn(tab, insert, "lost", 1)).toEqual({ code: "offline", applied: false });

    await primary.restart();
    await waitForStatus(tab, IN_SYNC);
    expect(await callIn(tab, insert, "after", true)).toEqual({ seq: 2, replicas: 1 });
    await waitForEntries(other, { after: true, kept: [1, 2, 3] });
    await waitForStatus(other, { ...IN_SYNC, persisted: 2 });
    expect((await primary.status("board")).secondaries).toMatchObject([
      { mode: "durable", state: "in-sync", acked: 2 },
    ]);
    const stored = new Map<string, unknown>(Object.entries({ after: true, kept: [1, 2, 3] }));
    expect(await primary.readStore("board")).toEqual(stored);
  });
}

async function openBoard(engine: Engine, primary: BarePrimary): Promise<EngineTab> {
  const tab = await engine.newTab();
  await tab.open(primary.url("/?store=board"));
  await waitForReplica(tab);
  return tab;
}

async function waitForReplica(tab: EngineTab): Promise<void> {
  await expect.poll(() => tab.evaluate("window.headwater !== undefined"), PATIENT).toBe(true);
}

async function waitForStatus(tab: EngineTab, expected: Partial<TabStatus>): Promise<void> {
  await expect.poll(() => callIn(tab, () => window.headwater.replica.status), PATIENT).toMatchObject(expected);
}

async function waitForEntries(tab: EngineTab, expected: Record<string, unknown>): Promise<void> {
  await expect.poll(() => callIn(tab, entries), PATIENT).toEqual(expected);
}

// What runs in the page.

function insert(key: string, value: unknown): Promise<object> {
  return window.headwater.replica.insert(key, value).catch((error: unknown) => {
    const { code, applied } = error as { code: string; applied?: boolean };
    return { code, applied };
  });
}

function entries(): Record<string, unknown> {
  return Object.fromEntries(window.headwater.replica.list().map(({ key, value }) => [key, value]));
}

function shownKeys(): (string | undefined)[] {
  const shown = document.querySelectorAll<HTMLElement>('[data-testid="entry"]');
  return [...shown].map(({ dataset }) => dataset.key);
}

function openInspector(): void {
  document.querySelector<HTMLElement>('[data-testid="inspect"]')!.click();
}

function lookAtInspector(): object {
  const root = document.querySelector("headwater-inspector")?.shadowRoot;
  const textOf = (testId: string): string | undefined =>
    root?.querySelector(`[data-testid="${testId}"]`)?.textContent ?? undefined;
  return {
    primary: textOf("primary-state"),
    head: textOf("primary-head"),
    own: root?.querySelector<HTMLElement>('[data-own="true"]')?.dataset["state"],
    charts: root?.querySelectorAll("canvas").length,
  };
}

async function lookAtStorage(): Promise<{ locks: string[]; databases: string[] }> {
  const { held } = await navigator.locks.query();
  const databases = await indexedDB.databases();
  return { locks: held!.map(({ name }) => name!), databases: databases.map(({ name }) => name!) };
}

/** Resolves when the board can be loaded without its primary. */
async function serviceWorkerReady(): Promise<void> {
  const { active } = await navigator.serviceWorker.ready;
  while (active!.state !== "activated") {
    await new Promise((resolve) => active!.addEventListener("statechange", resolve, { once: true }));
  }
}
