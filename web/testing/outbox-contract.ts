// What every persistence of an outbox must keep, whatever it is made of and wherever it runs: in Node and in a page of a
// real browser, where no test runner is.

import * as fc from "fast-check";
import type { Settled } from "../../src/effects.ts";
import { nameOf } from "../../src/protocol.ts";
import type { OperationFailed, OperationName, Update } from "../../src/protocol.ts";
import { demandEqual } from "../../src/testing/equality.ts";
import { sendingOf } from "../replica/kept-updates.ts";
import type {
  Added,
  Conclusion,
  Kept,
  Marked,
  OutboxMemory,
  OutboxPersistence,
  Sending,
} from "../replica/outbox-persistence.ts";

/** Where one store's outbox is kept: empty when it is made. */
export interface OutboxDisk {
  /** Opens it as a new process would. */
  open(memory?: OutboxMemory): OutboxPersistence;
  /** Deletes everything, under whoever has it open. */
  wipe(): Promise<void>;
  /** Makes what is at a place unreadable, as a fault of the disk or another program would. */
  damage(place: number): Promise<void>;
}

type Define = (title: string, run: () => Promise<void>) => void;
type Queued = Omit<Kept, "place">;

/** One that knows of nothing. */
export const BLANK: OutboxMemory = { readKept: () => [], interrupted: () => {} };

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

/** That of whoever was done: nobody looks at it but those who ask for it by name. */
const ackOf = ({ name }: Sending, seq = 1): Settled => {
  const [clientId, id] = name.split(":");
  return { type: "operation-ack", clientId: clientId!, id: Number(id), seq, replicas: 0 };
};
const endOf = (sending: Sending): Conclusion => ({ ...sending, done: ackOf(sending) });

const renewal = (id: number): OperationName => ({ clientId: "renewed", id });

/** What should be on the disk. */
class Expected {
  kept: Kept[] = [];
  readonly #ends = new Map<string, Settled | null>();

