// What every persistence of a primary must keep, whatever it is made of and wherever it runs. The tests of each run all
// of it in their real environment; the simulator assumes no more than this.

import * as fc from "fast-check";
import { compareKeys, isInRange } from "../kv.ts";
import type { Change, Entry, Json, Range } from "../kv.ts";
import {
  BATCH_OPERATIONS_MAX,
  COMMIT_OPERATIONS_MAX,
  OUTCOMES_PER_CLIENT_MAX,
  PART_CHANGES_MAX,
  VALUE_BYTES_MAX,
} from "../limits.ts";
import type { ClientRecord, Commit, PrimaryPersistence } from "../store.ts";
import { demandEqual } from "./equality.ts";
import { doStep } from "./store-steps.ts";
import type { StoreStep } from "./store-steps.ts";

/** Opens what is on a disk as a new process would; what was opened before is of no more use. */
export type OpenPrimary = (onStep?: OnStep) => PrimaryPersistence;

/** Called at every boundary inside a transaction, before and after each of its writes: what it throws refuses it. */
export type OnStep = () => void;

/** Where one primary's state is kept: empty when it is made. */
export interface PrimaryDisk {
  /** Runs `body` where the disk is. */
  use<Result>(body: (open: OpenPrimary) => Result): Promise<Result>;
}

export interface PrimaryContractSettings<Disk> {
  /** From which random histories are drawn. */
  seed: number;
  /** How many of them. */
  runs: number;
  /**
   * Opens the disk, does the steps, and dies at the given boundary of the last one, counted from 0, without a chance to
   * clean up. False if the last one had ended before. Absent where nothing outlives a crash and a transaction is one
   * indivisible call.
   */
  crash?: (disk: Disk, steps: readonly StoreStep[], boundary: number) => Promise<boolean>;
}

type Define = (title: string, run: () => Promise<void>) => void;

