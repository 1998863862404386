// What this page has asked for, and in words how it ended. Read out by screen readers as it comes.

import type { Acknowledged } from "../client.ts";
import { find, formatNumber } from "../inspector/element.ts";
import { endingOf } from "../inspector/ending.ts";
import type { Ending } from "../inspector/ending.ts";

export type Verb = "insert" | "edit" | "remove";

const LINES_MAX = 200;

export class OperationLog {
  readonly #list = find("log", HTMLOListElement);
  readonly #empty = find("log-empty", HTMLElement);

  /** Writes a line for an operation, and completes it when the operation has ended. */
  async follow(verb: Verb, key: string, operation: Promise<Acknowledged>): Promise<Ending> {
    const startedAt = performance.now();
    const line = this.#addLine(verb, key);
    const ending = await endingOf(operation);
    const took = `took ${formatNumber(Math.round(performance.now() - startedAt))} ms`;
    line.dataset.result = ending.result;
    line.lastElementChild!.textContent = `${ending.words}, ${took}`;
    return ending;
  }

  #addLine(verb: Verb, key: string): HTMLLIElement {
    const line = document.createElement("li");
    line.dataset.testid = "log-line";
    line.dataset.result = "pending";
    line.dataset.key = key;
    const subject = document.createElement("span");
    subject.className = "subject";
    const name = document.createElement("b");
    name.textContent = key;
    name.title = key;
    subject.append(`${verb} `, name);
    const outcome = document.createElement("span");
    outcome.className = "outcome";
    outcome.textContent = "waiting for the answer";
    line.append(subject, outcome);
    this.#list.prepend(line);
    while (this.#list.childElementCount > LINES_MAX) this.#list.lastElementChild!.remove();
    this.#empty.hidden = true;
    return line;
  }
}
