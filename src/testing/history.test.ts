import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkHistory } from "./history-checker.ts";
import { formatHistory, parseHistory } from "./history.ts";
import type { HistoryLine, RecordedEntry, RecordedOperation, RecordedOutcome } from "./history.ts";
import { judge } from "./linearizability.ts";
import type { Step } from "./linearizability.ts";

const EPOCH = "e1";

// --- histories by hand

const header: HistoryLine = { type: "header", version: 1, statusLagMs: 0 };
type LineOf<Type extends HistoryLine["type"]> = Extract<HistoryLine, { type: Type }>;

const insert = (key: string, value: string): RecordedOperation => batch([{ key, value }]);
const remove = (key: string): RecordedOperation => batch([{ key, value: null }]);
const batch = (
  writes: { key: string; value: string | null }[],
  checks: { key: string; seq: number | null }[] = [],
): RecordedOperation => ({ kind: "batch", writes, checks, ack: "all" });
const get = (key: string): RecordedOperation => ({ kind: "get", key });
const acked = (seq: number, replicas = 0): RecordedOutcome => ({ result: "acked", seq, replicas });
const failed = (applied?: boolean, seq?: number): RecordedOutcome => ({
  result: "failed",
  code: "unconfirmed",
  applied,
  seq,
});
const read = (value: string | null): RecordedOutcome => ({ result: "read", value });
const UNKNOWN: RecordedOutcome = { result: "unknown" };

let nextId = 1;
/** An operation and its answer; without an outcome it has none. */
function done(start: number, end: number, operation: RecordedOperation, outcome?: RecordedOutcome): HistoryLine[] {
  const id = nextId++;
  const invoke: HistoryLine = { type: "invoke", at: start, client: "c", id, operation };
  return outcome ? [invoke, { type: "respond", at: end, client: "c", id, outcome }] : [invoke];
}

const shows = (
  at: number,
  seq: number,
  entries: RecordedEntry[],
  more: Partial<LineOf<"observe">> = {},
): HistoryLine => ({
  type: "observe",
  at,
  replica: "r",
  life: 1,
  epoch: EPOCH,
  seq,
  entries,
  ...more,
});
const ends = (head: number, entries: RecordedEntry[], replicas: string[] = []): HistoryLine => ({
  type: "final",
  at: 1000,
  epoch: EPOCH,
  head,
  entries,
  replicas,
});
const persisted = (at: number, seq: number, disk = "d"): HistoryLine => ({
  type: "persisted",
  at,
  disk,
  epoch: EPOCH,
  seq,
});

const rulesOf = (lines: HistoryLine[]): string[] => [
  ...new Set(checkHistory([header, ...lines]).map(({ rule }) => rule)),
];

/** Two inserts one after the other, which most examples begin with. */
const two = (): HistoryLine[] => [
  ...done(10, 19, insert("a", "1"), acked(1)),
  ...done(20, 29, insert("a", "2"), acked(2)),
];

