import idbAdapter from "pouchdb-adapter-idb";
import httpAdapter from "pouchdb-adapter-http";
import PouchDB from "pouchdb-core";
import replication from "pouchdb-replication";

export const Stores = PouchDB.plugin(idbAdapter).plugin(httpAdapter).plugin(replication);
