import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type { Entry, Json } from "../src/kv.ts";
import {
  COMMIT_OPERATIONS_MAX,
  DEADLINE_MS,
  FRAME_BYTES_MAX,
  NAME_LENGTH_MAX,
  PART_CHANGES_MAX,
} from "../src/limits.ts";
import { CLOSE, PROTOCOL_VERSION } from "../src/protocol.ts";
import type { Outcome, Snapshot, Update } from "../src/protocol.ts";
import type { AppEnv } from "./app.ts";
import type { Answer, StoreStatus } from "./primary-driver.ts";
import type { Primary } from "./primary-host.ts";
import { Peer } from "./testing/peer.ts";

/** A primary as these tests ask it: the platform's own type of a stub takes unions of plain values apart. */
interface Stub {
  operate(update: Update): Promise<Outcome>;
  get(key: string): Promise<Answer<Entry<Json> | null>>;
  status(): Promise<StoreStatus>;
  fetch(request: Request): Promise<Response>;
}

let storesUsed = 0;

/** The primary of a store of the test's own: as it is asked, and as it is evicted. */
function newPrimary(): { primary: Stub; object: DurableObjectStub<Primary> } {
  storesUsed += 1;
  const object = (env as AppEnv).PRIMARY.getByName(`primary-host-${storesUsed}`);
  return { primary: object, object };
}

const anonymous = { clientId: null, id: 1, ack: "all", settled: 0, repeat: false } as const;
const insertOf = (key: string, json = "1"): Update => ({ type: "insert", ...anonymous, key, json });
const fill = (count: number): Update => ({
  type: "batch",
  ...anonymous,
  writes: Array.from({ length: count }, (_, i) => ({ key: `key-${i}`, json: `"${"x".repeat(100)}"` })),
  checks: [],
});
/** A promise's value if it is there already when the primary has answered something that was asked later. */
async function settledBy<Value>(promise: Promise<Value>, later: Promise<unknown>): Promise<Value | "pending"> {
  return await Promise.race([promise, later.then(() => "pending" as const)]);
}

