export { Replicache } from "replicache";
