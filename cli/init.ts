// `init`: a new app from the files under templates/, with the versions that this project is built and tested with.

import { cp, mkdir, readFile, readdir, rename, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { CommandFailedError } from "./failure.ts";
import type { Output } from "./output.ts";
import { manifest } from "./manifest.ts";

const TEMPLATE = join(import.meta.dirname, "templates", "app");
/** npm leaves files of this name out of a package. */
const GITIGNORE = { packed: "gitignore", own: ".gitignore" };

export async function init(output: Output, folder: string): Promise<void> {
  const path = resolve(folder);
  await mkdir(path, { recursive: true });
  if ((await readdir(path)).some((name) => name !== ".git"))
    throw new CommandFailedError("usage", `${folder} is not empty`);
  await cp(TEMPLATE, path, { recursive: true });
  await rename(join(path, GITIGNORE.packed), join(path, GITIGNORE.own));
  const name = nameOf(path);
  for (const file of ["package.json", "wrangler.toml"]) await fill(join(path, file), name);
  const files = (await readdir(path, { recursive: true })).toSorted();
  await output.result({ folder: path, name, files }, () =>
    [`${name} is in ${path}. Next:`, "", `  cd ${folder}`, "  npm install", "  npm run dev"].join("\n"),
  );
}

/** A name that npm and Cloudflare both take. */
function nameOf(path: string): string {
  const name = basename(path)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-");
  return name.replace(/^-|-$/g, "").slice(0, 60) || "app";
}

/** Puts the app's name, and the versions of packages, where the template has left them open. */
async function fill(file: string, name: string): Promise<void> {
  const versions: Record<string, string> = { ...manifest.devDependencies, [manifest.name]: manifest.version };
  const text = (await readFile(file, "utf8"))
    .replace('"my-app"', JSON.stringify(name))
    .replace(/"([^"]+)": "\*"/g, (_, dependency: string) => `"${dependency}": "${versions[dependency]}"`);
  await writeFile(file, text);
}
