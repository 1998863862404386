// Which pages the reference has, and what is on them.

import { defineRoutes } from "vitepress";
import { entries, toPage } from "../.vitepress/reference.ts";

export default defineRoutes({
  watch: ["../../{src,web,worker,e2e}/**/*.ts"],
  paths: () => entries.map(({ page }) => ({ params: { page }, content: toPage(page)! })),
});
