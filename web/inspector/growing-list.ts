// A list that grows at its head: what stands there already stays as it is, so that it can be selected and is not read out again.

export class GrowingList<Item extends object> {
  readonly #list: HTMLOListElement;
  readonly #toLine: (item: Item) => HTMLLIElement;
  readonly #max: number;
  #shown: readonly Item[] = [];

  /** Shows at most so many. */
  constructor(list: HTMLOListElement, max: number, toLine: (item: Item) => HTMLLIElement) {
    this.#list = list;
    this.#max = max;
    this.#toLine = toLine;
  }

  /** The latest first. Items are told apart as objects. */
  paint(items: readonly Item[]): void {
    const [latest] = this.#shown;
    const known = latest ? items.indexOf(latest) : -1;
    const fresh = (known < 0 ? items : items.slice(0, known)).slice(0, this.#max).map(this.#toLine);
    if (known < 0) this.#list.replaceChildren(...fresh);
    else this.#list.prepend(...fresh);
    while (this.#list.childElementCount > this.#max) this.#list.lastElementChild!.remove();
    this.#shown = items;
  }
}
