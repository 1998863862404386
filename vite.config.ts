import { defineConfig } from "vite";

export default defineConfig({
  root: "web/page",
  build: {
    outDir: "../../dist/page",
    // Vite empties only folders under its root unless told to.
    emptyOutDir: true,
    target: "es2023",
  },
  // The replica's worker is a module, as the browsers it needs all understand.
  worker: { format: "es" },
  // Only worker files import these; found late, they would make the dev server reload a page that holds a replica.
  optimizeDeps: { include: ["comlink", "idb"] },
});