/** Defines the contract's tests for the disks that `newDisk` makes. */
export function testPrimaryPersistence<Disk extends PrimaryDisk>(
  define: Define,
  newDisk: () => Disk,
  { seed, runs, crash }: PrimaryContractSettings<Disk>,
): void {
  define("answers every read as a model does, whatever was done to it, also when it is opened anew", async () => {
    const property = fc.asyncProperty(histories, fc.array(ranges, { maxLength: 4 }), fc.nat(9), (drawn, asked, since) =>
      newDisk().use((open) => {
        const model = new Model();
        let store = open();
        for (const step of toSteps(drawn)) {
          if (step === "open") store = open();
          else {
            doStep(store, step);
            model.do(step);
          }
          demandEqual([store.head, store.floor], [model.head, model.floor], "head and floor");
        }
        compareReads(store, model, asked, since);
        compareReads(open(), model.reopened(), asked, since);
      }),
    );
    await fc.assert(property, { seed, numRuns: runs });
  });

  define("O4, I1: a transaction that is refused at any point leaves nothing, and can be done again", async () => {
    for (const { before, lost = [], last } of trials) {
      await newDisk().use((open) => {
        let isArmed = false;
        let boundary = 0;
        let left = 0;
        let store = open(() => {
          if (isArmed && left-- === 0) throw new Error("refused by the test");
        });
        for (const step of [...before, ...lost]) doStep(store, step);
        for (; ; boundary++) {
          left = boundary;
          isArmed = true;
          const isRefused = throws(() => doStep(store, last));
          isArmed = false;
          if (!isRefused) break;
          compareReads(store, modelOf([...before, ...lost]), [], 0);
        }
        if (crash && boundary < 3) throw new Error(`it was refused at ${boundary} boundaries only`);
        compareReads(store, modelOf([...before, ...lost, last]), [], 0);
        store = open();
        compareReads(store, modelOf([...before, ...lost, last]).reopened(), [], 0);
      });
    }
  });

  if (crash) {
    define("P4: a crash at any boundary leaves all of a transaction or nothing of it", async () => {
      for (const { before, lost = [], last } of trials.filter(({ isDurable = true }) => isDurable)) {
        const whole = [...before, ...lost, last];
        const ends: ("nothing" | "all")[] = [];
        for (let isOver = false, boundary = 0; !isOver; boundary++) {
          const disk = newDisk();
          isOver = !(await crash(disk, whole, boundary));
          const isDone = await disk.use((open) => {
            const store = open();
            const steps = holds(store, modelOf(before)) ? before : whole;
            compareReads(store, modelOf(steps), [], 0);
            // It goes on from there as if nothing had been.
            if (steps === before) for (const step of [...lost, last]) doStep(store, step);
            compareReads(store, modelOf(whole), [], 0);
            return steps !== before;
          });
          ends.push(isDone ? "all" : "nothing");
        }
        demandEqual([ends[0], ends.at(-1)], ["nothing", "all"], "the first and the last boundary");
        demandEqual(
          ends.toSorted((a, b) => (a === b ? 0 : a === "all" ? 1 : -1)),
          ends,
          "once there, always there",
        );
        if (ends.length < 4) throw new Error(`there are only ${ends.length} boundaries`);
      }
    });
  }

  define("M1: keeps its epoch as long as it lives, and has one of its own", async () => {
    const epochs: string[] = [];
    for (let count = 0; count < 2; count++) {
      await newDisk().use((open) => {
        const { epoch } = open();
        epochs.push(epoch);
        doStep(open(), { commit: commitOf(1, [inserted("a", "1", 1)]), now: 1 });
        demandEqual(open().epoch, epoch, "epoch");
      });
    }
    demandEqual(new Set(epochs).size, 2, "epochs of two stores");
  });

  define("lists by a prefix that ends in the last letter before, or among, those that Unicode leaves out", async () => {
    await newDisk().use((open) => {
      const store = open();
      const all = ["a\ud7ff", "a\ud7ffz", "a\ue000", "a\u{10ffff}", "a\u{10ffff}z", "b", "\u{10ffff}", "\u{10ffff}x"];
      store.apply(
        commitOf(
          1,
          all.map((key) => inserted(key, "1", 1)),
        ),
        1,
      );
      const list = (prefix: string, reverse: boolean): string[] =>
        store.list({ prefix }, 100, reverse).entries.map(({ key }) => key);
      for (const prefix of ["a", "a\ud7ff", "a\u{10ffff}", "\u{10ffff}"]) {
        const expected = all.filter((key) => key.startsWith(prefix));
        demandEqual(list(prefix, false), expected, "by rising key");
        demandEqual(list(prefix, true), expected.toReversed(), "by falling key");
      }
    });
  });

  define("C1: reads changes in pages that are full and never split a seq", async () => {
    await newDisk().use((open) => {
      const store = open();
      const batch = (seq: number, size: number): Commit =>
        commitOf(
          seq,
          Array.from({ length: size }, (_, i) => inserted(`${seq}-${i}`, "1", seq)),
        );
      store.apply(batch(1, PART_CHANGES_MAX - 1), 1);
      store.apply(batch(2, BATCH_OPERATIONS_MAX), 1);
      store.apply(batch(3, 1), 1);
      const first = store.readChanges(0, 0);
      demandEqual([first.changes.length, first.seq, first.isEnd], [PART_CHANGES_MAX * 2 - 1, 2, false], "first page");
      const second = store.readChanges(first.seq, 0);
      demandEqual([second.changes.length, second.seq, second.isEnd], [1, 3, true], "second page");
    });
  });

  define("goes on writing while many walks were left in the middle", async () => {
    await newDisk().use((open) => {
      const store = open();
      const changes = Array.from({ length: 1500 }, (_, i) => inserted(`${i}`, "1", i + 1));
      store.apply(commitOf(1500, changes), 1);
      for (let i = 0; i < 300; i++) {
        demandEqual(store.readChanges(0, 0).isEnd, false, "the walk's end");
        demandEqual(store.list({}, 1).hasMore, true, "the list's end");
        store.apply(commitOf(store.head + 1, [inserted("0", `${i}`, store.head + 1)]), 1);
      }
      demandEqual(open().get("0"), { key: "0", value: "299", seq: 1800 }, "the last write");
    });
  });

  define("C3, I4: gives up what a compaction names, and stands where it stood", async () => {
    await newDisk().use((open) => {
      let store = open();
      for (let seq = 1; seq <= 4; seq++) {
        const record: ClientRecord = { settled: 0, outcomes: [] };
        store.apply(commitOf(seq, [{ key: `k${seq}`, removed: true, seq }], [[`c${seq}`, record]]), seq);
      }
      demandEqual(
        [0, 1, 3, 4].map((kept) => store.floorToKeep(kept)),
        [4, 3, 1, 0],
        "floors to keep",
      );
      store.compact({ floor: 3, clientsBefore: 3 });
      for (let count = 0; count < 2; count++) {
        demandEqual([store.floor, store.head], [3, 4], "floor and head");
        demandEqual(store.readChanges(3, 0).changes, [{ key: "k4", removed: true, seq: 4 }], "changes");
        demandEqual(
          [2, 3].map((client) => store.readClient(`c${client}`) !== undefined),
          [false, true],
          "clients",
        );
        store = open();
      }
      store.compact({ floor: 4, clientsBefore: 0 });
      // Of all that was written nothing is left that has the highest seq.
      for (const one of [store, open()]) demandEqual([one.floor, one.head], [4, 4], "floor and head");
      store = open();
      store.compact({ floor: 2, clientsBefore: 0 });
      demandEqual([store.floor, store.hasClients()], [4, true], "floor never falls");
      store.compact({ floor: 0, clientsBefore: 5 });
      demandEqual(open().hasClients(), false, "clients");
    });
  });

  define("E3, E4, I1: cleared, it is empty, in another history at the next seq, and knows its clients", async () => {
    await newDisk().use((open) => {
      let store = open();
      for (const step of firstSteps) doStep(store, step);
      const record = store.readClient("ann");
      store.clear("another");
      for (let count = 0; count < 2; count++) {
        demandEqual([store.epoch, store.head, store.floor], ["another", 4, 4], "the history");
        demandEqual([store.countEntries(), walk(store, 0, 0)], [0, []], "what is there");
        demandEqual(store.readClient("ann"), record, "the client's record");
        store = open();
      }
      doStep(store, { commit: commitOf(5, [inserted("a", "1", 5)]), now: 3 });
      demandEqual([store.head, store.floor], [5, 4], "head and floor after the next commit");
    });
  });

  define("E2: what is loaded lies aside until it is the state, and is given up by whoever opens it anew", async () => {
    await newDisk().use((open) => {
      let store = open();
      doStep(store, { commit: commitOf(1, [inserted("old", "1", 1)]), now: 1 });
      const { epoch } = store;
      const load = (): void => {
        store.beginLoading();
        store.load([inserted("a", "1", 7), inserted("b", "1", 7)]);
        demandEqual(store.countLoaded(), 2, "what the first part has loaded");
        store.load([removed("a", 8), inserted("c", LONG, 9)]);
        demandEqual(store.countLoaded(), 2, "what both have loaded");
        demandEqual([store.epoch, store.head, store.countEntries()], [epoch, 1, 1], "epoch, head and entries");
        demandEqual(walk(store, 0, 0), [inserted("old", "1", 1)], "the entries");
      };
      load();
      store.dropLoading();
      demandEqual([store.countLoaded(), store.countEntries()], [0, 1], "what is left when it was given up");
      load();
      store = open();
      demandEqual([store.countLoaded(), store.countEntries()], [0, 1], "what is left when it was opened anew");
      load();
      // The store goes on meanwhile.
      doStep(store, { commit: commitOf(2, [inserted("old", "2", 2)]), now: 2 });
      store.endLoading("loaded", 12);
      for (let count = 0; count < 2; count++) {
        demandEqual([store.epoch, store.head, store.floor, store.countLoaded()], ["loaded", 12, 12, 0], "the state");
        demandEqual(walk(store, 0, 0), [inserted("b", "1", 7), inserted("c", LONG, 9)], "the entries");
        demandEqual(store.get("old"), undefined, "what was there before");
        store = open();
      }
      doStep(store, { commit: commitOf(13, [inserted("b", "2", 13)]), now: 3 });
      // E4: seqs never fall.
      store.beginLoading();
      store.load([inserted("a", "1", 1)]);
      store.endLoading("smaller", 1);
      demandEqual([store.head, store.floor, store.get("a")?.seq], [14, 14, 1], "head, floor and the entry's seq");
    });
  });

  define("L1: takes the largest value and the largest commit, however much quoting them costs", async () => {
    await newDisk().use((open) => {
      const store = open();
      const largest = `"${'\\"'.repeat(VALUE_BYTES_MAX / 2 - 1)}"`;
      demandEqual(largest.length, VALUE_BYTES_MAX, "the largest value");
      store.apply(
        commitOf(
          1,
          [0, 1, 2, 3].map((i) => inserted(`big-${i}`, largest, 1)),
        ),
        1,
      );
      const wide = JSON.stringify("😀\ufffd".repeat(30_000));
      store.apply(
        commitOf(
          2,
          [0, 1, 2, 3, 4].map((i) => inserted(`wide-${i}`, wide, 2)),
        ),
        1,
      );
      const many = Array.from({ length: COMMIT_OPERATIONS_MAX }, (_, i) => i);
      const record: ClientRecord = { settled: 0, outcomes: [{ id: 1, seq: 3 }] };
      store.apply(
        commitOf(
          2 + many.length,
          many.map((i) => inserted(`many-${i}`, "1", 3 + i)),
          many.map((i) => [`client-${i}`, record]),
        ),
        1,
      );
      const reopened = open();
      demandEqual(reopened.get("big-3")?.value === largest, true, "a largest value");
      demandEqual(reopened.get("wide-4")?.value === wide, true, "a wide value");
      demandEqual([reopened.head, reopened.countEntries()], [2 + many.length, 9 + many.length], "head and entries");
      demandEqual(reopened.readClient(`client-${many.length - 1}`), record, "the last client's record");
    });
  });

  define("I3: keeps the latest of a client's outcomes, at least as many as it has room for", async () => {
    await newDisk().use((open) => {
      const check = { key: "é".repeat(512), seq: 1 };
      const outcomes = Array.from(
        { length: OUTCOMES_PER_CLIENT_MAX },
        (_, i) => ({ id: i + 1, code: "conflict", check }) as const,
      );
      open().apply(commitOf(0, [], [["ann", { settled: 0, outcomes }]]), 1);
      const kept = open().readClient("ann")!;
      demandEqual(kept.outcomes, outcomes.slice(-kept.outcomes.length), "outcomes");
      demandEqual(kept.settled, kept.outcomes[0]!.id - 1, "settled");
      const plain = outcomes.map(({ id }) => ({ id, seq: id }));
      open().apply(commitOf(0, [], [["ben", { settled: 0, outcomes: plain }]]), 1);
      demandEqual(open().readClient("ben"), { settled: 0, outcomes: plain }, "outcomes that fit");
    });
  });
}

