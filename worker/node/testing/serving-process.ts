// A process that serves the stores of a folder until it is killed; it says where on its first line.
//
//   node serving-process.ts <folder>

import { NodeServer } from "../node-server.ts";

const { origin } = await NodeServer.start({ folder: process.argv[2]! });
console.log(origin);
