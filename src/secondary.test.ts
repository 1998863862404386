import { describe, expect, test } from "vitest";
import type { SecondaryEffect, SecondaryInput } from "./effects.ts";
import type { Change } from "./kv.ts";
import {
  JOIN_PATIENCE_MS,
  OPERATIONS_PENDING_MAX,
  OPERATIONS_SENT_MAX,
  OUTCOME_PATIENCE_MS,
  PERSIST_RETRY_MS,
  STALL_PATIENCE_MS,
  UNSENT_LIMIT_MS,
} from "./limits.ts";
import type { Get, Operation, Insert, Snapshot, Upstream } from "./protocol.ts";
import { Secondary } from "./secondary.ts";

type EffectOf<Type extends SecondaryEffect["type"]> = Extract<SecondaryEffect, { type: Type }>;

/** A secondary whose effects are gathered; its disk answers when the test says so. */
class Rig {
  readonly secondary: Secondary;
  now = 0;
  wakeAt: number | undefined;
  #effects: SecondaryEffect[] = [];

  constructor(prefixes?: string[]) {
    this.secondary = new Secondary({ secondaryId: "s1", prefixes });
  }

  feed(...inputs: SecondaryInput[]): this {
    for (const input of inputs) {
      for (const effect of this.secondary.step(input, this.now)) {
        if (effect.type === "wake") this.wakeAt = effect.at;
        else this.#effects.push(effect);
      }
    }
    return this;
  }

  receive(...messages: Extract<SecondaryInput, { type: "receive" }>["message"][]): this {
    return this.feed(...messages.map((message) => ({ type: "receive" as const, message })));
  }

  /** The effects since the last look, of one type. */
  take<Type extends SecondaryEffect["type"]>(type: Type): EffectOf<Type>[] {
    const taken = this.#effects.filter((effect): effect is EffectOf<Type> => effect.type === type);
    this.#effects = this.#effects.filter((effect) => effect.type !== type);
    return taken;
  }

  sent(): Upstream[] {
    return this.take("send").map(({ message }) => message);
  }

  pass(ms: number): this {
    const end = this.now + ms;
    while (this.wakeAt !== undefined && this.wakeAt <= end) {
      this.now = this.wakeAt;
      this.wakeAt = undefined;
      this.feed({ type: "tick" });
    }
    this.now = end;
    return this;
  }

  get status(): ReturnType<Secondary["status"]> {
    return this.secondary.status(this.now);
  }
}

const snapshot = (
  prev: number,
  seq: number,
  changes: Change[] = [{ key: "a", value: seq, seq }],
  until = seq,
): Snapshot => ({
  type: "snapshot",
  prev,
  seq,
  changes,
  until,
});
const joined = (
  head: number,
  reset = false,
  epoch = "e1",
): Extract<SecondaryInput, { type: "receive" }>["message"] => ({ type: "joined-secondary", epoch, head, reset });
const insert = (id: number, key = "a"): Insert => ({
  type: "insert",
  clientId: "c",
  id,
  ack: "all",
  settled: 0,
  repeat: false,
  key,
  json: "1",
});
const ack = (id: number, seq: number): Extract<SecondaryInput, { type: "receive" }>["message"] => ({
  type: "operation-ack",
  clientId: "c",
  id,
  seq,
  replicas: 0,
});

/** A secondary that has joined at seq 5 of epoch e1. */
function following(mode: "durable" | "memory" = "durable", prefixes?: string[]): Rig {
  const rig = new Rig(prefixes);
  rig.feed({ type: "start", mode, epoch: "e1", seq: 5 }, { type: "connect" }).receive(joined(5));
  rig.sent();
  return rig;
}

