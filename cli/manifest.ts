// What package.json says of this package, which stands elsewhere when it is installed.

import { createRequire } from "node:module";

interface Manifest {
  name: string;
  version: string;
  description: string;
  devDependencies: Record<string, string>;
}

export const manifest = createRequire(import.meta.url)("headwater/package.json") as Manifest;
