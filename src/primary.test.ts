import { describe, expect, test } from "vitest";
import { encodeDownstream } from "./codec.ts";
import type { Memo, PrimaryEffect, PrimaryInput } from "./effects.ts";
import {
  BATCH_BYTES_MAX,
  DEADLINE_MS,
  IN_SYNC_MAX,
  LINE_BYTES_MAX,
  MEMO_DELAY_MS,
  OPERATIONS_IN_FLIGHT_MAX,
  OPERATIONS_PER_IDENTITY_MAX,
  OUTCOMES_PER_CLIENT_MAX,
  PART_BYTES_MAX,
  PERSIST_RETRY_MS,
  QUOTA_BURST_S,
  REFUSALS_MAX,
  SILENT_PATIENCE_MS,
  WINDOW_BYTES_MAX,
} from "./limits.ts";
import type { Json } from "./kv.ts";
import { PRIMARY_DEFAULTS, Primary } from "./primary.ts";
import type { PrimarySettings } from "./primary.ts";
import { CLOSE, writesOf } from "./protocol.ts";
import type { Ack, Batch, Downstream, Insert, Join, Remove, Update, Upstream } from "./protocol.ts";
import { MemoryStore } from "./store.ts";

/** A primary with a disk that obeys, refuses or hangs, and peers whose mail is read by hand. */
class Rig {
  store = new MemoryStore("e1");
  primary: Primary;
  disk: "obeys" | "refuses" | "hangs" = "obeys";
  now = 0;
  wakeAt: number | undefined;
  closed: { session: number; code: number }[] = [];
  memos = new Map<number, unknown>();
  readonly #settings: PrimarySettings;
  #mail = new Map<number, Downstream<Json>[]>();
  #next: PrimaryInput[] = [];

