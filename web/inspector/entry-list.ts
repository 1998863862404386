// A store's entries, to browse and edit: those of one prefix, by key, and of them no more than a window, so that a large store costs no
// more to show than a small one. Steps of the replica are gathered and painted once per frame; only rows that changed
// are touched.

import type { Replica, VisibleChange } from "../client.ts";
import { toNamedChangeLine } from "./change-line.ts";
import { find, formatNumber, showNumber } from "./element.ts";
import { EntryRow } from "./entry-row.ts";
import type { RowEvents } from "./entry-row.ts";
import MARKUP from "./entries.html?raw";
import { oncePerFrame } from "./frame.ts";
import { GrowingList } from "./growing-list.ts";
import { History } from "./history.ts";
import type { SeenChange } from "./history.ts";

/** Rows that are shown at first, and that each "show more" adds. */
const WINDOW_ENTRIES = 500;
/** If more than this has changed since the last frame, everything is new and nothing flashes. */
const FLASHES_MAX = 200;
/** Changes that are shown of all keys together. */
const ALL_CHANGES_MAX = 200;

export class EntryList {
  readonly #root: HTMLElement;
  readonly #replica: Replica;
  readonly #events: RowEvents;
  readonly #history: History;
  readonly #list: HTMLOListElement;
  readonly #count: HTMLDataElement;
  readonly #countWord: HTMLElement;
  readonly #columns: HTMLElement;
  readonly #empty: HTMLElement;
  readonly #rest: HTMLElement;
  readonly #all: HTMLDetailsElement;
  readonly #allList: GrowingList<SeenChange>;
  readonly #unsubscribeStatus: () => void;
  readonly #rows = new Map<string, EntryRow>();
  readonly #paint = oncePerFrame(() => this.#paintNow());
  #prefix = "";
  #windowEntries = WINDOW_ENTRIES;
  #matching = 0;
  /** The keys that have changed since the last frame, as far as they may flash. */
  #changed = new Set<string>();
  #unsubscribe = (): void => {};

  /** Fills `root`, which is empty. */
  constructor(root: HTMLElement, replica: Replica, events: Pick<RowEvents, "edit" | "remove">) {
    root.innerHTML = MARKUP;
    this.#root = root;
    this.#replica = replica;
    this.#history = new History(replica);
    const history = (key: string): SeenChange[] => this.#history.of(key, ALL_CHANGES_MAX);
    this.#events = { ...events, history, closed: this.#paint };
    this.#list = find("entries", HTMLOListElement, root);
    this.#count = find("entry-count", HTMLDataElement, root);
    this.#countWord = find("entry-count-word", HTMLElement, root);
    this.#columns = find("entry-columns", HTMLElement, root);
    this.#empty = find("entries-empty", HTMLElement, root);
    this.#rest = find("rest", HTMLElement, root);
    this.#all = find("all-changes", HTMLDetailsElement, root);
    const allList = find("all-changes-list", HTMLOListElement, root);
    this.#allList = new GrowingList(allList, ALL_CHANGES_MAX, toNamedChangeLine);
    find("show-more", HTMLButtonElement, root).addEventListener("click", () => this.#showMore());
    const prefix = find("prefix", HTMLInputElement, root);
    prefix.addEventListener("input", () => this.#choose(prefix.value));
    this.#all.addEventListener("toggle", this.#paint);
    // Whether an empty list means an empty store depends on the state.
    this.#unsubscribeStatus = replica.subscribeStatus(() => this.#rows.size === 0 && this.#paint());
    this.#choose("");
  }

  close(): void {
    this.#unsubscribe();
    this.#unsubscribeStatus();
    this.#history.close();
    this.#root.replaceChildren();
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
      // The row of a removed entry that somebody edits stays in its place.
      while (place instanceof HTMLElement && !shown.has(place.dataset.key!) && place.dataset.key! < entry.key)
        place = place.nextElementSibling;
      let row = this.#rows.get(entry.key);
      if (row) {
        row.update(entry);
        place = row.element.nextElementSibling;
      } else {
        row = new EntryRow(entry, this.#events, this.#root);
        this.#rows.set(entry.key, row);
        this.#list.insertBefore(row.element, place);
      }
      if (this.#changed.size <= FLASHES_MAX && this.#changed.has(entry.key)) row.flash();
    }
    this.#changed.clear();
    this.#paintCounts(entries.length);
    if (this.#all.open) this.#allList.paint(this.#history.list(this.#prefix, ALL_CHANGES_MAX));
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
    return "No entries.";
  }
}
