// What a worker has to have for stores of its own: the Durable Object, and the app before it. An app with the default options is
// the default export.

import { createApp } from "./app.ts";

export { Unauthorized } from "./auth.ts";
export type { AuthEnv } from "./auth.ts";
export type { Access, AppEnv, AppOptions } from "./app.ts";
export type { Grant } from "./grant.ts";
export type { TokenClaim } from "../src/rights.ts";
export type { Schemas, ValueSchema } from "../src/schema.ts";
export { Primary } from "./primary-host.ts";
export { createApp };
export default createApp();
