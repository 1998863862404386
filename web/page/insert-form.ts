// The form that inserts an entry, and the choices that go for the whole page: who must acknowledge, and whether updates
// are kept until they can be sent.

import type { Ack, ReadonlyJson, ReplicaUpdateOptions } from "../client.ts";
import { hasSucceeded } from "../inspector/ending.ts";
import type { Ending } from "../inspector/ending.ts";
import { find, select } from "../inspector/element.ts";
import { readValue } from "../inspector/value-text.ts";

export class InsertForm {
  readonly #form = find("insert-form", HTMLFormElement);
  readonly #key = find("insert-key", HTMLInputElement);
  readonly #value = find("insert-value", HTMLInputElement);
  readonly #ack = find("ack", HTMLSelectElement);
  readonly #ackCount = find("ack-count", HTMLInputElement);
  readonly #queue = find("queue", HTMLInputElement);

  constructor() {
    this.#ack.addEventListener("change", () => this.#showAckCount());
    // Browsers keep the choice across a reload.
    this.#showAckCount();
  }

  get options(): ReplicaUpdateOptions {
    const isKept = this.#queue.checked;
    return { ack: this.#chosenAck, optimistic: isKept, queue: isKept };
  }

  get #chosenAck(): Ack {
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
      const ending = await insert(key, readValue(text));
      // What did not succeed, or has been overwritten for the next insert already, stays.
      if (!hasSucceeded(ending) || this.#key.value !== key || this.#value.value !== text) return;
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
