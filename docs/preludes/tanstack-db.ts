import { createCollection, createTransaction } from "@tanstack/db";
import { openReplica } from "headwater";
import { headwaterCollectionOptions, writeTransaction } from "headwater/tanstack-db";

const replica = await openReplica<{ "card/${string}": { text: string }; "list/${string}": { cards: string[] } }>({
  url: "/v1/stores/lists",
});
const cards = createCollection(headwaterCollectionOptions({ replica, prefix: "card/" }));
const lists = createCollection(headwaterCollectionOptions({ replica, prefix: "list/" }));
const [id, list] = [crypto.randomUUID(), crypto.randomUUID()];
await lists.insert({ id: list, cards: [] }).when("settled");
