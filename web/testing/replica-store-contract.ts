// What every persistence of a replica must keep, whatever it is made of and wherever it runs: in Node and in a page of a
// real browser, where no test runner is.

import * as fc from "fast-check";
import { encodeDownstream } from "../../src/codec.ts";
import type { Change, Entry, Json, JsonValue } from "../../src/kv.ts";
import { BATCH_BYTES_MAX, VALUE_BYTES_MAX } from "../../src/limits.ts";
import { demandEqual } from "../../src/testing/equality.ts";
import { parseChanges } from "../feed.ts";
import type { StepLines } from "../feed.ts";
import { LostError } from "../replica/replica-persistence.ts";
import type { Image, ReplicaPersistence, Stored } from "../replica/replica-persistence.ts";
import { VisibleState } from "../replica/visible-state.ts";

/** Where one replica's copy is kept: empty when it is made. */
export interface ReplicaDisk {
  /** Opens it as a new process would. */
  open(readImage: () => Image | undefined): ReplicaPersistence;
  /** Deletes everything behind the back of whoever has it open, as a person can. */
  wipe(): Promise<void>;
}

export interface ReplicaContractSettings {
  /** From which random histories are drawn. */
  seed: number;
  /** How many of them. */
  runs: number;
}

type Define = (title: string, run: () => Promise<void>) => void;

/** A replica as its host runs it: a visible state, and the store that follows it. */
export class Copy {
  state = new VisibleState();
  secondaryId: string;
  readonly store: ReplicaPersistence;

  private constructor(disk: ReplicaDisk, secondaryId: string) {
    this.secondaryId = secondaryId;
    this.store = disk.open(() => this.state.toImage());
  }

  /** Claims the disk and reads what is on it; throws if that does not parse or chain. */
  static async open(disk: ReplicaDisk, secondaryId = "me"): Promise<Copy> {
    const copy = new Copy(disk, secondaryId);
    copy.#adopt(await copy.store.claim());
    return copy;
  }

  /** Reads what is on the disk without claiming it. */
  static async read(disk: ReplicaDisk): Promise<Copy> {
    const copy = new Copy(disk, "reader");
    copy.#adopt(await copy.store.load());
    return copy;
  }

  #adopt(stored: Stored): void {
    const state = VisibleState.fromStored(stored);
    if (!state) throw new Error("what is stored does not parse or chain");
    this.state = state;
    this.secondaryId = stored.checkpoint?.secondaryId ?? this.secondaryId;
  }

  /** Makes steps visible, and durable when it resolves. */
  take(...steps: StepLines[]): Promise<void> {
    for (const step of steps) this.state.apply(step, step.lines.flatMap(parseChanges));
    return this.store.persist(steps, this.secondaryId);
  }

  /** The step after the present one. */
  next(writes: Writes, { isReset = false, isSplit = false } = {}): StepLines {
    const { epoch, seq } = this.state;
    return stepOf(epoch ?? "e", seq, writes, { isReset: isReset || epoch === null, isSplit });
  }

  show(): Shown {
    return show(this.state);
  }
}

/** What keys are set to; null removes one. */
type Writes = [key: string, value: JsonValue | null][];

interface Shown {
  epoch: string | null;
  seq: number;
  entries: unknown[];
}

function show(state: VisibleState): Shown {
  return { epoch: state.epoch, seq: state.seq, entries: [...(state.toImage()?.entries ?? [])] };
}

