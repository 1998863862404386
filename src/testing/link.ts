// A connection between two simulated nodes: in order and complete like a WebSocket, or lossy. What travels is encoded
// and read by the codec, as on a real wire.

import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

/** How bad the network is. All times in ms. */
export interface Weather {
  delayMax: number;
  /** Chance that a message is held up for long, and for how long. */
  clog: number;
  clogMax: number;
  /** Only on lossy links: chances that a message is lost, or comes twice. Such links also reorder. */
  loss: number;
  duplication: number;
}

export interface End {
  /** A line has come. */
  receive: (line: string) => void;
  /** The other end, or the way to it, is gone. */
  closed: () => void;
}

type Side = "up" | "down";

export class Link {
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #weather: Weather;
  readonly #isLossy: boolean;
  readonly #ends: Record<Side, End>;
  #isOpen = true;
  readonly #lastArrival: Record<Side, number> = { up: 0, down: 0 };
  readonly #blockedUntil: Record<Side, number> = { up: 0, down: 0 };

  /** `up` is the end that receives what goes to the primary. */
  constructor(scheduler: Scheduler, random: Random, weather: Weather, isLossy: boolean, up: End, down: End) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#weather = weather;
    this.#isLossy = isLossy;
    this.#ends = { up, down };
  }

  send(side: Side, line: string): void {
    if (!this.#isOpen) return;
    if (this.#isLossy && this.#random.chance(this.#weather.loss)) return;
    this.#deliver(side, line);
    if (this.#isLossy && this.#random.chance(this.#weather.duplication)) this.#deliver(side, line);
  }

  /** Holds back one direction, or both, until a time: a partition that may heal. */
  block(sides: readonly Side[], until: number): void {
    for (const side of sides) this.#blockedUntil[side] = Math.max(this.#blockedUntil[side], until);
  }

  /** Ends the connection. What is on the way is lost; each end learns of it after a while of its own. */
  cut(upLearnsAfter: number, downLearnsAfter: number): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#scheduler.after(upLearnsAfter, () => this.#ends.up.closed());
    this.#scheduler.after(downLearnsAfter, () => this.#ends.down.closed());
  }

  #deliver(side: Side, line: string): void {
    const { delayMax, clog, clogMax } = this.#weather;
    const delay = this.#random.between(0, this.#random.chance(clog) ? clogMax : delayMax);
    let at = Math.max(this.#scheduler.now + delay, this.#blockedUntil[side]);
    if (!this.#isLossy) at = this.#lastArrival[side] = Math.max(at, this.#lastArrival[side]);
    this.#scheduler.at(at, () => {
      if (this.#isOpen) this.#ends[side].receive(line);
    });
  }
}
