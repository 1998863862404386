// The form that inserts an entry, and the choice of who must acknowledge, which goes for the whole page.

import type { Ack, ReadonlyJson } from "../client.ts";
import type { Ending } from "./operation-log.ts";
import { find, select } from "./page-element.ts";
import { readValue } from "./value-text.ts";

export class InsertForm {
  readonly #form = find("insert-form", HTMLFormElement);
  readonly #key = find("insert-key", HTMLInputElement);
  readonly #value = find("insert-value", HTMLInputElement);
  readonly #ack = find("ack", HTMLSelectElement);
  readonly #ackCount = find("ack-count", HTMLInputElement);

  constructor() {
    this.#ack.addEventListener("change", () => this.#showAckCount());
    // Browsers keep the choice across a reload.
    this.#showAckCount();
  }

  get ack(): Ack {
    const { value } = this.#ack;
    if (value === "primary") return "primary";
    return value === "number" ? this.#ackCount.valueAsNumber : "all";
  }

  /** Lets the person insert. */
  open(insert: (key: string, value: ReadonlyJson) => Promise<Ending>): void {
    const submit = async (): Promise<void> => {
      const key = this.#key.value;
      const text = this.#value.value;
      this.#key.focus();
      this.#key.select();
      const { result } = await insert(key, readValue(text));
      // What did not succeed, or has been overwritten for the next insert already, stays.
      if (result !== "acked" || this.#key.value !== key || this.#value.value !== text) return;
      this.#key.value = "";
      this.#value.value = "";
    };
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void submit();
    });
    select("fieldset", HTMLFieldSetElement, this.#form).disabled = false;
  }

  #showAckCount(): void {
    const isCounted = this.#ack.value === "number";
    this.#ackCount.disabled = !isCounted;
    this.#ackCount.parentElement!.hidden = !isCounted;
  }
}
