// The updates that wait in this browser, and those that were refused, until the person has taken notice.

import type { PendingUpdate, Replica } from "../client.ts";
import { oncePerFrame } from "../inspector/frame.ts";
import { failureWords } from "../inspector/ending.ts";
import { cloneTemplate, find, showNumber } from "../inspector/element.ts";

const LINES_MAX = 100;

const WAITING: Record<PendingUpdate["state"], string> = {
  storing: "being written to this browser’s disk",
  queued: "on this browser’s disk, waiting for its answer",
  failed: "",
};

export class OutboxList {
  readonly #replica: Replica;
  readonly #section = find("outbox", HTMLElement);
  readonly #count = find("outbox-count", HTMLDataElement);
  readonly #list = find("outbox-list", HTMLOListElement);

  constructor(replica: Replica) {
    this.#replica = replica;
    const paint = oncePerFrame(() => this.#paint());
    replica.subscribePending(paint);
    // What has been made a moment ago counts in the status, and is told as an event only once it is on disk.
    replica.subscribeStatus(paint);
    this.#paint();
  }

  #paint(): void {
    const updates = this.#replica.pending();
    this.#section.hidden = updates.length === 0;
    showNumber(this.#count, updates.length);
    // Failed ones first: they are the ones that somebody must do something about.
    const sorted = [...updates.filter(({ error }) => error), ...updates.filter(({ error }) => !error)];
    this.#list.replaceChildren(...sorted.slice(0, LINES_MAX).map((update) => this.#toLine(update)));
  }

  #toLine({ id, operations, state, error }: PendingUpdate): HTMLLIElement {
    const line = cloneTemplate("queued-template", HTMLLIElement);
    line.dataset.result = error ? "failed" : "pending";
    const keys = operations.map((one) => ("insert" in one ? one.insert.key : one.remove.key));
    const isRemoval = operations.every((one) => "remove" in one);
    find("queued-subject", HTMLElement, line).textContent = `${isRemoval ? "remove" : "insert"} ${keys.join(", ")}`;
    find("queued-outcome", HTMLElement, line).textContent = error ? failureWords(error) : WAITING[state];
    const dismiss = find("queued-dismiss", HTMLButtonElement, line);
    dismiss.hidden = error === undefined;
    dismiss.addEventListener("click", () => void this.#replica.dismiss(id));
    return line;
  }
}
