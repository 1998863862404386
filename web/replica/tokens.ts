// The token that a replica shows the primary. Pages are asked for another one when the last may be why it was not let in.

import { withDeadline } from "../deadline.ts";
import type { TokenNeed } from "./socket.ts";

/** A page that was asked and does not answer in time has none. */
const ANSWER_MS = 10_000;
/** A primary that cannot be reached may be just that: a token is not asked for more often than this. */
const FRESH_MS = 30_000;

export class Tokens {
  readonly #ask: () => boolean;
  #token: string | undefined;
  #takenAt = -Infinity;
  #waiting: ((token: string | undefined) => void)[] = [];

  /** `ask` asks the pages, whose answer comes by `take`; false if there is none to be asked. */
  constructor(ask: () => boolean) {
    this.#ask = ask;
  }

  take(token: string | undefined): void {
    this.#token = token ?? this.#token;
    this.#takenAt = performance.now();
    for (const resolve of this.#waiting.splice(0)) resolve(token);
  }

  /** The one to show next. */
  async next(need: TokenNeed): Promise<string | undefined> {
    const isFresh = performance.now() - this.#takenAt < FRESH_MS;
    const isGood = need === "any" ? this.#token !== undefined : need === "fresh" && isFresh;
    if (isGood) return this.#token;
    const answer = new Promise<string | undefined>((resolve) => this.#waiting.push(resolve));
    if (!this.#ask()) return this.#token;
    return withDeadline(answer, ANSWER_MS, "the page's token").catch(() => this.#token);
  }
}
