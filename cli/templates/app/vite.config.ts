import { defineConfig } from "vite";

export default defineConfig({
  root: "page",
  build: { outDir: "../dist", emptyOutDir: true, target: "es2023" },
  // For `npm run page`: the stores are those of `npm run dev`.
  server: { proxy: { "/v1": { target: "http://localhost:8787", ws: true } } },
});