  constructor(settings: Partial<PrimarySettings> = {}) {
    this.#settings = { ...PRIMARY_DEFAULTS, ...settings };
    this.primary = new Primary(this.store, this.#settings);
    this.feed({ type: "start" });
  }

  feed(input: PrimaryInput): void {
    this.#next.push(input);
    if (this.#next.length > 1) return;
    for (; this.#next[0]; this.#next.shift()) {
      for (const effect of this.primary.step(this.#next[0], this.now)) this.#carryOut(effect);
    }
  }

  #carryOut(effect: PrimaryEffect): void {
    if (effect.type === "wake") this.wakeAt = effect.at;
    if (effect.type === "close") this.closed.push(effect);
    if (effect.type === "compact") this.store.compact(effect.compaction);
    if (effect.type === "remember") this.memos.set(effect.session, effect.memo);
    if (effect.type === "send")
      this.#mail.set(effect.session, [...(this.#mail.get(effect.session) ?? []), effect.message]);
    if (effect.type !== "persist" || this.disk === "hangs") return;
    if (this.disk === "refuses") return this.feed({ type: "refused", code: "unavailable" });
    this.store.apply(effect.commit, this.now);
    this.feed({ type: "persisted" });
  }

  /** Gives a message and ends the turn. */
  send(session: number, ...messages: Upstream[]): void {
    for (const message of messages) this.feed({ type: "receive", session, message });
    this.feed({ type: "commit" });
  }

  connect(session: number): void {
    this.feed({ type: "connect", session });
  }

  /** Connects a secondary, lets it hold everything, and empties its mail. */
  follow(session: number, more: Partial<Join> = {}): void {
    this.connect(session);
    this.send(session, join(session, more));
    const last = this.read(session).findLast((message) => message.type === "snapshot");
    this.send(session, { type: "snapshot-ack", seq: last?.type === "snapshot" ? last.seq : 0 });
    this.read(session);
  }

  read(session: number): Downstream<Json>[] {
    const mail = this.#mail.get(session) ?? [];
    this.#mail.set(session, []);
    return mail;
  }

  /** Lets time pass, with the ticks that were asked for. */
  pass(ms: number): void {
    const end = this.now + ms;
    while (this.wakeAt !== undefined && this.wakeAt <= end) {
      this.now = this.wakeAt;
      this.wakeAt = undefined;
      this.feed({ type: "tick" });
    }
    this.now = end;
  }

  /** The memory is gone; the store and the sockets with their memos stay. */
  hibernate(): void {
    this.primary = new Primary(this.store, this.#settings);
    this.wakeAt = undefined;
    for (const [session, memo] of this.memos)
      this.feed({ type: "connect", session, ...(memo ? { memo: memo as never } : {}) });
    this.feed({ type: "start" });
  }

  states(): Record<string, string> {
    return Object.fromEntries(this.primary.members(this.now).map(({ id, state }) => [id, state]));
  }
}

const join = (session: number, more: Partial<Join> = {}): Join => ({
  type: "join",
  version: 1,
  secondaryId: `s${session}`,
  mode: "durable",
  epoch: null,
  since: 0,
  ...more,
});
const insert = (id: number, key: string, ack: Ack = "all", more: Partial<Insert> = {}): Insert => ({
  type: "insert",
  clientId: "c",
  id,
  ack,
  settled: 0,
  repeat: false,
  key,
  json: `${id}`,
  ...more,
});
const remove = (id: number, key: string): Remove => ({
  type: "remove",
  clientId: "c",
  id,
  ack: "all",
  settled: 0,
  repeat: false,
  key,
});
const batch = (id: number, more: Partial<Batch>): Batch => ({
  type: "batch",
  clientId: "c",
  id,
  ack: "all",
  settled: 0,
  repeat: false,
  writes: [],
  checks: [],
  ...more,
});
const acked = (id: number, seq: number, replicas = 0): object => ({
  type: "operation-ack",
  clientId: "c",
  id,
  seq,
  replicas,
});

/** A rig with one connected user in session 1. */
function rig(settings: Partial<PrimarySettings> = {}): Rig {
  const one = new Rig(settings);
  one.connect(1);
  return one;
}

/** Gives as many updates of each session as one identity may have in flight. */
function fillFlight(one: Rig, sessions: number[]): void {
  for (const session of sessions) {
    for (let id = 1; id <= OPERATIONS_IN_FLIGHT_MAX / 2; id++) {
      one.feed({ type: "receive", session, message: insert(id, "a", "all", { clientId: `filler ${session}` }) });
    }
  }
}

describe("A. answers", () => {
  test("A2 an ack comes when every in-sync secondary has acked, and counts them", () => {
    const one = rig();
    one.follow(2);
    one.follow(3);
    one.send(1, insert(1, "a"));
    expect(one.read(1)).toEqual([]);
    one.send(2, { type: "snapshot-ack", seq: 1 });
    expect(one.read(1)).toEqual([]);
    one.send(3, { type: "snapshot-ack", seq: 1 });
    expect(one.read(1)).toEqual([acked(1, 1, 2)]);
  });

  test("A2 an ack for one seq of a snapshot that holds several comes only with the snapshot's ack", () => {
    const one = rig();
    one.follow(2);
    one.send(1, insert(1, "a"), insert(2, "b"));
    expect(one.read(2)).toMatchObject([{ type: "snapshot", prev: 0, seq: 2 }]);
    expect(one.read(1)).toEqual([]);
    one.send(2, { type: "snapshot-ack", seq: 2 });
    expect(one.read(1)).toEqual([acked(1, 1, 1), acked(2, 2, 1)]);
  });

  test("A1 A4 a silent secondary makes the write fail at the deadline, applied", () => {
    const one = rig();
    one.follow(2);
    one.send(1, insert(1, "a"));
    one.pass(DEADLINE_MS - 1);
    expect(one.read(1)).toEqual([]);
    one.pass(1);
    expect(one.read(1)).toMatchObject([
      { type: "operation-failed", id: 1, code: "unconfirmed", applied: true, seq: 1, replicas: 0, expected: 1 },
    ]);
    expect(one.store.get("a")?.seq).toBe(1);
  });

  test("A1 every update is answered once: late acks bring no second answer", () => {
    const one = rig();
    one.follow(2);
    one.send(1, insert(1, "a"));
    one.pass(DEADLINE_MS);
    expect(one.read(1)).toHaveLength(1);
    one.send(2, { type: "snapshot-ack", seq: 1 });
    one.pass(10 * DEADLINE_MS);
    expect(one.read(1)).toEqual([]);
  });

  test("A6 ack levels: the primary alone, a number of secondaries, all", () => {
    const one = rig();
    one.follow(2);
    one.follow(3);
    one.send(1, insert(1, "a", "primary"));
    expect(one.read(1)).toEqual([acked(1, 1, 0)]);
    one.send(1, insert(2, "a", 1));
    one.send(2, { type: "snapshot-ack", seq: 2 });
    expect(one.read(1)).toEqual([acked(2, 2, 1)]);
    one.send(1, insert(3, "a", 0));
    expect(one.read(1)).toEqual([acked(3, 3, 0)]);
  });

  test("A3 A6 with fewer secondaries than asked for nothing is written", () => {
    const one = rig();
    one.follow(2);
    one.send(1, insert(1, "a", 2));
    expect(one.read(1)).toMatchObject([{ code: "not-enough-replicas", applied: false }]);
    expect(one.store.get("a")).toBeUndefined();
    expect(one.store.head).toBe(0);
  });

  test("A5 P3 persistence that hangs makes the outcome in-doubt, and the same name tells the end", () => {
    const one = rig();
    one.disk = "hangs";
    one.send(1, insert(1, "a"));
    one.pass(DEADLINE_MS);
    const [answer] = one.read(1);
    expect(answer).toMatchObject({ type: "operation-failed", code: "in-doubt" });
    expect(answer).not.toHaveProperty("applied");
    one.disk = "obeys";
    one.send(1, insert(1, "a"));
    expect(one.read(1)).toEqual([]);
    one.store.apply(
      {
        seq: 1,
        changes: [{ key: "a", value: "1", seq: 1 }],
        clients: new Map([["c", { settled: 0, outcomes: [{ id: 1, seq: 1 }] }]]),
      },
      0,
    );
    one.feed({ type: "persisted" });
    expect(one.read(1)).toEqual([acked(1, 1)]);
    expect(one.store.head).toBe(1);
  });
});

describe("O. order", () => {
  test("O1 a batch takes one seq, seqs have no gap, and what changes nothing takes none", () => {
    const one = rig();
    one.send(
      1,
      insert(1, "a"),
      batch(2, {
        writes: [
          { key: "b", json: "1" },
          { key: "c", json: "2" },
        ],
      }),
      remove(3, "zzz"),
      remove(4, "a"),
    );
    expect(one.read(1)).toEqual([acked(1, 1), acked(2, 2), acked(3, 2), acked(4, 3)]);
    expect(["a", "b", "c"].map((key) => one.store.get(key)?.seq)).toEqual([undefined, 2, 2]);
  });

  test("O2 R1 nothing is readable or sent before it is durable, and a read shows what is durable when it is answered", () => {
    const one = rig();
    one.follow(2);
    one.disk = "hangs";
    one.send(1, insert(1, "a"), { type: "get", clientId: "c", id: 2, key: "a" });
    expect(one.read(2)).toEqual([]);
    expect(one.read(1)).toEqual([{ type: "get-result", clientId: "c", id: 2, entry: null, seq: 0 }]);
  });

  test("O3 a secondary that writes gets its snapshot before its ack", () => {
    const one = new Rig();
    one.follow(1, { mode: "memory" });
    one.send(1, insert(1, "a"));
    expect(one.read(1).map(({ type }) => type)).toEqual(["snapshot", "operation-ack"]);
  });

  test("O4 P1 what arrives together is one commit, and what arrives meanwhile is the next", () => {
    const one = rig();
    one.follow(2);
    one.disk = "hangs";
    one.send(
      1,
      insert(1, "a"),
      insert(2, "a"),
      batch(3, { writes: [{ key: "b", json: "3" }], checks: [{ key: "a", seq: 2 }] }),
    );
    one.send(1, insert(4, "a"));
    const first = {
      seq: 3,
      changes: [
        { key: "a", value: "2", seq: 2 },
        { key: "b", value: "3", seq: 3 },
      ],
      clients: new Map(),
    };
    one.store.apply(first, 0);
    one.disk = "obeys";
    one.feed({ type: "persisted" });
    expect(one.read(2)).toMatchObject([
      { prev: 0, seq: 3, changes: first.changes },
      { prev: 3, seq: 4, changes: [{ key: "a", value: "4", seq: 4 }] },
    ]);
  });

  test("A3 a batch whose check fails changes nothing and says which", () => {
    const one = rig();
    one.send(1, insert(1, "a"), batch(2, { writes: [{ key: "b", json: "1" }], checks: [{ key: "a", seq: null }] }));
    expect(one.read(1)).toMatchObject([{ code: "conflict", applied: false, check: { key: "a", seq: 1 } }, acked(1, 1)]);
    expect(one.store.get("b")).toBeUndefined();
  });
});

describe("I. idempotency", () => {
  test("I1 the same name again changes nothing and gets the same outcome, also after the memory is lost", () => {
    const one = rig();
    const failing = batch(2, { writes: [{ key: "b", json: "1" }], checks: [{ key: "a", seq: null }] });
    one.send(1, insert(1, "a"), failing);
    const answers = one.read(1);
    one.send(1, remove(3, "a"));
    one.read(1);
    one.send(1, insert(1, "a"), failing);
    expect(one.read(1)).toEqual(answers);
    one.hibernate();
    one.connect(1);
    one.send(1, failing, insert(1, "a"));
    expect(one.read(1)).toEqual(answers);
    expect(one.store.head).toBe(2);
  });

  test("I1 A3 what was turned away is remembered: a repeat does not make it happen", () => {
    const one = rig();
    one.disk = "refuses";
    one.send(1, insert(1, "a"));
    one.pass(DEADLINE_MS);
    expect(one.read(1)).toMatchObject([{ code: "unavailable", applied: false }]);
    one.disk = "obeys";
    one.send(1, insert(1, "a"), insert(2, "b"));
    expect(one.read(1)).toMatchObject([{ id: 1, code: "unavailable", applied: false }, acked(2, 1)]);
    expect(one.store.get("a")).toBeUndefined();
  });

  test("I2 a repeat of what is applied and not confirmed waits for its confirmation anew", () => {
    const one = rig();
    one.follow(2);
    one.send(1, insert(1, "a"));
    one.pass(DEADLINE_MS / 2);
    one.send(1, insert(1, "a"));
    one.pass(DEADLINE_MS / 2 - 1);
    expect(one.read(1)).toEqual([]);
    one.send(2, { type: "snapshot-ack", seq: 1 });
    expect(one.read(1)).toEqual([acked(1, 1, 1), acked(1, 1, 1)]);
    one.send(1, insert(1, "a"));
    expect(one.read(1)).toEqual([acked(1, 1, 1)]);
  });

  test("I3 settled outcomes are forgotten, and so are the oldest beyond the limit", () => {
    const one = rig();
    one.send(1, insert(1, "a"), insert(2, "a"));
    one.send(1, insert(3, "a", "all", { settled: 1 }));
    one.read(1);
    one.send(1, insert(1, "a"), insert(2, "a"));
    const [expired, repeated] = one.read(1);
    expect(expired).toMatchObject({ id: 1, code: "expired" });
    expect(expired).not.toHaveProperty("applied");
    expect(repeated).toEqual(acked(2, 2));
    for (let id = 4; id < 4 + OUTCOMES_PER_CLIENT_MAX; id++) one.send(1, insert(id, "a"));
    expect(one.store.readClient("c")?.outcomes).toHaveLength(OUTCOMES_PER_CLIENT_MAX);
    one.read(1);
    one.send(1, insert(2, "a"));
    expect(one.read(1)).toMatchObject([{ code: "expired" }]);
  });
});

describe("I4, C3 compaction", () => {
  test("I4 a client's record is kept for its lease; a repeat after that is expired, a new update is not", () => {
    const one = rig({ clientLeaseMs: 1000 });
    one.send(1, insert(1, "a"), insert(2, "a", "all", { settled: 1 }));
    one.read(1);
    one.pass(999);
    one.feed({ type: "compact" });
    one.send(1, insert(2, "a", "all", { settled: 1, repeat: true }));
    expect(one.read(1)).toEqual([acked(2, 2)]);
    one.pass(2);
    one.feed({ type: "compact" });
    one.send(1, insert(2, "a", "all", { settled: 1, repeat: true }));
    const [expired] = one.read(1);
    expect(expired).toMatchObject({ code: "expired" });
    expect(expired).not.toHaveProperty("applied");
    one.send(1, insert(3, "a", "all", { settled: 2 }));
    expect(one.read(1)).toEqual([acked(3, 3)]);
  });

  test("C3 a compaction leaves the newest tombstones and raises floor to the last that it gave up", () => {
    const one = rig({ tombstonesKept: 1 });
    for (let id = 1; id <= 3; id++) one.send(1, insert(id, `k${id}`));
    for (let id = 4; id <= 6; id++) one.send(1, remove(id, `k${id - 3}`));
    one.feed({ type: "compact" });
    expect(one.store.floor).toBe(5);
    expect(one.store.head).toBe(6);
    expect(one.store.readChanges(5, 0).changes).toEqual([{ key: "k3", removed: true, seq: 6 }]);
  });

  test("C3 whoever has acked beyond floor goes on; whoever stands below it is closed and bootstrapped", () => {
    const one = rig({ tombstonesKept: 0, window: { bytes: 1_000_000, frames: 1 } });
    one.follow(2);
    one.follow(3);
    one.send(1, insert(1, "a"), remove(2, "a"));
    one.send(2, { type: "snapshot-ack", seq: 2 });
    one.feed({ type: "compact" });
    expect(one.closed).toMatchObject([{ session: 3, code: CLOSE.tooFarBehind }]);
    expect(one.states()).toEqual({ s2: "in-sync" });
    one.connect(4);
    one.send(4, join(4, { secondaryId: "s3", epoch: "e1", since: 0 }));
    expect(one.read(4)).toMatchObject([{ reset: true }, { prev: 0, seq: 2, changes: [] }]);
  });
});

describe("P. persistence", () => {
  test("P2 a refused commit is tried again every 100 ms, in order", () => {
    const one = rig();
    one.disk = "refuses";
    one.send(1, insert(1, "a"), insert(2, "a"));
    one.pass(3 * PERSIST_RETRY_MS);
    expect(one.store.head).toBe(0);
    one.disk = "obeys";
    one.pass(PERSIST_RETRY_MS);
    expect(one.read(1)).toEqual([acked(1, 1), acked(2, 2)]);
    expect(one.store.get("a")?.value).toBe("2");
  });
});

describe("M. membership", () => {
  test("M1 Join is answered by catch-up from a seq that can be continued, else by bootstrap", () => {
    const one = rig();
    one.send(1, insert(1, "a"), insert(2, "b"));
    const answerTo = (session: number, more: Partial<Join>): unknown => {
      one.connect(session);
      one.send(session, join(session, more));
      return one.read(session);
    };
    const changes = [
      { key: "a", value: "1", seq: 1 },
      { key: "b", value: "2", seq: 2 },
    ];
    const whole = { type: "snapshot", prev: 0, seq: 2, changes, until: 2 };
    const joined = { type: "joined-secondary", epoch: "e1", head: 2 };
    expect(answerTo(2, {})).toEqual([{ ...joined, reset: true }, whole]);
    expect(answerTo(3, { epoch: "e1", since: 1 })).toEqual([
      { ...joined, reset: false },
      { ...whole, prev: 1, changes: changes.slice(1) },
    ]);
    expect(answerTo(4, { epoch: "e1", since: 2 })).toEqual([
      { ...joined, reset: false },
      { ...whole, prev: 2, changes: [] },
    ]);
    expect(answerTo(5, { epoch: "e0", since: 1 })).toEqual([{ ...joined, reset: true }, whole]);
    expect(answerTo(6, { epoch: "e1", since: 3 })).toEqual([{ ...joined, reset: true }, whole]);
    one.store.floor = 2;
    expect(answerTo(7, { epoch: "e1", since: 1 })).toEqual([{ ...joined, reset: true }, whole]);
  });

  test("M1 a Join that comes twice begins no second walk", () => {
    const one = rig();
    one.connect(2);
    one.send(2, join(2), join(2));
    expect(one.read(2).map(({ type }) => type)).toEqual(["joined-secondary", "snapshot"]);
  });

  test("M2 a durable secondary is in sync once it has acked head; others only follow", () => {
    const one = rig();
    one.connect(2);
    one.send(2, join(2));
    expect(one.states()).toEqual({ s2: "catching-up" });
    one.send(1, insert(1, "a"));
    expect(one.read(1)).toEqual([acked(1, 1)]);
    one.send(2, { type: "snapshot-ack", seq: 1 });
    one.follow(3, { mode: "memory" });
    one.follow(4, { mode: "reader" });
    expect(one.states()).toEqual({ s2: "in-sync", s3: "following", s4: "following" });
    expect(one.read(2).at(-1)).toEqual({ type: "membership", inSync: true });
  });

  test("M2 the set has room for IN_SYNC_MAX, and a place that becomes free is taken", () => {
    const one = rig();
    for (let session = 2; session < 2 + IN_SYNC_MAX + 1; session++) one.follow(session);
    expect(Object.values(one.states()).filter((state) => state === "in-sync")).toHaveLength(IN_SYNC_MAX);
    one.feed({ type: "disconnect", session: 2 });
    expect(new Set(Object.values(one.states()))).toEqual(new Set(["in-sync"]));
  });

  test.each([
    ["Leave", (one: Rig) => one.send(2, { type: "leave" })],
    ["disconnect", (one: Rig) => one.feed({ type: "disconnect", session: 2 })],
  ])("M3 %s waives the ack that is owed", (_, leave) => {
    const one = rig();
    one.follow(2);
    one.send(1, insert(1, "a"));
    leave(one);
    expect(one.read(1)).toEqual([acked(1, 1, 0)]);
  });

  test("M4 a member that owes an ack for lagLimitMs leaves, which costs the writer a slow write, not a failed one", () => {
    const one = rig({ lagLimitMs: 400 });
    one.follow(2);
    one.send(1, insert(1, "a"));
    one.pass(399);
    expect(one.read(1)).toEqual([]);
    one.pass(1);
    expect(one.read(1)).toEqual([acked(1, 1, 0)]);
    expect(one.states()).toEqual({ s2: "lagging" });
    expect(one.read(2).at(-1)).toEqual({ type: "membership", inSync: false });
  });

  test("M4 whoever was too slow comes back when it has acked in time, and until then delays nobody", () => {
    const one = rig({ lagLimitMs: 400 });
    one.follow(2);
    for (let id = 1; id <= 3; id++) {
      one.send(1, insert(id, "a"));
      one.pass(500);
      one.send(2, { type: "snapshot-ack", seq: id });
      expect(one.read(1)).toEqual([acked(id, id, 0)]);
      expect(one.states()).toEqual({ s2: "lagging" });
    }
    one.send(1, insert(4, "a"));
    expect(one.read(1)).toEqual([acked(4, 4, 0)]);
    one.send(2, { type: "snapshot-ack", seq: 4 });
    expect(one.states()).toEqual({ s2: "in-sync" });
    one.send(1, insert(5, "a"));
    expect(one.read(1)).toEqual([]);
  });

  test("M4 a full window alone demotes nobody: a large write and small ones behind it wait for their acks", () => {
    const one = rig();
    one.follow(2);
    const large = JSON.stringify("x".repeat(WINDOW_BYTES_MAX));
    one.send(1, insert(1, "large", "all", { json: large }));
    for (let id = 2; id <= 4; id++) one.send(1, insert(id, "small"));
    expect(one.states()).toEqual({ s2: "in-sync" });
    expect(one.read(1)).toEqual([]);
    expect(one.read(2)).toHaveLength(1);
    one.send(2, { type: "snapshot-ack", seq: 1 });
    expect(one.read(1)).toEqual([acked(1, 1, 1)]);
    expect(one.read(2)).toMatchObject([{ prev: 1, seq: 4 }]);
    one.send(2, { type: "snapshot-ack", seq: 4 });
    expect(one.read(1)).toEqual([acked(2, 2, 1), acked(3, 3, 1), acked(4, 4, 1)]);
  });

  test("M4 D7 a window that overflows demotes the member and costs bounded memory; it returns through catch-up", () => {
    const one = rig({ window: { bytes: 1_000_000, frames: 2 } });
    one.follow(2);
    for (let id = 1; id <= 10; id++) one.send(1, insert(id, `k${id % 3}`));
    const snapshots = one.read(2).filter(({ type }) => type === "snapshot");
    expect(snapshots).toHaveLength(2);
    expect(one.states()).toEqual({ s2: "lagging" });
    expect(one.read(1)).toHaveLength(10);
    one.send(2, { type: "snapshot-ack", seq: 2 });
    expect(one.read(2)).toMatchObject([
      { type: "snapshot", prev: 2, seq: 10, until: 10, changes: [{ seq: 8 }, { seq: 9 }, { seq: 10 }] },
    ]);
    one.send(2, { type: "snapshot-ack", seq: 10 });
    expect(one.states()).toEqual({ s2: "in-sync" });
  });

  test("M5 a newer session of the same secondary supersedes the older one", () => {
    const one = rig();
    one.follow(2);
    one.follow(3, { secondaryId: "s2" });
    expect(one.closed).toMatchObject([{ session: 2, code: CLOSE.superseded }]);
    expect(one.states()).toEqual({ s2: "in-sync" });
  });

  test("M6 after the primary has lost its memory the members are taken in again, and writes wait for them", () => {
    const one = rig();
    one.follow(2, { prefixes: ["a/"] });
    one.send(1, insert(1, "a/1"));
    one.send(2, { type: "snapshot-ack", seq: 1 });
    expect(one.read(1)).toEqual([acked(1, 1, 1)]);
    one.read(2);
    one.hibernate();
    expect(one.states()).toEqual({ s2: "in-sync" });
    expect(one.read(2)).toEqual([]);
    one.connect(1);
    one.send(1, insert(2, "b/1"), insert(3, "a/2"));
    expect(one.read(2)).toMatchObject([{ prev: 1, seq: 3, changes: [{ key: "a/2" }] }]);
    expect(one.read(1)).toEqual([]);
    one.send(2, { type: "snapshot-ack", seq: 3 });
    expect(one.read(1)).toEqual([acked(2, 2, 0), acked(3, 3, 1)]);
  });

  test("M6 of acks that follow closely upon one another the first and the last are remembered, in time for the host's sleep", () => {
    const one = rig();
    one.follow(2);
    const rememberedSeqs: unknown[] = [];
    for (let seq = 1; seq <= 5; seq++) {
      one.send(1, insert(seq, `k${seq}`));
      one.send(2, { type: "snapshot-ack", seq });
      rememberedSeqs.push((one.memos.get(2) as Memo).acked);
    }
    expect(rememberedSeqs).toEqual([1, 1, 1, 1, 1]);
    expect(one.wakeAt).toBe(MEMO_DELAY_MS);
    one.pass(MEMO_DELAY_MS);
    expect(one.memos.get(2)).toMatchObject({ acked: 5, inSync: true });
    expect(one.wakeAt).toBeUndefined();
    one.hibernate();
    expect(one.states()).toEqual({ s2: "in-sync" });
    expect(one.read(2).filter(({ type }) => type !== "snapshot")).toEqual([]);
  });

  test("M6 D6 a member that has acked more than is remembered is sent it again, and is not closed for saying so", () => {
    const one = rig({ window: { bytes: 1e6, frames: 1 } });
    one.follow(2);
    const large = JSON.stringify("v".repeat(PART_BYTES_MAX));
    for (let seq = 1; seq <= 3; seq++) {
      one.send(1, insert(seq, `k${seq}`, "all", { json: large }));
      one.send(2, { type: "snapshot-ack", seq });
    }
    one.read(1);
    one.read(2);
    one.hibernate();
    expect(one.states()).toEqual({ s2: "catching-up" });
    expect(one.read(2)).toMatchObject([
      { type: "snapshot", prev: 1, seq: 2, until: 3, changes: [{ key: "k2" }] },
      { type: "membership", inSync: false },
    ]);
    one.send(2, { type: "snapshot-ack", seq: 3 });
    expect(one.read(2)).toMatchObject([
      { type: "snapshot", prev: 3, seq: 3, until: 3, changes: [] },
      { type: "membership", inSync: true },
    ]);
    one.send(2, { type: "snapshot-ack", seq: 3 });
    expect(one.states()).toEqual({ s2: "in-sync" });
    expect(one.closed).toEqual([]);
  });
});

describe("D. delivery", () => {
  test("D5 what is un-acked is sent again on request, and where frames can get lost", () => {
    const one = rig({ isLossy: true });
    one.follow(2);
    one.send(1, insert(1, "a", "primary"));
    const [snapshot] = one.read(2);
    one.pass(100);
    expect(one.read(2)).toEqual([snapshot]);
    one.send(2, { type: "resend", since: 0 });
    expect(one.read(2)).toEqual([snapshot]);
  });

  test.each([
    ["SnapshotAck", { type: "snapshot-ack", seq: 9 } as const],
    ["PartAck", { type: "part-ack", seq: 9 } as const],
    ["Resend", { type: "resend", since: 9 } as const],
  ])("D6 a %s for what was never sent closes the session and hurts nobody", (_, message) => {
    const one = rig();
    one.follow(2);
    one.send(2, message);
    expect(one.closed).toMatchObject([{ session: 2, code: CLOSE.badMessage }]);
    one.send(1, insert(1, "a"));
    expect(one.read(1)).toEqual([acked(1, 1)]);
  });

  test("D7 C1 C2 a bootstrap goes out in parts, as fast as acks make room, while writes go on", () => {
    const one = rig({ window: { bytes: 1_000_000, frames: 2 } });
    one.store = new MemoryStore("e1", { changes: 2, bytes: 1_000_000 });
    one.primary = new Primary(one.store, { ...PRIMARY_DEFAULTS, window: { bytes: 1_000_000, frames: 2 } });
    one.feed({ type: "start" });
    one.connect(1);
    for (let id = 1; id <= 6; id++) one.send(1, insert(id, `k${id}`));
    one.connect(2);
    one.send(2, join(2));
    expect(one.read(2)).toMatchObject([{ reset: true }, { prev: 0, seq: 2, until: 6 }, { prev: 2, seq: 4, until: 6 }]);
    one.send(1, insert(7, "k1"), remove(8, "k5"));
    expect(one.read(2)).toEqual([]);
    one.send(2, { type: "part-ack", seq: 4 });
    expect(one.read(2)).toMatchObject([
      {
        prev: 4,
        seq: 7,
        until: 8,
        changes: [
          { key: "k6", seq: 6 },
          { key: "k1", seq: 7 },
        ],
      },
      { prev: 7, seq: 8, until: 8, changes: [{ key: "k5", removed: true, seq: 8 }] },
    ]);
    expect(one.states()).toEqual({ s2: "catching-up" });
    one.send(2, { type: "snapshot-ack", seq: 8 });
    expect(one.states()).toEqual({ s2: "in-sync" });
  });

  test("R2 a secondary with prefixes that asks is told how far its state is true", () => {
    const one = rig();
    one.follow(2, { prefixes: ["a/"] });
    one.send(1, insert(1, "b/1", "primary"));
    expect(one.read(2)).toEqual([]);
    one.send(2, { type: "resend", since: 0 });
    expect(one.read(2)).toEqual([{ type: "snapshot", prev: 0, seq: 1, changes: [], until: 1 }]);
    one.send(2, { type: "snapshot-ack", seq: 1 });
    expect(one.states()).toEqual({ s2: "in-sync" });
  });

  test("V1 a secondary with prefixes gets only what lies under them, in an unbroken chain", () => {
    const one = rig();
    one.follow(2, { prefixes: ["a/"] });
    one.send(1, insert(1, "b/1"));
    expect(one.read(1)).toEqual([acked(1, 1, 0)]);
    one.send(
      1,
      batch(2, {
        writes: [
          { key: "a/1", json: "1" },
          { key: "b/2", json: "2" },
        ],
      }),
    );
    expect(one.read(2)).toMatchObject([{ prev: 0, seq: 2, changes: [{ key: "a/1" }] }]);
  });
});

describe("B. before a role, L. limits", () => {
  test("B1 what comes before the start is kept and done in order", () => {
    const store = new MemoryStore("e1");
    const primary = new Primary(store);
    const inputs: PrimaryInput[] = [
      { type: "connect", session: 1 },
      { type: "receive", session: 1, message: insert(1, "a") },
      { type: "receive", session: 1, message: insert(2, "a") },
      { type: "commit" },
    ];
    for (const input of inputs) expect(primary.step(input, 0)).toEqual([]);
    expect(primary.step({ type: "start" }, 5)).toContainEqual(
      expect.objectContaining({
        type: "persist",
        commit: expect.objectContaining({ seq: 2, changes: [{ key: "a", value: "2", seq: 2 }] }) as object,
      }),
    );
  });

  test("L1 beyond the operations in flight the primary is overloaded and says so", () => {
    const one = rig();
    one.connect(2);
    one.connect(3);
    one.disk = "hangs";
    fillFlight(one, [1, 2]);
    one.feed({ type: "receive", session: 3, message: insert(1, "b") });
    expect(one.read(3)).toMatchObject([{ code: "overloaded", applied: false }]);
  });

  test("L3 one identity, or one session without, has at most half of the room for what is in flight", () => {
    for (const identities of [{}, { identity: "ann" }]) {
      const one = new Rig();
      one.disk = "hangs";
      for (const session of [1, 2]) one.feed({ type: "connect", session, ...identities });
      fillFlight(one, [1]);
      const last = "identity" in identities ? 2 : 1;
      one.feed({ type: "receive", session: last, message: insert(1, "b") });
      const detail = expect.stringContaining("OPERATIONS_PER_IDENTITY_MAX") as string;
      expect(one.read(last)).toMatchObject([{ code: "overloaded", applied: false, detail }]);
      one.connect(3);
      one.disk = "obeys";
      one.send(3, insert(1, "c", "all", { clientId: "another" }));
      expect(one.read(3)).toMatchObject([{ type: "operation-ack", id: 1 }]);
      one.send(last, insert(2, "b"));
      expect(one.read(last).at(-1)).toMatchObject({ type: "operation-ack", id: 2 });
    }
  });

  test("L3 whoever asks for more than his rate is turned away, unless it was done before, and may ask anew", () => {
    const one = rig({ rates: { identity: 100 / QUOTA_BURST_S, store: 1e9 } });
    for (const session of [2, 3]) one.feed({ type: "connect", session, identity: "ann" });
    one.send(2, ...Array.from({ length: 100 }, (_, index) => insert(index + 1, "a")));
    expect(one.read(2).every(({ type }) => type === "operation-ack")).toBe(true);
    const repeat = { repeat: true };
    one.send(3, insert(101, "b"), insert(1, "a", "all", repeat), { type: "get", clientId: "c", id: 102, key: "a" });
    expect(one.read(3)).toMatchObject([
      { id: 101, code: "rate-limited", applied: false },
      { id: 1, code: "unconfirmed", applied: true, seq: 1 },
      { id: 102, code: "rate-limited", applied: false },
    ]);
    expect(one.store.readClient("c")!.outcomes.at(-1)).toMatchObject({ id: 100 });
    one.send(1, insert(200, "other", "all", { clientId: "other" }));
    expect(one.read(1)).toMatchObject([{ type: "operation-ack", id: 200 }]);
    one.pass(1000);
    one.send(3, insert(101, "b"));
    expect(one.read(3)).toMatchObject([{ type: "operation-ack", id: 101 }]);
    expect(one.primary.refuseRead("ann", one.now)).toBeUndefined();
    one.primary.chargeRead("ann", 1e9, one.now);
    expect(one.primary.refuseRead("ann", one.now + 60_000)).toContain("RATE_PER_IDENTITY");
  });

  test("L3 a batch costs what it writes and checks, and one identity has room for so many in flight", () => {
    const one = rig({ rates: { identity: 100 / QUOTA_BURST_S, store: 1000 } });
    const checks = Array.from({ length: 60 }, (_, at) => ({ key: `k${at}`, seq: null }));
    one.send(1, batch(1, { writes: [], checks }), batch(2, { writes: [], checks }));
    expect(one.read(1)).toMatchObject([
      { id: 2, code: "rate-limited" },
      { type: "operation-ack", id: 1 },
    ]);
    const large = rig();
    large.disk = "hangs";
    const writes = Array.from({ length: 1000 }, (_, at) => ({ key: `k${at}`, json: "1" }));
    for (let id = 1; id <= OPERATIONS_PER_IDENTITY_MAX / 1000 + 1; id++)
      large.feed({ type: "receive", session: 1, message: batch(id, { writes, checks: [] }) });
    expect(large.read(1)).toMatchObject([{ code: "overloaded" }]);
  });

  test("L3 whoever asks again and again for what he may not is closed, whatever it is", () => {
    const messages: Record<string, Upstream> = {
      "what is forbidden": { type: "get", clientId: "c", id: 1, key: "secret" },
      leaving: { type: "leave" },
      "acks of nothing": { type: "snapshot-ack", seq: 0 },
      "joining again": join(2),
      "a resend of nothing": { type: "resend", since: 0 },
    };
    for (const [what, message] of Object.entries(messages)) {
      const one = new Rig({ rates: { identity: 1, store: 1000 } });
      one.feed({ type: "connect", session: 2, rights: { read: [], write: [], sync: false } });
      for (let turn = 0; turn < REFUSALS_MAX + 2; turn++) one.send(2, message);
      const code = what === "joining again" ? CLOSE.forbidden : CLOSE.overloaded;
      expect([what, one.closed]).toMatchObject([what, [{ session: 2, code }]]);
    }
  });

  test("L4 a value that the schema does not take is refused, and what goes with it", () => {
    const flawOf = (update: Update): string | undefined =>
      writesOf(update).some((write) => "json" in write && write.json === '"bad"') ? "bad is bad" : undefined;
    const one = rig({ flawOf });
    one.send(1, insert(1, "a", "all", { json: '"bad"' }), insert(2, "a"));
    expect(one.read(1)).toMatchObject([
      { id: 1, code: "invalid-value", applied: false, detail: "bad is bad" },
      { type: "operation-ack", id: 2, seq: 1 },
    ]);
    one.send(
      1,
      batch(3, {
        writes: [
          { key: "b", json: "1" },
          { key: "c", json: '"bad"' },
        ],
      }),
    );
    expect(one.read(1)).toMatchObject([{ id: 3, code: "invalid-value", applied: false }]);
    expect([one.store.get("b"), one.store.head]).toEqual([undefined, 1]);
  });

  test("L1 no snapshot is longer than a line, whatever arrives together and whatever stands side by side", () => {
    const one = rig();
    one.follow(2);
    const wide = (prefix: string, bytes: number): Batch["writes"] =>
      Array.from({ length: 4 }, (_, at) => ({ key: `${prefix}${at}`, json: `"${"x".repeat(bytes / 4)}"` }));
    const control = Array.from({ length: 100 }, (_, at) => ({ key: `${at}${"\u0001".repeat(1000)}`, json: "1" }));
    one.send(1, batch(1, { writes: control }));
    // Two that arrive together, each as large as one may be; and a walk that meets small and large ones.
    const most = BATCH_BYTES_MAX - 1000;
    one.send(1, batch(2, { writes: wide("a", most) }), batch(3, { writes: wide("b", most) }));
    one.connect(3);
    one.send(3, join(3));
    let walked = 0;
    for (let round = 0; round < 10; round++) {
      const sent = [2, 3].map((session) => one.read(session).filter((message) => message.type === "snapshot"));
      for (const message of sent.flat()) expect(encodeDownstream(message).length).toBeLessThan(LINE_BYTES_MAX);
      walked = sent[1]!.at(-1)?.seq ?? walked;
      one.send(3, { type: "part-ack", seq: walked });
    }
    expect(walked).toBe(3);
    expect(one.store.head).toBe(3);
    expect(one.closed).toEqual([]);
  });

  test("L3 a member that acks again and again what it has acked is closed", () => {
    const one = rig({ rates: { identity: 100 / QUOTA_BURST_S, store: 1000 } });
    one.send(1, insert(1, "a"));
    one.follow(2);
    for (let ack = 0; ack < 200; ack++) one.send(2, { type: "snapshot-ack", seq: 1 });
    expect(one.closed).toMatchObject([{ session: 2, code: CLOSE.overloaded }]);
  });

  test("M7 a member that takes nothing is closed when there is more for it, and one that is slow is not", () => {
    const one = rig();
    one.follow(2, { mode: "memory", secondaryId: "slow" });
    one.follow(3, { mode: "memory", secondaryId: "silent" });
    one.send(1, insert(1, "a"), insert(2, "b"));
    one.send(1, insert(3, "c"));
    one.pass(SILENT_PATIENCE_MS - 1);
    one.send(2, { type: "snapshot-ack", seq: 2 });
    one.send(1, insert(4, "d"));
    expect(one.closed).toEqual([]);
    one.pass(1);
    one.send(1, insert(5, "e"));
    expect(one.closed).toMatchObject([{ session: 3, code: CLOSE.silent }]);
  });

  test("A3 a primary that is overloaded does not say of what it has applied that it has not", () => {
    const one = rig();
    one.send(1, insert(1, "a"));
    one.read(1);
    one.connect(2);
    one.disk = "hangs";
    fillFlight(one, [1, 2]);
    one.feed({ type: "receive", session: 1, message: insert(1, "a", "all", { repeat: true }) });
    expect(one.read(1)).toMatchObject([{ id: 1, code: "unconfirmed", applied: true, seq: 1 }]);
  });

  test("L1 what a session asks for at once is bounded: a Resend is a few bytes, and so is a Get", () => {
    const one = rig();
    one.send(1, insert(1, "a", "all", { json: JSON.stringify("x".repeat(1_000_000)) }));
    one.connect(2);
    one.read(1);
    const gets = Array.from({ length: 20 }, (_, index) => ({
      type: "get" as const,
      clientId: "c",
      id: index + 1,
      key: "a",
    }));
    one.send(2, ...gets);
    const answers = one.read(2).map(({ type }) => type);
    expect(answers.filter((type) => type === "get-result")).toHaveLength(12);
    expect(answers.filter((type) => type === "operation-failed")).toHaveLength(8);
    one.send(2, gets[0]!);
    expect(one.read(2)).toMatchObject([{ type: "get-result" }]);
    one.send(2, join(2), ...Array.from({ length: 100 }, () => ({ type: "resend" as const, since: 0 })));
    expect(one.closed).toMatchObject([{ session: 2, code: CLOSE.overloaded }]);
    expect(one.read(2).filter(({ type }) => type === "snapshot").length).toBeLessThan(14);
  });

  test("no timer is asked for while nothing is in flight, so that the host can sleep", () => {
    const one = rig();
    one.follow(2);
    one.send(1, insert(1, "a"));
    expect(one.wakeAt).toBeDefined();
    one.send(2, { type: "snapshot-ack", seq: 1 });
    expect(one.wakeAt).toBeUndefined();
  });
});

describe("S. rights", () => {
  test("S5 M5 nobody takes over the place of another identity's secondary", () => {
    const one = new Rig();
    one.feed({ type: "connect", session: 1, identity: "ann" });
    one.send(1, join(1, { secondaryId: "hers" }));
    one.feed({ type: "connect", session: 2, identity: "bob" });
    one.connect(3);
    one.send(2, join(2, { secondaryId: "hers" }));
    one.send(3, join(3, { secondaryId: "hers" }));
    expect(one.closed.map(({ session, code }) => [session, code])).toEqual([
      [2, CLOSE.superseded],
      [3, CLOSE.superseded],
    ]);
    one.feed({ type: "connect", session: 4, identity: "ann" });
    one.send(4, join(4, { secondaryId: "hers" }));
    expect(one.closed.at(-1)).toMatchObject({ session: 1, code: CLOSE.superseded });
  });

  test("S1 the outcome of a name tells nothing of a key that its session may know nothing of", () => {
    const rig = new Rig();
    rig.connect(1);
    rig.send(1, batch(1, { checks: [{ key: "secret", seq: 7 }] }));
    expect(rig.read(1)).toMatchObject([{ code: "conflict", check: { key: "secret", seq: null } }]);
    rig.feed({ type: "connect", session: 2, rights: { read: ["a"], write: ["a"], sync: false } });
    rig.send(2, insert(1, "a"));
    const [answer] = rig.read(2);
    expect(answer).toMatchObject({ type: "operation-failed", code: "conflict", applied: false });
    expect(answer).not.toHaveProperty("check");
  });
});