// --- the model

/** A store as simple as can be: every read looks at everything. */
class Model {
  epoch: string | undefined;
  head = 0;
  floor = 0;
  changes = new Map<string, Change<Json>>();
  readonly loaded = new Map<string, Change<Json>>();
  readonly clients = new Map<string, { record: ClientRecord; touchedAt: number }>();

  do(step: StoreStep): void {
    if ("commit" in step) {
      for (const change of step.commit.changes) this.changes.set(change.key, change);
      for (const [id, record] of step.commit.clients) this.clients.set(id, { record, touchedAt: step.now });
      this.head = step.commit.seq;
    } else if ("compaction" in step) {
      const { floor, clientsBefore } = step.compaction;
      this.#dropTombstones(floor);
      for (const [id, { touchedAt }] of this.clients) if (touchedAt < clientsBefore) this.clients.delete(id);
      this.floor = Math.max(this.floor, floor);
    } else if ("clear" in step) {
      this.epoch = step.clear;
      this.changes.clear();
      this.floor = this.head += 1;
    } else if ("beginLoading" in step) {
      this.loaded.clear();
    } else if ("load" in step) {
      for (const change of step.load) this.loaded.set(change.key, change);
    } else {
      this.epoch = step.epoch;
      this.changes = new Map(this.loaded);
      this.loaded.clear();
      this.#dropTombstones(Infinity);
      this.floor = this.head = Math.max(this.head + 1, step.endLoading);
    }
  }

