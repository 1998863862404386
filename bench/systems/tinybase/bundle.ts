export { createMergeableStore } from "tinybase";
export { createIndexedDbPersister } from "tinybase/persisters/persister-indexed-db";
export { createWsSynchronizer } from "tinybase/synchronizers/synchronizer-ws-client";
