// The traffic: users on secondaries and over HTTP, each with keys of its own, who do one thing at a time and write down what
// they are told. All draw from one seed.

import type { Check, Write } from "../../src/kv.ts";
import type { Ack, GetResult } from "../../src/protocol.ts";
import type { Random } from "../../src/testing/random.ts";
import type { PrimaryClient } from "../../web/client.ts";
import { OperationFailedError, OutcomeUnknownError } from "../../web/errors.ts";
import type { Operations } from "../../web/operations.ts";
import type { Figures } from "./figures.ts";
import type { Found, Ledger, Outcome } from "./ledger.ts";
import { idOf } from "./value.ts";
import type { LoadValue } from "./value.ts";

const KEYS_PER_USER = 20;
const BURST = 10;
const KINDS = ["insert", "insert", "insert", "insert", "insert", "remove", "batch", "burst", "get", "get"] as const;
const ACKS: readonly Ack[] = ["all", "all", "all", "primary", 1];

/** A write by its key: the value, or undefined to remove it. */
type Writes = ReadonlyMap<string, LoadValue | undefined>;

/** What a user can ask for, however it is carried. */
export interface Client {
  /** How it is carried, for the report. */
  readonly name: string;
  write(key: string, value: LoadValue | undefined, ack: Ack): Promise<{ seq: number }>;
  batch(writes: Writes, checks: Check[], ack: Ack): Promise<{ seq: number }>;
  get(key: string): Promise<Found | undefined>;
}

/** What all users of a run share. */
export interface Scene {
  chance: Random;
  ledger: Ledger;
  figures: Figures;
  drawValue: (id: number) => LoadValue;
  /** Takes what a user has seen and must not see. */
  complain: (what: string) => void;
}

export class User {
  readonly #name: string;
  readonly #client: Client;
  readonly #scene: Scene;
  readonly #keys: string[];
  #renamed = 0;
  #isBusy = false;

  constructor(name: string, client: Client, scene: Scene) {
    this.#name = name;
    this.#client = client;
    this.#scene = scene;
    this.#keys = Array.from({ length: KEYS_PER_USER }, (_, i) => `${name}/${i}`);
  }

  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** Writes all keys for the first time. */
  async begin(): Promise<void> {
    await this.#alone(() => Promise.all(this.#keys.map((_, place) => this.#write(place, "first insert", "all"))));
  }

  /** Does one thing that chance decides, unless still at the last. Whatever becomes of it is written down. */
  async act(): Promise<void> {
    const { chance } = this.#scene;
    const kind = chance.pick(KINDS);
    const ack = chance.pick(ACKS);
    const place = chance.between(0, KEYS_PER_USER - 1);
    const next = (place + 1) % KEYS_PER_USER;
    await this.#alone(async () => {
      if (kind === "get") await this.#get(place);
      else if (kind === "batch") await this.#batch([place, next], ack);
      else if (kind === "burst") {
        const places = Array.from({ length: BURST }, (_, i) => (place + i) % KEYS_PER_USER);
        await Promise.all(places.map((one) => this.#write(one, "insert in a burst", ack)));
      } else await this.#write(place, kind, ack);
    });
  }