describe("good histories are accepted", () => {
  test.each<[string, HistoryLine[]]>([
    ["nothing at all", []],
    [
      "two inserts, a replica that follows, and the end",
      [...two(), shows(15, 1, [["a", "1", 1]]), shows(40, 2, [["a", "2", 2]]), ends(2, [["a", "2", 2]], ["r"])],
    ],
    ["a stale replica is no violation", [...two(), shows(900, 1, [["a", "1", 1]]), ends(2, [["a", "2", 2]])]],
    [
      "an unknown insert may take effect late",
      [
        ...done(10, 15, insert("a", "1"), UNKNOWN),
        ...done(20, 29, get("a"), read(null)),
        ...done(30, 39, get("a"), read("1")),
        ends(1, [["a", "1", 1]]),
      ],
    ],
    [
      "an unknown insert may never take effect",
      [...done(10, 15, insert("a", "1")), ...done(20, 29, get("a"), read(null)), ends(0, [])],
    ],
    [
      "an unknown insert that was overwritten unseen fills its seq",
      [
        ...done(10, 15, insert("a", "1"), UNKNOWN),
        ...done(20, 29, insert("a", "2"), acked(2)),
        ends(2, [["a", "2", 2]]),
      ],
    ],
    [
      "an unknown remove explains an absence",
      [...two(), ...done(30, 39, remove("a"), UNKNOWN), ...done(40, 49, get("a"), read(null)), ends(3, [])],
    ],
    [
      "in doubt is unknown",
      [...done(10, 15, insert("a", "1"), failed()), ...done(20, 29, get("a"), read("1")), ends(1, [["a", "1", 1]])],
    ],
    ["a failure that was applied", [...done(10, 15, insert("a", "1"), failed(true, 1)), ends(1, [["a", "1", 1]])]],
    [
      "a Remove of an absent key takes no seq",
      [...two(), ...done(30, 39, remove("b"), acked(2)), ends(2, [["a", "2", 2]])],
    ],
    [
      "operations that overlap have either order",
      [
        ...done(10, 50, insert("a", "1"), acked(2)),
        ...done(10, 50, insert("a", "2"), acked(1)),
        ...done(10, 50, get("a"), read("2")),
        ends(2, [["a", "1", 2]]),
      ],
    ],
    [
      "a batch with true checks",
      [
        ...two(),
        ...done(
          30,
          39,
          batch(
            [
              { key: "a", value: "3" },
              { key: "b", value: "3" },
            ],
            [
              { key: "a", seq: 2 },
              { key: "b", seq: null },
            ],
          ),
          acked(3),
        ),
        ends(3, [
          ["a", "3", 3],
          ["b", "3", 3],
        ]),
      ],
    ],
    [
      "an ack that one disk stands for",
      [...done(10, 19, insert("a", "1"), acked(1, 1)), persisted(15, 1), ends(1, [["a", "1", 1]])],
    ],
    [
      "a restart that begins with what was on disk",
      [...two(), persisted(30, 2), shows(50, 2, [["a", "2", 2]], { life: 2, disk: "d", begunAt: 45 })],
    ],
    [
      "a restart without the disk that was lost",
      [
        ...two(),
        persisted(30, 2),
        { type: "disk-lost", at: 35, disk: "d" },
        shows(50, 0, [], { life: 2, disk: "d", begunAt: 45, epoch: null }),
      ],
    ],
    [
      "a primary that was set back has forgotten",
      [
        ...two(),
        { type: "restored", at: 30, epoch: "e2" },
        shows(40, 1, [["a", "1", 1]], { epoch: "e2" }),
        { type: "final", at: 99, epoch: "e2", head: 1, entries: [["a", "1", 1]], replicas: ["r"] },
      ],
    ],
  ])("%s", (_, lines) => {
    expect(checkHistory([header, ...lines])).toEqual([]);
  });
});

