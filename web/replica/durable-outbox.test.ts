import { afterEach, describe, expect, test, vi } from "vitest";
import type { Settled } from "../../src/effects.ts";
import { QUEUED_BYTES_MAX, QUEUED_UPDATES_MAX } from "../../src/limits.ts";
import type { Update } from "../../src/protocol.ts";
import type { QueuedUpdate, ToPage } from "../feed.ts";
import { MemoryOutbox, newMemoryOutboxDisk } from "../testing/memory-outbox.ts";
import { World } from "../testing/outbox-world.ts";
import type { Plant } from "../testing/outbox-world.ts";
import { DurableOutbox } from "./durable-outbox.ts";
import type { Tenure } from "./lock.ts";
import type { OutboxPersistence } from "./outbox-persistence.ts";

const RUNS = Number(process.env.OUTBOX_RUNS ?? 200);
const SEED = Number(process.env.OUTBOX_SEED ?? 1);

afterEach(() => {
  vi.unstubAllGlobals();
});

/** The first seed that shows a fault, and what it is; undefined if none does. */
async function findFault(first: number, runs: number, plant: Plant = {}): Promise<string | undefined> {
  for (let seed = first; seed < first + runs; seed++) {
    const world = new World(seed, plant);
    for (const [name, value] of Object.entries(world.globals)) vi.stubGlobal(name, value);
    try {
      await world.run();
    } catch (error) {
      return `seed ${seed}: ${String(error)}`;
    } finally {
      vi.unstubAllGlobals();
    }
  }
  return undefined;
}

describe("the outbox of a browser", () => {
  test("I1 does each update at most once, in order, and tells its end, whatever fails", async () => {
    expect(await findFault(SEED, RUNS)).toBeUndefined();
  });
});

const UNKNOWN: Settled = { type: "outcome-unknown", clientId: "a", id: 2 };

/** Each of these breaks a promise in one way. */
const planted: Record<string, Plant> = {
  "says of nothing that it was sent before": {
    send: (updates) => updates.map((update) => ({ ...update, repeat: false })),
  },
  "claims that everything is settled": {
    send: (updates) => updates.map((update) => ({ ...update, settled: update.id - 1 })),
  },
  "never claims that anything is settled": {
    send: (updates) => updates.map((update) => ({ ...update, settled: 0 })),
  },
  "sends the last first": { send: (updates) => updates.toReversed() },
  "names what it asks again anew": {
    send: (updates) => updates.map((update) => (update.repeat ? { ...update, id: update.id + 1_000_000 } : update)),
  },
  "notes nothing before it sends": {
    disk: (disk) =>
      wrap(disk, { markSent: async (sendings) => sendings.map(({ name }) => ({ name, sentAt: undefined })) }),
  },
  "notes no end": { disk: (disk) => wrap(disk, { conclude: async (ends) => ends.map(({ name }) => name) }) },
  "gives up what the primary has no room for": {
    outbox: class extends DurableOutbox {
      override settled(settled: Settled): void {
        const isRefused = settled.type === "operation-failed" && settled.code === "overloaded";
        super.settled(isRefused ? { ...settled, code: "forbidden" } : settled);
      }
    },
  },
  "asks again what is refused for good under the same name": {
    disk: (disk) =>
      wrap(disk, {
        conclude: async (ends) => disk.conclude(ends.filter((end) => !("sendAs" in end))),
      }),
  },
  "lets go what is on its way": {
    disk: (disk) =>
      wrap(disk, {
        dismiss: async (name) => (await disk.conclude([{ name, sentAs: name, done: UNKNOWN }])).length > 0,
      }),
  },
  "says that it is on disk before it is": {
    disk: (disk) =>
      wrap(disk, {
        add: async (updates) => {
          void disk.add(updates).catch(() => {});
          const kept = updates.map((update, index) => ({ ...update, place: 1_000_000 + Date.now() + index }));
          return { kept, ended: [] };
        },
      }),
  },
  "does not ask again when the machine begins anew": {
    outbox: class extends DurableOutbox {
      override askAgain(): void {}
    },
  },
  "takes one answer of two": {
    outbox: class extends DurableOutbox {
      override settled(settled: Settled): void {
        if (settled.id % 2 === 0) super.settled(settled);
      }
    },
  },
};

