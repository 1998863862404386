// PouchDB's own server for Node, express-pouchdb, on LevelDB; and the files of the pages.

import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const express = require("express");
const PouchDB = require("pouchdb-core").plugin(require("pouchdb-adapter-leveldb"));
const [, , port, state, pages] = process.argv;
const Stores = PouchDB.defaults({ prefix: `${state}/` });
const app = express();
app.get("/bench/up", (_, response) => void response.send("up"));
app.use("/bench", express.static(pages));
app.use(
  "/stores",
  require("express-pouchdb")(Stores, { mode: "minimumForPouchDB", inMemoryConfig: true, logPath: `${state}/log.txt` }),
);
app.listen(Number(port), "127.0.0.1");
