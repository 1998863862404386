// SQLite under a real workerd, whose process is killed again and again amid commits: what was acknowledged is there, every
// batch is whole, and a repeat of what was cut off has one effect.

import { expect, test } from "@playwright/test";
import { BarePrimary } from "./bare-primary.ts";

const ROUNDS = 20;
const WRITERS = 5;
const NAMES = ["a", "b", "c", "d", "e", "f"];

/** One client that writes the keys of its own group together, one batch after the other. */
class Writer {
  readonly #store: () => string;
  readonly #group: number;
  /** The last batch that was sent, and the last one that was acknowledged with its seq. */
  #sent = 0;
  #acked = { batch: 0, seq: 0 };

  constructor(store: () => string, group: number) {
    this.#store = store;
    this.#group = group;
  }

  /** Writes until the primary is gone. */
  async writeOn(acknowledged: () => void): Promise<void> {
    for (;;) {
      this.#sent += 1;
      const seq = await this.#send(this.#sent);
      if (seq === undefined) return;
      expect(seq).toBeGreaterThan(this.#acked.seq);
      this.#acked = { batch: this.#sent, seq };
      acknowledged();
    }
  }

  async check(): Promise<void> {
    const found = await this.#read();
    expect(found === this.#acked.batch || found === this.#sent).toBe(true);
    const seq = (await this.#send(this.#sent))!;
    expect(seq).toBeGreaterThanOrEqual(this.#acked.seq);
    expect(await this.#send(this.#sent)).toBe(seq);
    expect(await this.#read()).toBe(this.#sent);
    this.#acked = { batch: this.#sent, seq };
  }

  /** The batch's seq; undefined if the primary has gone without an answer. */
  async #send(batch: number): Promise<number | undefined> {
    const ops = NAMES.map((name, index) => {
      const value = { batch, filling: "x".repeat(index === 2 ? 100_000 : 100) };
      return { insert: { key: `${this.#group}/${name}`, value } };
    });
    const request = {
      method: "POST",
      headers: { "Idempotency-Key": `writer-${this.#group}:${batch}` },
      body: JSON.stringify({ ops }),
    };
    const answer = await fetch(`${this.#store()}/batch`, request)
      .then(async (response) => ({ status: response.status, body: (await response.json()) as { seq: number } }))
      .catch(() => undefined);
    expect(answer?.status ?? 200).toBe(200);
    return answer?.body.seq;
  }

  /** Which batch is there; 0 if none is. All of its keys must be, at one seq. */
  async #read(): Promise<number> {
    const answer = await fetch(`${this.#store()}/entries?prefix=${this.#group}/`);
    const { entries } = (await answer.json()) as { entries: { key: string; value: { batch: number }; seq: number }[] };
    if (entries.length === 0) return 0;
    expect(entries.map(({ key }) => key)).toEqual(NAMES.map((name) => `${this.#group}/${name}`));
    expect(new Set(entries.map(({ seq }) => seq)).size).toBe(1);
    const batches = new Set(entries.map(({ value }) => value.batch));
    expect(batches.size).toBe(1);
    return [...batches][0]!;
  }
}

test(`kill -9 of workerd amid commits, ${ROUNDS} times, loses no acknowledged batch and splits none`, async () => {
  const primary = await BarePrimary.start();
  try {
    const store = (): string => `http://127.0.0.1:${primary.port}/v1/stores/killed`;
    const writers = Array.from({ length: WRITERS }, (_, group) => new Writer(store, group));
    const epochs = new Set<string>();
    for (let round = 0; round < ROUNDS; round++) {
      let left = 1 + Math.floor(Math.random() * 40);
      let killing: Promise<void> | undefined;
      const acknowledged = (): void => {
        left -= 1;
        // Later by less than a commit takes, so that the end can come anywhere in one.
        if (left === 0) setTimeout(() => void (killing = primary.kill()), Math.random() * 5);
      };
      await Promise.all(writers.map((writer) => writer.writeOn(acknowledged)));
      await killing;
      await primary.restart();
      epochs.add((await primary.status("killed")).epoch);
      for (const writer of writers) await writer.check();
    }
    expect(epochs.size).toBe(1);
  } finally {
    await primary.stop();
  }
});
