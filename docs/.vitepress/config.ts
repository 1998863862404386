// The site: the pages of this folder and the few others that they lead to, under the paths that they have in the repository, so
// that a relative link is right there and here.

import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { defineConfig } from "vitepress";
import type { MarkdownEnv, MarkdownRenderer } from "vitepress";
import { entries, toPage } from "./reference.ts";

const root = join(import.meta.dirname, "..", "..");
const guides = {
  auth: "Auth",
  offline: "Offline",
  react: "React, Vue, Svelte, Solid",
  "tanstack-db": "TanStack DB",
  testing: "Testing",
  inspector: "Inspector",
  "command-line": "Command line",
  deploying: "Deploying",
  data: "Data",
  cost: "Cost",
};

export default defineConfig({
  title: "Headwater",
  description: "A key-value store for web apps, with a replica in every browser.",
  srcDir: root,
  srcExclude: ["{bench,cli,dist,e2e,reports,web,worker}/**"],
  rewrites: { "README.md": "index.md" },
  outDir: join(root, "dist", "docs"),
  cacheDir: join(root, "dist", "docs-cache"),
  markdown: { config: keepLinksInside },
  // That of the repository builds the board.
  // Pages of apps that lie in other folders are none of the site.
  vite: { configFile: false, optimizeDeps: { entries: [] } },
  themeConfig: {
    search: { provider: "local", options: { _render: toSearched } },
    outline: [2, 3],
    nav: [
      { text: "Quick start", link: "/docs/quick-start" },
      { text: "Concepts", link: "/docs/concepts" },
      { text: "Comparison", link: "/docs/comparison" },
    ],
    sidebar: [
      {
        text: "Begin",
        items: [
          { text: "Overview", link: "/" },
          { text: "Quick start", link: "/docs/quick-start" },
          { text: "Concepts", link: "/docs/concepts" },
        ],
      },
      { text: "Guides", items: Object.entries(guides).map(([name, text]) => ({ text, link: `/docs/guides/${name}` })) },
      { text: "API", items: entries.map(({ name, page }) => ({ text: name, link: `/docs/reference/${page}` })) },
      {
        text: "Reference",
        items: [
          { text: "Guarantees", link: "/docs/guarantees" },
          { text: "Limits", link: "/docs/limits" },
          { text: "Wire protocol", link: "/docs/protocol" },
          { text: "Reliability", link: "/docs/reliability" },
          { text: "Security", link: "/docs/security" },
          { text: "Export, import, delete", link: "/docs/backup" },
          { text: "Operations", link: "/docs/operations" },
          { text: "Performance", link: "/docs/performance" },
          { text: "Comparison", link: "/docs/comparison" },
        ],
      },
      {
        text: "Inside",
        items: [
          { text: "Architecture", link: "/ARCHITECTURE" },
          { text: "Rules", link: "/src/SPEC" },
          { text: "Dependencies", link: "/docs/dependencies" },
        ],
      },
    ],
  },
});

/** What the search reads of a page. Of those of the reference there is no file. */
function toSearched(text: string, env: MarkdownEnv, markdown: MarkdownRenderer): Promise<string> {
  return markdown.renderAsync(text || (toPage(basename(env.path, ".md")) ?? ""), env);
}

/**
 * The site knows fewer files than the repository. A link to one that is no page loses its target, and must be there all the
 * same; the README is the first page.
 */
function keepLinksInside(markdown: MarkdownRenderer): void {
  markdown.core.ruler.push("links-inside", ({ tokens, env }) => {
    const { path } = env as { path: string };
    for (const token of tokens) {
      let isOutside = false;
      token.children &&= token.children.filter((child) => {
        const target = child.type === "link_open" ? String(child.attrGet("href")) : undefined;
        if (target !== undefined) {
          isOutside = /^[^:#]+\.(?!md\b)\w+$/.test(target);
          if (isOutside && !existsSync(join(dirname(path), target))) throw new Error(`${path}: no ${target}`);
          child.attrSet("href", target.replace(/README\.md\b/, "index.md"));
        }
        return !(isOutside && child.type.startsWith("link_"));
      });
    }
  });
}