describe("a replication session", () => {
  it("begins with the state, and is in sync once that is acked", async () => {
    const { primary } = newPrimary();
    await primary.operate(insertOf("a"));
    const peer = await Peer.connect(primary);
    peer.join("peer");
    const { epoch } = await primary.status();
    expect(await peer.next()).toEqual({ type: "joined-secondary", epoch, head: 1, reset: true });
    const changes = [{ key: "a", value: 1, seq: 1 }];
    expect(await peer.next()).toEqual({ type: "snapshot", prev: 0, seq: 1, changes, until: 1 });
    expect((await primary.status()).secondaries).toMatchObject([{ id: "peer", state: "catching-up", acked: 0 }]);
    peer.ack(1);
    expect(await peer.next()).toEqual({ type: "membership", inSync: true });
    expect((await primary.status()).secondaries).toMatchObject([{ id: "peer", state: "in-sync", acked: 1 }]);
    peer.close();
  });

  it("carries operations, and answers them after the snapshot that they made", async () => {
    const { primary } = newPrimary();
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    peer.insert("ann", 1, "a", { x: 1 });
    const changes = [{ key: "a", value: { x: 1 }, seq: 1 }];
    expect(await peer.next()).toEqual({ type: "snapshot", prev: 0, seq: 1, changes, until: 1 });
    peer.send({ type: "get", clientId: "ann", id: 2, key: "a" });
    expect(await peer.next()).toMatchObject({ type: "get-result", id: 2, entry: { key: "a", seq: 1 }, seq: 1 });
    peer.ack(1);
    expect(await peer.next()).toEqual({ type: "operation-ack", clientId: "ann", id: 1, seq: 1, replicas: 1 });
    peer.close();
  });

  it("A6: holds a write's answer until every in-sync secondary has acked", async () => {
    const { primary } = newPrimary();
    const peers = [await Peer.connect(primary), await Peer.connect(primary)];
    for (const [i, peer] of peers.entries()) await peer.enter(`peer-${i}`);
    const outcome = primary.operate(insertOf("a"));
    for (const peer of peers) expect(await peer.expect("snapshot")).toMatchObject({ prev: 0, seq: 1 });
    peers[0]!.ack(1);
    expect(await settledBy(outcome, primary.status())).toBe("pending");
    peers[1]!.ack(1);
    expect(await outcome).toMatchObject({ type: "operation-ack", seq: 1, replicas: 2 });
    for (const peer of peers) peer.close();
  });

  it("M3: that ends waives the acks that it owed", async () => {
    const { primary } = newPrimary();
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    const outcome = primary.operate(insertOf("a"));
    await peer.expect("snapshot");
    peer.close();
    expect(await outcome).toMatchObject({ type: "operation-ack", seq: 1, replicas: 0 });
    expect((await primary.status()).secondaries).toEqual([]);
  });

  it("A4, M4: that stays silent fails the write that waited for it within the deadline, and is out", async () => {
    const { primary } = newPrimary();
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    const begin = Date.now();
    const outcome = await primary.operate(insertOf("a"));
    expect(outcome).toMatchObject({ code: "unconfirmed", applied: true, seq: 1, replicas: 0, expected: 1 });
    expect(Date.now() - begin).toBeGreaterThanOrEqual(DEADLINE_MS - 5);
    expect(Date.now() - begin).toBeLessThan(DEADLINE_MS + 500);
    expect(await primary.operate(insertOf("b"))).toMatchObject({ type: "operation-ack", replicas: 0 });
    expect((await primary.status()).secondaries).toMatchObject([{ id: "peer", state: "lagging" }]);
    peer.close();
  });

  it("M5: gives way to a newer one of the same secondary", async () => {
    const { primary } = newPrimary();
    const older = await Peer.connect(primary);
    await older.enter("peer");
    const newer = await Peer.connect(primary);
    await newer.enter("peer");
    expect(await older.closed).toMatchObject({ code: CLOSE.superseded });
    expect((await primary.status()).secondaries).toHaveLength(1);
    newer.close();
  });

  it("catches up with what has changed since it was last there", async () => {
    const { primary } = newPrimary();
    for (const key of ["a", "b", "c"]) await primary.operate(insertOf(key));
    const peer = await Peer.connect(primary);
    const { epoch } = await primary.status();
    peer.join("peer", { epoch, since: 2 });
    expect(await peer.next()).toEqual({ type: "joined-secondary", epoch, head: 3, reset: false });
    expect(await peer.expect("snapshot")).toMatchObject({ prev: 2, seq: 3, changes: [{ key: "c", seq: 3 }] });
    peer.close();
  });

  it("C1: is bootstrapped in parts while writes go on, and ends with the state at head", async () => {
    const { primary } = newPrimary();
    for (let i = 0; i < 3; i++) {
      const update = fill(PART_CHANGES_MAX);
      if (update.type !== "batch") throw new Error("a batch was asked for");
      const writes = update.writes.map((write) => ({ ...write, key: `${i}-${write.key}` }));
      await primary.operate({ ...update, writes });
    }
    const peer = await Peer.connect(primary);
    peer.join("peer");
    expect(await peer.expect("joined-secondary")).toMatchObject({ head: 3, reset: true });
    const parts: Snapshot[] = [await peer.expect("snapshot")];
    await primary.operate(insertOf("0-key-0", '"new"'));
    const state = new Map<string, unknown>();
    for (let seq = parts[0]!.seq; seq < 4;) {
      const part = await peer.expect("snapshot");
      expect(part.prev).toBe(seq);
      parts.push(part);
      ({ seq } = part);
      peer.send({ type: seq < part.until ? "part-ack" : "snapshot-ack", seq });
    }
    expect(await peer.expect("membership")).toMatchObject({ inSync: true });
    expect(parts.length).toBeGreaterThanOrEqual(3);
    for (const { changes } of parts) for (const change of changes) state.set(change.key, change);
    expect(state.size).toBe(3 * PART_CHANGES_MAX);
    expect(state.get("0-key-0")).toEqual({ key: "0-key-0", value: "new", seq: 4 });
    peer.close();
  });

  it("takes a message in pieces, and sends one that is longer than a frame in several", async () => {
    const { primary } = newPrimary();
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    const value = "é".repeat(FRAME_BYTES_MAX / 2);
    const line = `${JSON.stringify({ type: "insert", clientId: "ann", id: 1, ack: "primary", key: "a", value })}\n`;
    const middle = Math.floor(line.length / 2);
    peer.sendText(line.slice(0, middle));
    peer.sendText(line.slice(middle));
    const framesBefore = peer.frames;
    const snapshot = await peer.expect("snapshot");
    expect(snapshot.changes).toEqual([{ key: "a", value, seq: 1 }]);
    expect(peer.frames - framesBefore).toBeGreaterThan(1);
    expect(await peer.next()).toMatchObject({ type: "operation-ack", id: 1 });
    peer.close();
  });

  it("answers a heartbeat outside of the protocol", async () => {
    const { primary } = newPrimary();
    const peer = await Peer.connect(primary);
    peer.sendText("ping");
    expect(await peer.nextText()).toBe("pong");
    peer.close();
  });
});

