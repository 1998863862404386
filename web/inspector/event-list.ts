// What has happened to the in-sync set and to this replica, the latest first. Read out by screen readers as it comes.

import { find } from "./element.ts";
import type { StoreEvent } from "./observation.ts";

const LINES_MAX = 50;
const TIME = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export class EventList {
  readonly #list: HTMLOListElement;
  readonly #empty: HTMLElement;
  #latest: StoreEvent | undefined;

  constructor(root: ParentNode) {
    this.#list = find("events", HTMLOListElement, root);
    this.#empty = find("events-empty", HTMLElement, root);
  }

  /** Only what is new is added: what stands there is not read out again. */
  paint(events: readonly StoreEvent[]): void {
    const known = this.#latest ? events.indexOf(this.#latest) : -1;
    const fresh = known < 0 ? events : events.slice(0, known);
    this.#latest = events[0];
    this.#empty.hidden = events.length > 0;
    if (fresh.length > 0) this.#list.prepend(...fresh.slice(0, LINES_MAX).map(toLine));
    while (this.#list.childElementCount > LINES_MAX) this.#list.lastElementChild!.remove();
  }
}

function toLine({ at, words, tone }: StoreEvent): HTMLLIElement {
  const line = document.createElement("li");
  line.dataset.testid = "event";
  line.dataset.tone = tone;
  const time = document.createElement("time");
  time.textContent = TIME.format(at);
  line.append(time, ` ${words}`);
  return line;
}
