// What a package's declarations say of its public names, read line by line as the compiler writes them.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

interface Declaration {
  lines: string[];
  /** Where the name is declared. */
  at: number;
}

/** The public names of an entry that have no comment above them, and the members that have none: `Replica.get`. */
export function undocumentedOf(entry: string): string[] {
  return namesOf(entry).flatMap((name) => {
    const declaration = find(name, entry, new Set());
    if (!declaration) throw new Error(`${entry} does not declare ${name}`);
    const own = hasComment(declaration.lines, declaration.at) ? [] : [name];
    return [...own, ...membersOf(declaration).map((member) => `${name}.${member}`)];
  });
}

function namesOf(file: string): string[] {
  const text = readFileSync(file, "utf8");
  const lists = [...text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(([, list]) => list!.split(","));
  const direct = [
    ...text.matchAll(/^export (?:declare )?(?:abstract )?(?:interface|class|type|function|const) (\w+)/gm),
  ];
  const names = [...lists.map((one) => one.trim()), ...direct.map(([, name]) => name!)];
  return [...new Set(names)].filter((name) => name !== "");
}

/** Follows a name to the file that declares it. */
function find(name: string, file: string, seen: Set<string>): Declaration | undefined {
  if (seen.has(file) || !existsSync(file)) return undefined;
  seen.add(file);
  const text = readFileSync(file, "utf8");
  const lines = text.split("\n");
  const pattern = new RegExp(
    `^(?:export )?(?:declare )?(?:abstract )?(?:interface|class|type|function|const) ${name}\\b`,
  );
  const at = lines.findIndex((line) => pattern.test(line));
  if (at >= 0) return { lines, at };
  for (const [, list, from] of text.matchAll(/(?:import|export) (?:type )?\{([^}]*)\} from "(\.[^"]*)"/g)) {
    if (!new RegExp(`\\b${name}\\b`).test(list!)) continue;
    const declaration = find(name, join(dirname(file), from!.replace(/\.[jt]s$/, ".d.ts")), seen);
    if (declaration) return declaration;
  }
  return undefined;
}

/** Members without a comment. Of several signatures of one name the first has it. */
function membersOf({ lines, at }: Declaration): string[] {
  if (!/\b(interface|class)\b/.test(lines[at]!)) return [];
  const missing: string[] = [];
  let before: string | undefined;
  for (let line = at + 1; line < lines.length && !lines[line]!.startsWith("}"); line += 1) {
    const member =
      /^ {4}(?!private|constructor|readonly name =|readonly ")(?:(?:readonly|override|get|set|async) )*(\w+)\b/.exec(
        lines[line]!,
      )?.[1];
    if (member === undefined) continue;
    if (member !== before && !hasComment(lines, line)) missing.push(member);
    before = member;
  }
  return missing;
}

const hasComment = (lines: readonly string[], at: number): boolean => lines[at - 1]?.trim().endsWith("*/") ?? false;
