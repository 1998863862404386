import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Operation } from "../src/protocol.ts";
import { OperationFailedError, OutcomeUnknownError } from "./errors.ts";
import { Operations } from "./operations.ts";

const insert = (key: string): Parameters<Operations["submit"]>[0] => ({ type: "insert", key, json: "1", ack: "all" });
const ack = (id: number) => ({ type: "operation-ack", clientId: "c", id, seq: id, replicas: 0 }) as const;

let sent: Operation[][];
let silences: number;
let operations: Operations;

beforeEach(() => {
  vi.useFakeTimers();
  sent = [];
  silences = 0;
  operations = new Operations(
    "c",
    (batch) => sent.push(structuredClone(batch)),
    () => (silences += 1),
  );
  operations.begin();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("Operations", () => {
  test("all operations of one turn leave as one message, in order, with rising ids", async () => {
    const answers = [operations.submit(insert("a")), operations.submit(insert("b"))];
    expect(sent).toEqual([]);
    await Promise.resolve();
    void operations.submit(insert("c"));
    await Promise.resolve();
    expect(sent.map((batch) => batch.map(({ id }) => id))).toEqual([[1, 2], [3]]);
    operations.settle(ack(2));
    operations.settle(ack(1));
    expect((await Promise.all(answers)).map(({ seq }) => seq)).toEqual([1, 2]);
  });

  test("`settled` is the last id up to which everything is answered", async () => {
    for (const key of ["a", "b", "c"]) void operations.submit(insert(key));
    await Promise.resolve();
    operations.settle(ack(1));
    operations.settle(ack(3));
    void operations.submit(insert("d"));
    await Promise.resolve();
    operations.settle(ack(2));
    operations.settle(ack(4));
    void operations.submit(insert("e"));
    await Promise.resolve();
    expect(sent.flat().map((operation) => (operation as { settled: number }).settled)).toEqual([0, 0, 0, 1, 4]);
  });

  test("I4 what leaves no record at the primary settles nothing", async () => {
    void operations.submit({ type: "get", key: "a" });
    const offline = operations.submit(insert("a"));
    await Promise.resolve();
    operations.settle({ type: "get-result", clientId: "c", id: 1, entry: null, seq: 0 });
    operations.settle({ type: "operation-failed", clientId: "c", id: 2, code: "offline", applied: false });
    await expect(offline).rejects.toMatchObject({ code: "offline" });
    void operations.submit(insert("b"));
    await Promise.resolve();
    expect(sent.at(-1)).toMatchObject([{ id: 3, settled: 0 }]);
  });

  test("what is unanswered is asked again under its old name, in its order, and answered once", async () => {
    const first = operations.submit(insert("a"));
    void operations.submit(insert("b"));
    await Promise.resolve();
    operations.settle(ack(2));
    const third = operations.submit(insert("c"));
    operations.askAgain();
    await Promise.resolve();
    expect(sent.map((batch) => batch.map(({ id }) => id))).toEqual([
      [1, 2],
      [1, 3],
    ]);
    for (const id of [1, 3, 1, 3]) operations.settle(ack(id));
    expect([await first, await third].map(({ seq }) => seq)).toEqual([1, 3]);
    expect(operations.size).toBe(0);
  });

  test("a failure rejects with what is known of it", async () => {
    const failed = operations.submit(insert("a"));
    operations.settle({
      type: "operation-failed",
      clientId: "c",
      id: 1,
      code: "unconfirmed",
      applied: true,
      seq: 7,
      replicas: 1,
      expected: 2,
    });
    const error: unknown = await failed.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(OperationFailedError);
    expect(error).toMatchObject({ code: "unconfirmed", applied: true, seq: 7, replicas: 1, expected: 2 });
  });

  test("nothing hangs: operations of a worker that says nothing end as unknown", async () => {
    const ends = Promise.allSettled([operations.submit(insert("a")), operations.submit(insert("b"))]);
    await vi.advanceTimersByTimeAsync(6000);
    for (const end of await ends) {
      expect(end.status === "rejected" && (end.reason as unknown) instanceof OutcomeUnknownError).toBe(true);
    }
    expect(silences).toBe(1);
  });

  test("as long as the worker answers something, the others are waited for", async () => {
    const last = operations.submit(insert("a"));
    for (let id = 2; id <= 10; id++) {
      void operations.submit(insert("b"));
      await vi.advanceTimersByTimeAsync(4000);
      operations.settle(ack(id));
    }
    operations.settle(ack(1));
    expect((await last).seq).toBe(1);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(silences).toBe(0);
  });

  test("U3 what no worker was ever given fails as offline, and is given to none any more", async () => {
    operations.suspend();
    const first = operations.submit(insert("a"));
    await vi.advanceTimersByTimeAsync(600);
    const second = operations.submit(insert("b"));
    const ends = Promise.allSettled([first, operations.submit({ type: "get", key: "a" })]);
    await vi.advanceTimersByTimeAsync(500);
    expect(operations.size).toBe(2);
    operations.begin();
    expect(sent.map((batch) => batch.map(({ id }) => id))).toEqual([[2, 3]]);
    expect(sent[0]).toMatchObject([{ repeat: false }, {}]);
    operations.settle(ack(2));
    expect((await second).seq).toBe(2);
    operations.suspend();
    await vi.advanceTimersByTimeAsync(3000);
    expect(await ends).toMatchObject([
      { status: "rejected", reason: { code: "offline", applied: false } },
      { status: "rejected", reason: { code: "offline", applied: false } },
    ]);
    expect(silences).toBe(0);
  });

  test("U1 what a worker that has gone may have sent is unknown, unless another one comes in time", async () => {
    const ends = Promise.allSettled([operations.submit(insert("a")), operations.submit(insert("b"))]);
    await vi.advanceTimersByTimeAsync(100);
    operations.suspend();
    await vi.advanceTimersByTimeAsync(2900);
    operations.begin();
    expect(sent[1]).toMatchObject([
      { id: 1, repeat: true },
      { id: 2, repeat: true },
    ]);
    operations.settle(ack(1));
    operations.suspend();
    await vi.advanceTimersByTimeAsync(3100);
    const [first, second] = await ends;
    expect(first).toMatchObject({ value: { seq: 1 } });
    expect(second.status === "rejected" && (second.reason as unknown)).toBeInstanceOf(OutcomeUnknownError);
  });

  test("a page that was put away for a moment asks again, one that was away for longer does not do what is past", async () => {
    const answer = operations.submit(insert("a"));
    await vi.advanceTimersByTimeAsync(100);
    operations.pause();
    await vi.advanceTimersByTimeAsync(2000);
    operations.suspend();
    operations.begin();
    operations.settle(ack(1));
    expect((await answer).seq).toBe(1);

    const given = operations.submit(insert("a"));
    await Promise.resolve();
    operations.suspend();
    const ends = Promise.allSettled([given, operations.submit(insert("b"))]);
    operations.pause();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(operations.size).toBe(2);
    operations.suspend();
    operations.begin();
    const [first, second] = await ends;
    expect(first.status === "rejected" && (first.reason as unknown)).toBeInstanceOf(OutcomeUnknownError);
    expect(second).toMatchObject({ status: "rejected", reason: { code: "offline", applied: false } });
    expect(sent.flat().map(({ id }) => id)).toEqual([1, 1, 2]);
  });

  test("a page that was asleep reads what has come before it gives up", async () => {
    const answer = operations.submit(insert("a"));
    await vi.advanceTimersByTimeAsync(5100);
    operations.settle(ack(1));
    expect((await answer).seq).toBe(1);
    expect(silences).toBe(0);
  });
});
