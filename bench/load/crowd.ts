// All sockets of a run: who is to be there, who is missing, and when each tried to come back. Some come and go all the
// time, as people do.

import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "../../src/testing/random.ts";
import { withDeadline } from "../../web/deadline.ts";
import type { KeyIndex } from "./copy.ts";
import type { Found } from "./ledger.ts";
import { Member } from "./member.ts";

/** Sockets that are opened at once when a run begins. */
const OPEN_AT_ONCE = 50;
/** A crowd that has not come back by then will not. */
const RETURN_MS = 60_000;
const CHURN_EVERY_MS = 500;
const AWAY_MS = [100, 3000] as const;

export class Crowd {
  readonly durable: Member[] = [];
  readonly coming = new Map<string, number>();
  readonly #memory: Member[] = [];
  readonly #url: string;
  readonly #chance: Random;
  readonly #index: KeyIndex;
  readonly #missing = new Set<Member>();
  readonly #away = new Set<Promise<void>>();
  #awaited: { due: Set<Member>; returns: number[]; resolve: () => void }[] = [];
  #attempts: number[] = [];

  constructor(url: string, index: KeyIndex, chance: Random) {
    this.#url = url;
    this.#index = index;
    this.#chance = chance;
  }

  get size(): number {
    return this.durable.length + this.#memory.length;
  }

  async open(durable: number, memory: number): Promise<void> {
    for (let start = 0; start < durable + memory; start += OPEN_AT_ONCE) {
      const end = Math.min(durable + memory, start + OPEN_AT_ONCE);
      for (let i = start; i < end; i++) this.#add(i < durable ? "durable" : "memory");
      await this.returned();
    }
  }

  /**
   * Resolves when everyone who is missing now has been there again, joined and, if durable, in sync; with the time at which
   * each was. Who goes away meanwhile, or for good, is not waited for.
   */
  async returned(): Promise<number[]> {
    if (this.#missing.size === 0) return [];
    const returns: number[] = [];
    const due = new Set(this.#missing);
    const all = new Promise<void>((resolve) => this.#awaited.push({ due, returns, resolve }));
    await withDeadline(all, RETURN_MS, "the return of all sockets").catch((error: Error) => {
      throw new Error(`${error.message}\n${[...due].map(String).join("\n")}`, { cause: error });
    });
    return returns;
  }

  /** When sockets tried to connect, since this was asked last. */
  takeAttempts(): number[] {
    const attempts = this.#attempts;
    this.#attempts = [];
    return attempts;
  }

  /** Some come and go until `signal` says that it is enough. */
  async churn(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(CHURN_EVERY_MS);
      const kind = this.#chance.pick(["replaced", "cut off", "left for a while"] as const);
      this.coming.set(kind, (this.coming.get(kind) ?? 0) + 1);
      if (kind === "replaced") this.#replace();
      else this.#send(this.#draw(), kind === "cut off");
    }
    await Promise.all(this.#away);
  }

  /** Who is not equal to `state`, which is the primary's at `seq`, also after he had the time to come so far. */
  async listUnequal(state: ReadonlyMap<string, Found>, seq: number): Promise<string[]> {
    const members = [...this.durable, ...this.#memory];
    const caughtUp = Promise.all(members.map((member) => member.caughtUp(seq)));
    await withDeadline(caughtUp, RETURN_MS, "the end of all secondaries").catch(() => {});
    const unequal = members.filter((member) => member.seq !== seq || !member.copy.equals(state));
    return unequal.map((member) => `a ${member.mode} secondary stands at ${member.seq}, the primary at ${seq}`);
  }

  close(): void {
    for (const member of [...this.durable, ...this.#memory]) member.end();
  }

  #add(mode: Member["mode"]): void {
    const member = new Member(this.#url, mode, this.#index, {
      attempting: () => this.#attempts.push(performance.now()),
      moved: () => this.#moved(member),
    });
    (mode === "durable" ? this.durable : this.#memory).push(member);
    member.start();
  }

  #moved(member: Member): void {
    if (member.isMissing) {
      this.#missing.add(member);
    } else if (this.#missing.delete(member)) {
      for (const { due, returns, resolve } of this.#awaited) {
        if (due.delete(member) && member.isWanted) returns.push(performance.now());
        if (due.size === 0) resolve();
      }
      this.#awaited = this.#awaited.filter(({ due }) => due.size > 0);
    }
  }

  /** One goes for good, and another one comes with nothing. */
  #replace(): void {
    const index = this.#chance.between(0, this.#memory.length - 1);
    const [gone] = this.#memory.splice(index, 1);
    gone?.end();
    this.#add("memory");
  }

  #draw(): Member {
    return this.#chance.pick(this.#chance.chance(0.3) ? this.durable : this.#memory);
  }

  /** One is away for a while and catches up. */
  #send(member: Member, isCutOff: boolean): void {
    if (!member.isWanted) return;
    const away = (async () => {
      if (isCutOff) member.stop();
      else member.leave();
      await sleep(this.#chance.between(...AWAY_MS));
      if (isCutOff) member.start();
      else member.comeBack();
    })();
    this.#away.add(away);
    void away.then(() => this.#away.delete(away));
  }
}
