// What apps test with in real browsers, by Playwright: `headwater/testing/playwright`. This project's own specs use it.

export { DevPrimary, freePort } from "./dev-primary.ts";
export type { DevPrimaryOptions } from "./dev-primary.ts";
export { Network } from "./network.ts";
export {
  crash,
  openBrowsers,
  openTabs,
  setFrozen,
  statusOf,
  waitForInSync,
  waitForReplica,
  waitForStatus,
  waitUntilConverged,
} from "./tabs.ts";
export type { TabStatus, Which } from "./tabs.ts";
