// One run: a primary on bare workerd, the crowd on it, the traffic, and what is found.

import { setTimeout as sleep } from "node:timers/promises";
import { BarePrimary } from "../../e2e/bare-primary.ts";
import { LIST_LIMIT_MAX } from "../../src/limits.ts";
import { Random } from "../../src/testing/random.ts";
import { connectPrimary } from "../../web/client.ts";
import type { ListPage, PrimaryClient } from "../../web/client.ts";
import { withDeadline } from "../../web/deadline.ts";
import { residentMegabytes } from "../memory.ts";
import { KeyIndex } from "./copy.ts";
import { Crowd } from "./crowd.ts";
import { Figures } from "./figures.ts";
import { Ledger } from "./ledger.ts";
import type { Found } from "./ledger.ts";
import { Reader } from "./reader.ts";
import { User, clientOf, httpClientOf } from "./users.ts";
import type { Scene } from "./users.ts";
import { idOf, valueDrawer } from "./value.ts";
import type { Round } from "./verdicts.ts";

export interface Plan {
  sockets: number;
  soakMs: number;
  kills: number;
  seed: number;
}

const DURABLE_SHARE = 0.05;
const HTTP_USERS = 6;
const READERS = 5;
/** Users act on a common beat, so that a thousand sockets are sent few frames that hold much. */
const BEAT_MS = 250;
const ACTING_PER_BEAT = 8;
const LIST_EVERY_MS = 1000;
const SAMPLE_MS = 1000;
/** How long traffic goes on between the return of all and the next kill, and how long the primary is away. */
const CALM_MS = [300, 1200] as const;
const DOWN_MS = [0, 1000] as const;
const CATCH_UP_MS = 30_000;

/** A phase, as it is reported. */
export interface Soak {
  figures: Figures;
  memoryMb: number[];
}

export interface Kills {
  figures: Figures;
  rounds: Round[];
}

export class Load {
  readonly crowd: Crowd;
  readonly readers: Reader[];
  /** What was lost, or is there and must not be: by users, after rounds, at the end. */
  readonly losses: string[] = [];
  readonly #primary: BarePrimary;
  readonly #client: PrimaryClient;
  readonly #chance: Random;
  readonly #ledger = new Ledger();
  readonly #users: User[] = [];
  readonly #scene: Scene;
  readonly #acting = new AbortController();
  readonly #reading = new AbortController();
  /** Traffic and coming and going; ends when they are told to. */
  #traffic: Promise<unknown> = Promise.resolve();
  #streams: Promise<unknown> = Promise.resolve();

