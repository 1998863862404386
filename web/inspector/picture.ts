// The picture of a store: its primary, and below it every secondary with what it is, how it stands and how far it has come.

import type { Replica, SecondaryRow, StoreStatus } from "../client.ts";
import { cloneTemplate, find, formatNumber, showNumber } from "./element.ts";

/** Drawn one by one; of more it is said how many. */
const CARDS_MAX = 60;
const FLASH_MS = 900;

const ROLES: Record<SecondaryRow["mode"], string> = {
  durable: "on disk",
  memory: "in memory",
  reader: "stream",
};

const ORDER: SecondaryRow["state"][] = ["in-sync", "catching-up", "lagging", "following"];

/** One secondary's card, and what it shows. */
interface Card {
  element: HTMLLIElement;
  acked: number;
}

export class Picture {
  readonly #root: ParentNode;
  readonly #replica: Replica;
  readonly #primary: HTMLElement;
  readonly #list: HTMLOListElement;
  readonly #rest: HTMLElement;
  readonly #cards = new Map<string, Card>();

  constructor(root: ParentNode, replica: Replica) {
    this.#root = root;
    this.#replica = replica;
    this.#primary = find("primary", HTMLElement, root);
    this.#list = find("secondaries", HTMLOListElement, root);
    this.#rest = find("secondaries-rest", HTMLElement, root);
  }

  /** `colourOf` names the colour in which a secondary is drawn elsewhere. */
  paint(
    status: StoreStatus | undefined,
    failure: string | undefined,
    colourOf: (secondaryId: string) => string | undefined,
  ): void {
    this.#paintPrimary(status, failure);
    const rows = status ? this.#sort(status.secondaries) : this.#ownRow();
    const shown = new Set(rows.slice(0, CARDS_MAX).map(({ id }) => id));
    for (const [id, { element }] of this.#cards) {
      if (shown.has(id)) continue;
      this.#cards.delete(id);
      element.remove();
    }
    rows.slice(0, CARDS_MAX).forEach((row, place) => {
      const card = this.#cards.get(row.id) ?? this.#addCard(row.id);
      this.#paintCard(card, row, status?.head, colourOf(row.id));
      if (this.#list.children[place] !== card.element)
        this.#list.insertBefore(card.element, this.#list.children[place] ?? null);
    });
    this.#rest.textContent = `and ${formatNumber(rows.length - CARDS_MAX)} more`;
    this.#rest.hidden = rows.length <= CARDS_MAX;
  }

  #paintPrimary(status: StoreStatus | undefined, failure: string | undefined): void {
    this.#primary.dataset.state = status ? "reachable" : failure === undefined ? "asked" : "unreachable";
    const word = find("primary-state", HTMLElement, this.#root);
    word.textContent = status ? "reachable" : failure === undefined ? "being asked" : "unreachable";
    const reason = find("primary-failure", HTMLElement, this.#root);
    reason.textContent = failure ?? "";
    reason.hidden = failure === undefined;
    const unknown = status ? undefined : "–";
    showNumber(find("primary-head", HTMLDataElement, this.#root), status?.head ?? null, unknown);
    showNumber(find("primary-entries", HTMLDataElement, this.#root), status?.entries ?? null, unknown);
    showNumber(find("primary-floor", HTMLDataElement, this.#root), status?.floor ?? null, unknown);
    const epoch = find("primary-epoch", HTMLElement, this.#root);
    epoch.textContent = status?.epoch.slice(0, 8) ?? "–";
    epoch.title = status?.epoch ?? "";
    const inSync = status?.secondaries.filter(({ state }) => state === "in-sync").length;
    showNumber(
      find("in-sync-count", HTMLDataElement, this.#root),
      inSync ?? null,
      inSync === undefined ? "–" : undefined,
    );
  }

  /** One's own first, then those whom writers wait for. */
  #sort(rows: readonly SecondaryRow[]): SecondaryRow[] {
    const own = this.#replica.status.secondaryId;
    const rank = ({ id, state }: SecondaryRow): number => (id === own ? -1 : ORDER.indexOf(state));
    const sorted = rows.toSorted((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : 1));
    return sorted[0]?.id === own ? sorted : [...this.#ownRow(), ...sorted];
  }

  /** This browser's replica, when the primary says nothing of it. */
  #ownRow(): SecondaryRow[] {
    const { secondaryId, inSync, persisted, seq, lagMs } = this.#replica.status;
    if (secondaryId === null) return [];
    const mode = persisted === null ? "memory" : "durable";
    return [{ id: secondaryId, mode, state: inSync ? "in-sync" : "following", acked: persisted ?? seq, lagMs }];
  }

  #addCard(id: string): Card {
    const element = cloneTemplate("secondary-template", HTMLLIElement, this.#root);
    element.dataset.id = id;
    const name = find("secondary-id", HTMLElement, element);
    name.textContent = id.slice(0, 8);
    name.title = id;
    const card = { element, acked: -1 };
    this.#cards.set(id, card);
    return card;
  }

  #paintCard(card: Card, row: SecondaryRow, head: number | undefined, colour: string | undefined): void {
    const { element } = card;
    const own = this.#replica.status;
    const isOwn = row.id === own.secondaryId;
    // One's own says more of itself than the primary knows.
    const isAway = isOwn && (own.state === "offline" || own.state === "joining" || own.state === "paused");
    const state = isAway ? own.state : row.state;
    element.dataset.state = state;
    element.dataset.own = String(isOwn);
    find("secondary-own", HTMLElement, element).hidden = !isOwn;
    find("secondary-state", HTMLElement, element).textContent = state;
    find("secondary-role", HTMLElement, element).textContent = ROLES[row.mode];
    find("secondary-colour", HTMLElement, element).style.setProperty(
      "--colour",
      colour ? `var(${colour})` : "transparent",
    );
    const acked = find("secondary-acked", HTMLDataElement, element);
    showNumber(acked, row.acked);
    // Whoever holds some prefixes only is not told of other writes: then nothing is owed.
    const behind = row.lagMs === 0 ? 0 : Math.max(0, (head ?? row.acked) - row.acked);
    find("secondary-behind", HTMLElement, element).textContent = behind === 0 ? "" : `−${formatNumber(behind)}`;
    const lagMs = Math.round(row.lagMs);
    showNumber(find("secondary-lag", HTMLDataElement, element), lagMs, `${formatNumber(lagMs)} ms`);
    const trouble = find("secondary-error", HTMLElement, element);
    const error = isOwn ? (own.lastError ?? "") : "";
    if (trouble.textContent !== error) trouble.textContent = error;
    trouble.hidden = error === "";
    if (card.acked >= 0 && row.acked > card.acked) flash(acked);
    card.acked = row.acked;
  }
}

/** Something has come down to it, and its word has come up. */
function flash(element: HTMLElement): void {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  element.animate({ backgroundColor: ["var(--flash)", "transparent"] }, { duration: FLASH_MS, easing: "ease-out" });
}
