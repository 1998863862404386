// The fixed elements of a page or panel, found once, by the hooks that tests use as well.

type ElementClass<Found extends Element> = abstract new () => Found;

/** The one element with that `data-testid`. A page without it is broken, so it throws. */
export function find<Found extends Element>(
  testId: string,
  kind: ElementClass<Found>,
  root: ParentNode = document,
): Found {
  return select(`[data-testid="${testId}"]`, kind, root);
}

export function select<Found extends Element>(
  selector: string,
  kind: ElementClass<Found>,
  root: ParentNode = document,
): Found {
  const found = root.querySelector(selector);
  if (found instanceof kind) return found;
  throw new Error(`the page has no ${kind.name} ${selector}`);
}

/** What has the keyboard's focus in the tree that an element is in: in a shadow root it is not the document that knows. */
export const focusedNear = (element: Element): Element | null =>
  (element.getRootNode() as Document | ShadowRoot).activeElement;

/** A copy of the one element that a template holds. */
export function cloneTemplate<Found extends Element>(
  id: string,
  kind: ElementClass<Found>,
  root: ParentNode = document,
): Found {
  const copy = select(`#${id}`, HTMLTemplateElement, root).content.firstElementChild?.cloneNode(true);
  if (copy instanceof kind) return copy;
  throw new Error(`the template ${id} holds no ${kind.name}`);
}

/** Shows a number for people, and as it is in `value`, for programs. */
export function showNumber(element: HTMLDataElement, value: number | null, text = formatNumber(value ?? 0)): void {
  element.value = value === null ? "" : String(value);
  element.textContent = text;
}

const NUMBERS = new Intl.NumberFormat("en");

export function formatNumber(value: number): string {
  return NUMBERS.format(value);
}
