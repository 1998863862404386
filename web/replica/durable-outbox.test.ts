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
    disk: (disk) => wrap(disk, { markSent: async (places) => places.map((place) => ({ place, sentAt: undefined })) }),
  },
  "notes no end": { disk: (disk) => wrap(disk, { conclude: async (ends) => ends.map(({ place }) => place) }) },
  "lets go what is on its way": {
    disk: (disk) => wrap(disk, { dismiss: async (place) => (await disk.conclude([{ place }])).length > 0 }),
  },
  "says that it is on disk before it is": {
    disk: (disk) =>
      wrap(disk, {
        add: async (updates) => {
          void disk.add(updates).catch(() => {});
          return updates.map((update, index) => ({ ...update, place: 1_000_000 + Date.now() + index }));
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
    markSent: (places, sentAt) => disk.markSent(places, sentAt),
    conclude: (conclusions) => disk.conclude(conclusions),
    dismiss: (place) => disk.dismiss(place),
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
  const store = new MemoryOutbox(disk);
  const told: ToPage[] = [];
  const sent: Update[][] = [];
  let lock: Promise<Tenure | undefined> = Promise.resolve({ lost: new Promise<void>(() => {}), release: () => {} });
  const outbox = new DurableOutbox(
    `test ${Math.random()}`,
    store,
    { operate: (updates) => sent.push(updates), publish: (item) => told.push(item) },
    () => lock,
  );
  return { disk, store, told, sent, outbox, setLock: (next: Promise<Tenure | undefined>) => void (lock = next) };
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
    expect(codesOf(told)).toEqual(["overloaded", "overloaded"]);
    expect(disk.kept.size).toBe(QUEUED_UPDATES_MAX);
    // What is there already needs no room.
    const [again] = updatesOf(1);
    await outbox.take([{ ...again!, update: { ...again!.update, repeat: true } }]);
    expect(codesOf(told)).toHaveLength(2);
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
    expect(sent[1]).toMatchObject([
      { id: 2, repeat: true, settled: 1 },
      { id: 3, repeat: false, settled: 1 },
    ]);
    for (const id of [2, 3]) outbox.settled({ type: "operation-ack", clientId: "c", id, seq: id, replicas: 0 });
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
