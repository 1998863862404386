// The witness itself: that it sees what the fault specs count on it to see. A replica that lies is put before it.

import { expect } from "@playwright/test";
import type { Page } from "@playwright/test";
import { test as base } from "./faults.ts";
import { Witness } from "./faults-witness.ts";
import type { BoardReplica } from "./tab.ts";

/** A replica that shows whatever the spec wants. */
interface LyingReplica extends BoardReplica {
  show(seq: number, entries: [key: string, seq: number][], epoch?: string): void;
  claimInSync(): void;
}

const test = base.extend<{ liar: { page: Page; witness: Witness } }>({
  /** Not the witness of the fixtures, which must find nothing. */
  liar: async ({ context, primary }, use, { testId }) => {
    const witness = new Witness(primary, `liar-${testId}`);
    const page = await witness.open(context);
    await page.evaluate(lie);
    await use({ page, witness });
    await witness.end().catch(() => {});
  },
});

function lie(): void {
  let status = { ...window.headwater.replica.status, seq: 2, inSync: false };
  let entries: { key: string; value: unknown; seq: number }[] = [];
  let told: () => void = () => {};
  const liar: LyingReplica = {
    get: () => undefined,
    entry: () => undefined,
    list: () => entries,
    insert: () => Promise.resolve({ seq: 3, replicas: 1 }),
    remove: () => Promise.resolve({ seq: 3, replicas: 1 }),
    caughtUp: () => Promise.resolve(),
    subscribe: (_, subscriber) => {
      told = subscriber;
      return () => {};
    },
    subscribeStatus: () => () => {},
    get status() {
      return status;
    },
    show(seq, shown, epoch = status.epoch!) {
      status = { ...status, seq, epoch };
      entries = shown.map(([key, entrySeq]) => ({ key, value: key, seq: entrySeq }));
      told();
    },
    claimInSync() {
      status = { ...status, inSync: true };
      window.witness.follow(liar);
    },
  };
  (window as unknown as { liar: LyingReplica }).liar = liar;
  window.witness.follow(liar);
}

type Shown = Parameters<LyingReplica["show"]>;
const show = (page: Page, ...shown: Shown): Promise<void> =>
  page.evaluate((shown) => (window as unknown as { liar: LyingReplica }).liar.show(...shown), shown);

for (const [title, steps, finding] of [
  [
    "a falling seq",
    [
      [5, []],
      [4, []],
    ],
    /the seq falls from 5/,
  ],
  [
    "an entry that goes back",
    [
      [5, [["a", 5]]],
      [6, [["a", 4]]],
    ],
    /a goes back from 5 to 4/,
  ],
  [
    "an entry that vanishes",
    [
      [5, [["a", 5]]],
      [6, []],
    ],
    /1 entries become 0/,
  ],
  [
    "another history",
    [
      [5, []],
      [6, [], "two"],
    ],
    /the epoch changes/,
  ],
] as const satisfies [string, readonly unknown[], RegExp][]) {
  test(`the witness sees ${title}`, async ({ liar: { page, witness } }) => {
    for (const step of steps) await show(page, ...(step as unknown as Shown));
    await expect.poll(() => witness.violations).toHaveLength(1);
    expect(witness.violations[0]).toMatch(finding);
  });
}

test("the witness sees a write that is acknowledged and not shown, and one that is lost", async ({
  liar: { page, witness },
}) => {
  await witness.write(page);
  await expect.poll(() => witness.violations).toHaveLength(1);
  expect(witness.violations[0]).toMatch(/is acknowledged and not shown/);
  await expect(witness.verify()).rejects.toThrow(/was acked as/);
});

test("the witness sees a replica that only says that it is in sync", async ({ browser, liar: { page, witness } }) => {
  witness.claimLimitMs = 500;
  const honest = await witness.open(await browser.newContext());
  await honest.waitForFunction(() => window.witness.status().inSync);
  // The board of the liar's page is one of the two that the primary lists until it is gone.
  await page.evaluate(() => (window.headwater.replica as unknown as { close(): Promise<void> }).close());
  await page.evaluate(() => (window as unknown as { liar: LyingReplica }).liar.claimInSync());
  await expect.poll(() => witness.violations, { timeout: 10_000 }).toHaveLength(1);
  expect(witness.violations[0]).toMatch(/in sync, but the primary lists 1/);
});