describe("D. delivery", () => {
  test("D3 a step is visible at once and acked when it is persisted", () => {
    const rig = following().receive(snapshot(5, 6));
    expect(rig.take("apply")).toMatchObject([{ step: { prev: 5, seq: 6, reset: false } }]);
    expect(rig.take("persist")).toMatchObject([{ steps: [{ seq: 6 }] }]);
    expect(rig.sent()).toEqual([]);
    expect(rig.status).toMatchObject({ seq: 6, persisted: 5 });
    rig.feed({ type: "persisted" });
    expect(rig.sent()).toEqual([{ type: "snapshot-ack", seq: 6 }]);
    expect(rig.status).toMatchObject({ seq: 6, persisted: 6 });
  });

  test("D3 what a bootstrap has replaced is not acked as if it were of the new history", () => {
    const rig = following().receive(snapshot(5, 9));
    rig.feed({ type: "disconnect" }, { type: "connect" });
    rig.receive({ type: "joined-secondary", epoch: "e2", head: 7, reset: true }, snapshot(0, 7));
    rig.sent();
    rig.feed({ type: "persisted" });
    expect(rig.status).toMatchObject({ epoch: "e2", seq: 7, persisted: 0 });
    rig.receive(snapshot(0, 7));
    expect(rig.sent()).toEqual([{ type: "snapshot-ack", seq: 0 }]);
    rig.feed({ type: "persisted" });
    expect(rig.sent()).toEqual([{ type: "snapshot-ack", seq: 7 }]);
  });

  test("D3 what comes while a write is under way is written together and acked once", () => {
    const rig = following().receive(snapshot(5, 6), snapshot(6, 7), snapshot(7, 9));
    expect(rig.take("persist")).toHaveLength(1);
    rig.feed({ type: "persisted" });
    expect(rig.take("persist")).toMatchObject([{ steps: [{ seq: 7 }, { seq: 9 }] }]);
    rig.feed({ type: "persisted" });
    expect(rig.sent()).toEqual([
      { type: "snapshot-ack", seq: 6 },
      { type: "snapshot-ack", seq: 9 },
    ]);
  });

  test("D3 in memory a step is acked when it is applied", () => {
    const rig = following("memory").receive(snapshot(5, 6));
    expect(rig.sent()).toEqual([{ type: "snapshot-ack", seq: 6 }]);
    expect(rig.take("persist")).toEqual([]);
    expect(rig.status.persisted).toBeNull();
  });

  test("D1 an old snapshot changes nothing and is acked again at once", () => {
    const rig = following().receive(snapshot(5, 6)).feed({ type: "persisted" });
    rig.sent();
    rig.take("apply");
    rig.receive(snapshot(4, 6), snapshot(3, 4));
    expect(rig.take("apply")).toEqual([]);
    expect(rig.sent()).toEqual([
      { type: "snapshot-ack", seq: 6 },
      { type: "snapshot-ack", seq: 6 },
    ]);
  });

  test("D2 a snapshot from the future changes nothing, and the gap is asked for once", () => {
    const rig = following().receive(snapshot(6, 7), snapshot(7, 8));
    expect(rig.take("apply")).toEqual([]);
    expect(rig.sent()).toEqual([{ type: "resend", since: 5 }]);
    expect(rig.status.seq).toBe(5);
  });

  test("D4 refused persistence is tried again after 100 ms with what has come since, and the ack waits", () => {
    const rig = following().receive(snapshot(5, 6));
    rig.take("persist");
    rig.feed({ type: "refused", detail: "quota" }).receive(snapshot(6, 7));
    expect(rig.take("persist")).toEqual([]);
    expect(rig.status).toMatchObject({ seq: 7, persisted: 5, lastError: "quota" });
    rig.pass(PERSIST_RETRY_MS);
    expect(rig.take("persist")).toMatchObject([{ steps: [{ seq: 6 }, { seq: 7 }] }]);
    rig.feed({ type: "persisted" });
    expect(rig.sent()).toEqual([{ type: "snapshot-ack", seq: 7 }]);
    expect(rig.status.lastError).toBeNull();
  });
});

describe("D8. a chain that stands still", () => {
  test("D8 the connection is given up when nothing comes of what is known to be there", () => {
    const rig = following()
      .receive(snapshot(6, 7))
      .pass(STALL_PATIENCE_MS - 1);
    expect(rig.take("reconnect")).toEqual([]);
    expect(rig.pass(1).take("reconnect")).toHaveLength(1);
    expect(rig.status).toMatchObject({ state: "joining", lastError: "the primary does not send what it has" });
  });

  test("D8 an ack of a write that never comes is such knowledge; for a replica of some prefixes it is not", () => {
    const acked = { type: "get-result", clientId: "c", id: 1, entry: null, seq: 9 } as const;
    expect(following().receive(acked).pass(STALL_PATIENCE_MS).take("reconnect")).toHaveLength(1);
    const partial = following("durable", ["a"]).receive(acked);
    expect(partial.pass(2 * STALL_PATIENCE_MS).take("reconnect")).toEqual([]);
  });

  test("D8 a chain that moves is let be, however slowly it does", () => {
    const rig = new Rig().feed({ type: "start", mode: "memory", epoch: null, seq: 0 }, { type: "connect" });
    rig.receive(joined(9, true));
    for (let seq = 1; seq <= 8; seq++) rig.pass(STALL_PATIENCE_MS - 1).receive(snapshot(seq - 1, seq, [], 9));
    expect(rig.take("reconnect")).toEqual([]);
    expect(rig.pass(STALL_PATIENCE_MS).take("reconnect")).toHaveLength(1);
  });

  test("D8 nobody waits at head, nor for a disk that is behind by itself", () => {
    expect(
      following("memory")
        .receive(snapshot(5, 6))
        .pass(3 * STALL_PATIENCE_MS)
        .take("reconnect"),
    ).toEqual([]);
    const rig = following().receive(snapshot(5, 6)).receive(snapshot(7, 8));
    expect(rig.pass(3 * STALL_PATIENCE_MS).take("reconnect")).toEqual([]);
    expect(rig.feed({ type: "persisted" }).pass(STALL_PATIENCE_MS).take("reconnect")).toHaveLength(1);
  });
});

