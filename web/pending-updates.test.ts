import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { OperationAck, OperationFailed } from "../src/protocol.ts";
import { OperationFailedError, OutcomeUnknownError } from "./errors.ts";
import type { FromPage, QueuedUpdate } from "./feed.ts";
import { PendingUpdates } from "./pending-updates.ts";

const insert = (key: string): Parameters<PendingUpdates["submit"]>[0] => ({
  type: "insert",
  key,
  json: "1",
  ack: "all",
});
const name = (id: number) => ({ clientId: "c", id });
const ack = (id: number): OperationAck => ({ type: "operation-ack", ...name(id), seq: id, replicas: 1 });
const conflict = (id: number): OperationFailed => ({
  type: "operation-failed",
  ...name(id),
  code: "conflict",
  applied: false,
  check: { key: "a", seq: 7 },
});

let sent: FromPage[];
let told: string[];
let shown: Set<string>;
let pending: PendingUpdates;

/** What has been given to the worker for keeping, oldest first. */
const given = (): QueuedUpdate[] => sent.flatMap((message) => (message.type === "queue" ? message.updates : []));
const states = (): string[] => pending.list().map(({ id, state }) => `${id} ${state}`);

/** The worker says of these that they are on disk, as they were given or as `changes` has them. */
function keep(ids: number[], changes: Partial<QueuedUpdate> = {}): void {
  pending.received({ type: "queued", queued: ids.map((id) => ({ ...kept(id), ...changes })) });
}
function kept(id: number): QueuedUpdate {
  return structuredClone(given().find(({ update }) => update.id === id)!);
}

/** Settles and tells how. */
const endOf = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error);