  add(updates: readonly Queued[], added: Added): void {
    const wanted = updates.filter(({ update }) => !this.#ends.has(nameOf(update)));
    demandEqual(
      added.kept.map(({ update }) => nameOf(update)),
      wanted.map(({ update }) => nameOf(update)),
      "what was added",
    );
    const ended = updates.flatMap(({ update: { clientId, id } }) => {
      const name = { clientId, id };
      const settled = this.#ends.get(nameOf(name));
      return settled === undefined ? [] : [{ name, settled }];
    });
    demandEqual(added.ended, ended, "what had ended");
    for (const [index, one] of added.kept.entries()) {
      const there = this.kept.find(({ update }) => nameOf(update) === nameOf(one.update));
      demandEqual(one, there ?? { ...wanted[index]!, place: one.place }, "how it is kept");
      if (there) continue;
      if (one.place <= (this.kept.at(-1)?.place ?? -Infinity)) throw new Error("a place that does not rise");
      this.kept.push(one);
    }
  }

  markSent(sendings: readonly Sending[], sentAt: number): Marked[] {
    const there = this.#onTheirWay(sendings);
    this.kept = this.kept.map((kept) => (there.includes(kept) ? { sentAt, ...kept } : kept));
    return there.map((kept) => ({ name: nameOf(kept.update), sentAt: kept.sentAt }));
  }

  conclude(conclusions: readonly Conclusion[]): string[] {
    const there = this.#onTheirWay(conclusions);
    this.kept = this.kept.flatMap((kept) => {
      if (!there.includes(kept)) return [kept];
      const name = nameOf(kept.update);
      const conclusion = conclusions.find((one) => one.name === name)!;
      const { sentAt: _sentAt, ...unsent } = kept;
      if ("failure" in conclusion) return [{ ...kept, failure: conclusion.failure }];
      if ("sendAs" in conclusion) return [{ ...unsent, sentAs: conclusion.sendAs }];
      if (kept.sentAs) this.#ends.set(name, conclusion.done);
      return [];
    });
    return there.map(({ update }) => nameOf(update));
  }

  dismiss(name: string): boolean {
    const out = this.kept.find(({ update }) => nameOf(update) === name);
    if (!out || (out.sentAt !== undefined && !out.failure)) return false;
    this.#ends.set(name, null);
    this.kept = this.kept.filter((kept) => kept !== out);
    return true;
  }

  #onTheirWay(sendings: readonly Sending[]): Kept[] {
    return sendings.flatMap((sending) =>
      this.kept.filter((kept) => {
        const { name, sentAs } = sendingOf(kept);
        return !kept.failure && name === sending.name && sentAs === sending.sentAs;
      }),
    );
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
      let renewals = 0;
      const openers = [disk.open(), disk.open()];
      const expected = new Expected();
      /** Updates that are there, some that are not, and names under which one is not sent any more. */
      const sendingsOf = (picks: readonly number[]): Sending[] => {
        const all = picks.map((pick): Sending => {
          const one = expected.kept[pick];
          if (one) return sendingOf(one);
          const other = expected.kept[pick - expected.kept.length];
          return { name: other ? nameOf(other.update) : `nobody:${pick}`, sentAs: `nobody:${pick}` };
        });
        return [...new Map(all.map((sending) => [sending.name, sending])).values()];
      };
      for (const { by, action } of history) {
        const outbox = openers[by]!;
        if (action.do === "add") {
          const updates = [...new Set(action.ids)].map((id) => queuedUpdate(`client${id % 2}`, id));
          expected.add(updates, await outbox.add(updates));
        } else if (action.do === "send") {
          const sendings = sendingsOf(action.picks);
          const there = expected.markSent(sendings, action.at);
          demandEqual(await outbox.markSent(sendings, action.at), there, "what is there");
        } else if (action.do === "conclude") {
          const conclusions = sendingsOf(action.picks).map((sending): Conclusion => {
            const kept = expected.kept.find(({ update }) => nameOf(update) === sending.name);
            if (action.end === "failed" && kept) return { ...sending, failure: failureOf(kept.update) };
            renewals += 1;
            if (action.end === "renewed") return { ...sending, sendAs: renewal(renewals) };
            return { ...sending, done: ackOf(sending, renewals) };
          });
          demandEqual(await outbox.conclude(conclusions), expected.conclude(conclusions), "what has ended");
        } else if (action.do === "dismiss") {
          const [one] = sendingsOf([action.pick]);
          demandEqual(await outbox.dismiss(one!.name), expected.dismiss(one!.name), "whether it is out");
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
      const [kept] = (await outbox.add([queuedUpdate("a", id)])).kept;
      places.push(kept!.place);
      await outbox.conclude([endOf(sendingOf(kept!))]);
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
    for (const one of added.flatMap(({ kept: some }) => some))
      demandEqual(one.place, placeOf.get(nameOf(one.update)), "its place");
    // Who ends an update is one of them.
    const ended = await Promise.all(openers.map((one) => one.conclude(kept.map((one) => endOf(sendingOf(one))))));
    demandEqual(ended.flat().sort(), kept.map(({ update }) => nameOf(update)).sort(), "each once");
    demandEqual(await openers[1]!.load(), [], "nothing is left");
    for (const one of openers) await one.close();
  });

  define("lets either the one who sends or the one who dismisses have an update", async () => {
    const disk = newDisk();
    const [sender, person] = [disk.open(), disk.open()];
    for (let id = 2; id < 22; id++) {
      const [kept] = (await sender.add([queuedUpdate("a", id)])).kept;
      const { name } = sendingOf(kept!);
      const [there, isOut] = await Promise.all([sender.markSent([sendingOf(kept!)], 5), person.dismiss(name)]);
      demandEqual(there, isOut ? [] : [{ name, sentAt: undefined }], "what is sent");
    }
    for (const one of [sender, person]) await one.close();
  });

  define(
    "begins with what its user knows when it was emptied, at the old places, and ends nothing else then",
    async () => {
      const disk = newDisk();
      let known: Kept[] = [];
      let interruptions = 0;
      const outbox = disk.open({ readKept: () => known, interrupted: () => (interruptions += 1) });
      const other = disk.open();
      const { kept } = await outbox.add([2, 3, 4].map((id) => queuedUpdate("a", id)));
      await outbox.markSent([sendingOf(kept[0]!)], 7);
      await outbox.conclude([{ ...sendingOf(kept[1]!), sendAs: renewal(1) }]);
      await outbox.conclude([{ ...sendingOf(kept[2]!), failure: failureOf(kept[2]!.update) }]);
      known = await outbox.load();
      await other.load();
      await disk.wipe();
      demandEqual(interruptions, 1, "interruptions");
      const [added] = (await outbox.add([queuedUpdate("b", 2)])).kept;
      demandEqual(await outbox.load(), [...known, added], "what is there again");

      // Somebody else begins the next one.
      known = await outbox.load();
      await disk.wipe();
      const [first] = (await other.add([queuedUpdate("c", 2)])).kept;
      // The end of what stood in its place is none of its.
      await outbox.conclude([endOf(sendingOf(known[0]!))]);
      demandEqual(await outbox.conclude([endOf(sendingOf(known[0]!))]), [], "what has ended");
      const left = await outbox.load();
      demandEqual(
        left.map(({ update }) => nameOf(update)).sort(),
        [first!, ...known.slice(1)].map(({ update }) => nameOf(update)).sort(),
        "what is left",
      );
      for (const one of [outbox, other]) await one.close();
    },
  );

  define("tells who asks again how something has ended of which the primary does not know the name", async () => {
    const disk = newDisk();
    const outbox = disk.open();
    const [renewed, plain] = (await outbox.add([queuedUpdate("a", 2), queuedUpdate("a", 3)])).kept;
    const sendAs = renewal(2);
    await outbox.conclude([{ ...sendingOf(renewed!), sendAs }]);
    const sending = { name: nameOf(renewed!.update), sentAs: nameOf(sendAs) };
    demandEqual(await outbox.conclude([endOf(sendingOf(renewed!))]), [], "what has ended under the old name");
    await outbox.conclude([endOf(sending), endOf(sendingOf(plain!))]);
    const again = await outbox.add([queuedUpdate("a", 2), queuedUpdate("a", 3)]);
    demandEqual(again.ended, [{ name: { clientId: "a", id: 2 }, settled: ackOf(sending) }], "what has ended");
    demandEqual(
      again.kept.map(({ update }) => update.id),
      [3],
      "what the primary is to be asked",
    );
    await outbox.close();
  });

  define("leaves nothing of a transaction that fails, and can go on", async () => {
    const disk = newDisk();
    const outbox = disk.open();
    const [first] = (await outbox.add([queuedUpdate("a", 2)])).kept;
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
    const { kept } = await outbox.add([2, 3, 4].map((id) => queuedUpdate("a", id)));
    await disk.damage(kept[1]!.place);
    demandEqual(await outbox.load(), [kept[0], kept[2]], "what can be read");
    const [again] = (await outbox.add([queuedUpdate("a", 3)])).kept;
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
    const [first] = (await outbox.add([queuedUpdate("a", 2)])).kept;
    const last = outbox.add([queuedUpdate("a", 3)]);
    await outbox.close();
    const [second] = (await last).kept;
    demandEqual(await rejects(outbox.add([queuedUpdate("a", 4)])), true, "refusal");
    demandEqual(await rejects(outbox.markSent([sendingOf(first!)], 1)), true, "refusal to mark");
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
  | { do: "conclude"; picks: number[]; end: "done" | "failed" | "renewed" }
  | { do: "dismiss"; pick: number }
  | { do: "open" };

const actions: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ do: fc.constant("add" as const), ids: fc.array(ids, { maxLength: 4 }) }),
  fc.record({ do: fc.constant("send" as const), picks, at: fc.integer({ min: 1, max: 99 }) }),
  fc.record({ do: fc.constant("conclude" as const), picks, end: fc.constantFrom("done", "failed", "renewed") }),
  fc.record({ do: fc.constant("dismiss" as const), pick: fc.nat(6) }),
  fc.record({ do: fc.constant("open" as const) }),
);
const histories = fc.array(fc.record({ by: fc.nat(1), action: actions }), { maxLength: 14 });
