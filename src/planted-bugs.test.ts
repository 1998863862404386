import { describe, expect, test } from "vitest";
import { plant } from "./testing/planting.ts";
import { PLANTED_BUGS } from "./testing/planted-bugs.ts";

describe("the simulation finds each planted bug", () => {
  test.each(PLANTED_BUGS.map((bug) => [bug.name, bug] as const))("%s", { timeout: 120_000 }, async (_, bug) => {
    const { seed, said } = await plant(bug, bug.seed, 1);
    expect(seed, `${said}\nif the simulation was changed: npm run plant`).toBe(bug.seed);
  });
});
