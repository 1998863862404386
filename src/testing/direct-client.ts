// A simulated client without a copy of its own: each request is a short session, as over HTTP. What it did not hear the
// end of it asks again under the same name, as with an Idempotency-Key.

import { decodeDownstream, encodeUpstream } from "../codec.ts";
import { nameOf } from "../protocol.ts";
import type { Outcome, Update } from "../protocol.ts";
import type { Recorder } from "./history.ts";
import { Link } from "./link.ts";
import type { Weather } from "./link.ts";
import { demand } from "./oracle.ts";
import type { PrimaryNode } from "./primary-node.ts";
import type { Random } from "./random.ts";
import { toRecordedOperation, toRecordedOutcome } from "./recording.ts";
import type { Scheduler } from "./scheduler.ts";

/** A request without an answer is given up after this; so many times it is asked. */
const PATIENCE_MS = 2500;
const TRIES_MAX = 3;

export class DirectClient {
  weather: Weather;
  readonly outcomes = new Map<string, number>();
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #primary: PrimaryNode;
  readonly #record: Recorder | undefined;

  constructor(
    scheduler: Scheduler,
    random: Random,
    primary: PrimaryNode,
    weather: Weather,
    record: Recorder | undefined,
  ) {
    this.#record = record;
    this.#scheduler = scheduler;
    this.#random = random;
    this.#primary = primary;
    this.weather = weather;
  }

  operate(update: Update): void {
    const at = this.#scheduler.now;
    const { id } = update;
    this.#record?.({ type: "invoke", at, client: String(update.clientId), id, operation: toRecordedOperation(update) });
    this.#ask(update, 1);
  }

  #ask(update: Update, tries: number): void {
    const { epoch } = this.#primary.oracle;
    let isEnded = false;
    const end = (outcome: Outcome | undefined): void => {
      if (isEnded) return;
      isEnded = true;
      link?.cut(0, 0);
      if (outcome) return this.#ended(update, outcome, epoch);
      this.#count("unknown");
      if (tries < TRIES_MAX) this.#scheduler.after(this.#random.between(0, 500), () => this.#ask(update, tries + 1));
    };
    const link = this.#connect(
      (line) => {
        const parsed = decodeDownstream(line.trimEnd());
        demand(parsed.ok, "L2", () => `the codec refused its own line: ${line}`);
        if (parsed.ok) end(parsed.value as Outcome);
      },
      () => end(undefined),
    );
    if (!link) return end(undefined);
    link.send("up", encodeUpstream(update));
    this.#scheduler.after(PATIENCE_MS, () => end(undefined));
  }

  /** Undefined while the primary is down. */
  #connect(receive: (line: string) => void, closed: () => void): Link | undefined {
    const session = this.#primary.connect({
      isSocket: false,
      send: (line) => link.send("down", line),
      close: () => link.cut(0, this.#random.between(0, 300)),
    });
    if (session === undefined) return undefined;
    const link: Link = new Link(
      this.#scheduler,
      this.#random,
      this.weather,
      false,
      { receive: (line) => this.#primary.receive(session, line), closed: () => this.#primary.disconnect(session) },
      { receive, closed },
    );
    return link;
  }

  #ended(update: Update, outcome: Outcome, epoch: string): void {
    this.#count(outcome.type === "operation-ack" ? outcome.type : outcome.code);
    demand(
      nameOf(outcome) === nameOf(update),
      "A1",
      () => `${nameOf(update)} was given the answer of ${nameOf(outcome)}`,
    );
    this.#primary.oracle.answered(update, outcome, epoch);
    const at = this.#scheduler.now;
    const { id } = update;
    this.#record?.({ type: "respond", at, client: String(update.clientId), id, outcome: toRecordedOutcome(outcome) });
  }

  #count(kind: string): void {
    this.outcomes.set(kind, (this.outcomes.get(kind) ?? 0) + 1);
  }
}
