// What a page loads that only opens a replica.
export { openReplica } from "../../../web/client.ts";