describe("garbage on a socket", () => {
  const garbage: [what: string, frame: string | ArrayBuffer, reason: string][] = [
    ["text that is not JSON", "hello\n", "a message is not JSON"],
    ["an unknown type", '{"type":"format-disk"}\n', "a message of unknown type"],
    ["a binary frame", new Uint8Array([1, 2, 3]).buffer, "frames of the protocol are text"],
    ["a message before the garbage", '{"type":"leave"}\n[]\n', "a message must be a JSON object"],
    [
      "a version from the future",
      '{"type":"join","version":2}\n',
      "version 2 of the protocol is not spoken here, only 1",
    ],
    ["an ack of what was never sent", '{"type":"snapshot-ack","seq":99}\n', "acked a seq that was never sent"],
    [
      "a reason longer than a close frame has room for",
      `{"type":"insert","clientId":"${"é".repeat(10)}","id":1,"key":"a","value":1}\n`,
      "clientId must be printable ASCII without blanks",
    ],
  ];
  it.each(garbage)("closes it with 4400 and why, and the object lives: %s", async (_what, frame, reason) => {
    const { primary, object } = newPrimary();
    const loads = (): Promise<unknown> => runInDurableObject(object, (instance) => instance);
    const before = await loads();
    const other = await Peer.connect(primary);
    await other.enter("other");
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    peer.sendText(frame);
    expect(await peer.closed).toEqual({ code: CLOSE.badMessage, reason });
    const outcome = primary.operate(insertOf("a"));
    other.ack((await other.expect("snapshot")).seq);
    expect(await outcome).toMatchObject({ type: "operation-ack", seq: 1, replicas: 1 });
    expect((await primary.status()).secondaries).toMatchObject([{ id: "other", state: "in-sync" }]);
    expect(await loads()).toBe(before);
    other.close();
  });
});