/** A step as it was received: the lines of its one snapshot, or of its two parts. */
export function stepOf(
  epoch: string,
  prev: number,
  writes: Writes,
  { isReset = false, isSplit = false } = {},
): StepLines {
  const half = isSplit ? Math.ceil(writes.length / 2) : 0;
  const middle = prev + (isSplit ? 1 : 0);
  const seq = middle + 1;
  const changesOf = (some: Writes, at: number): Change<Json>[] =>
    some.map(([key, value]) =>
      value === null ? { key, removed: true, seq: at } : { key, value: JSON.stringify(value), seq: at },
    );
  const line = (from: number, to: number, changes: Change<Json>[]): string =>
    encodeDownstream({ type: "snapshot", prev: from, seq: to, changes, until: seq });
  const last = line(middle, seq, changesOf(writes.slice(half), seq));
  const lines = isSplit ? [line(prev, middle, changesOf(writes.slice(0, half), middle)), last] : [last];
  return { epoch, prev, seq, reset: isReset, lines };
}

/** Defines the contract's tests for the disks that `newDisk` makes. */
export function testReplicaPersistence(
  define: Define,
  newDisk: () => ReplicaDisk,
  { seed, runs }: ReplicaContractSettings,
): void {
  define("V2: gives back what was persisted, whatever was done, and whenever it is opened anew", async () => {
    const property = fc.asyncProperty(histories, async (history) => {
      const disk = newDisk();
      let copy = await Copy.open(disk);
      demandEqual(copy.show(), { epoch: null, seq: 0, entries: [] }, "an empty disk");
      let resets = 0;
      for (const action of history) {
        if (action.do === "steps") {
          const steps: StepLines[] = [];
          for (const { writes, isSplit } of action.steps) {
            const step = copy.next(writes, { isSplit });
            steps.push(step);
            copy.state.apply(step, step.lines.flatMap(parseChanges));
          }
          await copy.store.persist(steps, copy.secondaryId);
        } else if (action.do === "reset") {
          resets += 1;
          await copy.take(stepOf(`e${resets}`, 0, action.writes, { isReset: true }));
        } else if (action.do === "clear") {
          await copy.store.clear();
          copy.state = new VisibleState();
        } else if (action.do === "checkpoint") {
          if (copy.state.epoch !== null) await copy.store.checkpoint(copy.secondaryId);
        } else {
          await copy.store.close();
        }
        const shown = copy.show();
        if (action.do === "open") copy = await Copy.open(disk, "another");
        demandEqual(copy.show(), shown, `after ${action.do}`);
        const reader = await Copy.read(disk);
        demandEqual(reader.show(), shown, `read after ${action.do}`);
        for (const key of KEYS)
          demandEqual(await reader.store.find(key), entryOf(copy, key), `${key} after ${action.do}`);
        await reader.store.close();
      }
      await copy.store.close();
    });
    await fc.assert(property, { seed, numRuns: runs });
  });

  define("V2: finds one entry among many pages and many steps", async () => {
    const disk = newDisk();
    const copy = await Copy.open(disk);
    const keyAt = (at: number): string => `k${String(at).padStart(5, "0")}`;
    const all: Writes = Array.from({ length: 5000 }, (_, at) => [keyAt(2 * at + 1), { at, filling: "x".repeat(100) }]);
    await copy.take(copy.next(all));
    await copy.take(copy.next([[keyAt(1), null]]));
    await copy.take(copy.next([[keyAt(777), "new"]]));
    await copy.take(copy.next([[keyAt(778), "newer"]], { isSplit: true }));
    const entries = new Map([...copy.state.toImage()!.entries].map((entry) => [entry.key, entry]));
    for (let at = 0; at <= 10_001; at += 1 + (at % 97)) {
      demandEqual(await copy.store.find(keyAt(at)), entries.get(keyAt(at)), keyAt(at));
    }
    await copy.store.close();
  });

  define("keeps the id of its replica", async () => {
    const disk = newDisk();
    const first = await Copy.open(disk, "first");
    await first.take(first.next([["a", 1]]));
    await first.store.close();
    const second = await Copy.open(disk, "second");
    demandEqual(second.secondaryId, "first", "id");
    await second.store.close();
  });

  define("D3: takes writes that do not wait for each other in their order", async () => {
    const disk = newDisk();
    const copy = await Copy.open(disk);
    const done: number[] = [];
    const writes = Array.from({ length: 40 }, (_, i) =>
      copy.take(copy.next([[`k${i % 7}`, i]])).then(() => void done.push(i)),
    );
    const shown = copy.show();
    await Promise.all(writes);
    demandEqual(
      done,
      Array.from({ length: 40 }, (_, i) => i),
      "the order",
    );
    await copy.store.close();
    demandEqual((await Copy.open(disk)).show(), shown, "all of them");
  });

  define(
    "holds at most what is visible and at least what is confirmed, when the visible state runs ahead",
    async () => {
      const disk = newDisk();
      const copy = await Copy.open(disk);
      await copy.take(copy.next([["a", 0]]));
      const steps = [1, 2, 3].map((value) => {
        const step = copy.next([["a", value]]);
        copy.state.apply(step, step.lines.flatMap(parseChanges));
        return step;
      });
      // The checkpoint is of all three; the steps that are persisted after it are older than it.
      await copy.store.checkpoint(copy.secondaryId);
      await copy.store.persist(steps.slice(0, 2), copy.secondaryId);
      const reader = await Copy.read(disk);
      demandEqual(reader.show(), copy.show(), "the visible state");
      await reader.store.close();
      await copy.store.persist(steps.slice(2), copy.secondaryId);
      await copy.take(copy.next([["b", 1]]));
      await copy.store.close();
      demandEqual((await Copy.open(disk)).show(), copy.show(), "what followed");
    },
  );

  define("D4: leaves nothing of a transaction that fails, and can go on", async () => {
    const disk = newDisk();
    const copy = await Copy.open(disk);
    await copy.take(copy.next([["a", 1]]));
    const before = copy.show();
    const step = copy.next([["a", 2]]);
    // No disk can hold a function.
    const broken = { ...step, lines: [() => {}] } as unknown as StepLines;
    demandEqual(await rejects(copy.store.persist([step, broken], "me")), true, "refusal");
    const reader = await Copy.read(disk);
    demandEqual(reader.show(), before, "nothing of it");
    await reader.store.close();
    await copy.take(step);
    await copy.store.close();
    demandEqual((await Copy.open(disk)).show(), copy.show(), "all of it");
  });

  define(
    "writes nothing to a disk that was emptied behind its back, and everything once it has claimed it anew",
    async () => {
      const disk = newDisk();
      const copy = await Copy.open(disk);
      const first = copy.next([
        ["a", 1],
        ["b", 2],
      ]);
      await copy.take(first);
      await disk.wipe();
      demandEqual(await lost(copy.take(copy.next([["c", 3]]))), true, "the loss");
      demandEqual(await lost(copy.store.checkpoint("me")), true, "the loss, again");
      demandEqual((await copy.store.claim()).checkpoint, undefined, "an empty disk");
      await copy.store.checkpoint(copy.secondaryId);
      await copy.take(copy.next([["a", null]]));
      await copy.store.close();
      demandEqual((await Copy.open(disk)).show(), copy.show(), "the whole state");
    },
  );

  define("writes nothing once another has claimed its disk", async () => {
    const disk = newDisk();
    const mine = await Copy.open(disk, "mine");
    await mine.take(mine.next([["a", 1]]));
    // What is on its way when the disk is claimed is there or refused, never half of it and never later.
    const racing = mine.take(mine.next([["a", 2]])).then(
      () => true,
      (error) => !(error instanceof LostError),
    );
    const theirs = await Copy.open(disk, "theirs");
    demandEqual(theirs.state.seq, (await racing) ? 2 : 1, "what was confirmed before the claim");
    demandEqual(theirs.secondaryId, "mine", "the id goes with the disk");
    const refused = [
      () => mine.take(mine.next([["b", 2]])),
      () => mine.take(stepOf("another epoch", 0, [["x", 1]], { isReset: true })),
      () => mine.store.checkpoint("mine"),
      () => mine.store.clear(),
    ];
    for (const write of refused) demandEqual(await lost(write()), true, "a refusal");
    await theirs.take(theirs.next([["c", 3]]));
    const reader = await Copy.read(disk);
    demandEqual(reader.show(), theirs.show(), "theirs");
    for (const { store } of [mine, theirs, reader]) await store.close();
  });

  define("L1: takes the largest value and the largest step", async () => {
    const disk = newDisk();
    const copy = await Copy.open(disk);
    const largest = "x".repeat(VALUE_BYTES_MAX - 2);
    const wide = "😀".repeat(100_000);
    await copy.take(
      copy.next([
        ["a", largest],
        ["wide", wide],
      ]),
    );
    const count = BATCH_BYTES_MAX / VALUE_BYTES_MAX;
    await copy.take(copy.next(Array.from({ length: count }, (_, i) => [`large-${i}`, largest])));
    await copy.take(copy.next([["wide", wide]]));
    await copy.store.close();
    demandEqual(sizes(await Copy.open(disk)), sizes(copy), "sizes");
  });

  define("L1: loses nothing when its log is folded", async () => {
    const disk = newDisk();
    const copy = await Copy.open(disk);
    const half = "x".repeat(512 * 1024);
    for (let i = 0; i < 60; i++) await copy.take(copy.next([[`k${i % 9}`, `${i}${half}`]]));
    const small = Array.from({ length: 1100 }, (_, i) => copy.take(copy.next([[`s${i % 50}`, i]])));
    await Promise.all(small);
    await copy.store.close();
    const read = await Copy.open(disk);
    demandEqual(sizes(read), sizes(copy), "sizes");
    demandEqual(read.state.seq, copy.state.seq, "seq");
    await read.store.close();
  });

  define("does nothing any more once it is closed", async () => {
    const disk = newDisk();
    const copy = await Copy.open(disk);
    const last = copy.take(copy.next([["a", 1]]));
    const shown = copy.show();
    await copy.store.close();
    await last;
    demandEqual(await rejects(copy.take(copy.next([["a", 2]]))), true, "refusal");
    demandEqual(await rejects(copy.store.load()), true, "refusal to load");
    demandEqual((await Copy.open(disk)).show(), shown, "what was asked before");
  });
}

