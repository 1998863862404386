// Replicache as it is fastest: nothing delays a push or a pull.

import { Replicache } from "replicache";

export const open = (origin, name, store, kvStore) =>
  new Replicache({
    name,
    kvStore,
    pushURL: `${origin}/stores/${store}/push`,
    pullURL: `${origin}/stores/${store}/pull`,
    pullInterval: null,
    pushDelay: 0,
    requestOptions: { minDelayMs: 0, maxDelayMs: 1000 },
    logLevel: "error",
    mutators: { put: (tx, { key, value }) => tx.set(key, value) },
  });