  async #alone(body: () => Promise<unknown>): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    await body();
    this.#isBusy = false;
  }

  async #write(place: number, kind: string, ack: Ack): Promise<void> {
    const key = this.#keys[place]!;
    await this.#update([place], kind, kind === "remove" ? [] : [key], (writes) =>
      this.#client.write(key, writes.get(key), ack),
    );
  }

  /** Two keys at once; half of the batches name the seqs that they must have, and some of those a wrong one. */
  async #batch(places: number[], ack: Ack): Promise<void> {
    const { chance, ledger, complain } = this.#scene;
    const keys = places.map((place) => this.#keys[place]!);
    const isChecked = chance.chance(0.5);
    const isWrong = isChecked && chance.chance(0.2);
    const checks = isChecked ? keys.map((key) => ({ key, seq: ledger.seqOf(key) })) : [];
    if (isWrong) checks[0]!.seq = (checks[0]!.seq ?? 0) + 1;
    const kept = keys.filter(() => chance.chance(0.8));
    const failure = await this.#update(places, "batch", kept, (writes) => this.#client.batch(writes, checks, ack));
    const isConflict = failure instanceof OperationFailedError && failure.code === "conflict";
    if (isWrong && !failure) complain(`${keys[0]}: a batch was acked whose check does not hold`);
    if (!isWrong && isConflict) complain(`${keys[0]}: a check that holds was refused: ${failure.message}`);
  }

  async #get(place: number): Promise<void> {
    const { ledger, figures, complain } = this.#scene;
    const key = this.#keys[place]!;
    const kind = `get, ${this.#client.name}`;
    const begin = performance.now();
    try {
      const found = await this.#client.get(key);
      figures.took(kind, performance.now() - begin);
      const complaint = ledger.judgeKey(key, found);
      if (complaint !== undefined) complain(`read by its user: ${complaint}`);
    } catch {
      figures.ended(kind, "failed");
    }
  }

  /** Asks for writes of these keys, of which `kept` get a value; returns why it was not acked. */
  async #update(
    places: readonly number[],
    kind: string,
    kept: readonly string[],
    ask: (writes: Writes) => Promise<{ seq: number }>,
  ): Promise<unknown> {
    const { ledger, figures, drawValue, complain } = this.#scene;
    const name = `${kind}, ${this.#client.name}`;
    const keys = places.map((place) => this.#keys[place]!);
    const update = ledger.begin(new Map(keys.map((key) => [key, kept.includes(key)])));
    const writes = new Map(keys.map((key) => [key, kept.includes(key) ? drawValue(update.id) : undefined]));
    const begin = performance.now();
    try {
      const { seq } = await ask(writes);
      figures.took(name, performance.now() - begin);
      figures.ended(name, "acked");
      ledger.end(update, "acked", seq);
      return undefined;
    } catch (error) {
      const { outcome, seq } = readFailure(error);
      const isTold = error instanceof OperationFailedError || error instanceof OutcomeUnknownError;
      if (!isTold) complain(`${keys[0]}: an update ended with what is no outcome: ${String(error)}`);
      const isConflict = error instanceof OperationFailedError && error.code === "conflict";
      figures.ended(name, isConflict ? "conflict" : outcome);
      ledger.end(update, outcome, seq);
      if (outcome === "unknown") for (const place of places) this.#rename(place);
      return error;
    }
  }

  /** What became of the old key is not known, so it is left alone. */
  #rename(place: number): void {
    this.#renamed += 1;
    this.#keys[place] = `${this.#name}/${place}-${this.#renamed}`;
  }
}

function readFailure(error: unknown): { outcome: Outcome; seq: number | undefined } {
  if (!(error instanceof OperationFailedError) || error.applied === undefined)
    return { outcome: "unknown", seq: undefined };
  return error.applied ? { outcome: "applied", seq: error.seq } : { outcome: "refused", seq: undefined };
}

/** A user of a secondary: what it asks for goes over that one's socket. */
export function clientOf(operations: Operations): Client {
  const toWrite = ([key, value]: [string, LoadValue | undefined]): Write =>
    value ? { key, json: JSON.stringify(value) } : { key, removed: true };
  return {
    name: "socket",
    write: (key, value, ack) =>
      operations.submit(
        value ? { type: "insert", key, json: JSON.stringify(value), ack } : { type: "remove", key, ack },
      ),
    batch: (writes, checks, ack) => operations.submit({ type: "batch", writes: [...writes].map(toWrite), checks, ack }),
    async get(key) {
      const { entry } = (await operations.submit({ type: "get", key })) as GetResult;
      return entry ? { id: idOf(JSON.parse(entry.value)), seq: entry.seq } : undefined;
    },
  };
}

/** A user without a copy, over HTTP. */
export function httpClientOf(primary: PrimaryClient): Client {
  return {
    name: "HTTP",
    write: (key, value, ack) => (value ? primary.insert(key, value, { ack }) : primary.remove(key, { ack })),
    batch: (writes, checks, ack) =>
      primary.batch(
        [...writes].map(([key, value]) => (value ? { insert: { key, value } } : { remove: { key } })),
        { checks, ack },
      ),
    async get(key) {
      const entry = await primary.entry(key);
      return entry && { id: idOf(entry.value), seq: entry.seq };
    },
  };
}