describe("bad histories are rejected, and by which rule", () => {
  test.each<[string, string, HistoryLine[]]>([
    [
      "R1",
      "a read that is older than an insert which was acked before",
      [...two(), ...done(30, 39, get("a"), read("1"))],
    ],
    [
      "R1",
      "two reads that see two inserts in either order",
      [
        ...done(10, 50, insert("a", "1"), failed()),
        ...done(10, 50, insert("a", "2"), failed()),
        ...done(60, 61, get("a"), read("1")),
        ...done(62, 63, get("a"), read("2")),
        ...done(64, 65, get("a"), read("1")),
      ],
    ],
    [
      "R1",
      "a read before its insert began",
      [...done(10, 15, get("a"), read("1")), ...done(20, 29, insert("a", "1"), acked(1))],
    ],
    ["R1", "a read of nothing that no Remove explains", [...two(), ...done(30, 39, get("a"), read(null))]],
    [
      "R1",
      "a read at a seq at which the key had been written again",
      [...two(), ...done(30, 39, get("a"), { result: "read", value: "1", writtenAt: 1, seq: 2 })],
    ],
    ["A1", "two answers", [...two(), { type: "respond", at: 50, client: "c", id: nextId - 1, outcome: UNKNOWN }]],
    ["A2", "an acked insert that the primary has not in the end", [...two(), ends(2, [["a", "1", 1]])]],
    ["A2", "an acked insert that is gone in the end", [...two(), ends(2, [])]],
    ["A2", "an insert that is not where its ack said", [...two(), shows(40, 3, [["a", "2", 3]])]],
    [
      "A4",
      "an insert that is not where its failure said",
      [...done(10, 15, insert("a", "1"), failed(true, 1)), shows(40, 3, [["a", "1", 3]])],
    ],
    [
      "A2",
      "an ack that counts more disks than held it",
      [...done(10, 19, insert("a", "1"), acked(1, 1)), persisted(25, 1)],
    ],
    [
      "A3",
      "an insert that failed for good, and is seen",
      [...done(10, 15, insert("a", "1"), failed(false)), shows(40, 1, [["a", "1", 1]])],
    ],
    [
      "A3",
      "an insert that failed for good, and is read",
      [...done(10, 15, insert("a", "1"), failed(false)), ...done(20, 29, get("a"), read("1"))],
    ],
    [
      "I1",
      "an operation with two effects",
      [...done(10, 15, insert("a", "1"), UNKNOWN), shows(40, 1, [["a", "1", 1]]), shows(50, 2, [["a", "1", 2]])],
    ],
    [
      "I1",
      "an operation with two effects in a history that has ended",
      [
        ...done(10, 15, insert("a", "1"), UNKNOWN),
        shows(40, 1, [["a", "1", 1]]),
        shows(50, 2, [["a", "1", 2]]),
        { type: "restored", at: 60, epoch: "e2" },
        { type: "final", at: 99, epoch: "e2", head: 0, entries: [], replicas: [] },
      ],
    ],
    [
      "O1",
      "two operations of one seq",
      [...done(10, 19, insert("a", "1"), acked(1)), ...done(10, 19, insert("b", "2"), acked(1))],
    ],
    [
      "O1",
      "a seq that nobody can have had",
      [
        ...done(10, 19, insert("a", "1"), acked(1)),
        ...done(20, 29, insert("b", "2"), acked(3)),
        ends(3, [
          ["a", "1", 1],
          ["b", "2", 3],
        ]),
      ],
    ],
    [
      "O1",
      "a seq whose only candidate began too late",
      [...done(10, 19, insert("b", "2"), acked(2)), ...done(30, 39, insert("a", "1")), ends(2, [["b", "2", 2]])],
    ],
    [
      "O1",
      "seqs against the order of time, on different keys",
      [...done(10, 19, insert("a", "1"), acked(2)), ...done(20, 29, insert("b", "2"), acked(1))],
    ],
    [
      "O1",
      "a replica that shows what has not begun",
      [...done(10, 19, insert("a", "1"), acked(1)), shows(5, 1, [["a", "1", 1]])],
    ],
    ["O2", "an ack beyond head", [...two(), ends(1, [["a", "1", 1]])]],
    [
      "O3",
      "an ack before the own replica shows it",
      [
        ...done(10, 19, insert("a", "1")),
        { type: "respond", at: 19, client: "c", id: nextId - 1, outcome: acked(1), shown: { epoch: EPOCH, seq: 0 } },
        ends(1, [["a", "1", 1]]),
      ],
    ],
    [
      "O4",
      "a batch whose check was not true",
      [...two(), ...done(30, 39, batch([{ key: "a", value: "3" }], [{ key: "a", seq: 1 }]), acked(3))],
    ],
    [
      "O4",
      "a batch that wanted a key absent",
      [...two(), ...done(30, 39, batch([{ key: "a", value: "3" }], [{ key: "a", seq: null }]), acked(3))],
    ],
    ["V1", "a value that nobody wrote", [shows(10, 1, [["a", "x", 1]])]],
    ["V1", "a value under another key", [...two(), shows(40, 2, [["b", "2", 2]])]],
    ["V1", "an old value at a later seq", [...two(), shows(40, 2, [["a", "1", 1]])]],
    ["V1", "a key that is missing", [...two(), shows(40, 2, [])]],
    [
      "V1",
      "a key that was removed and is shown",
      [...two(), ...done(30, 39, remove("a"), acked(3)), shows(40, 3, [["a", "2", 2]])],
    ],
    [
      "V1",
      "half a batch",
      [
        ...done(
          10,
          19,
          batch([
            { key: "a", value: "1" },
            { key: "b", value: "1" },
          ]),
          acked(1),
        ),
        shows(40, 1, [["a", "1", 1]]),
      ],
    ],
    [
      "V1",
      "half a batch whose end nobody was told",
      [
        ...done(
          10,
          19,
          batch([
            { key: "a", value: "1" },
            { key: "b", value: "1" },
          ]),
        ),
        shows(40, 1, [["a", "1", 1]]),
      ],
    ],
    [
      "V1",
      "half a batch between two steps",
      [
        ...done(
          10,
          19,
          batch([
            { key: "a", value: "1" },
            { key: "b", value: "1" },
          ]),
          acked(1),
        ),
        shows(40, 1, [["a", "1", 1]], { isSeqLeast: true }),
      ],
    ],
    [
      "V1",
      "two replicas that disagree",
      [
        ...done(10, 19, insert("a", "1")),
        ...done(10, 19, remove("a")),
        shows(40, 2, [["a", "1", 1]]),
        shows(40, 2, [], { replica: "q" }),
      ],
    ],
    [
      "V1",
      "two replicas that disagree about an older history",
      [
        ...done(10, 19, insert("a", "1")),
        shows(40, 2, [["a", "1", 1]]),
        shows(40, 2, [], { replica: "q" }),
        { type: "final", at: 99, epoch: "e2", head: 0, entries: [], replicas: [] },
      ],
    ],
    [
      "V1",
      "a key that comes back without being written",
      [
        ...done(10, 19, insert("a", "1"), acked(1)),
        ...done(10, 19, remove("a")),
        ...done(10, 19, insert("b", "2")),
        shows(40, 2, []),
        shows(50, 3, [["a", "1", 1]], { replica: "q" }),
      ],
    ],
    ["V2", "a replica that goes back", [...two(), shows(40, 2, [["a", "2", 2]]), shows(50, 1, [["a", "1", 1]])]],
    [
      "V2",
      "a replica that goes back to an older history",
      [shows(40, 0, []), shows(50, 0, [], { epoch: "e2" }), shows(60, 0, [])],
    ],
    [
      "V2",
      "a restart below what was on disk",
      [...two(), persisted(30, 2), shows(50, 1, [["a", "1", 1]], { life: 2, disk: "d", begunAt: 45 })],
    ],
    [
      "V2",
      "a restart without what was on disk",
      [...two(), persisted(30, 2), shows(50, 0, [], { life: 2, disk: "d", begunAt: 45, epoch: null })],
    ],
    ["V3", "a replica that ends behind", [...two(), shows(40, 1, [["a", "1", 1]]), ends(2, [["a", "2", 2]], ["r"])]],
    ["V3", "a replica that was never seen", [...two(), ends(2, [["a", "2", 2]], ["r"])]],
  ])("%s %s", (rule, _, lines) => {
    expect(rulesOf(lines)).toContain(rule);
  });
});

