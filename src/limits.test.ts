import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import * as limits from "./limits.ts";

test("docs/limits.md names every limit with its value", () => {
  const page = readFileSync(new URL("../docs/limits.md", import.meta.url), "utf8");
  const rows = [...page.matchAll(/^\| ([\d,]+) \|.*\| `(\w+)` \|$/gm)];
  const shown = Object.fromEntries(rows.map(([, value, name]) => [name, Number(value!.replaceAll(",", ""))]));
  expect(shown).toEqual({ ...limits });
});
