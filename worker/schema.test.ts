import { evictDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { createApp } from "./app.ts";
import type { AppEnv } from "./app.ts";
import { Peer } from "./testing/peer.ts";

/** As a library would make it. */
const text = {
  "~standard": {
    version: 1 as const,
    vendor: "test",
    validate: (value: unknown) =>
      typeof value === "string" ? {} : { issues: [{ message: "must be a text", path: ["here"] }] },
  },
};
const schema = { "card/${string}": text };
const app = createApp({ schema });
const open = { ...(env as AppEnv), ALLOW_ANONYMOUS: "true" };
const store = "http://primary/v1/stores/schema";

const put = async (key: string, body: string): Promise<unknown[]> => {
  const answer = await app.request(`${store}/entries/${encodeURIComponent(key)}`, { method: "PUT", body }, open);
  return [answer.status, await answer.json()];
};

it("L4: a store takes what its schema takes, by HTTP and by sockets, also after its object has slept", async () => {
  expect(await put("card/1", '"Tea"')).toEqual([200, { seq: 1, replicas: 0 }]);
  const detail = '"card/1": here: must be a text';
  const refused = [422, { code: "invalid-value", applied: false, detail }];
  expect(await put("card/1", "7")).toMatchObject(refused);
  expect(await put("other", '"Tea"')).toMatchObject([422, { code: "invalid-value", applied: false }]);
  await evictDurableObject(open.PRIMARY.getByName("schema"));
  const peer = await Peer.connect({ fetch: async (request) => app.fetch(request, open) }, `${store}/replicate`);
  peer.insert("ann", 1, "card/2", 7);
  expect(await peer.next()).toMatchObject({ type: "operation-failed", id: 1, code: "invalid-value", applied: false });
  peer.insert("ann", 2, "card/2", "Milk");
  expect(await peer.next()).toMatchObject({ type: "operation-ack", id: 2, seq: 2 });
  peer.close();
});

it("a worker has one schema", () => {
  expect(() => createApp({ schema })).not.toThrow();
  expect(() => createApp({ schema: { ...schema } })).toThrow("one schema");
});
