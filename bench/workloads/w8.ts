// W8: what a page has to load, bundled by esbuild, minified, alone and with gzip.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { OutsideWorkload } from "../measure.ts";
import { bundle } from "../server.ts";

export const w8: OutsideWorkload = {
  isExact: true,
  cells: () => [""],
  async run({ workshop }, system) {
    return Object.entries(system.bundles ?? {}).flatMap(([part, entry]) => {
      const file = join(workshop.folder, "sizes", `${system.name}-${part}.js`);
      bundle(entry, file, ["--minify", "--platform=browser", '--define:process.env.NODE_ENV="production"']);
      const code = readFileSync(file);
      return [
        { metric: `${part}, gzip`, unit: "bytes", value: gzipSync(code, { level: 9 }).length },
        { metric: `${part}, minified`, unit: "bytes", value: code.length },
      ];
    });
  },
};