  /** What whoever opens the store anew finds. */
  reopened(): this {
    this.loaded.clear();
    return this;
  }

  #dropTombstones(floor: number): void {
    for (const change of this.changes.values()) {
      if ("removed" in change && change.seq <= floor) this.changes.delete(change.key);
    }
  }

  entries(range: Range): Entry<Json>[] {
    return [...this.changes.values()]
      .filter((change): change is Entry<Json> => "value" in change && isInRange(change.key, range))
      .sort((a, b) => compareKeys(a.key, b.key));
  }

  changesAfter(since: number, tombstonesAfter: number): Change<Json>[] {
    return [...this.changes.values()]
      .filter((change) => change.seq > since && ("value" in change || change.seq > tombstonesAfter))
      .sort(byPlace);
  }

  floorToKeep(tombstones: number): number {
    const seqs = [...this.changes.values()].filter((change) => "removed" in change).map(({ seq }) => seq);
    return seqs.sort((a, b) => b - a)[tombstones] ?? this.floor;
  }
}

const byPlace = (a: Change<Json>, b: Change<Json>): number => a.seq - b.seq || compareKeys(a.key, b.key);

function modelOf(steps: readonly StoreStep[]): Model {
  const model = new Model();
  for (const step of steps) model.do(step);
  return model;
}