describe("a primary that has slept", () => {
  it("M6: still has its members: the next write reaches them and waits for their acks", async () => {
    const { primary, object } = newPrimary();
    const peers = [await Peer.connect(primary), await Peer.connect(primary)];
    for (const [i, peer] of peers.entries()) await peer.enter(`peer-${i}`);
    const before = primary.operate(insertOf("a"));
    for (const peer of peers) peer.ack((await peer.expect("snapshot")).seq);
    await before;
    await evictDurableObject(object);
    const late = await Peer.connect(primary);
    await late.enter("late");
    peers.push(late);
    expect((await primary.status()).secondaries.map(({ id, state, acked }) => [id, state, acked])).toEqual([
      ["peer-0", "in-sync", 1],
      ["peer-1", "in-sync", 1],
      ["late", "in-sync", 1],
    ]);
    const outcome = primary.operate(insertOf("b"));
    for (const peer of peers) expect(await peer.expect("snapshot")).toMatchObject({ prev: 1, seq: 2 });
    for (const peer of peers.slice(1)) peer.ack(2);
    expect(await settledBy(outcome, primary.status())).toBe("pending");
    peers[0]!.ack(2);
    expect(await outcome).toMatchObject({ type: "operation-ack", seq: 2, replicas: 3 });
    for (const peer of peers) peer.close();
  });

  it("M6: keeps a member with as many prefixes as it may have, in whatever script", async () => {
    const { primary, object } = newPrimary();
    const peer = await Peer.connect(primary);
    const prefix = (digit: number): string => `${digit}${"a".repeat(1000)}€`;
    peer.send({
      type: "join",
      version: PROTOCOL_VERSION,
      secondaryId: "i".repeat(NAME_LENGTH_MAX),
      mode: "durable",
      epoch: null,
      since: 0,
      prefixes: Array.from({ length: 8 }, (_, digit) => prefix(digit)),
    });
    await peer.expect("joined-secondary");
    peer.ack((await peer.expect("snapshot")).seq);
    await peer.expect("membership");
    await evictDurableObject(object);
    const outcome = primary.operate(insertOf(`${prefix(3)}!`));
    peer.ack((await peer.expect("snapshot")).seq);
    expect(await outcome).toMatchObject({ replicas: 1 });
    peer.close();
  });

  it("is woken by a message of a socket that it knew before", async () => {
    const { primary, object } = newPrimary();
    await primary.operate(insertOf("a"));
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    await evictDurableObject(object);
    peer.insert("ann", 1, "b", 1);
    peer.ack((await peer.expect("snapshot")).seq);
    expect(await peer.next()).toMatchObject({ type: "operation-ack", id: 1, seq: 2, replicas: 1 });
    await evictDurableObject(object);
    peer.sendText("ping");
    expect(await peer.nextText()).toBe("pong");
    peer.close();
  });

  it("M6: sends a member away that had acked nothing yet, and bootstraps it when it joins again", async () => {
    const { primary, object } = newPrimary();
    await primary.operate(fill(10));
    const peer = await Peer.connect(primary);
    peer.join("peer");
    await peer.expect("joined-secondary");
    await evictDurableObject(object);
    await primary.status();
    expect(await peer.closed).toMatchObject({ code: CLOSE.tooFarBehind });
    const again = await Peer.connect(primary);
    again.join("peer");
    expect(await again.expect("joined-secondary")).toMatchObject({ reset: true });
    expect((await again.expect("snapshot")).changes).toHaveLength(10);
    again.close();
  });

  it("C3 I4: is compacted by its alarm, which rests when nothing is left to drop", async () => {
    const { primary, object } = newPrimary();
    await primary.operate({ ...insertOf("a"), clientId: "ann", id: 1 });
    const rowsOf = (table: string): Promise<number> =>
      runInDurableObject(object, (_, { storage }) => storage.sql.exec(`SELECT 1 FROM ${table}`).toArray().length);
    expect(await runDurableObjectAlarm(object)).toBe(true);
    expect(await rowsOf("clients")).toBe(1);
    await runInDurableObject(object, (_, { storage }) => void storage.sql.exec("UPDATE clients SET touched_at = 0"));
    expect(await runDurableObjectAlarm(object)).toBe(true);
    expect(await rowsOf("clients")).toBe(0);
    expect(await runDurableObjectAlarm(object)).toBe(false);
    await primary.operate({ ...insertOf("b"), clientId: "ben", id: 1 });
    expect(await runDurableObjectAlarm(object)).toBe(true);
  });

  it("keeps no timer while nothing is in flight", async () => {
    const { primary, object } = newPrimary();
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    const outcome = primary.operate(insertOf("a"));
    peer.ack((await peer.expect("snapshot")).seq);
    await outcome;
    // Eviction waits for timers; with one pending for the deadline it would take that long.
    const begin = Date.now();
    await evictDurableObject(object);
    expect(Date.now() - begin).toBeLessThan(DEADLINE_MS / 2);
    peer.close();
  });

  it("I1: knows an operation that it has done before", async () => {
    const { primary, object } = newPrimary();
    const update: Update = { ...insertOf("a"), clientId: "ann", id: 7 };
    const first = await primary.operate(update);
    await evictDurableObject(object);
    expect(await primary.operate({ ...update, key: "b" } as Update)).toEqual(first);
    expect(await primary.get("b")).toEqual({ ok: true, value: null });
    expect((await primary.status()).head).toBe(1);
  });
});

describe("a turn", () => {
  it("O4: takes operations that arrive together into one commit, and sends them as one frame", async () => {
    const { primary } = newPrimary();
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    const framesBefore = peer.frames;
    const count = 500;
    for (let id = 1; id <= count; id++) peer.insert("ann", id, `key-${id}`, id, "primary");
    let snapshots = 0;
    for (let answered = 0; answered < count;) {
      const message = await peer.next();
      if (message.type === "snapshot") snapshots += 1;
      if (message.type === "operation-ack") {
        answered += 1;
        expect(message).toMatchObject({ id: answered, seq: answered });
      }
    }
    // Without turns it would be one for each; how many a turn gathers depends on how busy the machine is.
    expect(snapshots).toBeLessThan(count / 2);
    expect(peer.frames - framesBefore).toBeLessThan(count / 2);
    expect((await primary.status()).head).toBe(count);
    peer.close();
  });

  it("gathers requests, too", async () => {
    const { primary, object } = newPrimary();
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    const outcomes = await runInDurableObject(object, async (instance) => {
      const asked = Array.from({ length: 100 }, (_, i) => instance.operate({ ...insertOf(`${i}`), ack: "primary" }));
      return await Promise.all(asked);
    });
    expect(outcomes.map((outcome) => "seq" in outcome && outcome.seq)).toEqual(outcomes.map((_, i) => i + 1));
    expect(await peer.expect("snapshot")).toMatchObject({ prev: 0, seq: 100 });
    peer.close();
  });

  it("divides what is more than one commit may hold", async () => {
    const { primary, object } = newPrimary();
    const count = COMMIT_OPERATIONS_MAX + 1;
    const outcomes = await runInDurableObject(object, async (instance) =>
      Promise.all(Array.from({ length: count }, (_, i) => instance.operate(insertOf(`${i}`)))),
    );
    expect(outcomes.filter(({ type }) => type === "operation-ack")).toHaveLength(count);
    expect((await primary.status()).entries).toBe(count);
  });
});

