// A change that was seen, as a line of a list.

import { formatNumber } from "./element.ts";
import type { SeenChange } from "./history.ts";
import { shorten, writeValue } from "./value-text.ts";

const TIME = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** Of one key, which is known. */
export function toChangeLine({ value, seq, at }: SeenChange): HTMLLIElement {
  const line = document.createElement("li");
  line.dataset.testid = "change";
  const [time, revision, text] = ["time", "data", "span"].map((name) => document.createElement(name));
  time!.textContent = TIME.format(at);
  revision!.textContent = `seq ${formatNumber(seq)}`;
  text!.textContent = value === undefined ? "removed" : shorten(writeValue(value));
  line.append(time!, revision!, text!);
  return line;
}

/** Of any key. */
export function toNamedChangeLine(change: SeenChange): HTMLLIElement {
  const line = toChangeLine(change);
  const name = document.createElement("b");
  name.textContent = `${change.key} `;
  line.lastElementChild!.prepend(name);
  return line;
}
