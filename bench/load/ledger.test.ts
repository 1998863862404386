import { beforeEach, describe, expect, test } from "vitest";
import { Ledger } from "./ledger.ts";
import type { Found, Outcome, Update } from "./ledger.ts";

let ledger: Ledger;
let state: Map<string, Found>;

beforeEach(() => {
  ledger = new Ledger();
  state = new Map();
});

/** An update of one key, told to have ended so; a primary that keeps its word would have `state` say the same. */
function update(key: string, outcome: Outcome, seq?: number, hasValue = true): Update {
  const begun = ledger.begin(new Map([[key, hasValue]]));
  if (outcome !== "pending") ledger.end(begun, outcome, seq);
  return begun;
}

const hold = (key: string, { id }: Update, seq: number): unknown => state.set(key, { id, seq });

describe("what is right", () => {
  test("the last update that was acked or applied is there", () => {
    update("a", "acked", 1);
    hold("a", update("a", "acked", 2), 2);
    hold("b", update("b", "applied", 3), 3);
    update("c", "acked", 4);
    update("c", "acked", 5, false);
    expect(ledger.judge(state)).toEqual([]);
  });

  test("what is unknown may be there or not", () => {
    hold("a", update("a", "acked", 1), 1);
    update("a", "unknown");
    update("b", "acked", 2);
    hold("b", update("b", "unknown"), 3);
    update("c", "acked", 4);
    update("c", "unknown", undefined, false);
    update("d", "unknown");
    expect(ledger.judge(state)).toEqual([]);
  });

  test("who reads while others write may find what was told later", () => {
    update("a", "acked", 1);
    const since = ledger.moment;
    hold("a", update("a", "acked", 2), 2);
    update("b", "acked", 3);
    expect(ledger.judge(state, since)).toEqual([]);
  });
});

describe("what is planted is found", () => {
  test("an acked update that is lost: nothing is there", () => {
    update("a", "acked", 1);
    expect(ledger.judge(state)).toEqual(["a: update 1, acked at 1, is lost: the key is absent"]);
  });

  test("an acked update that is lost: an older one is there", () => {
    hold("a", update("a", "acked", 1), 1);
    update("a", "acked", 2);
    expect(ledger.judge(state)).toEqual(["a: update 2, acked at 2, is lost: the key holds update 1"]);
  });

  test("a removal that is lost", () => {
    hold("a", update("a", "acked", 1), 1);
    update("a", "acked", 2, false);
    expect(ledger.judge(state)).toEqual(["a: update 2, acked at 2, is lost: the key holds update 1"]);
  });

  test("an update that is lost though it was said to be applied", () => {
    update("a", "applied", 1);
    update("a", "unknown");
    expect(ledger.judge(state)).toEqual(["a: update 1, applied at 1, is lost: the key is absent"]);
  });

  test("half of a batch that is lost", () => {
    const batch = ledger.begin(
      new Map([
        ["a", true],
        ["b", true],
      ]),
    );
    ledger.end(batch, "acked", 1);
    hold("a", batch, 1);
    expect(ledger.judge(state)).toEqual(["b: update 1, acked at 1, is lost: the key is absent"]);
  });

  test("an update that is there though it was refused", () => {
    update("a", "acked", 1);
    hold("a", update("a", "refused"), 2);
    expect(ledger.judge(state)).toEqual(["a: update 2 is there and was refused"]);
  });

  test("an update that was done twice", () => {
    hold("a", update("a", "acked", 1), 2);
    expect(ledger.judge(state)).toEqual(["a: update 1, acked at 1, stands there at 2"]);
  });

  test("a value that nobody has written", () => {
    hold("b", update("a", "acked", 1), 1);
    state.set("a", { id: 1, seq: 1 });
    expect(ledger.judge(state)).toEqual(["b: nobody has written what it holds, update 1"]);
  });
});

describe("what a user knows of a key", () => {
  test("its seq is that of the last update that is there", () => {
    update("a", "acked", 1);
    update("a", "refused");
    update("b", "acked", 2);
    update("b", "acked", 3, false);
    expect(["a", "b", "c"].map((key) => ledger.seqOf(key))).toEqual([1, null, null]);
  });
});
