// `npm run licences`: what the project depends on, and under which licences, written to docs/dependencies.md. With
// `--check`, which the test command gives, it says what is wrong and writes nothing: a version that is not pinned, a package without
// a checksum or with the name of a host, a licence that was not agreed to, a package for which no reason is given, a list that is old.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

interface Locked {
  version?: string;
  license?: string;
  resolved?: string;
  integrity?: string;
  dev?: boolean;
  devOptional?: boolean;
}

const root = join(import.meta.dirname, "..");
const LIST = join(root, "docs", "dependencies.md");
/** What users get may be used, changed and passed on by anyone who names its authors. */
const SHIPPED_LICENCES = ["MIT", "ISC", "0BSD", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"];
/** What only builds and tests may besides be under these: nothing of it reaches users. */
const TOOL_LICENCES = [...SHIPPED_LICENCES, "BlueOak-1.0.0", "CC0-1.0", "MPL-2.0", "LGPL-3.0-or-later"];

const read = (file: string): string => readFileSync(join(root, file), "utf8");
const { dependencies, devDependencies } = JSON.parse(read("package.json")) as Record<string, Record<string, string>>;
const direct = { ...dependencies, ...devDependencies };
const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, Locked> };
const locked = Object.entries(packages).filter(([path]) => path !== "");
const isShipped = ({ dev, devOptional }: Locked): boolean => !dev && !devOptional;
const nameOf = (path: string): string => path.replace(/^.*node_modules\//, "");

/** The packages for which ARCHITECTURE.md gives a reason, in the first cells of its table. */
function findReasons(): Set<string> {
  const [, table = ""] = read("ARCHITECTURE.md").split("## Packages");
  return new Set([...table.matchAll(/^\| ([^|]*) \|/gm)].flatMap(([, names]) => names!.split(", ")));
}

function findFaults(): string[] {
  const reasons = findReasons();
  const faults: string[] = [];
  for (const [name, version] of Object.entries(direct)) {
    if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)) faults.push(`${name} is not pinned: ${version}`);
    if (!name.startsWith("@types/") && !reasons.has(name))
      faults.push(`ARCHITECTURE.md does not say why ${name} is there`);
  }
  for (const [path, { license = "none", resolved, integrity, ...kind }] of locked) {
    const agreed = isShipped(kind) ? SHIPPED_LICENCES : TOOL_LICENCES;
    const isAgreed = license
      .replace(/[()]/g, "")
      .split(" OR ")
      .some((one) => one.split(" AND ").every((each) => agreed.includes(each)));
    if (!isAgreed) faults.push(`${path} has the licence ${license}`);
    if (resolved !== undefined) faults.push(`${path} names a host`);
    if (integrity === undefined) faults.push(`${path} has no checksum`);
  }
  return faults;
}

function toList(): string {
  const shipped = locked.filter(([, one]) => isShipped(one));
  const tools = locked.filter(([, one]) => !isShipped(one));
  const counts = new Map<string, number>();
  for (const [, { license = "none" }] of tools) counts.set(license, (counts.get(license) ?? 0) + 1);
  const byCount = [...counts].toSorted(([a, one], [b, other]) => other - one || a.localeCompare(b));
  const rowOf = ([path, { version, license }]: [string, Locked]): string => {
    const name = nameOf(path);
    return `| ${name} | ${version} | ${license} | ${name in direct ? "directly" : ""} |`;
  };
  return `# Dependencies and their licences

Written by \`npm run licences\`; the test command checks that it is true. Every version is pinned, here and in the lockfile, with a
checksum. Why each direct dependency is there stands in [ARCHITECTURE.md](../ARCHITECTURE.md).

## What users get
| package | version | licence | asked for |
|---|---|---|---|
${shipped.map(rowOf).join("\n")}

## What builds and tests
| package | version | licence |
|---|---|---|
${Object.keys(devDependencies ?? {})
  .map((name) => [name, packages[`node_modules/${name}`]!] as const)
  .map(([name, { version, license }]) => `| ${name} | ${version} | ${license} |`)
  .join("\n")}

With what they depend on: ${tools.length} packages, of which ${byCount.map(([license, count]) => `${count} ${license}`).join(", ")}.
`;
}

const { values } = parseArgs({ options: { check: { type: "boolean", default: false } } });
const faults = findFaults();
if (values.check && read("docs/dependencies.md") !== toList())
  faults.push("docs/dependencies.md is old: npm run licences");
if (!values.check) writeFileSync(LIST, toList());
for (const fault of faults) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;
