// What every persistence of an outbox must keep, whatever it is made of and wherever it runs: in Node and in a page of a
// real browser, where no test runner is.

import * as fc from "fast-check";
import { nameOf } from "../../src/protocol.ts";
import type { OperationFailed, Update } from "../../src/protocol.ts";
import { demandEqual } from "../../src/testing/equality.ts";
import type { Conclusion, Kept, Marked, OutboxPersistence } from "../replica/outbox-persistence.ts";

/** Where one store's outbox is kept: empty when it is made. */
export interface OutboxDisk {
  /** Opens it as a new process would. */
  open(): OutboxPersistence;
  /** Makes what is at a place unreadable, as a fault of the disk or another program would. */
  damage(place: number): Promise<void>;
}

type Define = (title: string, run: () => Promise<void>) => void;
type Queued = Omit<Kept, "place">;

/** An update that tells which one it is. */
export function queuedUpdate(clientId: string, id: number, kind = id % 3): Queued {
  const header = { clientId, id, ack: "all" as const, settled: 0, repeat: false };
  const key = `${clientId}/${id}/é😀`;
  const json = JSON.stringify({ id, text: "wide: 😀" });
  const kinds: Update[] = [
    { ...header, type: "insert", key, json },
    { ...header, type: "remove", key },
    {
      ...header,
      type: "batch",
      writes: [
        { key, json },
        { key: `${key}!`, removed: true },
      ],
      checks: [{ key, seq: id % 2 === 0 ? null : id }],
    },
  ];
  return { update: kinds[kind]!, isOptimistic: id % 2 === 0, queuedAt: 1000 + id };
}

const failureOf = ({ clientId, id }: Update): OperationFailed => ({
  type: "operation-failed",
  clientId,
  id,
  code: "conflict",
  applied: false,
  check: { key: "a", seq: 3 },
});

/** What should be on the disk. */
class Expected {
  kept: Kept[] = [];
  readonly #dismissed = new Set<string>();

