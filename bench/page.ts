// What a system's page offers to the browser's workloads, as `globalThis.bench`, and what such pages share.

export interface BenchPage {
  /** From nothing: how long until all entries can be read, and until they are on this browser's disk, in ms. */
  bootstrap(store: string, count: number): Promise<{ readable: number; persisted?: number }>;
  /** From what an earlier browser has stored: until a first key can be read, and until all can. */
  warm(store: string, count: number): Promise<{ firstKey: number; complete: number }>;
  /** After `warm`: reads a value; a promise where the system has no other way. */
  get(key: string): unknown;
  /** After `warm`: the entries whose keys begin so. */
  list(prefix: string): readonly unknown[] | Promise<readonly unknown[]>;
}

/** Everything that is measured around a page's own functions. */
export interface PageKit extends BenchPage {
  /** The longest task of this page's thread so far, in ms; tasks below 50 ms are not told and count as 0. */
  longestTask(): number;
  /** Reads per second. */
  reads(count: number): Promise<{ get: number; list: number }>;
}

const READS_MS = 400;

export function offer(page: BenchPage): void {
  let longest = 0;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
  }).observe({ type: "longtask", buffered: true });
  const kit: PageKit = { ...page, longestTask: () => longest, reads: (count) => reads(page, count) };
  Object.assign(globalThis, { bench: kit });
}

async function reads(page: BenchPage, count: number): Promise<{ get: number; list: number }> {
  // Strings of their own, as a program has them, and in no order.
  const keys = Array.from({ length: count }, (_, i) => `user:${String((i * 7919) % count).padStart(6, "0")}`);
  const prefixes = keys.map((key) => key.slice(0, -2));
  const isAsync = page.get(keys[0]!) instanceof Promise;
  const rate = async (atOnce: number, read: (index: number) => unknown): Promise<number> => {
    let reads = 0;
    let tookMs = 0;
    for (let half = 0; half < 2; half++) {
      // The first half warms up.
      reads = 0;
      const begin = performance.now();
      do {
        for (let i = 0; i < atOnce; i++, reads++) {
          const found = read(reads % count);
          if ((isAsync ? await found : found) === undefined) throw new Error("a key is missing");
        }
        tookMs = performance.now() - begin;
      } while (tookMs < READS_MS);
    }
    return (reads / tookMs) * 1000;
  };
  return {
    get: await rate(isAsync ? 10 : 1000, (index) => page.get(keys[index]!)),
    list: await rate(isAsync ? 1 : 10, (index) => {
      const found = page.list(prefixes[index]!);
      const isWhole = (entries: readonly unknown[]): true | undefined => (entries.length === 100 ? true : undefined);
      return "then" in found ? found.then(isWhole) : isWhole(found);
    }),
  };
}

export const keyOf = (index: number): string => `user:${String(index).padStart(6, "0")}`;

/** Resolves when it holds; looked at as often as the event loop comes round. */
export async function until(isReached: () => boolean): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  while (!isReached()) {
    await new Promise<void>((resolve) => {
      port1.onmessage = () => resolve();
      port2.postMessage(null);
    });
  }
  port1.close();
}