test("A2 an ack is denied by a disk that says it holds less, where disks are heard of late", () => {
  const late: HistoryLine = { type: "header", version: 1, statusLagMs: 100 };
  const history = (at: number): HistoryLine[] => [
    late,
    persisted(5, 1),
    ...done(10, 19, insert("a", "1"), acked(2, 1)),
    persisted(at, 1),
  ];
  expect(checkHistory(history(60))).toEqual([]);
  expect(checkHistory(history(200))).toMatchObject([{ rule: "A2" }]);
});

test("a history is the same after it was written to a file", () => {
  const lines = [header, ...two(), shows(40, 2, [["a", "2", 2]]), ends(2, [["a", "2", 2]], ["r"])];
  expect(parseHistory(formatHistory(lines))).toEqual(lines);
});

describe("the search for an order", () => {
  const step = (start: number, end: number, value: string | null, isRead = false): Step => ({
    start,
    end,
    isCertain: true,
    ...(!isRead && { writes: value }),
    apply: (held) => (isRead ? (held === value ? held : undefined) : value),
  });

  test("decides wide overlaps, and says when it does not", () => {
    const writes = Array.from({ length: 12 }, (_, index) => step(0, 100, `${index}`));
    const reads = Array.from({ length: 12 }, (_, index) => step(index * 8, index * 8 + 1, `${11 - index}`, true));
    expect(judge([...writes, ...reads])).toBe("linearizable");
    const never = step(200, 201, "never", true);
    expect(judge([...writes, never])).toBe("not-linearizable");
    expect(judge([...writes, never], 100)).toBe("undecided");
  });

  test("agrees with trying every order", () => {
    const drawn = fc.record({
      start: fc.nat(8),
      length: fc.nat(5),
      value: fc.constantFrom("x", "y", null),
      isRead: fc.boolean(),
      isCertain: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(drawn, { maxLength: 5 }), (all) => {
        const steps = all.map(({ start, length, value, isRead, isCertain }) => ({
          ...step(start, start + length, value, isRead),
          // A step that may never happen may happen late, too.
          ...(isCertain ? {} : { isCertain, end: Infinity }),
        }));
        expect(judge(steps)).toBe(hasOrder(steps, null) ? "linearizable" : "not-linearizable");
      }),
      { numRuns: 2000 },
    );
  });
});

