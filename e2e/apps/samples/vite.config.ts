import { defineConfig } from "vite";

export default defineConfig({
  preview: { proxy: { "/v1": { target: process.env.PRIMARY!, ws: true } } },
  // Samples await at their top.
  build: { target: "es2022" },
});