function compareReads(store: PrimaryPersistence, model: Model, asked: readonly Range[], since: number): void {
  demandEqual([store.head, store.floor], [model.head, model.floor], "head and floor");
  demandEqual(store.epoch, model.epoch ?? store.epoch, "epoch");
  const loaded = [...model.loaded.values()].filter((change) => "value" in change);
  demandEqual(store.countLoaded(), loaded.length, "what was loaded");
  const all = new Map(model.entries({}).map((entry) => [entry.key, entry]));
  demandEqual(store.countEntries(), all.size, "entries");
  for (const range of asked) {
    demandEqual(store.countEntries(range), model.entries(range).length, `entries in ${JSON.stringify(range)}`);
  }
  demandEqual(store.hasClients(), model.clients.size > 0, "whether there are clients");
  for (const key of [...LETTERS, ...model.changes.keys()]) {
    demandEqual(store.get(key), all.get(key), `get ${JSON.stringify(key)}`);
  }
  for (const client of CLIENTS) {
    demandEqual(store.readClient(client), model.clients.get(client)?.record, `the record of ${client}`);
  }
  for (const from of new Set([0, since, model.floor])) {
    for (const after of [0, since]) {
      demandEqual(walk(store, from, after), model.changesAfter(from, after), `changes from ${from}`);
    }
  }
  for (const range of [{}, ...asked]) {
    const expected = model.entries(range);
    for (const limit of [1, 3, 1000]) {
      const hasMore = expected.length > limit;
      demandEqual(store.list(range, limit), { entries: expected.slice(0, limit), hasMore }, "list");
      const entries = expected.toReversed().slice(0, limit);
      demandEqual(store.list(range, limit, true), { entries, hasMore }, "list by falling key");
    }
  }
  for (const kept of [0, 1, 3]) demandEqual(store.floorToKeep(kept), model.floorToKeep(kept), `floor to keep ${kept}`);
}

/** All that was changed after `since`, page by page; within a seq, where the order means nothing, by key. */
function walk(store: PrimaryPersistence, since: number, tombstonesAfter: number): Change<Json>[] {
  const changes: Change<Json>[] = [];
  for (let at = since, isEnd = false; !isEnd;) {
    const page = store.readChanges(at, tombstonesAfter);
    changes.push(...page.changes);
    ({ isEnd, seq: at } = page);
  }
  const seqs = changes.map(({ seq }) => seq);
  demandEqual(
    seqs,
    seqs.toSorted((a, b) => a - b),
    "a walk's order",
  );
  return changes.sort(byPlace);
}

function holds(store: PrimaryPersistence, model: Model): boolean {
  return !throws(() => compareReads(store, model, [], 0));
}

function throws(run: () => void): boolean {
  try {
    run();
    return false;
  } catch {
    return true;
  }
}

// --- histories

const commitOf = (seq: number, changes: Change<Json>[], clients: [string, ClientRecord][] = []): Commit => ({
  seq,
  changes,
  clients: new Map(clients),
});
const inserted = (key: string, value: Json, seq: number): Change<Json> => ({ key, value, seq });
const removed = (key: string, seq: number): Change<Json> => ({ key, removed: true, seq });

// Where the order of code points is not that of UTF-16, where text ends early in C, and what SQL and JSON quote.
const LETTERS = ["a", "b", "\0", "'", '"', "\\", "é", "\ud7ff", "\ue000", "\uffff", "😀", "\u{10ffff}"];
const CLIENTS = ["ann", "ben", "cy"];

const keys = fc.array(fc.constantFrom(...LETTERS), { minLength: 1, maxLength: 3 }).map((letters) => letters.join(""));
const values = fc.oneof(
  fc.jsonValue().map((value) => JSON.stringify(value)),
  fc.constantFrom('"\\u0000"', "null", "0", '"\\""'),
);
const ranges: fc.Arbitrary<Range> = fc.record({ prefix: keys, start: keys, end: keys }, { requiredKeys: [] });

/** A commit: some atomic writes, each of which sets keys or, without a value, removes them; and who gets a record. */
interface DrawnCommit {
  writes: { key: string; value: string | null }[][];
  clients: string[];
}
/** How much is given up: of the time that has passed, and of the seqs. */
interface DrawnCompaction {
  floorShare: number;
  clientsShare: number;
}
/** Another history begins: with what is loaded, if anything is, as the state at its last seq. */
interface DrawnHistory {
  loaded: DrawnCommit["writes"];
  /** The first attempt ends before it has come to its end. */
  isGivenUp: boolean;
}
type DrawnStep = DrawnCommit | DrawnCompaction | DrawnHistory | "open";

