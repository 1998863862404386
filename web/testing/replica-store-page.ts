// The page that runs the contracts of a replica's store and of an outbox on real IndexedDB, and writes without end until
// its browser is killed. A spec builds and drives it; it is no part of the product.

import { deleteDB, openDB } from "idb";
import type { Settled } from "../../src/effects.ts";
import type { Change, JsonValue } from "../../src/kv.ts";
import { demandEqual } from "../../src/testing/equality.ts";
import { IdbOutbox, outboxName } from "../replica/idb-outbox.ts";
import { IdbStore } from "../replica/idb-store.ts";
import { sendingOf } from "../replica/kept-updates.ts";
import type { Kept } from "../replica/outbox-persistence.ts";
import { BLANK, queuedUpdate, testOutboxPersistence } from "./outbox-contract.ts";
import type { OutboxDisk } from "./outbox-contract.ts";
import { Copy, stepOf, testReplicaPersistence } from "./replica-store-contract.ts";
import type { ReplicaDisk } from "./replica-store-contract.ts";

type Durability = "relaxed" | "strict";

/** What a spec can ask of this page. */
interface StorePage {
  /** Runs the whole contract; tells each test's title and, if it failed, why. */
  runContract(durability: Durability): Promise<Result[]>;
  runOutboxContract(): Promise<Result[]>;
  /** Writes step after step, several on their way at a time; says on the console which seq is durable. */
  writeEndlessly(name: string, durability: Durability): Promise<never>;
  /** The seq of what is stored, after checking that it is the whole state at that seq. */
  verify(name: string): Promise<number>;
  /** Queues update after update, several on their way at a time, and ends them; says on the console how far it is. */
  queueEndlessly(): Promise<never>;
  /** The ids of what is kept in the outbox. */
  readOutbox(): Promise<number[]>;
}

interface Result {
  title: string;
  failure?: string;
}

declare global {
  interface Window {
    storePage: StorePage;
  }
}

const diskOf = (name: string, durability: Durability): ReplicaDisk => ({
  open: (readImage) => new IdbStore(name, durability, readImage),
  wipe: () => deleteDB(name),
});

type Test = { title: string; run: () => Promise<void> };

async function runContract(durability: Durability): Promise<Result[]> {
  const tests: Test[] = [];
  let disksUsed = 0;
  const newDisk = (): ReplicaDisk => diskOf(`contract-${durability}-${disksUsed++}`, durability);
  testReplicaPersistence((title, run) => tests.push({ title, run }), newDisk, { seed: 20_261_020, runs: 60 });
  return runAll(tests);
}

function newOutboxDisk(): OutboxDisk {
  const name = outboxName(`contract-${outboxesUsed++}`, undefined);
  return {
    open: (memory = BLANK) => new IdbOutbox(name, memory),
    wipe: () => deleteDB(name),
    damage: async (place) => {
      const db = await openDB(name);
      const stored = (await db.get("updates", place)) as object;
      await db.put("updates", { ...stored, line: "not a line of the protocol" }, place);
      db.close();
    },
  };
}
let outboxesUsed = 0;

async function runOutboxContract(): Promise<Result[]> {
  const tests: Test[] = [];
  testOutboxPersistence((title, run) => tests.push({ title, run }), newOutboxDisk, { seed: 20_261_123, runs: 30 });
  return runAll(tests);
}

async function runAll(tests: Test[]): Promise<Result[]> {
  const results = [];
  for (const { title, run } of tests) {
    const failure = await run().then(
      () => undefined,
      (error: unknown) => String(error),
    );
    results.push({ title, ...(failure !== undefined && { failure }) });
  }
  return results;
}

// --- a history without end: what is stored can be told from its seq

const GROUPS = 7;
const ON_THEIR_WAY = 4;

/** Step `seq` writes the four keys of one of seven groups, some of them large, or removes one. */
function writesAt(seq: number): [string, JsonValue | null][] {
  return ["a", "b", "c", "d"].map((name, index) => {
    if (name === "d" && seq % 3 === 0) return [`${seq % GROUPS}/${name}`, null];
    return [`${seq % GROUPS}/${name}`, { seq, filling: "x".repeat(index % 2 === 0 ? 10 : 20_000) }];
  });
}

function entriesAt(seq: number): Map<string, Change> {
  const entries = new Map<string, Change>();
  for (let at = Math.max(1, seq - GROUPS + 1); at <= seq; at++) {
    for (const [key, value] of writesAt(at)) if (value !== null) entries.set(key, { key, value, seq: at });
  }
  return entries;
}

async function writeEndlessly(name: string, durability: Durability): Promise<never> {
  const copy = await Copy.open(diskOf(name, durability));
  const onTheirWay: Promise<void>[] = [];
  for (;;) {
    const { epoch, seq } = copy.state;
    const written = copy.take(stepOf("e", seq, writesAt(seq + 1), { isReset: epoch === null }));
    onTheirWay.push(written.then(() => console.log(`durable ${seq + 1}`)));
    if (seq % 97 === 0) onTheirWay.push(copy.store.checkpoint(copy.secondaryId));
    while (onTheirWay.length >= ON_THEIR_WAY) await onTheirWay.shift();
  }
}

async function verify(name: string): Promise<number> {
  const copy = await Copy.open(diskOf(name, "relaxed"));
  const { seq } = copy.state;
  const entries = [...(copy.state.toImage()?.entries ?? [])];
  const expected = [...entriesAt(seq).values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  demandEqual(entries, expected, `the state at ${seq}`);
  await copy.store.close();
  return seq;
}

// --- an outbox that is never empty for long

/** So many updates are kept; older ones are ended. */
const KEPT = 20;
const READ_PATIENCE_MS = 10_000;

const UNKNOWN: Settled = { type: "outcome-unknown", clientId: "a", id: 2 };

async function queueEndlessly(): Promise<never> {
  const outbox = new IdbOutbox("endless", BLANK);
  const all = await outbox.load();
  const onTheirWay: Promise<void>[] = [];
  for (let id = (await readOutbox()).at(-1) ?? 1; ; id++) {
    const written = outbox.add([queuedUpdate("a", id + 1)]).then(({ kept }) => {
      all.push(...kept);
      console.log(`durable ${id + 1}`);
    });
    onTheirWay.push(written);
    while (onTheirWay.length >= ON_THEIR_WAY) await onTheirWay.shift();
    const ended = all.splice(0, all.length - KEPT).map(sendingOf);
    await outbox.markSent(ended, Date.now());
    await outbox.conclude(ended.map((sending) => ({ ...sending, done: UNKNOWN })));
  }
}

/** A browser that was killed may refuse its storage at first; whoever uses an outbox reads it again then. */
async function loadInTime(outbox: IdbOutbox): Promise<Kept[]> {
  const end = performance.now() + READ_PATIENCE_MS;
  for (;;) {
    try {
      return await outbox.load();
    } catch (error) {
      if (performance.now() > end) throw error;
      console.log(`refused: ${String(error)}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function readOutbox(): Promise<number[]> {
  const outbox = new IdbOutbox("endless", BLANK);
  const kept = await loadInTime(outbox);
  await outbox.close();
  for (const one of kept) {
    const { place, sentAt, ...queued } = one;
    demandEqual(queued, queuedUpdate("a", queued.update.id), `what is at ${place}, sent at ${sentAt}`);
  }
  return kept.map(({ update }) => update.id);
}

window.storePage = { runContract, runOutboxContract, writeEndlessly, verify, queueEndlessly, readOutbox };