/** The definition, taken at its word. */
function hasOrder(left: readonly Step[], held: string | null): boolean {
  if (left.every(({ isCertain }) => !isCertain)) return true;
  const firstEnd = Math.min(...left.filter(({ isCertain }) => isCertain).map(({ end }) => end));
  return left.some((step) => {
    if (step.start > firstEnd) return false;
    const after = step.apply(held);
    return (
      after !== undefined &&
      hasOrder(
        left.filter((one) => one !== step),
        after,
      )
    );
  });
}

// --- histories from a model

/** What chance decides of one operation; the model makes a true history of it. */
interface Draw {
  kind: "insert" | "remove" | "batch" | "get";
  keys: string[];
  fate: "acked" | "applied" | "never" | "lost" | "unknown";
  before: number;
  after: number;
  hasCheck: boolean;
}

interface Drawn {
  operations: Draw[];
  /** For each of three replicas, which of the states it shows. */
  views: boolean[][];
}

const drawn: fc.Arbitrary<Drawn> = fc.record({
  operations: fc.array(
    fc.record({
      kind: fc.constantFrom<Draw["kind"]>("insert", "insert", "remove", "batch", "get", "get"),
      keys: fc.uniqueArray(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 }),
      fate: fc.constantFrom<Draw["fate"]>("acked", "acked", "acked", "acked", "applied", "never", "lost", "unknown"),
      before: fc.integer({ min: 1, max: 25 }),
      after: fc.integer({ min: 1, max: 25 }),
      hasCheck: fc.boolean(),
    }),
    { minLength: 1, maxLength: 30 },
  ),
  views: fc.array(fc.array(fc.boolean(), { minLength: 31, maxLength: 31 }), { minLength: 3, maxLength: 3 }),
});

/** One operation takes effect every 10 ms, somewhere between its begin and its end; replicas follow 30 ms behind. */
function modelHistory({ operations, views }: Drawn): HistoryLine[] {
  const lines: HistoryLine[] = [header];
  const entries = new Map<string, RecordedEntry>();
  const states: { at: number; seq: number; entries: RecordedEntry[] }[] = [{ at: 0, seq: 0, entries: [] }];
  let seq = 0;
  for (const [index, { kind, keys, fate, before, after, hasCheck }] of operations.entries()) {
    const at = (index + 1) * 100;
    const name = { client: "m", id: index + 1 };
    const key = keys[0]!;
    if (kind === "get") {
      const value = entries.get(key)?.[1] ?? null;
      lines.push({ type: "invoke", at: at - before * 10, ...name, operation: { kind, key } });
      lines.push({ type: "respond", at: at + after * 10, ...name, outcome: { result: "read", value } });
      continue;
    }
    const value = kind === "remove" ? null : `v${index}`;
    const writes = (kind === "batch" ? keys : [key]).map((one) => ({ key: one, value }));
    const checks = kind === "batch" && hasCheck ? [{ key, seq: entries.get(key)?.[2] ?? null }] : [];
    lines.push({ type: "invoke", at: at - before * 10, ...name, operation: { kind, writes, checks, ack: "all" } });
    const takesEffect = fate !== "never" && fate !== "lost";
    const changesNothing = value === null && !entries.has(key);
    if (takesEffect && !changesNothing) {
      seq += 1;
      for (const write of writes) {
        if (write.value === null) entries.delete(write.key);
        else entries.set(write.key, [write.key, write.value, seq]);
      }
      states.push({ at, seq, entries: [...entries.values()] });
    }
    const outcome: Record<Draw["fate"], RecordedOutcome | undefined> = {
      acked: acked(seq),
      applied: failed(true, seq),
      never: failed(false),
      lost: undefined,
      unknown: UNKNOWN,
    };
    const shown = { epoch: EPOCH, seq };
    if (outcome[fate]) lines.push({ type: "respond", at: at + after * 10, ...name, outcome: outcome[fate], shown });
  }
  for (const [number, view] of views.entries()) {
    for (const [index, state] of states.entries()) {
      const isLast = index === states.length - 1;
      if (view[index] || isLast) lines.push(shows(state.at + 30, state.seq, state.entries, { replica: `r${number}` }));
    }
  }
  const last = states.at(-1)!;
  lines.push({
    type: "final",
    at: 1_000_000,
    epoch: EPOCH,
    head: seq,
    entries: last.entries,
    replicas: ["r0", "r1", "r2"],
  });
  return lines;
}

