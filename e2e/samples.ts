// The samples in the docs: fenced blocks, in which a word behind the language says what becomes of them.
//
//   ```ts page       runs in a page               ```ts compiled     is compiled, as all TypeScript is, and not run
//   ```ts node       runs on Node                 ```sh run          runs in a shell
//   ```ts test       runs under Playwright        ```sh start        is left running
//   ```ts worker     is deployed, as a dry run    ```sh dry-run      runs with `--dry-run` behind it
//                                                 ```html index.html is the file of that name
//
// What a sample takes for granted stands in a file of docs/preludes: `<!-- prelude: board.ts -->` puts that before all later
// samples of its page, until another one is named, or `none`.

import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

const ROOT = join(import.meta.dirname, "..");

export interface Sample {
  /** The page's path in the project. */
  page: string;
  /** A name for its file: the page's, and the line that it begins at. */
  name: string;
  language: string;
  mark: string;
  /** With its prelude. */
  text: string;
}

/** All samples with a word behind their language, and all of TypeScript. */
export function readSamples(): Sample[] {
  const pages = ["README.md", ...globSync("docs/{,guides/}*.md", { cwd: ROOT })];
  return pages.flatMap((page) => samplesOf(page, readFileSync(join(ROOT, page), "utf8")));
}

function samplesOf(page: string, markdown: string): Sample[] {
  const samples: Sample[] = [];
  let prelude = "";
  for (const found of markdown.matchAll(/^<!-- prelude: (\S+) -->$|^```(\w+)[^\S\n]*(\S*)\n(.*?)^```$/gms)) {
    const [, named, language = "", mark = "", text = ""] = found;
    if (named !== undefined) prelude = named === "none" ? "" : readPrelude(named);
    const isCode = language === "ts" || language === "tsx";
    if (named !== undefined || (mark === "" && !isCode)) continue;
    const line = markdown.slice(0, found.index).split("\n").length;
    const name = `${basename(page, ".md").toLowerCase()}-${line}.${language}`;
    samples.push({ page, name, language, mark, text: isCode ? prelude + text : text });
  }
  return samples;
}

const readPrelude = (name: string): string => readFileSync(join(ROOT, "docs", "preludes", name), "utf8");
