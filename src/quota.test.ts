import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ASKED_BYTES_MAX, ASKED_BYTES_PER_OPERATION, QUOTA_BURST_S, QUOTA_OWNERS_MAX } from "./limits.ts";
import { Quota } from "./quota.ts";

const rates = { identity: 10, store: 100 };

test("L3 some seconds' worth may come at once, and as much as the rate says after that", () => {
  const quota = new Quota(rates);
  const burst = rates.identity * QUOTA_BURST_S;
  expect(quota.take("ann", burst, 0)).toBeUndefined();
  expect(quota.take("ann", 1, 0)).toContain("RATE_PER_IDENTITY");
  expect(quota.take("bob", burst, 0)).toBeUndefined();
  expect(quota.take("ann", 1, 99)).toContain("RATE_PER_IDENTITY");
  expect(quota.take("ann", 1, 100)).toBeUndefined();
  expect(quota.take("ann", burst, 100 + 1000 * QUOTA_BURST_S)).toBeUndefined();
});

test("L3 all together may not ask for more than the store gives, and what is refused costs nothing", () => {
  const quota = new Quota(rates);
  for (let at = 0; at < QUOTA_BURST_S; at++) expect(quota.take(`owner ${at}`, 100, 0)).toBeUndefined();
  expect(quota.take("late", 50, 0)).toContain("RATE_PER_STORE");
  expect(quota.take("late", 100, 1000)).toBeUndefined();
  expect(quota.take(undefined, 1, 1000)).toContain("RATE_PER_STORE");
});

test("L3 in no stretch of time is more granted than its burst and its rate", () => {
  const asking = fc.array(fc.record({ waitMs: fc.nat(3000), operations: fc.integer({ min: 1, max: 60 }) }), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(asking, (asks) => {
      const quota = new Quota(rates);
      const granted: { at: number; operations: number }[] = [];
      let now = 0;
      for (const { waitMs, operations } of asks) {
        now += waitMs;
        const before = granted.filter(({ at }) => now - at <= 1e9);
        if (quota.take("one", operations, now) === undefined) granted.push({ at: now, operations });
        else {
          // Refused only where some stretch that ends now would hold too much.
          const isTooMuch = before.some(({ at: from }, index) => {
            const sum = before.slice(index).reduce((all, one) => all + one.operations, operations);
            return sum > rates.identity * (QUOTA_BURST_S + (now - from) / 1000) - 1e-6;
          });
          expect(isTooMuch || operations > rates.identity * QUOTA_BURST_S).toBe(true);
        }
      }
      granted.forEach(({ at: from }, first) => {
        let sum = 0;
        for (const { at, operations } of granted.slice(first)) {
          sum += operations;
          expect(sum).toBeLessThanOrEqual(rates.identity * (QUOTA_BURST_S + (at - from) / 1000) + 1e-6);
        }
      });
    }),
  );
});

test("L1 what is asked for in bytes is bounded for each turn, and paid for in operations", () => {
  const burst = 4000;
  const quota = new Quota({ identity: burst / QUOTA_BURST_S, store: 1e6 });
  const ann = { session: 1, owner: "ann" };
  expect(quota.ask(ann, ASKED_BYTES_MAX, 0)).toBeUndefined();
  expect(quota.ask(ann, 1, 0)).toContain("ASKED_BYTES_MAX");
  quota.endTurn();
  const left = burst - 1 - ASKED_BYTES_MAX / ASKED_BYTES_PER_OPERATION;
  expect(quota.ask(ann, ASKED_BYTES_PER_OPERATION * left, 0)).toContain("RATE_PER_IDENTITY");
  expect(quota.ask({ session: 2, owner: "ann" }, ASKED_BYTES_PER_OPERATION * (left - 1), 0)).toBeUndefined();
});

test("L1 the owners that are watched are bounded, and those whose buckets are full are given up first", () => {
  const quota = new Quota({ identity: 100 / QUOTA_BURST_S, store: 1e9 });
  quota.take("spent", 100, 0);
  for (let at = 0; at < QUOTA_OWNERS_MAX - 1; at++) quota.take(`owner ${at}`, 1, 0);
  expect(quota.take("spent", 1, 0)).toContain("RATE_PER_IDENTITY");
  for (let at = 0; at < QUOTA_OWNERS_MAX; at++) quota.take(`other ${at}`, 1, 1000);
  expect(quota.take("spent", 100, 1000)).toBeUndefined(); // It was the oldest.
});