  private constructor(primary: BarePrimary, seed: number) {
    const url = `http://127.0.0.1:${primary.port}/v1/stores/load`;
    const index = new KeyIndex();
    this.#primary = primary;
    this.#client = connectPrimary({ url });
    this.#chance = new Random(seed);
    this.crowd = new Crowd(url, index, this.#chance);
    this.readers = Array.from({ length: READERS }, () => new Reader(this.#client, index));
    const drawValue = valueDrawer(this.#chance);
    const complain = (what: string): unknown => this.losses.push(what);
    this.#scene = { chance: this.#chance, ledger: this.#ledger, figures: new Figures(), drawValue, complain };
    for (let i = 0; i < HTTP_USERS; i++) {
      this.#users.push(new User(`http-${i}`, httpClientOf(connectPrimary({ url })), this.#scene));
    }
  }

  static async start({ sockets, seed }: Plan): Promise<Load> {
    const load = new Load(await BarePrimary.start(), seed);
    try {
      await load.#open(sockets);
    } catch (error) {
      await load.stop();
      throw error;
    }
    return load;
  }

  async #open(sockets: number): Promise<void> {
    const durable = Math.max(2, Math.round(sockets * DURABLE_SHARE));
    await this.crowd.open(durable, sockets - durable);
    for (const [i, { operations }] of this.crowd.durable.entries()) {
      this.#users.push(new User(`socket-${i}`, clientOf(operations), this.#scene));
    }
    this.#streams = Promise.all(this.readers.map((reader) => reader.read(this.#reading.signal)));
    for (const user of this.#users) await user.begin();
    const { signal } = this.#acting;
    this.#traffic = Promise.all([this.#act(signal), this.#list(signal), this.crowd.churn(signal)]);
    for (const work of [this.#streams, this.#traffic]) {
      work.catch((error: unknown) => this.losses.push(`the load has ended: ${String(error)}`));
    }
  }

  /** Traffic for so long, with the primary's memory looked at. */
  async soak(ms: number): Promise<Soak> {
    const figures = this.#beginFigures();
    const memoryMb: number[] = [];
    for (const end = performance.now() + ms; performance.now() < end;) {
      await sleep(SAMPLE_MS);
      if (process.platform === "linux") memoryMb.push(await residentMegabytes(this.#primary.pid!));
    }
    this.losses.push(...(await this.#verify()));
    return { figures, memoryMb };
  }

  /** Under the same traffic, kill -9 and a new start on what is on disk, again and again. */
  async kill(count: number, told: (round: number) => void): Promise<Kills> {
    const figures = this.#beginFigures();
    const rounds: Round[] = [];
    for (let round = 1; round <= count; round++) {
      await sleep(this.#chance.between(...CALM_MS));
      rounds.push(await this.#killOnce());
      const losses = await this.#verify();
      this.losses.push(...losses.map((loss) => `round ${round}: ${loss}`));
      told(round);
    }
    return { figures, rounds };
  }

  async #killOnce(): Promise<Round> {
    const { crowd } = this;
    crowd.takeAttempts();
    const killedAt = performance.now();
    const since = (at: number): number => at - killedAt;
    await this.#primary.kill();
    await sleep(this.#chance.between(...DOWN_MS));
    await this.#primary.restart();
    const answeredMs = since(performance.now());
    const returns = (await crowd.returned()).map(since);
    return { answeredMs, attempts: crowd.takeAttempts().map(since), returns };
  }

  /** Ends the traffic and lets everything come right; returns what has not. */
  async settle(): Promise<string[]> {
    this.#acting.abort();
    await this.#traffic;
    await this.crowd.returned();
    this.losses.push(...(await this.#verify()));
    const { state, head } = await this.#read();
    const reading = Promise.all(this.readers.map((reader) => reader.caughtUp(head)));
    await withDeadline(reading, CATCH_UP_MS, "the readers' end").catch(() => {});
    const behind = this.readers.filter(({ copy, seq }) => seq !== head || !copy.equals(state));
    return [
      ...(await this.crowd.listUnequal(state, head)),
      ...behind.map(({ seq }) => `a reader stands at ${seq}, the primary at ${head}`),
    ];
  }

  async stop(): Promise<void> {
    this.#acting.abort();
    this.#reading.abort();
    await Promise.all([this.#traffic, this.#streams]).catch(() => {});
    this.crowd.close();
    await this.#primary.stop();
  }

  #beginFigures(): Figures {
    const figures = new Figures();
    this.#scene.figures = figures;
    return figures;
  }

  /** On each beat some of the users who are idle do something. */
  async #act(signal: AbortSignal): Promise<void> {
    const acting = new Set<Promise<void>>();
    while (!signal.aborted) {
      await sleep(BEAT_MS);
      for (const user of this.#users) {
        if (user.isBusy || !this.#chance.chance(ACTING_PER_BEAT / this.#users.length)) continue;
        const act = user.act().finally(() => acting.delete(act));
        acting.add(act);
      }
    }
    await Promise.all(acting);
  }

  async #list(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(LIST_EVERY_MS);
      const { figures } = this.#scene;
      const begin = performance.now();
      try {
        await this.#client.list({ prefix: "socket-1", limit: 100 });
        figures.took("list, HTTP", performance.now() - begin);
      } catch {
        figures.ended("list, HTTP", "failed");
      }
    }
  }

  /** Looks for everything that users were told until now. */
  async #verify(): Promise<string[]> {
    const since = this.#ledger.moment;
    const { state } = await this.#read();
    return this.#ledger.judge(state, since);
  }

  /** All entries of the primary, page by page, and its head with the last. */
  async #read(): Promise<{ state: Map<string, Found>; head: number }> {
    const state = new Map<string, Found>();
    let head = 0;
    for (let cursor: string | undefined = ""; cursor !== undefined;) {
      const page: ListPage = await this.#client.list({ limit: LIST_LIMIT_MAX, ...(cursor && { cursor }) });
      for (const { key, value, seq } of page.entries) state.set(key, { id: idOf(value), seq });
      ({ cursor, seq: head } = page);
    }
    return { state, head };
  }
}
