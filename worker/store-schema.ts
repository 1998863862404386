// The schema of a worker's stores. A primary runs in an isolate of its own, in which the worker's script has run as it has
// everywhere, `createApp` included: what that was given is here for the primary, too.

import { StoreSchema, flawOf } from "../src/schema.ts";
import type { Schemas } from "../src/schema.ts";
import type { Update } from "../src/protocol.ts";

let given: Schemas | undefined;
let schema: StoreSchema | undefined;

/** Throws if another one was given before: which is meant for a store, nobody could tell. */
export function setStoreSchema(schemas: Schemas): void {
  if (given !== undefined && given !== schemas)
    throw new Error("a worker has one schema for its stores, and was given two");
  given = schemas;
  schema = new StoreSchema(schemas);
}

/** What the stores' schema has against an update. */
export const flawInStore = (update: Update): string | undefined => schema && flawOf(schema, update);
