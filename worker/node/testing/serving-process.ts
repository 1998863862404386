// A process that serves the stores of a folder to everyone, who may do everything, until it is killed; it says where on its
// first line.
//
//   node serving-process.ts <folder> [port]

import { ANYONE } from "../../grant.ts";
import { NodeServer } from "../node-server.ts";

const { origin } = await NodeServer.start({
  folder: process.argv[2]!,
  port: Number(process.argv[3] ?? 0),
  authorize: () => ({ ...ANYONE, admin: true }),
});
console.log(origin);
