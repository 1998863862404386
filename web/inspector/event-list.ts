// What has happened to the in-sync set and to this replica, the latest first. Read out by screen readers as it comes.

import { find } from "./element.ts";
import { GrowingList } from "./growing-list.ts";
import type { StoreEvent } from "./observation.ts";

const LINES_MAX = 50;
const TIME = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export class EventList {
  readonly #list: GrowingList<StoreEvent>;
  readonly #empty: HTMLElement;

  constructor(root: ParentNode) {
    this.#list = new GrowingList(find("events", HTMLOListElement, root), LINES_MAX, toLine);
    this.#empty = find("events-empty", HTMLElement, root);
  }

  paint(events: readonly StoreEvent[]): void {
    this.#empty.hidden = events.length > 0;
    this.#list.paint(events);
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
