// The systems, in the order of the tables.

import type { System } from "./system.ts";

const BARE: Pick<System, "folder" | "isDurable" | "server" | "packages"> = {
  folder: "bare",
  isDurable: true,
  server: { kind: "workerd", objects: { BARE: "Bare" } },
  packages: [],
};
const ONE_FRAME = "bare differs from it only in how writes arrive and are committed";
const NOT_BROWSER = { W3: ONE_FRAME, W4: ONE_FRAME, W5: ONE_FRAME, W7: ONE_FRAME, W8: ONE_FRAME };

export const SYSTEMS: readonly System[] = [
  {
    name: "headwater",
    folder: "headwater",
    description:
      "this project; on Node its secondary machine, codec and operations with a Map in place of IndexedDB, in Chromium all of it",
    isDurable: true,
    server: { kind: "workerd", isProject: true, objects: { PRIMARY: "Primary" } },
    lacks: {},
    bundles: {
      page: "systems/headwater/open-replica.ts",
      "page, all of the API": "../web/client.ts",
      worker: "../web/replica/worker.ts",
    },
    workers: { "worker.js": "../web/replica/worker.ts" },
    packages: [],
  },
  {
    ...BARE,
    name: "bare",
    description:
      "a minimal Durable Object and a Map: one frame per write, all that has arrived in a turn committed at once (entry and log row each); in Chromium `fetch` and one IndexedDB record per 512 entries",
    lacks: {},
  },
  {
    ...BARE,
    name: "bare-packed",
    variant: "packed",
    description: "bare, and the writer packs the writes of a turn into one frame, as headwater does",
    lacks: NOT_BROWSER,
  },
  {
    ...BARE,
    name: "bare-each",
    variant: "each",
    description: "bare, but every message is committed on its own",
    lacks: {
      ...NOT_BROWSER,
      W6: ONE_FRAME,
      "W2 50,000 x 1": "it takes a minute",
      "W2 50,000 x 10": "it takes a minute",
      "W2 50,000 x 100": "it takes minutes",
      "W2 5,000 x 100": "it takes a minute",
    },
  },
  {
    ...BARE,
    name: "bare-acked",
    variant: "acked",
    description: "bare-packed, and every socket answers every frame with an ack, as headwater's secondaries do",
    lacks: { ...NOT_BROWSER, W1: ONE_FRAME, W2: ONE_FRAME, W9: ONE_FRAME },
  },
];
