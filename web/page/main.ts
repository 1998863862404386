// The board: a page on which a person writes to a store, watches it change, and sees where this replica stands.

import { connectPrimary, openReplica } from "../client.ts";
import type { Replica } from "../client.ts";
import { EntryList } from "./entry-list.ts";
import { InsertForm } from "./insert-form.ts";
import { keepForOffline } from "./offline.ts";
import { OperationLog } from "./operation-log.ts";
import { find } from "./page-element.ts";
import { StatusStrip } from "./status-strip.ts";

declare global {
  interface Window {
    /** For the console and for tests: this page's replica once it is open, and the library's two ways to a store. */
    headwater?: { replica: Replica; openReplica: typeof openReplica; connectPrimary: typeof connectPrimary };
  }
}

const STORE_DEFAULT = "board";
/** What the primary takes for a store's name; the form's pattern says the same. */
const STORE_NAME = /^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,128}$/;

async function main(): Promise<void> {
  const store = new URLSearchParams(location.search).get("store") || STORE_DEFAULT;
  document.title = `${store} · Headwater`;
  find("store-name", HTMLInputElement).value = store;
  find("second-tab", HTMLAnchorElement).href = location.href;

  const strip = new StatusStrip();
  const form = new InsertForm();
  const log = new OperationLog();
  if (!STORE_NAME.test(store)) {
    strip.showFailure("A store's name is made of up to 128 letters, digits, dots, dashes and underscores.");
    return;
  }
  let replica: Replica;
  try {
    replica = await openReplica({ url: `/v1/stores/${encodeURIComponent(store)}` });
  } catch (error) {
    strip.showFailure(error instanceof Error ? error.message : String(error));
    return;
  }
  window.headwater = { replica, openReplica, connectPrimary };

  strip.follow(replica);
  void new EntryList(replica, {
    edit: (key, value, seq) => {
      const checks = [{ key, seq }];
      return log.follow("edit", key, replica.batch([{ insert: { key, value } }], { ack: form.ack, checks }));
    },
    remove: (key) => log.follow("remove", key, replica.remove(key, { ack: form.ack })),
  });
  form.open((key, value) => log.follow("insert", key, replica.insert(key, value, { ack: form.ack })));
}

void main();
keepForOffline().catch(reportError);
