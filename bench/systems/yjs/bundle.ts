export { IndexeddbPersistence } from "y-indexeddb";
export { default as YProvider } from "y-partyserver/provider";
export { Doc } from "yjs";