describe("V. visibility", () => {
  test("R2 a refresh asks for what follows the visible seq, and an empty step moves it", () => {
    const rig = following("memory", ["a/"]).feed({ type: "refresh" });
    expect(rig.sent()).toEqual([{ type: "resend", since: 5 }]);
    rig.receive(snapshot(5, 9, []));
    expect(rig.status.seq).toBe(9);
  });

  test("V1 the parts of a step take effect at once, when the chain has come to where they were read", () => {
    const rig = following().receive(joined(9)).feed({ type: "disconnect" }, { type: "connect" }).receive(joined(9));
    rig.sent();
    rig.receive(snapshot(5, 6, [{ key: "a", value: 1, seq: 6 }], 9));
    expect(rig.take("apply")).toEqual([]);
    expect(rig.sent()).toEqual([{ type: "part-ack", seq: 6 }]);
    expect(rig.status).toMatchObject({ state: "catching-up", seq: 5, head: 9 });
    rig.receive(snapshot(6, 8));
    expect(rig.take("apply")).toEqual([]);
    rig.receive(snapshot(8, 9));
    expect(rig.take("apply")).toMatchObject([
      { step: { prev: 5, seq: 9, parts: [{ seq: 6 }, { seq: 8 }, { seq: 9 }] } },
    ]);
    expect(rig.status).toMatchObject({ state: "following", seq: 9 });
  });

  test("V1 a bootstrap replaces everything at once, at its end", () => {
    const rig = following()
      .feed({ type: "disconnect" }, { type: "connect" })
      .receive(joined(4, true, "e2"));
    rig.receive(snapshot(0, 3, [], 4));
    expect(rig.status).toMatchObject({ epoch: "e1", seq: 5, state: "catching-up" });
    rig.receive(snapshot(3, 4));
    expect(rig.take("apply")).toMatchObject([{ step: { epoch: "e2", seq: 4, reset: true } }]);
    expect(rig.status).toMatchObject({ epoch: "e2", seq: 4, state: "following" });
  });

  test("V2 a disk that still writes an older history acks nothing of it in the new one", () => {
    const rig = following().receive(snapshot(5, 6)).feed({ type: "disconnect" }, { type: "connect" });
    rig.receive(joined(2, true, "e2"));
    rig.sent();
    rig.feed({ type: "persisted" });
    expect(rig.sent()).toEqual([]);
    rig.receive(snapshot(0, 2)).feed({ type: "persisted" });
    expect(rig.sent()).toEqual([{ type: "snapshot-ack", seq: 2 }]);
  });

  test("V2 D1 a snapshot that comes twice is not acked for a disk that still holds an older history", () => {
    const rig = following()
      .feed({ type: "disconnect" }, { type: "connect" })
      .receive(joined(5, true, "e2"), snapshot(0, 5));
    rig.sent();
    rig.receive(snapshot(0, 5));
    expect(rig.sent()).toEqual([{ type: "snapshot-ack", seq: 0 }]);
    rig.feed({ type: "persisted" });
    expect(rig.sent()).toEqual([{ type: "snapshot-ack", seq: 5 }]);
  });

  test("V2 an announcement that comes twice does not take the visible state back", () => {
    const rig = following().receive(snapshot(5, 6), joined(5, true), snapshot(0, 5));
    expect(rig.status).toMatchObject({ seq: 6, state: "following" });
  });

  test("V2 a primary that continues another history without saying so is left", () => {
    const rig = following()
      .feed({ type: "disconnect" }, { type: "connect" })
      .receive(joined(9, false, "e2"));
    expect(rig.take("reconnect")).toHaveLength(1);
  });
});

