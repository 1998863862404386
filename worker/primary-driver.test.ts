import { expect, it } from "vitest";
import { encodeUpstream } from "../src/codec.ts";
import { PRIMARY_DEFAULTS } from "../src/primary.ts";
import { CLOSE, PROTOCOL_VERSION } from "../src/protocol.ts";
import type { Update } from "../src/protocol.ts";
import { CommitInDoubtError, MemoryStore } from "../src/store.ts";
import { PrimaryDriver } from "./primary-driver.ts";
import { SocketSession } from "./sessions.ts";

const updateOf = (key: string): Update => ({
  type: "insert",
  clientId: null,
  id: 1,
  ack: "all",
  settled: 0,
  repeat: false,
  key,
  json: "1",
});

/** A disk that fails in the middle of every commit. */
class DoubtfulStore extends MemoryStore {
  override apply(): never {
    throw new CommitInDoubtError("the disk has failed");
  }
}

it("P3: answers nothing about a commit that is in doubt, and asks to be started anew", async () => {
  let hasFailed: (error: unknown) => void;
  const failure = new Promise<unknown>((resolve) => (hasFailed = resolve));
  const driver = new PrimaryDriver(new DoubtfulStore("epoch"), PRIMARY_DEFAULTS, {
    glance: () => Promise.resolve(),
    comeRound: () => scheduler.wait(0),
    written: () => {},
    expiring: () => {},
    ended: () => {},
    failed: (error) => hasFailed(error),
  });
  driver.start();
  const outcome = driver.operate(updateOf("a"));
  expect(await failure).toBeInstanceOf(CommitInDoubtError);
  driver.stop(1001, "it starts anew");
  await expect(outcome).rejects.toThrow("it starts anew");
});

it("M2, A2: takes an ack at once, without a look for company, and in its order behind what has come before", async () => {
  let glances = 0;
  const driver = new PrimaryDriver(new MemoryStore("epoch"), PRIMARY_DEFAULTS, {
    glance: async () => void (glances += 1),
    comeRound: () => scheduler.wait(0),
    written: () => {},
    expiring: () => {},
    ended: () => {},
    failed: () => {},
  });
  driver.start();
  const sent: string[] = [];
  const socket = { readyState: 1, send: (text: string) => void sent.push(text), close: () => {} };
  let session: SocketSession;
  driver.open((id) => (session = new SocketSession(socket, id, { grant: undefined, deflates: false })));
  const states = (): string[] => driver.status().secondaries.map(({ state }) => state);
  const join = encodeUpstream({
    type: "join",
    version: PROTOCOL_VERSION,
    secondaryId: "s",
    mode: "durable",
    epoch: null,
    since: 0,
  });
  const ack = encodeUpstream({ type: "snapshot-ack", seq: 0 });
  // The member is to be: its ack does not overtake its Join.
  const joined = driver.receive(session!, join);
  void driver.receive(session!, ack);
  await joined;
  expect(states()).toEqual(["in-sync"]);
  const before = glances;
  const outcome = driver.operate(updateOf("a"));
  await driver.settled();
  expect(glances).toBe(before + 1);
  void driver.receive(session!, encodeUpstream({ type: "snapshot-ack", seq: 1 }));
  expect(driver.status().secondaries).toMatchObject([{ acked: 1 }]);
  expect(glances).toBe(before + 1);
  expect(await outcome).toMatchObject({ type: "operation-ack", replicas: 1 });
  driver.stop(1001, "the test ends");
});

it("S3: a session whose time is over is neither heard nor told anything, whenever the alarm may come", async () => {
  const expiring: number[] = [];
  const driver = new PrimaryDriver(new MemoryStore("epoch"), PRIMARY_DEFAULTS, {
    glance: () => Promise.resolve(),
    comeRound: () => scheduler.wait(0),
    written: () => {},
    expiring: (at) => expiring.push(at),
    ended: () => {},
    failed: () => {},
  });
  driver.start();
  const open = (expiresAt: number): { session: SocketSession; sent: string[]; closed: number[] } => {
    const sent: string[] = [];
    const closed: number[] = [];
    const socket = {
      readyState: 1,
      send: (text: string) => void sent.push(text),
      close: (code: number) => closed.push(code),
    };
    let session!: SocketSession;
    const grant = { read: null, write: null, sync: true, admin: false, expiresAt };
    driver.open((id) => (session = new SocketSession(socket, id, { grant, deflates: false })));
    return { session, sent, closed };
  };
  const join = { type: "join", version: PROTOCOL_VERSION, mode: "durable", epoch: null, since: 0 } as const;
  const soon = Date.now() + 60;
  const [talker, listener, other] = [open(soon), open(soon), open(soon + 60_000)];
  expect(expiring).toEqual([soon, soon, soon + 60_000]);
  for (const [index, { session }] of [talker, listener, other].entries()) {
    await driver.receive(session, encodeUpstream({ ...join, secondaryId: `s${index}` }));
  }
  while (Date.now() <= soon) await scheduler.wait(5);
  const before = listener.sent.length;
  await driver.receive(talker.session, encodeUpstream(updateOf("a")));
  expect(driver.status().head).toBe(0);
  void driver.operate(updateOf("b"));
  await driver.settled();
  expect([talker.closed, listener.closed, other.closed]).toEqual([[CLOSE.expired], [CLOSE.expired], []]);
  expect(listener.sent.length).toBe(before);
  expect(other.sent.at(-1)).toContain('"b"');
  expect(driver.expire()).toBe(soon + 60_000);
  driver.stop(1001, "the test ends");
});