type Answered = { invoke: LineOf<"invoke">; respond: LineOf<"respond"> };

const answeredOf = (lines: HistoryLine[]): Answered[] =>
  lines.flatMap((respond) => {
    if (respond.type !== "respond") return [];
    const invoke = lines.find((line): line is LineOf<"invoke"> => line.type === "invoke" && line.id === respond.id)!;
    return [{ invoke, respond }];
  });

const observationsOf = (lines: HistoryLine[]): LineOf<"observe">[] => lines.filter((line) => line.type === "observe");

const valuesOf = (operation: RecordedOperation): (string | null)[] =>
  operation.kind === "get" ? [] : operation.writes.map(({ value }) => value);

/** Acked updates that write a value. */
const ackedOf = (lines: HistoryLine[]): (Answered & { seq: number; value: string })[] =>
  answeredOf(lines).flatMap((one) => {
    const value = valuesOf(one.invoke.operation)[0];
    const { outcome } = one.respond;
    return outcome.result === "acked" && typeof value === "string" ? [{ ...one, seq: outcome.seq, value }] : [];
  });

/** Changes a true history so that it must be rejected; false if this one has no place for it. */
type Corruption = (lines: HistoryLine[], pick: <Item>(items: readonly Item[]) => Item | undefined) => boolean;

