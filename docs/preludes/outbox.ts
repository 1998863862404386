import { openReplica } from "headwater";
import type { PendingUpdate } from "headwater";

const replica = await openReplica({ url: "/v1/stores/outbox" });
const card = { text: "Tea" };
const show = (type: string, update: PendingUpdate): void => console.log(type, update.id);
