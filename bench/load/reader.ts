// Someone who reads the primary's stream over HTTP, and holds it to the chain: each step begins where the last one ended.

import type { PrimaryClient, WatchedStep } from "../../web/client.ts";
import { Copy } from "./copy.ts";
import type { KeyIndex } from "./copy.ts";

export class Reader {
  readonly copy: Copy;
  readonly gaps: string[] = [];
  steps = 0;
  seq = 0;
  readonly #primary: PrimaryClient;
  #stepped: (() => void)[] = [];

  constructor(primary: PrimaryClient, index: KeyIndex) {
    this.#primary = primary;
    this.copy = new Copy(index);
  }

  /** Reads until `signal` says that it is enough; reconnects as the product does. */
  async read(signal: AbortSignal): Promise<void> {
    for await (const step of this.#primary.watch({ signal })) {
      const gap = findGap(this.steps === 0 ? undefined : this.seq, step);
      if (gap !== undefined) this.gaps.push(gap);
      if (step.reset) this.copy.clear();
      this.copy.apply(step.changes);
      this.steps += 1;
      this.seq = step.seq;
      for (const resolve of this.#stepped.splice(0)) resolve();
    }
  }

  async caughtUp(seq: number): Promise<void> {
    while (this.seq < seq) await new Promise<void>((resolve) => this.#stepped.push(resolve));
  }
}

/** What is wrong with a step that follows on `seq`; undefined if nothing is. Only the first replaces everything. */
export function findGap(
  seq: number | undefined,
  step: Pick<WatchedStep, "reset" | "prev" | "seq">,
): string | undefined {
  if (seq === undefined) return step.reset ? undefined : `the first step begins at ${step.prev}`;
  if (step.reset) return `everything was sent anew at ${step.seq}, after ${seq}`;
  if (step.prev !== seq) return `a step from ${step.prev} to ${step.seq} came after ${seq}`;
  return step.seq > seq ? undefined : `a step to ${step.seq} came after ${seq}`;
}
