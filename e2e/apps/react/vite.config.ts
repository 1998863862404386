import { defineConfig } from "vite";

const proxy = { "/v1": { target: process.env.PRIMARY!, ws: true } };
export default defineConfig({
  server: { proxy },
  preview: { proxy },
  // The default export awaits at its top.
  build: { target: "es2022" },
});