const write = fc.array(fc.record({ key: keys, value: fc.option(values) }), { minLength: 1, maxLength: 5 });
const share = fc.constantFrom(0, 0.3, 0.7, 1);
const histories: fc.Arbitrary<DrawnStep[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        writes: fc.array(write, { maxLength: 4 }),
        clients: fc.uniqueArray(fc.constantFrom(...CLIENTS), { maxLength: 2 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ floorShare: share, clientsShare: share }) },
    { weight: 1, arbitrary: fc.record({ loaded: fc.array(write, { maxLength: 4 }), isGivenUp: fc.boolean() }) },
    { weight: 1, arbitrary: fc.constant("open" as const) },
  ),
  { maxLength: 10 },
);

/** Makes steps of what was drawn, as hosts do: a seq per write, one change per key, in the order of seqs. */
function toSteps(drawn: readonly DrawnStep[]): (StoreStep | "open")[] {
  let seq = 0;
  return drawn.flatMap((step, index): (StoreStep | "open")[] => {
    if (step === "open") return [step];
    const now = index + 1;
    if ("floorShare" in step) {
      const floor = Math.floor(seq * step.floorShare);
      return [{ compaction: { floor, clientsBefore: Math.ceil(now * step.clientsShare) } }];
    }
    if ("loaded" in step) {
      const epoch = `history-${index}`;
      const parts = step.loaded.map((write, at) => ({ load: changesOf([write], at + 1) }));
      seq = Math.max(seq + 1, parts.length);
      if (parts.length === 0) return [{ clear: epoch }];
      const given: (StoreStep | "open")[] = step.isGivenUp ? [{ beginLoading: true }, ...parts, "open"] : [];
      return [...given, { beginLoading: true }, ...parts, { endLoading: parts.length, epoch }];
    }
    const changes = changesOf(step.writes, seq + 1);
    seq += step.writes.length;
    const records = step.clients.map((clientId) => [clientId, recordAt(seq)] as [string, ClientRecord]);
    return [{ commit: commitOf(seq, changes, records), now }];
  });
}

/** Of each key the last change, where the first of the writes has this seq. */
function changesOf(writes: DrawnCommit["writes"], first: number): Change<Json>[] {
  const changes = new Map<string, Change<Json>>();
  for (const [index, write] of writes.entries()) {
    for (const { key, value } of write) {
      changes.delete(key);
      changes.set(key, value === null ? removed(key, first + index) : inserted(key, value, first + index));
    }
  }
  return [...changes.values()];
}

const recordAt = (seq: number): ClientRecord => ({
  settled: seq,
  outcomes: [
    { id: seq + 1, seq },
    { id: seq + 2, code: "conflict", check: { key: "é\0", seq } },
  ],
});

/** What a store holds when it is put to the test at the boundaries of one more step. */
const firstSteps: readonly StoreStep[] = [
  {
    commit: commitOf(2, [inserted("a", "1", 1), inserted("b", "1", 1), removed("é", 2)], [["ann", recordAt(1)]]),
    now: 1,
  },
  { commit: commitOf(3, [removed("b", 3)]), now: 2 },
];

// Too long to be written together with the rest, so that a commit has several writes.
const LONG = JSON.stringify("x".repeat(600_000));

const loading: StoreStep = { beginLoading: true };
const part: StoreStep = { load: [inserted("a", LONG, 4), inserted("b", "2", 5), removed("'", 6)] };

interface Trial {
  before: readonly StoreStep[];
  /** What comes between, and is gone after a crash. */
  lost?: readonly StoreStep[];
  /** The transaction that is put to the test. */
  last: StoreStep;
  /** A crash leaves what it does, too. */
  isDurable?: boolean;
}

const trials: readonly Trial[] = [
  {
    before: firstSteps,
    last: {
      commit: commitOf(
        6,
        [inserted("a", LONG, 4), inserted("b", "2", 5), removed("'", 6), inserted("😀", LONG, 6)],
        [
          ["ann", recordAt(4)],
          ["ben", recordAt(6)],
        ],
      ),
      now: 3,
    },
  },
  { before: firstSteps, last: { compaction: { floor: 2, clientsBefore: 2 } } },
  { before: firstSteps, last: { clear: "empty" } },
  { before: firstSteps, lost: [loading], last: part, isDurable: false },
  { before: firstSteps, lost: [loading, part], last: { endLoading: 9, epoch: "loaded" } },
];
