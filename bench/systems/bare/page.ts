// The bare platform in a page: `fetch` into a Map, and IndexedDB records of up to 512 entries, as headwater's are.

import { packPages } from "../../../web/feed.ts";
import { offer } from "../../page.ts";

type Item = [key: string, value: string, seq: number];

const entries = new Map<string, { key: string; value: unknown; seq: number }>();
let sortedKeys: string[] = [];

offer({
  async bootstrap(store) {
    const begin = performance.now();
    const response = await fetch(`/stores/${store}/all`);
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      const lines = (rest + read.value).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        for (const [key, value, seq] of JSON.parse(line) as Item[]) entries.set(key, { key, value, seq });
      }
    }
    const readable = performance.now() - begin;
    const database = await open(store);
    const tx = database.transaction("pages", "readwrite", { durability: "relaxed" });
    packPages(entries.values() as Iterable<never>).forEach((page, number) => tx.objectStore("pages").put(page, number));
    await new Promise((resolve) => {
      tx.oncomplete = resolve;
    });
    return { readable, persisted: performance.now() - begin };
  },
  async warm(store) {
    const begin = performance.now();
    const database = await open(store);
    const objectStore = database.transaction("pages").objectStore("pages");
    const first = settle<string>(objectStore.get(0));
    const all = settle<string[]>(objectStore.getAll());
    take(await first);
    const firstKey = performance.now() - begin;
    for (const page of await all) take(page);
    const complete = performance.now() - begin;
    sortedKeys = [...entries.keys()].sort();
    return { firstKey, complete };
  },
  get: (key) => entries.get(key)?.value,
  list(prefix) {
    let low = 0;
    let high = sortedKeys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sortedKeys[middle]! < prefix) low = middle + 1;
      else high = middle;
    }
    const found: unknown[] = [];
    for (const key of sortedKeys.slice(low, low + 1000)) {
      if (!key.startsWith(prefix)) break;
      found.push(entries.get(key));
    }
    return found;
  },
});

function take(page: string): void {
  const items = JSON.parse(page) as unknown[];
  for (let i = 0; i < items.length; i += 3) {
    const key = items[i] as string;
    entries.set(key, { key, value: items[i + 1], seq: items[i + 2] as number });
  }
}

function open(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => void request.result.createObjectStore("pages");
  return settle(request);
}

function settle<Value>(request: IDBRequest): Promise<Value> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result as Value);
    request.onerror = () => reject(request.error!);
  });
}
