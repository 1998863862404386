import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

// What runs in workerd sees no environment but its bindings.
const { FUZZ_RUNS = "", FUZZ_SEED = "" } = process.env;
const fuzzBindings = { FUZZ_RUNS, FUZZ_SEED };

export default defineConfig({
  test: {
    // One fewer, which is the default, is one on a machine with two cores: half of it would have nothing to do.
    maxWorkers: "100%",
    projects: [
      {
        // Its build for servers, which Node would get, knows no change.
        resolve: { alias: { "solid-js": "solid-js/dist/solid.js" } },
        test: {
          name: "core",
          environment: "node",
          testTimeout: 30_000,
          include: [
            "src/**/*.test.ts",
            "web/**/*.test.ts",
            "worker/node/**/*.test.ts",
            "cli/*.test.ts",
            "bench/load/*.test.ts",
          ],
        },
      },
      {
        plugins: [
          cloudflareTest({ wrangler: { configPath: "./wrangler.toml" }, miniflare: { bindings: fuzzBindings } }),
        ],
        test: {
          name: "workerd",
          // Machines of the checks are slow and shared; what is stuck is stuck for longer.
          testTimeout: 30_000,
          include: ["worker/**/*.test.ts"],
          exclude: ["worker/node/**"],
        },
      },
    ],
  },
});