describe("a primary that breaks down in a turn", () => {
  it("starts anew from its store rather than go on half-way", async () => {
    const { primary, object } = newPrimary();
    await primary.operate(insertOf("a"));
    const { epoch } = await primary.status();
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    await runInDurableObject(object, (_instance, state) =>
      state.storage.sql.exec("ALTER TABLE clients RENAME TO lost"),
    );
    peer.insert("ann", 1, "b", 1);
    await peer.closed;
    // A stub is of no more use once the object behind it has been reset.
    const again: Stub = (env as AppEnv).PRIMARY.get(object.id);
    expect(await again.operate(insertOf("c"))).toMatchObject({ type: "operation-ack", seq: 2 });
    expect(await again.status()).toMatchObject({ epoch, head: 2, entries: 2, secondaries: [] });
  });
});

describe("SQLite that refuses", () => {
  const refuse = (object: DurableObjectStub<Primary>, sentence: string): Promise<unknown> =>
    runInDurableObject(object, (_instance, state) =>
      state.storage.sql.exec(
        `CREATE TRIGGER refuse BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, '${sentence}'); END`,
      ),
    );
  const relent = (object: DurableObjectStub<Primary>): Promise<unknown> =>
    runInDurableObject(object, (_instance, state) => state.storage.sql.exec("DROP TRIGGER refuse"));

  it.each([
    ["database or disk is full: SQLITE_FULL", "storage-full"],
    ["disk I/O error", "unavailable"],
  ])("P2: fails the write by its deadline, truthfully: %s", async (sentence, code) => {
    const { primary, object } = newPrimary();
    const peer = await Peer.connect(primary);
    await peer.enter("peer");
    await refuse(object, sentence);
    expect(await primary.operate(insertOf("a"))).toMatchObject({ code, applied: false });
    expect(await primary.get("a")).toEqual({ ok: true, value: null });
    await relent(object);
    const outcome = primary.operate(insertOf("b"));
    expect(await peer.expect("snapshot")).toMatchObject({ prev: 0, seq: 1, changes: [{ key: "b" }] });
    peer.ack(1);
    expect(await outcome).toMatchObject({ type: "operation-ack", seq: 1 });
    peer.close();
  });

  it("P2: is asked again until it relents", async () => {
    const { primary, object } = newPrimary();
    await refuse(object, "disk I/O error");
    const outcome = primary.operate(insertOf("a"));
    await primary.status();
    await relent(object);
    expect(await outcome).toMatchObject({ type: "operation-ack", seq: 1 });
  });
});

describe("a stream", () => {
  const open = async (primary: Stub, query: string): Promise<ReadableStream<Uint8Array>> => {
    const response = await primary.fetch(new Request(`http://primary/?${query}`));
    return response.body!;
  };

  it("gives back-pressure: a consumer that does not read costs a window at most", async () => {
    const { primary } = newPrimary();
    const value = JSON.stringify("x".repeat(200_000));
    for (let i = 0; i < 12; i++) await primary.operate(insertOf(`${i}`, value));
    const body = await open(primary, "");
    await primary.operate(insertOf("more", value));
    expect((await primary.status()).secondaries).toMatchObject([{ mode: "reader", state: "catching-up" }]);
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of body) {
      text += decoder.decode(chunk, { stream: true });
      if (text.endsWith("\n") && text.includes('"seq":13,')) break;
    }
    const snapshots = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Snapshot);
    expect(snapshots.flatMap(({ changes }) => changes)).toHaveLength(13);
    for (const [i, { prev }] of snapshots.entries()) expect(prev).toBe(i === 0 ? 0 : snapshots[i - 1]!.seq);
  });

  it("that is cancelled ends its session", async () => {
    const { primary } = newPrimary();
    const body = await open(primary, "");
    const reader = body.getReader();
    await reader.read();
    expect((await primary.status()).secondaries).toHaveLength(1);
    await reader.cancel();
    await primary.operate(insertOf("a"));
    expect((await primary.status()).secondaries).toEqual([]);
  });
});
