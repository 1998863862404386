import { OperationFailedError, openReplica } from "headwater";

const replica = await openReplica({ url: "/v1/stores/samples" });
