// One entry on the board: its value can be edited in place, and a failure is told where it was caused.

import type { ReadonlyEntry, ReadonlyJson } from "../client.ts";
import { cloneTemplate, find, focusedNear, formatNumber } from "./element.ts";
import { hasSucceeded } from "./ending.ts";
import type { Ending } from "./ending.ts";
import { toChangeLine } from "./change-line.ts";
import { GrowingList } from "./growing-list.ts";
import type { SeenChange } from "./history.ts";
import { readValue, shorten, writeValue } from "./value-text.ts";

/** What a row asks for. */
export interface RowEvents {
  /** Sets the value, if the entry is still as it was at `seq` (`null`: removed; undefined: in any case). */
  edit(key: string, value: ReadonlyJson, seq: number | null | undefined): Promise<Ending>;
  remove(key: string): Promise<Ending>;
  /** The changes of a key that were seen, the latest first. */
  history(key: string): SeenChange[];
  /** The person has left the editor. */
  closed(): void;
}

const FLASH_MS = 1600;
/** Changes that are shown of one entry. */
const CHANGES_MAX = 20;

export class EntryRow {
  readonly element: HTMLLIElement;
  readonly #root: ParentNode;
  readonly #value: HTMLButtonElement;
  readonly #seq: HTMLDataElement;
  readonly #history: HTMLButtonElement;
  readonly #changes: HTMLOListElement;
  readonly #changeList: GrowingList<SeenChange>;
  readonly #remove: HTMLButtonElement;
  readonly #note: HTMLElement;
  readonly #events: RowEvents;
  #entry: ReadonlyEntry;
  #isRemoved = false;
  #editor: HTMLFormElement | undefined;

  /** `root` holds the templates. */
  constructor(entry: ReadonlyEntry, events: RowEvents, root: ParentNode) {
    this.#entry = entry;
    this.#events = events;
    this.#root = root;
    this.element = cloneTemplate("entry-template", HTMLLIElement, root);
    this.#value = find("entry-value", HTMLButtonElement, this.element);
    this.#seq = find("entry-seq", HTMLDataElement, this.element);
    this.#history = find("entry-history", HTMLButtonElement, this.element);
    this.#changes = find("entry-changes", HTMLOListElement, this.element);
    this.#changeList = new GrowingList(this.#changes, CHANGES_MAX, toChangeLine);
    this.#remove = find("entry-remove", HTMLButtonElement, this.element);
    this.#note = find("entry-note", HTMLElement, this.element);
    const { key } = entry;
    this.element.dataset.key = key;
    const name = find("entry-key", HTMLElement, this.element);
    name.textContent = key;
    name.title = key;
    this.#remove.setAttribute("aria-label", `Remove ${key}`);
    this.#remove.title = `Remove ${key}`;
    this.#value.addEventListener("click", () => this.#openEditor());
    this.#history.addEventListener("click", () => this.#showHistory(this.#changes.hidden === true));
    this.#remove.addEventListener("click", () => void this.#tellFailure(this.#events.remove(key)));
    this.#paint();
  }

  /** Someone is writing in this row. It stays as long as they do, whatever becomes of the entry. */
  get isEdited(): boolean {
    return this.#editor !== undefined;
  }