const corruptions: Record<string, Corruption> = {
  "a value swapped with another": (lines, pick) => {
    const line = pick(observationsOf(lines).filter(({ entries }) => entries.length > 0));
    const other = pick(ackedOf(lines).filter(({ value }) => line?.entries[0]?.[1] !== value));
    if (!line || !other) return false;
    const [key, , seq] = line.entries[0]!;
    line.entries = [[key, other.value, seq], ...line.entries.slice(1)];
    return true;
  },
  "an acked write that is not there in the end": (lines) => {
    const final = lines.at(-1) as LineOf<"final">;
    const lost = final.entries.find(([, value]) => ackedOf(lines).some((one) => one.value === value));
    if (!lost) return false;
    const without = (entries: RecordedEntry[]): RecordedEntry[] => entries.filter(([, value]) => value !== lost[1]);
    final.entries = without(final.entries);
    // Replicas that agree do not make it true. A Remove without an answer would.
    for (const line of observationsOf(lines)) line.entries = without(line.entries);
    return !lines.some(
      (line) =>
        line.type === "invoke" &&
        valuesOf(line.operation).includes(null) &&
        !answeredOf(lines).some(({ invoke, respond }) => invoke === line && respond.outcome.result !== "unknown"),
    );
  },
  "a read moved back before a write that had ended": (lines, pick) => {
    const reads = answeredOf(lines).flatMap(({ invoke, respond }) => {
      const { operation } = invoke;
      if (operation.kind !== "get") return [];
      const ended = ackedOf(lines).filter(
        (one) => one.respond.at < invoke.at && one.invoke.operation.kind !== "get" && writes(one, operation.key),
      );
      const [older, newer] = ended.slice(-2);
      return older && newer && older.respond.at < newer.invoke.at ? [{ respond, value: older.value }] : [];
    });
    const read = pick(reads);
    if (!read) return false;
    read.respond.outcome = { result: "read", value: read.value };
    return true;
  },
  "a seq given twice": (lines, pick) => {
    const one = pick(ackedOf(lines));
    const other = pick(ackedOf(lines).filter(({ seq }) => seq !== one?.seq));
    if (!one || !other) return false;
    one.respond.outcome = acked(other.seq);
    return true;
  },
  "a replica that goes back": (lines, pick) => {
    const line = pick(observationsOf(lines).filter(({ seq }) => seq > 0));
    if (!line) return false;
    lines.splice(lines.length - 1, 0, shows(999_999, 0, [], { replica: line.replica }));
    return true;
  },
  "a failure for good that happened": (lines, pick) => {
    const seen = new Set(observationsOf(lines).flatMap(({ entries }) => entries.map(([, value]) => value)));
    const one = pick(ackedOf(lines).filter(({ value }) => seen.has(value)));
    if (!one) return false;
    one.respond.outcome = failed(false);
    return true;
  },
  "a second effect": (lines, pick) => {
    const line = pick(observationsOf(lines).filter(({ entries }) => entries.length > 0));
    if (!line) return false;
    const [key, value, seq] = line.entries[0]!;
    line.entries = [[key, value, seq - 1], ...line.entries.slice(1)];
    // A single witness of an update without an answer may be right.
    const witnesses = observationsOf(lines).filter(({ entries }) => entries.some((one) => one[1] === value));
    return witnesses.length > 1 || ackedOf(lines).some((one) => one.value === value);
  },
  "a key left out of a batch": (lines, pick) => {
    const batches = ackedOf(lines).filter(({ invoke }) => valuesOf(invoke.operation).length > 1);
    const line = pick(
      observationsOf(lines).filter(({ entries }) =>
        batches.some(({ value }) => entries.filter((entry) => entry[1] === value).length > 1),
      ),
    );
    if (!line) return false;
    const half = line.entries.findIndex(([, value]) => batches.some((one) => one.value === value));
    line.entries = line.entries.filter((_, index) => index !== half);
    // It must be from just after the batch, or a later Remove may explain it.
    return batches.some(({ seq }) => seq === line.seq);
  },
  "an ack before the own replica": (lines, pick) => {
    const one = pick(ackedOf(lines));
    if (!one) return false;
    one.respond.shown = { epoch: EPOCH, seq: one.seq - 1 };
    return true;
  },
  "an ack for a disk that there is not": (lines, pick) => {
    const one = pick(ackedOf(lines));
    if (!one) return false;
    one.respond.outcome = acked(one.seq, 1);
    return true;
  },
  "a replica that ends behind": (lines, pick) => {
    const last = pick(
      ["r0", "r1", "r2"].map((replica) => observationsOf(lines).findLast((o) => o.replica === replica)!),
    );
    if (!last || last.seq === 0) return false;
    lines.splice(lines.indexOf(last), 1);
    return true;
  },
  "a seq that nobody had": (lines) => {
    const isKnown = lines.every(
      (line) => line.type !== "invoke" || line.operation.kind === "get" || isSettled(lines, line),
    );
    const last = lines.at(-1) as LineOf<"final">;
    last.head += 1;
    return isKnown;
  },
};

const writes = ({ invoke }: Answered, key: string): boolean =>
  invoke.operation.kind !== "get" && invoke.operation.writes.some((write) => write.key === key);

const isSettled = (lines: HistoryLine[], invoke: LineOf<"invoke">): boolean =>
  lines.some((line) => line.type === "respond" && line.id === invoke.id && line.outcome.result !== "unknown");

describe("histories from a model", () => {
  test("true ones are accepted", () => {
    fc.assert(
      fc.property(drawn, (draw) => {
        expect(checkHistory(modelHistory(draw))).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  test.each(Object.keys(corruptions))("rejected: %s", (name) => {
    let corrupted = 0;
    fc.assert(
      fc.property(drawn, fc.nat(), (draw, chance) => {
        const lines = structuredClone(modelHistory(draw));
        fc.pre(corruptions[name]!(lines, (items) => items[chance % Math.max(1, items.length)]));
        corrupted += 1;
        expect(checkHistory(lines)).not.toEqual([]);
      }),
      { numRuns: 100, maxSkipsPerRun: 1000 },
    );
    expect(corrupted).toBeGreaterThanOrEqual(100);
  });
});
