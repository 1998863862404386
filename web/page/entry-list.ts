// The board's entries: those of one prefix, by key, and of them no more than a window, so that a large store costs no
// more to show than a small one. Steps of the replica are gathered and painted once per frame; only rows that changed
// are touched.

import type { Replica, VisibleChange } from "../client.ts";
import { EntryRow } from "./entry-row.ts";
import type { RowEvents } from "./entry-row.ts";
import { oncePerFrame } from "./frame.ts";
import { find, formatNumber, showNumber } from "./page-element.ts";

/** Rows that are shown at first, and that each "show more" adds. */
const WINDOW_ENTRIES = 500;
/** If more than this has changed since the last frame, everything is new and nothing flashes. */
const FLASHES_MAX = 200;

export class EntryList {
  readonly #replica: Replica;
  readonly #events: RowEvents;
  readonly #list = find("entries", HTMLOListElement);
  readonly #count = find("entry-count", HTMLDataElement);
  readonly #countWord = find("entry-count-word", HTMLElement);
  readonly #columns = find("entry-columns", HTMLElement);
  readonly #empty = find("entries-empty", HTMLElement);
  readonly #rest = find("rest", HTMLElement);
  readonly #rows = new Map<string, EntryRow>();
  readonly #paint = oncePerFrame(() => this.#paintNow());
  #prefix = "";
  #windowEntries = WINDOW_ENTRIES;
  #matching = 0;
  /** The keys that have changed since the last frame, as far as they may flash. */
  #changed = new Set<string>();
  #unsubscribe = (): void => {};

  constructor(replica: Replica, events: Omit<RowEvents, "closed">) {
    this.#replica = replica;
    this.#events = { ...events, closed: this.#paint };
    find("show-more", HTMLButtonElement).addEventListener("click", () => this.#showMore());
    const prefix = find("prefix", HTMLInputElement);
    prefix.addEventListener("input", () => this.#choose(prefix.value));
    // Whether an empty list means an empty store depends on the state.
    replica.subscribeStatus(() => this.#rows.size === 0 && this.#paint());
    // Browsers keep what was typed across a reload.
    this.#choose(prefix.value);
  }

  #choose(prefix: string): void {
    this.#unsubscribe();
    this.#prefix = prefix;
    this.#windowEntries = WINDOW_ENTRIES;
    this.#changed.clear();
    this.#rows.clear();
    this.#list.replaceChildren();
    // Walking all of a large store for its count is for now only: from here on, the changes tell.
    this.#matching = this.#replica.list({ prefix }).length;
    this.#unsubscribe = this.#replica.subscribe({ prefix }, (changes) => this.#note(changes));
    this.#paint();
  }

  #note(changes: readonly VisibleChange[]): void {
    for (const change of changes) {
      const was = "oldValue" in change ? 1 : 0;
      const is = "value" in change ? 1 : 0;
      this.#matching += is - was;
      if (is === 1 && this.#changed.size <= FLASHES_MAX) this.#changed.add(change.key);
    }
    this.#paint();
  }

  #showMore(): void {
    const last = this.#list.lastElementChild;
    this.#windowEntries += WINDOW_ENTRIES;
    this.#paintNow();
    // The button may be gone with the last of the rest.
    last?.nextElementSibling?.querySelector<HTMLElement>(".entry-value")?.focus();
  }

  #paintNow(): void {
    const entries = this.#replica.list({ prefix: this.#prefix, limit: this.#windowEntries });
    const shown = new Set(entries.map(({ key }) => key));
    for (const [key, row] of this.#rows) {
      if (shown.has(key)) continue;
      if (row.isEdited) {
        if (!this.#replica.entry(key)) row.tellRemoved();
        continue;
      }
      this.#rows.delete(key);
      row.leave(row.element.nextElementSibling ?? row.element.previousElementSibling);
    }
    // What stayed is in order already, so rows are only ever put between others, never moved.
    let place = this.#list.firstElementChild;
    for (const entry of entries) {
      let row = this.#rows.get(entry.key);
      if (row) {
        row.update(entry);
        place = row.element.nextElementSibling;
      } else {
        row = new EntryRow(entry, this.#events);
        this.#rows.set(entry.key, row);
        this.#list.insertBefore(row.element, place);
      }
      if (this.#changed.size <= FLASHES_MAX && this.#changed.has(entry.key)) row.flash();
    }
    this.#changed.clear();
    this.#paintCounts(entries.length);
  }

  #paintCounts(shown: number): void {
    showNumber(this.#count, this.#matching);
    this.#countWord.textContent = this.#prefix === "" ? "" : "matching";
    const rest = this.#matching - shown;
    this.#rest.textContent = `${formatNumber(rest)} more`;
    this.#rest.parentElement!.hidden = rest <= 0;
    this.#columns.hidden = shown === 0;
    this.#empty.hidden = shown > 0;
    if (shown === 0) this.#empty.textContent = this.#emptyWords();
  }

  #emptyWords(): string {
    if (this.#prefix !== "") return `No key begins with “${this.#prefix}”.`;
    if (this.#replica.status.epoch === null) return "Nothing has come from the primary yet.";
    return "This store is empty. Insert its first entry above.";
  }
}
