// The reference: a page for each entry of the package, made of the declarations in its source and their comments.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Modules } from "../../e2e/declarations.ts";
import type { Declaration, Declarations } from "../../e2e/declarations.ts";

interface Entry {
  /** What is imported: `headwater/react`. */
  name: string;
  /** The name of its page. */
  page: string;
  source: string;
}

const root = join(import.meta.dirname, "..", "..");
const { name: packageName, exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  name: string;
  exports: Record<string, string | { types: string }>;
};

/** What the package has for others, but for the replica's worker, which has nothing for anyone. */
export const entries: Entry[] = Object.entries(exports).flatMap(([path, entry]) => {
  if (typeof entry === "string") return [];
  const name = path.replace(".", packageName);
  const source = join(root, entry.types.replace("dist/package/", "").replace(/\.d\.ts$/, ".ts"));
  return existsSync(source) ? [{ name, page: name.replaceAll("/", "-"), source }] : [];
});

/** The page of an entry, as Markdown; undefined if there is none of that name. */
export function toPage(page: string): string | undefined {
  const entry = entries.find((one) => one.page === page);
  if (!entry) return undefined;
  const modules = new Modules();
  const { intro, exported, needed } = modules.read(entry.source);
  // What is explained on the first page, as most is that others are about, is not explained again.
  const first = entries[0]!;
  const elsewhere = first === entry ? [] : namesOf(modules.read(first.source), first.page);
  const homes = new Map(elsewhere.map(([declaration, link]) => [idOf(declaration), link]));
  const own = [...inOrder(exported, entry.source), ...needed.filter((declaration) => !homes.has(idOf(declaration)))];
  for (const declaration of own) homes.set(idOf(declaration), anchorOf(declaration.name));
  const sections = own.map((declaration) => {
    const links = modules.typesIn(declaration).flatMap((type) => {
      const link = homes.get(idOf(type));
      return link === undefined ? [] : [`[${type.name}](${link})`];
    });
    return toSection(declaration, links);
  });
  return [`# ${entry.name}`, intro, ...sections].join("\n\n");
}

/** Values before types, and of each the module's own before what it has from others. */
function inOrder(declarations: readonly Declaration[], source: string): Declaration[] {
  const rankOf = ({ isValue, path }: Declaration): number => (isValue ? 0 : 2) + (path === source ? 0 : 1);
  return declarations.toSorted((a, b) => rankOf(a) - rankOf(b));
}

/** The names on a page, and the links to them. */
const namesOf = ({ exported, needed }: Declarations, page: string): [Declaration, link: string][] =>
  [...exported, ...needed].map((one) => [one, `./${page}.md${anchorOf(one.name)}`]);

const idOf = ({ name, path }: Declaration): string => `${path} ${name}`;

const anchorOf = (...names: string[]): string => `#${names.join("-").toLowerCase()}`;

function toSection({ name, code, comment, members }: Declaration, links: readonly string[]): string {
  return [
    `## ${name}`,
    toCode(code),
    comment,
    ...(links.length > 0 ? [`Types: ${links.join(", ")}`] : []),
    ...members.flatMap((member) => [
      `### ${member.name} {${anchorOf(name, member.name)}}`,
      toCode(member.code),
      member.comment,
    ]),
  ].join("\n\n");
}

const toCode = (code: string): string => `\`\`\`ts\n${code}\n\`\`\``;