/** A disk some of whose calls are others. */
function wrap(disk: OutboxPersistence, others: Partial<OutboxPersistence>): OutboxPersistence {
  return {
    load: () => disk.load(),
    add: (updates) => disk.add(updates),
    markSent: (sendings, sentAt) => disk.markSent(sendings, sentAt),
    conclude: (conclusions) => disk.conclude(conclusions),
    dismiss: (name) => disk.dismiss(name),
    close: () => disk.close(),
    ...others,
  };
}

describe("the property of the outbox", () => {
  for (const [name, plant] of Object.entries(planted)) {
    test(`catches one that ${name}`, async () => {
      expect(await findFault(1, 50, plant)).toBeDefined();
    });
  }
});

// --- one outbox, by hand

const updatesOf = (count: number, text = "1", from = 2): QueuedUpdate[] =>
  Array.from({ length: count }, (_, index) => ({
    update: {
      type: "insert",
      key: "a",
      json: text,
      ack: "all",
      clientId: "c",
      id: from + index,
      settled: 0,
      repeat: false,
    },
    isOptimistic: false,
    queuedAt: 1,
  }));

function rig() {
  const disk = newMemoryOutboxDisk();
  let store!: MemoryOutbox;
  const told: ToPage[] = [];
  const sent: Update[][] = [];
  const shown = { seq: Infinity };
  const name = `test ${Math.random()}`;
  let lock: Promise<Tenure | undefined> = Promise.resolve({ lost: new Promise<void>(() => {}), release: () => {} });
  const outbox = new DurableOutbox(name, (memory) => (store = new MemoryOutbox(disk, memory)), {
    operate: (updates) => sent.push(updates),
    publish: (item) => told.push(item),
    isYetToShow: (_update, seq) => seq > shown.seq,
    waitForTurn: () => lock,
  });
  return {
    name,
    disk,
    store,
    told,
    sent,
    shown,
    outbox,
    setLock: (next: Promise<Tenure | undefined>) => void (lock = next),
  };
}

const codesOf = (told: readonly ToPage[]): string[] =>
  told.flatMap((item) =>
    item.type === "unqueued" && item.settled?.type === "operation-failed" ? [item.settled.code] : [],
  );

