// The button that opens the inspector on this page, which is fetched only then. Whether it is open stands in the page's address.

import type { Replica } from "../client.ts";
import { find } from "../inspector/element.ts";
import type { Inspector } from "../inspector/index.ts";

const PARAMETER = "inspect";

export function offerInspector(replica: Replica): void {
  const button = find("inspect", HTMLButtonElement);
  const place = find("inspector-place", HTMLElement);
  let opened: Promise<Inspector> | undefined;
  const show = async (isShown: boolean): Promise<void> => {
    button.ariaExpanded = String(isShown);
    place.hidden = !isShown;
    remember(isShown);
    const before = opened;
    opened = isShown ? mount(place, replica) : undefined;
    (await before)?.close();
  };
  button.addEventListener("click", () => void show(place.hidden === true));
  button.disabled = false;
  if (new URLSearchParams(location.search).has(PARAMETER)) void show(true);
}

async function mount(place: HTMLElement, replica: Replica): Promise<Inspector> {
  const { mountInspector } = await import("../inspector/index.ts");
  // The board has the entries already.
  return mountInspector(place, { replica, entries: false });
}

function remember(isShown: boolean): void {
  const url = new URL(location.href);
  if (isShown) url.searchParams.set(PARAMETER, "");
  else url.searchParams.delete(PARAMETER);
  history.replaceState(null, "", url);
}
