import { createHash } from "node:crypto";
import { join } from "node:path";
import { defineConfig } from "vite";
import type { Plugin } from "vite";

const page = join(import.meta.dirname, "web", "page");
const SERVICE_WORKER = "service-worker";

export default defineConfig({
  root: page,
  build: {
    outDir: "../../dist/page",
    // Vite empties only folders under its root unless told to.
    emptyOutDir: true,
    target: "es2023",
    // The first that know light-dark(), which what is written in its place for others would not replace.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // A strict Content-Security-Policy knows no data URLs.
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: [join(page, "index.html"), join(page, `${SERVICE_WORKER}.ts`)],
      output: {
        // Browsers find a newer service worker under the name of the older one.
        entryFileNames: ({ name }) => (name === SERVICE_WORKER ? "[name].js" : "assets/[name]-[hash].js"),
      },
    },
  },
  plugins: [pageFiles()],
  // The replica's worker is a module, as the browsers it needs all understand.
  worker: { format: "es" },
  // Only worker files import these; found late, they would make the dev server reload a page that holds a replica.
  optimizeDeps: { include: ["idb"] },
});

/** Writes into the service worker which files the page consists of, and a name for exactly these contents. */
function pageFiles(): Plugin {
  return {
    name: "headwater:page-files",
    apply: "build",
    enforce: "post",
    generateBundle: {
      // After the page itself and the replica's worker have been added.
      order: "post",
      handler(_, bundle) {
        const hash = createHash("sha256");
        const paths: string[] = [];
        for (const [name, file] of Object.entries(bundle).sort(([a], [b]) => (a < b ? -1 : 1))) {
          if (name === `${SERVICE_WORKER}.js`) continue;
          hash.update(name).update(file.type === "chunk" ? file.code : file.source);
          paths.push(name === "index.html" ? "/" : `/${name}`);
        }
        const worker = bundle[`${SERVICE_WORKER}.js`];
        if (worker?.type !== "chunk") return this.error("the service worker has not been built");
        worker.code = worker.code
          .replaceAll("PAGE_FILES", () => JSON.stringify(paths))
          .replaceAll("PAGE_BUILD", () => JSON.stringify(hash.digest("hex").slice(0, 16)));
      },
    },
  };
}
