// The board: a page on which a person writes to a store, watches it change, and sees where this replica stands.

import { connectPrimary, openReplica, readStored } from "../client.ts";
import type { Acknowledged, Replica } from "../client.ts";
import { EntryList } from "../inspector/entry-list.ts";
import { InsertForm } from "./insert-form.ts";
import { keepForOffline } from "./offline.ts";
import { OperationLog } from "./operation-log.ts";
import type { Verb } from "./operation-log.ts";
import type { Ending } from "../inspector/ending.ts";
import { OutboxList } from "./outbox-list.ts";
import { offerInspector } from "./inspector-button.ts";
import { find } from "../inspector/element.ts";
import { StatusStrip } from "./status-strip.ts";

declare global {
  interface Window {
    /** For the console and for tests: this page's replica once it is open, and the library. */
    headwater?: {
      replica: Replica;
      openReplica: typeof openReplica;
      readStored: typeof readStored;
      connectPrimary: typeof connectPrimary;
    };
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
  window.headwater = { replica, openReplica, readStored, connectPrimary };

  strip.follow(replica);
  const follow = (verb: Verb, key: string, operation: Promise<Acknowledged>): Promise<Ending> => {
    const ending = log.follow(verb, key, operation);
    return form.options.queue ? Promise.race([ending, untilKept(replica, key)]) : ending;
  };
  void new EntryList(find("entries-panel", HTMLElement), replica, {
    edit: (key, value, seq) => {
      const checks = seq === undefined ? [] : [{ key, seq }];
      return follow("edit", key, replica.batch([{ insert: { key, value } }], { ...form.options, checks }));
    },
    remove: (key) => follow("remove", key, replica.remove(key, form.options)),
  });
  void new OutboxList(replica);
  offerInspector(replica);
  form.open((key, value) => follow("insert", key, replica.insert(key, value, form.options)));
}

/** Resolves when an update of this key has come into the outbox. */
function untilKept(replica: Replica, key: string): Promise<Ending> {
  return new Promise((resolve) => {
    const unsubscribe = replica.subscribePending(({ type, update: { operations } }) => {
      if (type !== "queued" || !operations.some((one) => ("insert" in one ? one.insert.key : one.remove.key) === key))
        return;
      unsubscribe();
      resolve({ result: "kept", words: "kept in this browser" });
    });
  });
}

void main();
keepForOffline().catch(reportError);