/** Large values are compared by their size: where they differ, nobody wants to read them. */
const sizes = (copy: Copy): unknown[] =>
  [...copy.state.toImage()!.entries].map(({ key, value, seq }) => [key, JSON.stringify(value).length, seq]);

const entryOf = (copy: Copy, wanted: string): Entry | undefined =>
  [...(copy.state.toImage()?.entries ?? [])].find(({ key }) => key === wanted);

async function lost(promise: Promise<unknown>): Promise<boolean> {
  return promise.then(
    () => false,
    (error: unknown) => error instanceof LostError,
  );
}

async function rejects(promise: Promise<unknown>): Promise<boolean> {
  return promise.then(
    () => false,
    () => true,
  );
}

// --- histories

// Where the order of code points is not that of UTF-16, and what a database stores with two bytes for each letter.
const KEYS = ["a", "b", "\0", "é", "\uffff", "😀", "\ud7ff", "z".repeat(300)];
const keys = fc.constantFrom(...KEYS);
const writes: fc.Arbitrary<Writes> = fc.array(fc.tuple(keys, fc.option(fc.jsonValue() as fc.Arbitrary<JsonValue>)), {
  maxLength: 4,
});

type Action =
  | { do: "steps"; steps: { writes: Writes; isSplit: boolean }[] }
  | { do: "reset"; writes: Writes }
  | { do: "checkpoint" | "clear" | "open" };

const histories: fc.Arbitrary<Action[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant("steps" as const),
        steps: fc.array(fc.record({ writes, isSplit: fc.boolean() }), { minLength: 1, maxLength: 3 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("reset" as const), writes }) },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constantFrom("checkpoint" as const, "clear" as const, "open" as const) }),
    },
  ),
  { maxLength: 10 },
);
