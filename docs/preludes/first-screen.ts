import { openReplica, readStored } from "headwater";