describe("DurableOutbox", () => {
  test("L1 beyond its updates it is overloaded, also for what is given to it while it still writes", async () => {
    const { outbox, told, disk } = rig();
    await outbox.start();
    await Promise.all([
      outbox.take(updatesOf(QUEUED_UPDATES_MAX - 1)),
      outbox.take(updatesOf(1, "1", 20_000)),
      outbox.take(updatesOf(2, "1", 30_000)),
    ]);
    // Of the last message no update fits: what does is kept.
    expect(codesOf(told)).toEqual(["overloaded", "overloaded"]);
    expect(disk.kept.size).toBe(QUEUED_UPDATES_MAX);
    // What is there already needs no room.
    const [again] = updatesOf(1);
    await outbox.take([{ ...again!, update: { ...again!.update, repeat: true } }]);
    expect(codesOf(told)).toHaveLength(2);
    await outbox.stop();
  });

  test("L1 of a message that does not fit as a whole, its beginning is kept", async () => {
    const { outbox, told, disk } = rig();
    await outbox.start();
    await outbox.take(updatesOf(QUEUED_UPDATES_MAX + 3));
    expect(codesOf(told)).toEqual(Array(3).fill("overloaded"));
    expect([...disk.kept.values()].map(({ update }) => update.id)).toEqual(
      Array.from({ length: QUEUED_UPDATES_MAX }, (_, index) => 2 + index),
    );
    await outbox.stop();
  });

  test("A3 what was refused and is remembered as refused is sent again under another name, ahead of all else", async () => {
    const { outbox, sent, told, disk } = rig();
    await outbox.start();
    outbox.setOpen(true);
    await outbox.take(updatesOf(3));
    await vi.waitFor(() => expect(sent).toHaveLength(1));
    outbox.settled({ type: "operation-ack", clientId: "c", id: 2, seq: 1, replicas: 0 });
    const refused = { type: "operation-failed", clientId: "c", applied: false } as const;
    outbox.settled({ ...refused, id: 3, code: "overloaded" });
    outbox.settled({ ...refused, id: 4, code: "storage-full" });
    await outbox.take(updatesOf(1, "1", 5));
    await vi.waitFor(() => expect(sent).toHaveLength(2));
    expect(codesOf(told)).toEqual([]);
    const [first, second, third] = sent[1]!;
    expect([first, second]).toMatchObject([{ repeat: false }, { repeat: false }]);
    expect(first!.clientId).not.toBe("c");
    expect(third).toMatchObject({ clientId: "c", id: 5, settled: 1 });
    for (const { clientId, id } of sent[1]!) {
      outbox.settled({ type: "operation-ack", clientId, id, seq: 1 + id, replicas: 0 });
    }
    await vi.waitFor(() => expect(disk.kept.size).toBe(0));
    // Pages know them by the names that they gave.
    const ends = told.flatMap((item) => (item.type === "unqueued" ? [item] : []));
    expect(ends.map(({ name }) => name)).toEqual([2, 3, 4, 5].map((id) => ({ clientId: "c", id })));
    expect(ends.every(({ name, settled }) => settled?.clientId === "c" && settled.id === name.id)).toBe(true);
    await outbox.stop();
  });

  test("I3 the primary is told to keep the latest ends, for pages that were away and ask again", async () => {
    const { outbox, sent, disk } = rig();
    await outbox.start();
    outbox.setOpen(true);
    await outbox.take(updatesOf(1400));
    while (disk.kept.size > 0) {
      const wave = await vi.waitFor(() => {
        const next = sent.shift();
        expect(next).toBeDefined();
        return next!;
      });
      const { id, settled } = wave[0] as { id: number; settled: number };
      expect(settled).toBe(id === 2 ? 0 : Math.max(1, id - 1 - 1000));
      const left = disk.kept.size - wave.length;
      for (const { id } of wave) outbox.settled({ type: "operation-ack", clientId: "c", id, seq: id, replicas: 0 });
      await vi.waitFor(() => expect(disk.kept.size).toBe(left));
    }
    await outbox.stop();
  });

  test("U1 an answer that comes when its wave was given up ends it all the same", async () => {
    const { outbox, sent, told, disk } = rig();
    await outbox.start();
    outbox.setOpen(true);
    await outbox.take(updatesOf(2));
    await vi.waitFor(() => expect(sent).toHaveLength(1));
    for (const id of [2, 3]) outbox.settled({ type: "outcome-unknown", clientId: "c", id });
    outbox.settled({ type: "operation-ack", clientId: "c", id: 2, seq: 1, replicas: 0 });
    await vi.waitFor(() => expect(disk.kept.size).toBe(1));
    expect(told).toContainEqual(expect.objectContaining({ type: "unqueued", name: { clientId: "c", id: 2 } }));
    await vi.waitFor(() => expect(sent[1]).toMatchObject([{ id: 3, repeat: true }]));
    await outbox.stop();
  });

  test("what was refused and then overtaken has failed: it is not done in another order", async () => {
    const { outbox, sent, told } = rig();
    await outbox.start();
    outbox.setOpen(true);
    await outbox.take(updatesOf(2));
    await vi.waitFor(() => expect(sent).toHaveLength(1));
    outbox.settled({ type: "operation-failed", clientId: "c", id: 2, code: "unavailable", applied: false });
    outbox.settled({ type: "operation-ack", clientId: "c", id: 3, seq: 1, replicas: 0 });
    await vi.waitFor(() =>
      expect(outbox.queued).toMatchObject([{ update: { id: 2 }, failure: { code: "unavailable" } }]),
    );
    expect(told).toContainEqual(expect.objectContaining({ type: "unqueued", name: { clientId: "c", id: 3 } }));
    await outbox.stop();
  });

  test("O3 an ack that another worker was given is told when the write is visible here", async () => {
    const { name, outbox, told, shown, store } = rig();
    shown.seq = 4;
    const [own] = updatesOf(1);
    const { kept } = await store.add([own!]);
    await outbox.start();
    const channel = new BroadcastChannel(name);
    const settled = { type: "operation-ack", clientId: "c", id: 2, seq: 5, replicas: 0 } as const;
    channel.postMessage({ type: "gone", name: { clientId: "c", id: 2 }, settled });
    await vi.waitFor(() => expect(outbox.queued).toEqual(kept));
    channel.postMessage({ type: "kept", kept: [{ ...kept[0]!, update: { ...kept[0]!.update, id: 3 }, place: 9 }] });
    await vi.waitFor(() => expect(outbox.queued).toHaveLength(2));
    expect(told.filter(({ type }) => type === "unqueued")).toEqual([]);
    shown.seq = 5;
    outbox.shown();
    expect(told.at(-1)).toEqual({ type: "unqueued", name: { clientId: "c", id: 2 }, settled });
    expect(outbox.queued).toHaveLength(1);
    channel.close();
    await outbox.stop();
  });

  test("L1 beyond its bytes it is overloaded", async () => {
    const { outbox, told } = rig();
    await outbox.start();
    const large = JSON.stringify("x".repeat(1024 * 1024 - 2));
    await outbox.take(updatesOf(QUEUED_BYTES_MAX / (1024 * 1024), large));
    expect(codesOf(told).length).toBeGreaterThan(0);
    told.splice(0);
    await outbox.take(updatesOf(QUEUED_BYTES_MAX / (1024 * 1024) - 1, large));
    expect(codesOf(told)).toEqual([]);
    await outbox.take(updatesOf(1, large, 100));
    expect(codesOf(told)).toEqual(["overloaded"]);
    await outbox.stop();
  });

  test("a wave is fed in one turn, so that it leaves as one frame", async () => {
    const { outbox, sent } = rig();
    await outbox.start();
    outbox.setOpen(true);
    await outbox.take(updatesOf(50));
    await vi.waitFor(() => expect(sent.length).toBeGreaterThan(0));
    expect(sent.map(({ length }) => length)).toEqual([50]);
    await outbox.stop();
  });

  test("I3 what could not be noted as done is not settled, but asked again", async () => {
    const { outbox, sent, store, disk } = rig();
    await outbox.start();
    outbox.setOpen(true);
    await outbox.take(updatesOf(1));
    await vi.waitFor(() => expect(sent).toHaveLength(1));
    const refused = vi.spyOn(store, "conclude").mockRejectedValueOnce(new Error("the disk refuses"));
    outbox.settled({ type: "operation-ack", clientId: "c", id: 2, seq: 1, replicas: 0 });
    await outbox.take(updatesOf(1, "1", 3));
    await vi.waitFor(() => expect(sent).toHaveLength(2));
    expect(refused).toHaveBeenCalled();
    expect(sent[1]).toMatchObject([{ id: 2, repeat: true, settled: 1 }]);
    const ack = { type: "operation-ack", clientId: "c", replicas: 0 } as const;
    outbox.settled({ ...ack, id: 2, seq: 1 });
    await vi.waitFor(() => expect(sent).toHaveLength(3));
    expect(sent[2]).toMatchObject([{ id: 3, repeat: false, settled: 1 }]);
    outbox.settled({ ...ack, id: 3, seq: 2 });
    await vi.waitFor(() => expect(disk.kept.size).toBe(0));
    await outbox.stop();
  });

  test("a disk that cannot be read at first is read as soon as it can, and pages are told", async () => {
    const { outbox, store, told } = rig();
    await store.add(updatesOf(1));
    vi.spyOn(store, "load").mockRejectedValueOnce(new Error("the disk refuses"));
    await outbox.start();
    await vi.waitFor(() => expect(outbox.queued).toHaveLength(1));
    expect(told).toMatchObject([{ type: "outbox", queued: [{ update: { id: 2 } }] }, { type: "outbox" }]);
    await outbox.stop();
  });

  test("one that is stopped while it comes to own the outbox lets the lock go", async () => {
    const { outbox, setLock, store } = rig();
    let isReleased = false;
    let give: (tenure: Tenure) => void = () => {};
    setLock(new Promise((resolve) => (give = resolve)));
    await outbox.start();
    await outbox.take(updatesOf(1));
    const load = store.load.bind(store);
    vi.spyOn(store, "load").mockImplementation(async () => {
      void outbox.stop();
      return load();
    });
    give({ lost: new Promise(() => {}), release: () => void (isReleased = true) });
    await vi.waitFor(() => expect(isReleased).toBe(true));
  });
});