describe("C. catch-up", () => {
  const cut = (rig: Rig): Rig => rig.feed({ type: "disconnect" }, { type: "connect" });

  test("C4 a bootstrap that was cut off goes on where it ended, and replaces everything at its end", () => {
    const rig = following()
      .feed({ type: "disconnect" }, { type: "connect" })
      .receive(joined(9, true, "e2"));
    rig.receive(snapshot(0, 3, [{ key: "b", value: 3, seq: 3 }], 9));
    rig.sent();
    expect(cut(rig).sent()).toMatchObject([{ type: "join", epoch: "e2", since: 3 }]);
    rig.receive(joined(9, false, "e2"), snapshot(3, 7, [{ key: "c", value: 7, seq: 7 }], 9));
    expect(rig.sent()).toEqual([{ type: "part-ack", seq: 7 }]);
    expect(rig.status).toMatchObject({ state: "catching-up", epoch: "e1", seq: 5 });
    cut(rig).receive(joined(9, false, "e2"), snapshot(7, 9, [], 9));
    expect(rig.take("apply")).toMatchObject([
      { step: { epoch: "e2", prev: 0, seq: 9, reset: true, parts: [{ seq: 3 }, { seq: 7 }, { seq: 9 }] } },
    ]);
  });

  test("C4 a catch-up goes on, too, and nothing of a disk is acked that stands before it", () => {
    const rig = following()
      .receive(snapshot(5, 6))
      .receive(snapshot(6, 8, [], 10));
    cut(rig);
    expect(rig.sent()).toContainEqual(expect.objectContaining({ type: "join", epoch: "e1", since: 8 }));
    rig.receive(joined(10), snapshot(8, 10, [], 10));
    expect(rig.take("apply")).toMatchObject([{ step: { seq: 6 } }, { step: { prev: 6, seq: 10, reset: false } }]);
  });

  test("C4 what the primary cannot continue is given up", () => {
    const rig = following().receive(snapshot(5, 7, [{ key: "lost", value: 1, seq: 7 }], 9));
    cut(rig).receive(joined(4, true, "e3"), snapshot(0, 4));
    expect(rig.take("apply")).toMatchObject([{ step: { epoch: "e3", prev: 0, seq: 4, parts: [{ seq: 4 }] } }]);
  });
});

describe("M. membership", () => {
  test("M1 Join names the history and the seq that are visible", () => {
    const rig = new Rig(["a/"]).feed({ type: "start", mode: "durable", epoch: "e1", seq: 5 }, { type: "connect" });
    expect(rig.sent()).toEqual([
      { type: "join", version: 1, secondaryId: "s1", mode: "durable", epoch: "e1", since: 5, prefixes: ["a/"] },
    ]);
    expect(rig.status.state).toBe("joining");
  });

  test("M5 a secondary whose id another one uses comes back under a new one", () => {
    const rig = following().feed({ type: "disconnect" }, { type: "rename", secondaryId: "s2" }, { type: "connect" });
    expect(rig.sent()).toMatchObject([{ type: "join", secondaryId: "s2", since: 5 }]);
  });

  test("M3 a pause leaves, so that nobody waits; a resume joins again, over a new connection", () => {
    const rig = following().receive({ type: "membership", inSync: true });
    expect(rig.status.inSync).toBe(true);
    rig.feed({ type: "pause" });
    expect(rig.sent()).toEqual([{ type: "leave" }]);
    expect(rig.status).toMatchObject({ state: "paused", inSync: false });
    rig.receive(snapshot(5, 6));
    expect(rig.status.seq).toBe(5);
    rig.feed({ type: "resume" }, { type: "resume" });
    expect(rig.take("reconnect")).toHaveLength(1);
    rig.feed({ type: "disconnect" }, { type: "connect" });
    expect(rig.sent()).toMatchObject([{ type: "join", since: 5 }]);
  });

  test("a primary that does not answer a Join is left after a while", () => {
    const rig = new Rig()
      .feed({ type: "start", mode: "memory", epoch: null, seq: 0 }, { type: "connect" })
      .pass(JOIN_PATIENCE_MS);
    expect(rig.take("reconnect")).toMatchObject([{ reason: "the primary does not answer" }]);
  });

  test("a copy that has become durable says so by a new Join", () => {
    const rig = following("memory").feed({ type: "change-mode", mode: "durable" });
    expect(rig.take("reconnect")).toHaveLength(1);
    rig.feed({ type: "disconnect" }, { type: "connect" });
    expect(rig.sent()).toMatchObject([{ type: "join", mode: "durable" }]);
    expect(rig.status.persisted).toBe(5);
  });
});

