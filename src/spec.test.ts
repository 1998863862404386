import { globSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const root = new URL("../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");
const files = globSync("{src,worker,web,e2e}/**/*.ts", { cwd: root });
const rules = [...read("src/SPEC.md").matchAll(/^- \*\*([A-Z]\d+)\*\* /gm)].map(([, rule]) => rule!);
const cited = /\b([A-Z]\d)\b/g;

test("every rule of SPEC.md is named by the title of a test", () => {
  const tests = files.filter((path) => /(\.(test|spec)|-contract)\.ts$/.test(path) && !path.endsWith("spec.test.ts"));
  const titles = tests.flatMap((path) => read(path).match(/(?<=["'`])(?:[A-Z]\d[ ,:]+)+/g) ?? []);
  const named = new Set(titles.flatMap((title) => [...title.matchAll(cited)].map(([rule]) => rule)));
  expect(rules.length).toBeGreaterThan(30);
  expect(rules.filter((rule) => !named.has(rule))).toEqual([]);
});

test("every rule that the core cites is there", () => {
  const comments = files
    .filter((path) => path.startsWith("src/") && !path.includes(".test."))
    .flatMap((path) => read(path).match(/(?:\/\/|\/?\*\*?) (?:[A-Z]\d[,:;) ]).*|\(([A-Z]\d)\)/g) ?? []);
  const unknown = comments
    .flatMap((comment) => [...comment.matchAll(cited)].map(([rule]) => rule))
    .filter((rule) => !rules.includes(rule));
  expect(unknown).toEqual([]);
});