beforeEach(() => {
  vi.useFakeTimers();
  sent = [];
  told = [];
  shown = new Set();
  pending = new PendingUpdates("c", {
    send: (message) => sent.push(structuredClone(message)),
    shown: (one) => shown.add(one),
    hidden: (one) => shown.delete(one),
    changed: () => {},
  });
  pending.subscribe(({ type, update }) => told.push(`${type} ${update.id}`));
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

describe("PendingUpdates", () => {
  test("what is queued in one turn leaves as one message, is stored, acked, and then gone", async () => {
    const ends = [pending.submit(insert("a"), true), pending.submit(insert("b"), false)];
    expect(states()).toEqual(["c:2 storing", "c:3 storing"]);
    expect([...shown]).toEqual(["c:2"]);
    await Promise.resolve();
    expect(sent).toHaveLength(1);
    expect(given().map(({ update }) => update.id)).toEqual([2, 3]);
    keep([2, 3]);
    expect(states()).toEqual(["c:2 queued", "c:3 queued"]);
    expect(pending.size).toBe(2);
    for (const id of [2, 3]) pending.received({ type: "unqueued", name: name(id), settled: ack(id) });
    expect(await Promise.all(ends)).toMatchObject([{ seq: 2 }, { seq: 3 }]);
    expect(told).toEqual(["queued c:2", "queued c:3", "acked c:2", "acked c:3"]);
    expect([shown.size, pending.size, pending.list()]).toEqual([0, 0, []]);
  });

  test("what was refused stays until it is dismissed; its promise rejects, and it is told once", async () => {
    const end = endOf(pending.submit(insert("a"), true));
    await Promise.resolve();
    keep([2]);
    keep([2], { failure: conflict(2) });
    keep([2], { failure: conflict(2) });
    pending.received({ type: "outbox", queued: [{ ...kept(2), failure: conflict(2) }] });
    const error = await end;
    expect(error).toBeInstanceOf(OperationFailedError);
    expect(error).toMatchObject({ code: "conflict", applied: false, check: { key: "a", seq: 7 } });
    expect(pending.list()).toMatchObject([{ id: "c:2", state: "failed", error: { code: "conflict" } }]);
    expect([shown.size, pending.size]).toEqual([0, 0]);
    const isOut = pending.dismiss("c:2");
    expect(sent.at(-1)).toEqual({ type: "dismiss", name: name(2) });
    pending.received({ type: "unqueued", name: name(2), settled: null });
    expect(await isOut).toBe(true);
    expect(told).toEqual(["queued c:2", "failed c:2", "dismissed c:2"]);
  });

  test("what the disk does not take fails, and was never there", async () => {
    const end = endOf(pending.submit(insert("a"), true));
    await Promise.resolve();
    pending.received({
      type: "unqueued",
      name: name(2),
      settled: { type: "operation-failed", ...name(2), code: "storage-full", applied: false },
    });
    expect(await end).toMatchObject({ code: "storage-full", applied: false });
    expect([told, pending.list(), shown.size]).toEqual([["failed c:2"], [], 0]);
  });

  test("what is applied but not confirmed has failed, and does not stay", async () => {
    const end = endOf(pending.submit(insert("a"), false));
    await Promise.resolve();
    keep([2]);
    const settled: OperationFailed = { ...conflict(2), code: "unconfirmed", applied: true, seq: 3 };
    pending.received({ type: "unqueued", name: name(2), settled });
    expect(await end).toMatchObject({ code: "unconfirmed", applied: true, seq: 3 });
    expect([told, pending.list()]).toEqual([["queued c:2", "failed c:2"], []]);
  });

  test("updates of other pages and days are shown and told like one's own", () => {
    pending.submit(insert("a"), false).catch(() => {});
    const theirs = (id: number, isOptimistic: boolean): QueuedUpdate => ({
      update: { type: "remove", key: "b", ack: "primary", clientId: "other", id, settled: 0, repeat: false },
      isOptimistic,
      queuedAt: 1,
    });
    const failed = { ...theirs(4, true), failure: { ...conflict(4), clientId: "other" } };
    pending.received({ type: "outbox", queued: [theirs(2, true), theirs(3, false), failed] });
    expect(states()).toEqual(["other:2 queued", "other:3 queued", "other:4 failed", "c:2 storing"]);
    expect([...shown]).toEqual(["other:2"]);
    pending.received({
      type: "unqueued",
      name: { clientId: "other", id: 2 },
      settled: { ...ack(2), clientId: "other" },
    });
    expect(told).toEqual(["queued other:2", "queued other:3", "queued other:4", "failed other:4", "acked other:2"]);
    pending.close();
  });

  test("the list is in the order of the outbox", async () => {
    for (const key of ["a", "b", "d"]) pending.submit(insert(key), false).catch(() => {});
    await Promise.resolve();
    keep([3]);
    expect(states()).toEqual(["c:3 queued", "c:2 storing", "c:4 storing"]);
    pending.received({ type: "outbox", queued: [kept(2), kept(3)] });
    expect(states()).toEqual(["c:2 queued", "c:3 queued", "c:4 storing"]);
    pending.close();
  });

  describe("another worker", () => {
    test("I4 is given what was not kept, as something that may have been sent; nobody hears of it twice", async () => {
      const ends = [pending.submit(insert("a"), false), pending.submit(insert("b"), false)];
      await Promise.resolve();
      keep([2]);
      sent = sent.slice(0, 1);
      pending.askAgain();
      expect(sent).toHaveLength(2);
      expect(given().map(({ update: { id, repeat } }) => [id, repeat])).toEqual([
        [2, false],
        [3, false],
        [3, true],
      ]);
      // It had both.
      pending.received({ type: "outbox", queued: [kept(2), kept(3)] });
      keep([3]);
      keep([2, 3]);
      expect(told).toEqual(["queued c:2", "queued c:3"]);
      for (const id of [2, 3, 2]) pending.received({ type: "unqueued", name: name(id), settled: ack(id) });
      await Promise.all(ends);
      expect(told).toEqual(["queued c:2", "queued c:3", "acked c:2", "acked c:3"]);
    });

    test("that could not keep an update does not know whether the one before has", async () => {
      const end = endOf(pending.submit(insert("a"), false));
      await Promise.resolve();
      pending.askAgain();
      const settled: OperationFailed = { ...conflict(2), code: "storage-full" };
      pending.received({ type: "unqueued", name: name(2), settled });
      expect(await end).toBeInstanceOf(OutcomeUnknownError);
      expect(told).toEqual(["unknown c:2"]);
    });

    test("what has left the outbox meanwhile is unknown here", async () => {
      const end = endOf(pending.submit(insert("a"), true));
      await Promise.resolve();
      keep([2]);
      pending.askAgain();
      pending.received({ type: "outbox", queued: [] });
      expect(await end).toBeInstanceOf(OutcomeUnknownError);
      expect([told, pending.list(), shown.size]).toEqual([["queued c:2", "unknown c:2"], [], 0]);
    });

    test("is asked for a dismissal that the one before has not answered; its list is no answer", async () => {
      pending.submit(insert("a"), false).catch(() => {});
      await Promise.resolve();
      keep([2], { failure: conflict(2) });
      const isOut = pending.dismiss("c:2");
      pending.askAgain();
      expect(sent.filter(({ type }) => type === "dismiss")).toHaveLength(2);
      pending.received({ type: "outbox", queued: [{ ...kept(2), failure: conflict(2) }] });
      pending.received({ type: "unqueued", name: name(2), settled: null });
      expect(await isOut).toBe(true);
    });
  });

  test("whoever waits for what is dismissed learns that it never happens", async () => {
    const end = endOf(pending.submit(insert("a"), false));
    await Promise.resolve();
    keep([2]);
    const isOut = pending.dismiss("c:2");
    pending.received({ type: "unqueued", name: name(2), settled: null });
    expect(await isOut).toBe(true);
    expect(await end).toBeInstanceOf(OperationFailedError);
    expect(await end).toMatchObject({ code: "dismissed", applied: false });
  });

  describe("a dismissal", () => {
    beforeEach(async () => {
      pending.submit(insert("a"), false).catch(() => {});
      await Promise.resolve();
    });

    test("does not take out what is not stored, or not there", async () => {
      expect([await pending.dismiss("c:2"), await pending.dismiss("c:99")]).toEqual([false, false]);
      expect(sent).toHaveLength(1);
      pending.close();
    });

    test("is refused while an update is on its way, and asked as often as one likes", async () => {
      keep([2]);
      const answers = [pending.dismiss("c:2"), pending.dismiss("c:2")];
      keep([2]);
      expect(await Promise.all(answers)).toEqual([false, false]);
      expect(states()).toEqual(["c:2 queued"]);
      pending.close();
    });

    test("has not taken out what was done meanwhile", async () => {
      keep([2]);
      const isOut = pending.dismiss("c:2");
      pending.received({ type: "unqueued", name: name(2), settled: ack(2) });
      expect(await isOut).toBe(false);
      expect(told).toEqual(["queued c:2", "acked c:2"]);
    });

    test("ends with the page", async () => {
      keep([2]);
      const isOut = pending.dismiss("c:2");
      pending.close();
      expect([await isOut, await pending.dismiss("c:2")]).toEqual([false, false]);
    });
  });

  test("what nobody keeps is given up, and may turn up all the same", async () => {
    const end = endOf(pending.submit(insert("a"), true));
    let isIdle = false;
    void pending.kept().then(() => (isIdle = true));
    await vi.advanceTimersByTimeAsync(19_000);
    expect([isIdle, states()]).toEqual([false, ["c:2 storing"]]);
    await vi.advanceTimersByTimeAsync(2000);
    expect(await end).toBeInstanceOf(OutcomeUnknownError);
    expect([isIdle, told, shown.size, pending.list()]).toEqual([true, ["unknown c:2"], 0, []]);
    keep([2]);
    expect(states()).toEqual(["c:2 queued"]);
    pending.received({ type: "unqueued", name: name(2), settled: ack(2) });
    expect(told).toEqual(["unknown c:2", "queued c:2", "acked c:2"]);
  });

  test("what is kept is waited for without an end", async () => {
    const end = pending.submit(insert("a"), false);
    await Promise.resolve();
    keep([2]);
    await vi.advanceTimersByTimeAsync(1e9);
    pending.received({ type: "unqueued", name: name(2), settled: ack(2) });
    expect(await end).toMatchObject({ seq: 2 });
  });

  test("a page that closes waits for the disk, and for nothing else", async () => {
    const end = endOf(pending.submit(insert("a"), false));
    let isKept = false;
    void pending.kept().then(() => (isKept = true));
    await Promise.resolve();
    expect(isKept).toBe(false);
    keep([2]);
    await Promise.resolve();
    expect(isKept).toBe(true);
    pending.close();
    expect(await end).toBeInstanceOf(OutcomeUnknownError);
    expect(states()).toEqual(["c:2 queued"]);
  });

  test("a subscriber that throws keeps nobody from hearing, and each can leave", async () => {
    const heard: string[] = [];
    const report = vi.fn();
    vi.stubGlobal("reportError", report);
    const subscriber = (): void => {
      heard.push("twice");
      throw new Error("a program's fault");
    };
    pending.subscribe(subscriber);
    const leave = pending.subscribe(subscriber);
    leave();
    pending.submit(insert("a"), false).catch(() => {});
    await Promise.resolve();
    keep([2]);
    expect([heard, told]).toEqual([["twice"], ["queued c:2"]]);
    expect(report).toHaveBeenCalledOnce();
    vi.unstubAllGlobals();
    pending.close();
  });
});