  /** Shows another state of the same key. */
  update(entry: ReadonlyEntry): void {
    if (entry === this.#entry && !this.#isRemoved) return;
    this.#entry = entry;
    this.#isRemoved = false;
    this.#paint();
    this.#setNote(this.#editor ? `Changed meanwhile to: ${shorten(writeValue(entry.value))}` : "");
  }

  /** Says to whom edits it that the entry has been removed. */
  tellRemoved(): void {
    if (this.#isRemoved) return;
    this.#isRemoved = true;
    this.#setNote("Removed meanwhile.");
  }

  /** Draws the eye to a change, softly. */
  flash(): void {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.element.animate(
      { backgroundColor: ["var(--flash)", "transparent"] },
      { duration: FLASH_MS, easing: "ease-out" },
    );
  }

  /** Goes; if the keyboard's focus was inside, it moves on to `next`. */
  leave(next: Element | null): void {
    const focused = focusedNear(this.element);
    if (!this.element.contains(focused)) return this.element.remove();
    this.element.remove();
    // Whoever did not remove this entry must not find the finger on the removal of another.
    next?.querySelector<HTMLElement>(focused === this.#remove ? ".entry-remove" : ".entry-value")?.focus();
  }

  #paint(): void {
    const { key, value, seq, pending } = this.#entry;
    const text = writeValue(value);
    const shown = shorten(text);
    this.#value.textContent = shown;
    this.#value.dataset.kind = typeof value === "string" ? "string" : "json";
    this.#value.title = shown;
    this.#value.setAttribute("aria-label", `Edit ${key}: ${shown}`);
    this.#seq.value = String(seq);
    this.#seq.textContent = pending ? "pending" : formatNumber(seq);
    this.#history.title = pending ? "not acknowledged yet" : `last written at seq ${formatNumber(seq)}`;
    this.#history.setAttribute("aria-label", `${this.#seq.textContent}: changes of ${key} that were seen`);
    if (!this.#changes.hidden) this.#paintHistory();
    this.element.dataset.pending = String(pending ?? false);
  }

  #showHistory(isShown: boolean): void {
    this.#changes.hidden = !isShown;
    this.#history.ariaExpanded = String(isShown);
    if (isShown) this.#paintHistory();
  }

  #paintHistory(): void {
    this.#changeList.paint(this.#events.history(this.#entry.key));
  }

  /** What a person sees who edits now; the seq that a pending update will have is not known. */
  get #seqShown(): number | null | undefined {
    if (this.#isRemoved) return null;
    return this.#entry.pending ? undefined : this.#entry.seq;
  }

  #openEditor(): void {
    const editor = cloneTemplate("editor-template", HTMLFormElement, this.#root);
    const field = find("entry-editor-value", HTMLTextAreaElement, editor);
    const { key } = this.#entry;
    let basedOn = this.#seqShown;
    field.value = writeValue(this.#entry.value);
    field.setAttribute("aria-label", `Value of ${key}`);

    const save = async (): Promise<void> => {
      const ending = await this.#tellFailure(this.#events.edit(key, readValue(field.value), basedOn));
      // Whoever has seen what has changed meanwhile and saves once more, means it.
      if (!hasSucceeded(ending)) basedOn = this.#seqShown;
      else if (this.#editor === editor) this.#closeEditor();
    };
    editor.addEventListener("submit", (event) => {
      event.preventDefault();
      void save();
    });
    find("entry-editor-cancel", HTMLButtonElement, editor).addEventListener("click", () => this.#closeEditor());
    editor.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#closeEditor();
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target !== field) return;
      event.preventDefault();
      editor.requestSubmit();
    });

    this.#setNote("");
    this.#editor = editor;
    this.#value.hidden = true;
    this.element.classList.add("is-edited");
    this.#value.after(editor);
    field.focus();
    field.select();
  }

  #closeEditor(): void {
    const hadFocus = this.#editor?.contains(focusedNear(this.element));
    this.#editor?.remove();
    this.#editor = undefined;
    this.#value.hidden = false;
    this.element.classList.remove("is-edited");
    this.#setNote("");
    if (hadFocus) this.#value.focus();
    this.#events.closed();
  }

  async #tellFailure(ended: Promise<Ending>): Promise<Ending> {
    this.element.ariaBusy = "true";
    const ending = await ended;
    this.element.ariaBusy = null;
    this.#setNote(hasSucceeded(ending) ? "" : ending.words);
    return ending;
  }

  #setNote(text: string): void {
    this.#note.textContent = text;
    this.#note.hidden = text === "";
  }
}