describe("B, U, O. operations", () => {
  test("B1 operations given before the start and before the Join is answered are kept and sent in order", () => {
    const rig = new Rig().feed({ type: "operate", operation: insert(1) }, { type: "connect" });
    rig.feed({ type: "start", mode: "memory", epoch: null, seq: 0 }, { type: "operate", operation: insert(2) });
    expect(rig.sent()).toMatchObject([{ type: "join" }]);
    rig.receive(joined(0, true));
    expect(rig.sent()).toMatchObject([{ id: 1 }, { id: 2 }]);
  });

  test("U2 what is unanswered is asked again after a reconnect, in the old order, before anything new", () => {
    const rig = following();
    rig.feed({ type: "operate", operation: insert(1) }, { type: "operate", operation: insert(2) }).receive(ack(1, 5));
    rig.feed({ type: "disconnect" }, { type: "operate", operation: insert(3) }, { type: "connect" });
    rig.sent();
    rig.receive(joined(5));
    expect(rig.sent()).toMatchObject([{ id: 2 }, { id: 3 }]);
  });

  test("O3 an ack is told when its write is visible here, or is not for this replica", () => {
    const rig = following("memory", ["a/"]);
    rig.feed({ type: "operate", operation: insert(1, "a/1") }, { type: "operate", operation: insert(2, "b/1") });
    rig.receive(ack(1, 6), ack(2, 7));
    expect(rig.take("settle")).toMatchObject([{ settled: { id: 2 } }]);
    rig.receive(snapshot(5, 6));
    expect(rig.take("settle")).toMatchObject([{ settled: { id: 1, seq: 6 } }]);
  });

  test("U1 what was sent and never answered is unknown, not failed", () => {
    const rig = following()
      .feed({ type: "operate", operation: insert(1) }, { type: "disconnect" })
      .pass(OUTCOME_PATIENCE_MS);
    expect(rig.take("settle")).toEqual([
      { type: "settle", settled: { type: "outcome-unknown", clientId: "c", id: 1 } },
    ]);
    expect(rig.status.pending).toBe(0);
  });

  test("U3 what could not be sent fails as offline and is never sent", () => {
    const rig = following()
      .feed({ type: "disconnect" }, { type: "operate", operation: insert(1) })
      .pass(UNSENT_LIMIT_MS);
    expect(rig.take("settle")).toMatchObject([
      { settled: { type: "operation-failed", code: "offline", applied: false } },
    ]);
    rig.feed({ type: "connect" }).receive(joined(5));
    expect(rig.sent()).toMatchObject([{ type: "join" }]);
  });

  test("U1 a repeat that cannot be sent is unknown: another machine has sent it before", () => {
    const repeat: Operation = { ...insert(1), repeat: true };
    const rig = following().feed({ type: "disconnect" }, { type: "operate", operation: repeat }).pass(UNSENT_LIMIT_MS);
    expect(rig.take("settle")).toEqual([]);
    rig.pass(OUTCOME_PATIENCE_MS);
    expect(rig.take("settle")).toMatchObject([{ settled: { type: "outcome-unknown", id: 1 } }]);
  });

  test("U1 a repeat for which there is no room is unknown, and an answer that comes late is told", () => {
    const rig = following();
    for (let id = 1; id <= OPERATIONS_PENDING_MAX; id++) rig.feed({ type: "operate", operation: insert(id) });
    const repeat: Operation = { ...insert(200_000), repeat: true };
    rig.feed({ type: "operate", operation: repeat });
    expect(rig.take("settle")).toMatchObject([{ settled: { type: "outcome-unknown", id: 200_000 } }]);
    rig.receive(ack(200_000, 5));
    expect(rig.take("settle")).toEqual([]);
    expect(rig.take("late")).toMatchObject([{ reply: { type: "operation-ack", id: 200_000 } }]);
  });

  test("a read that is not answered fails and changes nothing", () => {
    const get: Get = { type: "get", clientId: "c", id: 1, key: "a" };
    const rig = following().feed({ type: "operate", operation: get }).pass(OUTCOME_PATIENCE_MS);
    expect(rig.take("settle")).toMatchObject([
      { settled: { type: "operation-failed", code: "offline", applied: false } },
    ]);
  });

  test("L1 only so many operations are on the way at once, and only so many may wait", () => {
    const rig = following();
    for (let id = 1; id <= OPERATIONS_PENDING_MAX + 1; id++) rig.feed({ type: "operate", operation: insert(id) });
    expect(rig.sent()).toHaveLength(OPERATIONS_SENT_MAX);
    expect(rig.take("settle")).toMatchObject([{ settled: { code: "overloaded", applied: false } }]);
    rig.receive(ack(1, 5));
    expect(rig.sent()).toMatchObject([{ id: OPERATIONS_SENT_MAX + 1 }]);
  });
});