  add(updates: readonly Queued[], added: readonly Kept[]): void {
    const wanted = updates.filter(({ update }) => !this.#dismissed.has(nameOf(update)));
    demandEqual(
      added.map(({ update }) => nameOf(update)),
      wanted.map(({ update }) => nameOf(update)),
      "what was added",
    );
    for (const [index, one] of added.entries()) {
      const there = this.kept.find(({ update }) => nameOf(update) === nameOf(one.update));
      demandEqual(one, there ?? { ...wanted[index]!, place: one.place }, "how it is kept");
      if (there) continue;
      if (one.place <= (this.kept.at(-1)?.place ?? -Infinity)) throw new Error("a place that does not rise");
      this.kept.push(one);
    }
  }

  /** The places among these at which something is that `isMeant`. */
  places(places: readonly number[], isMeant: (kept: Kept) => boolean): number[] {
    return places.filter((place) => this.kept.some((kept) => kept.place === place && isMeant(kept)));
  }

  markSent(places: readonly number[], sentAt: number): Marked[] {
    const there = this.places(places, ({ failure }) => !failure);
    const before = there.map((place) => ({ place, sentAt: this.kept.find((kept) => kept.place === place)!.sentAt }));
    this.kept = this.kept.map((kept) => (there.includes(kept.place) ? { sentAt, ...kept } : kept));
    return before;
  }

  conclude(conclusions: readonly Conclusion[]): number[] {
    const there = this.places(
      conclusions.map(({ place }) => place),
      ({ failure }) => !failure,
    );
    this.kept = this.kept.flatMap((kept) => {
      if (!there.includes(kept.place)) return [kept];
      const failure = conclusions.find(({ place }) => place === kept.place)?.failure;
      return failure ? [{ ...kept, failure }] : [];
    });
    return there;
  }

  dismiss(place: number): boolean {
    const out = this.places([place], ({ failure, sentAt }) => failure !== undefined || sentAt === undefined);
    for (const { update, place: at } of this.kept) if (out.includes(at)) this.#dismissed.add(nameOf(update));
    this.kept = this.kept.filter((kept) => !out.includes(kept.place));
    return out.length > 0;
  }
}

/** Defines the contract's tests for the disks that `newDisk` makes. */
export function testOutboxPersistence(
  define: Define,
  newDisk: () => OutboxDisk,
  { seed, runs }: { seed: number; runs: number },
): void {
  define("gives back what was written, in its order, through two openers and restarts", async () => {
    const property = fc.asyncProperty(histories, async (history) => {
      const disk = newDisk();
      const openers = [disk.open(), disk.open()];
      const expected = new Expected();
      /** Places that are there, and some that are not. */
      const placesOf = (picks: readonly number[]): number[] => {
        const { kept } = expected;
        const last = kept.at(-1)?.place ?? 0;
        return [...new Set(picks.map((pick) => kept[pick]?.place ?? last + pick))];
      };
      for (const { by, action } of history) {
        const outbox = openers[by]!;
        if (action.do === "add") {
          const updates = [...new Set(action.ids)].map((id) => queuedUpdate(`client${id % 2}`, id));
          expected.add(updates, await outbox.add(updates));
        } else if (action.do === "send") {
          const places = placesOf(action.picks);
          demandEqual(await outbox.markSent(places, action.at), expected.markSent(places, action.at), "what is there");
        } else if (action.do === "conclude") {
          const conclusions = placesOf(action.picks).map((place): Conclusion => {
            const kept = expected.kept.find((one) => one.place === place);
            return action.isFailure && kept ? { place, failure: failureOf(kept.update) } : { place };
          });
          demandEqual(await outbox.conclude(conclusions), expected.conclude(conclusions), "what has ended");
        } else if (action.do === "dismiss") {
          const [place] = placesOf([action.pick]);
          demandEqual(await outbox.dismiss(place!), expected.dismiss(place!), "whether it is out");
        } else {
          await outbox.close();
          openers[by] = disk.open();
        }
        for (const one of openers) demandEqual(await one.load(), expected.kept, `after ${action.do}`);
      }
      for (const one of openers) await one.close();
    });
    await fc.assert(property, { seed, numRuns: runs });
  });

  define("never uses a place again", async () => {
    const disk = newDisk();
    const places: number[] = [];
    for (let id = 2; id < 6; id++) {
      const outbox = disk.open();
      const [kept] = await outbox.add([queuedUpdate("a", id)]);
      places.push(kept!.place);
      await outbox.conclude([{ place: kept!.place }]);
      await outbox.close();
    }
    demandEqual(new Set(places).size, 4, "places");
    demandEqual(
      places,
      [...places].sort((a, b) => a - b),
      "their order",
    );
  });

  define("takes what two openers write at once, each in its order, and a name once", async () => {
    const disk = newDisk();
    const openers = [disk.open(), disk.open()];
    const ids = Array.from({ length: 30 }, (_, index) => index + 2);
    const added = await Promise.all(
      ids.flatMap((id) => [
        openers[0]!.add([queuedUpdate("both", id), queuedUpdate("mine", id)]),
        openers[1]!.add([queuedUpdate("theirs", id), queuedUpdate("both", id)]),
      ]),
    );
    const kept = await openers[0]!.load();
    for (const client of ["mine", "theirs", "both"]) {
      demandEqual(
        kept.filter(({ update }) => update.clientId === client).map(({ update }) => update.id),
        ids,
        client,
      );
    }
    const placeOf = new Map(kept.map(({ update, place }) => [nameOf(update), place]));
    for (const one of added.flat()) demandEqual(one.place, placeOf.get(nameOf(one.update)), "its place");
    // Who ends an update is one of them.
    const places = kept.map(({ place }) => place);
    const ended = await Promise.all(openers.map((one) => one.conclude(places.map((place) => ({ place })))));
    demandEqual(
      ended.flat().sort((a, b) => a - b),
      places,
      "each place once",
    );
    demandEqual(await openers[1]!.load(), [], "nothing is left");
    for (const one of openers) await one.close();
  });

  define("lets either the one who sends or the one who dismisses have an update", async () => {
    const disk = newDisk();
    const [sender, person] = [disk.open(), disk.open()];
    for (let id = 2; id < 22; id++) {
      const [kept] = await sender.add([queuedUpdate("a", id)]);
      const { place } = kept!;
      const [there, isOut] = await Promise.all([sender.markSent([place], 5), person.dismiss(place)]);
      demandEqual(there, isOut ? [] : [{ place, sentAt: undefined }], "what is sent");
    }
    for (const one of [sender, person]) await one.close();
  });

  define("leaves nothing of a transaction that fails, and can go on", async () => {
    const disk = newDisk();
    const outbox = disk.open();
    const [first] = await outbox.add([queuedUpdate("a", 2)]);
    // No disk can hold a function.
    const broken = { ...queuedUpdate("a", 4), queuedAt: (() => {}) as unknown as number };
    demandEqual(await rejects(outbox.add([queuedUpdate("a", 3), broken])), true, "refusal");
    demandEqual(await outbox.load(), [first], "nothing of it");
    await outbox.add([queuedUpdate("a", 3)]);
    demandEqual((await outbox.load()).length, 2, "what follows");
    await outbox.close();
  });

  define("leaves out what is damaged, and writes it anew when it is asked for again", async () => {
    const disk = newDisk();
    const outbox = disk.open();
    const kept = await outbox.add([2, 3, 4].map((id) => queuedUpdate("a", id)));
    await disk.damage(kept[1]!.place);
    demandEqual(await outbox.load(), [kept[0], kept[2]], "what can be read");
    const [again] = await outbox.add([queuedUpdate("a", 3)]);
    const all = await outbox.load();
    demandEqual(
      all.find(({ place }) => place === again!.place),
      again,
      "it is there again",
    );
    demandEqual(all.length, 3, "all of them");
    await outbox.close();
  });

  define("writes what was asked before it is closed, and nothing any more then", async () => {
    const disk = newDisk();
    const outbox = disk.open();
    const [first] = await outbox.add([queuedUpdate("a", 2)]);
    const last = outbox.add([queuedUpdate("a", 3)]);
    await outbox.close();
    const [second] = await last;
    demandEqual(await rejects(outbox.add([queuedUpdate("a", 4)])), true, "refusal");
    demandEqual(await rejects(outbox.markSent([first!.place], 1)), true, "refusal to mark");
    const next = disk.open();
    demandEqual(await next.load(), [first, second], "what was asked before");
    await next.close();
  });
}

async function rejects(promise: Promise<unknown>): Promise<boolean> {
  return promise.then(
    () => false,
    () => true,
  );
}

// --- histories

const ids = fc.integer({ min: 2, max: 12 });
const picks = fc.array(fc.nat(6), { maxLength: 4 });

type Action =
  | { do: "add"; ids: number[] }
  | { do: "send"; picks: number[]; at: number }
  | { do: "conclude"; picks: number[]; isFailure: boolean }
  | { do: "dismiss"; pick: number }
  | { do: "open" };

const actions: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ do: fc.constant("add" as const), ids: fc.array(ids, { maxLength: 4 }) }),
  fc.record({ do: fc.constant("send" as const), picks, at: fc.integer({ min: 1, max: 99 }) }),
  fc.record({ do: fc.constant("conclude" as const), picks, isFailure: fc.boolean() }),
  fc.record({ do: fc.constant("dismiss" as const), pick: fc.nat(6) }),
  fc.record({ do: fc.constant("open" as const) }),
);
const histories = fc.array(fc.record({ by: fc.nat(1), action: actions }), { maxLength: 14 });
