// Where this replica stands, at a glance: painted at most once per frame.

import type { Replica, ReplicaStatus } from "../client.ts";
import { oncePerFrame } from "../inspector/frame.ts";
import { find, formatNumber, showNumber } from "../inspector/element.ts";

/** What each state means for the person who looks at it. */
const MEANINGS: Record<ReplicaStatus["state"], string> = {
  offline: "No connection. You see what this browser has; what you write now fails, unless it is kept here.",
  joining: "Connected, and asking the primary to be let in.",
  "catching-up": "Fetching what has changed meanwhile.",
  following: "Every change arrives as it is made.",
  paused: "Following, but nobody waits for this replica while its page rests.",
};

export class StatusStrip {
  readonly #strip = find("status", HTMLElement);
  readonly #state = find("status-state", HTMLElement);
  readonly #meaning = find("status-meaning", HTMLElement);
  readonly #inSync = find("status-in-sync", HTMLElement);
  readonly #seq = find("status-seq", HTMLDataElement);
  readonly #head = find("status-head", HTMLDataElement);
  readonly #lag = find("status-lag", HTMLDataElement);
  readonly #persisted = find("status-persisted", HTMLDataElement);
  readonly #pending = find("status-pending", HTMLDataElement);
  readonly #epoch = find("status-epoch", HTMLElement);
  readonly #lastError = find("status-last-error", HTMLElement);
  readonly #lastErrorLine = find("status-last-error-line", HTMLElement);

  follow(replica: Replica): void {
    const paint = oncePerFrame(() => this.#paint(replica.status));
    replica.subscribeStatus(paint);
    this.#paint(replica.status);
  }

  /** There is no replica, and there will be none. */
  showFailure(reason: string): void {
    this.#strip.dataset.state = "offline";
    setText(this.#state, "failed");
    setText(this.#meaning, "The replica could not be opened. Reload to try again.");
    setText(this.#lastError, reason);
    this.#lastErrorLine.hidden = false;
  }

  #paint({ state, inSync, seq, head, lagMs, persisted, pending, epoch, lastError }: ReplicaStatus): void {
    this.#strip.dataset.state = state;
    // Screen readers announce these two whenever they are set, so they are set only to something new.
    setText(this.#state, state);
    setText(this.#meaning, epoch === null && state === "offline" ? NO_COPY : MEANINGS[state]);
    this.#inSync.textContent = inSync ? "yes" : "no";
    this.#inSync.dataset.good = String(inSync);
    showNumber(this.#seq, seq);
    showNumber(this.#head, head);
    // Without a connection nobody here knows how far the primary has gone on.
    if (state === "offline" || state === "joining") showNumber(this.#lag, null, "unknown");
    else showNumber(this.#lag, lagMs, `${formatNumber(Math.round(lagMs))} ms`);
    showNumber(this.#persisted, persisted, persisted === null ? "no" : formatNumber(persisted));
    showNumber(this.#pending, pending);
    this.#epoch.textContent = epoch?.slice(0, 8) ?? "none";
    this.#epoch.title = epoch ?? "";
    setText(this.#lastError, lastError ?? "");
    this.#lastErrorLine.hidden = lastError === null;
  }
}

const NO_COPY = "No connection, and this browser has no copy of this store yet.";

function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
