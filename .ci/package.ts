// `npm run package`: builds what is published into dist/package. Modules stay as they are, without their types, so that an
// app's bundler takes of them what the app uses; only the replica's worker is one file, since bundlers find it by its URL.

import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { build } from "esbuild";
import { build as bundle } from "vite";

const root = join(import.meta.dirname, "..");
const output = join(root, "dist", "package");
const PATH = [join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter);

rmSync(output, { recursive: true, force: true });
for (const project of ["web", "web/inspector", "worker", "cli", "e2e"]) compile(join(project, "package.tsconfig.json"));
await build({
  entryPoints: [join(root, "web", "replica", "worker.ts")],
  outfile: join(output, "replica-worker.js"),
  bundle: true,
  format: "esm",
  target: "es2023",
  legalComments: "inline",
});
writeFileSync(join(output, "replica-worker.d.ts"), "export {};\n");
// With its styles and charts in it, which no compiler and not every bundler would find.
await bundle({
  configFile: false,
  root,
  logLevel: "warn",
  build: {
    lib: { entry: join(root, "web", "inspector", "index.ts"), formats: ["es"], fileName: "inspector" },
    outDir: output,
    emptyOutDir: false,
    copyPublicDir: false,
    target: "es2023",
    // As in vite.config.ts.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
  },
});
pointToWorker(join(output, "web", "client.js"));
cpSync(join(root, "cli", "templates", "app"), join(output, "cli", "templates", "app"), { recursive: true });

function compile(project: string): void {
  const { status } = spawnSync("tsc", ["-p", project], {
    cwd: root,
    env: { ...process.env, PATH },
    shell: process.platform === "win32",
    stdio: "inherit",
  });
  if (status !== 0) throw new Error(`${project} does not compile`);
}

/** The worker's URL is a text, which no compiler rewrites. */
function pointToWorker(file: string): void {
  const parts = readFileSync(file, "utf8").split('"./replica/worker.ts"');
  if (parts.length !== 3) throw new Error("client.js is to name the worker twice");
  writeFileSync(file, parts.join('"../replica-worker.js"'));
}
