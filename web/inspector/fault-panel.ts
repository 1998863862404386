// Buttons for what goes wrong in real life, here and now, and a writer to go with it.

import { randomId } from "../random-id.ts";
import type { Fault } from "../feed.ts";
import type { ReplicaStatus } from "../client.ts";
import type { OpenReplica } from "../registry.ts";
import { find } from "./element.ts";

/** How often the writer writes, and where: one key of this page's own. */
const WRITE_MS = 200;
const WRITER_PREFIX = "inspector/";
/** What cannot be taken back is asked for twice within this. */
const CONFIRM_MS = 4000;
/** A double click, or a key that is held down, is no second thought. */
const SLIP_MS = 600;

export class FaultPanel {
  readonly #open: OpenReplica;
  readonly #faults = new Set<Fault>();
  readonly #trouble: HTMLElement;
  readonly #key = `${WRITER_PREFIX}${randomId().slice(0, 8)}`;
  #leave = (): void => {};
  #writing: ReturnType<typeof setInterval> | undefined;
  #written = 0;

  constructor(root: ParentNode, open: OpenReplica) {
    this.#open = open;
    this.#addSwitch(find("fault-offline", HTMLButtonElement, root), "offline");
    const stall = find("fault-stalled", HTMLButtonElement, root);
    this.#addSwitch(stall, "stalled-disk");
    // What is kept in memory alone never acks.
    const offer = ({ epoch, persisted }: ReplicaStatus): void => {
      stall.disabled = epoch !== null && persisted === null && !this.#faults.has("stalled-disk");
      stall.title = stall.disabled ? "This replica is kept in memory only, and acks nothing." : "";
    };
    offer(open.replica.status);
    this.#leave = open.replica.subscribeStatus(offer);
    find("fault-drop", HTMLButtonElement, root).addEventListener("click", () => open.drop());
    onConfirmed(find("fault-wipe", HTMLButtonElement, root), () => open.wipe());
    const writer = find("writer", HTMLButtonElement, root);
    writer.addEventListener("click", () => {
      if (this.#writing === undefined) this.#startWriting();
      else this.#stopWriting();
      writer.ariaPressed = String(this.#writing !== undefined);
    });
    find("writer-key", HTMLElement, root).textContent = this.#key;
    this.#trouble = find("writer-trouble", HTMLElement, root);
  }

  /** Everything is right again. */
  close(): void {
    this.#stopWriting();
    this.#leave();
    this.#open.setFaults(this, []);
  }

  #addSwitch(button: HTMLButtonElement, fault: Fault): void {
    button.addEventListener("click", () => {
      const isOn = !this.#faults.has(fault);
      if (isOn) this.#faults.add(fault);
      else this.#faults.delete(fault);
      button.ariaPressed = String(isOn);
      this.#open.setFaults(this, [...this.#faults]);
    });
  }

  #startWriting(): void {
    this.#trouble.hidden = true;
    this.#writing = setInterval(() => {
      this.#written += 1;
      // How it ends is shown by the chart, but for what may never be written.
      this.#open.replica.insert(this.#key, this.#written).catch((error: { code?: string; message: string }) => {
        const isForGood = error.code === "forbidden" || error.code === "invalid-value";
        if (!isForGood || !this.#trouble.hidden) return;
        this.#trouble.textContent = error.message;
        this.#trouble.hidden = false;
      });
    }, WRITE_MS);
  }

  /** Nothing of it stays in the store. */
  #stopWriting(): void {
    if (this.#writing === undefined) return;
    clearInterval(this.#writing);
    this.#writing = undefined;
    this.#open.replica.remove(this.#key).catch(() => {});
  }
}

/** Calls back when the button is pressed a second time, while it asks for that. */
function onConfirmed(button: HTMLButtonElement, confirmed: () => void): void {
  const label = button.textContent;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let askedAt = 0;
  const rest = (): void => {
    clearTimeout(timer);
    timer = undefined;
    button.textContent = label;
  };
  button.addEventListener("click", () => {
    const now = performance.now();
    if (timer === undefined) {
      askedAt = now;
      button.textContent = "Press again to wipe";
      timer = setTimeout(rest, CONFIRM_MS);
    } else if (now - askedAt > SLIP_MS) {
      rest();
      confirmed();
    }
  });
  button.addEventListener("blur", rest);
}
