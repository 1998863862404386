// The inspector: a live picture of a store, and of this page's replica in it, in any page that has one. `headwater/inspector`.

import type { PrimaryOptions, Replica, TokenSource } from "../client.ts";
import { connectPrimary } from "../primary-client.ts";
import { openReplicas } from "../registry.ts";
import type { OpenReplica } from "../registry.ts";
import BASE_STYLE from "./base.css?inline";
import { Charts } from "./charts.ts";
import { find } from "./element.ts";
import { endingOf } from "./ending.ts";
import ENTRIES_STYLE from "./entries.css?inline";
import { EntryList } from "./entry-list.ts";
import { EventList } from "./event-list.ts";
import { FaultPanel } from "./fault-panel.ts";
import { oncePerFrame } from "./frame.ts";
import MARKUP from "./inspector.html?raw";
import STYLE from "./inspector.css?inline";
import { Observation } from "./observation.ts";
import { Picture } from "./picture.ts";
import PLOT_STYLE from "uplot/dist/uPlot.min.css?inline";

const ELEMENT = "headwater-inspector";

/** What the inspector is to show, and what it needs for that. */
export interface InspectorOptions {
  /** The replica to look at, as `openReplica` returned it. */
  replica: Pick<Replica, "status">;
  /** Says to the primary who asks for its status; the same as the replica's. */
  token?: TokenSource;
  /** Whether entries can be browsed and edited; true unless given. */
  entries?: boolean;
}

/** An inspector in a page. */
export interface Inspector {
  /** Its element, `<headwater-inspector>`; its `color-scheme` decides between light and dark. */
  readonly element: HTMLElement;
  /** Takes it out of the page, as whoever removes its element does, too. Faults that it has caused are over. */
  close(): void;
}

/**
 * Puts an inspector into an element of the page: the store's primary and its secondaries as they stand now, charts of the last two
 * minutes, buttons for faults, and the entries. It asks the primary for its status twice a second, while the page is visible.
 *
 * It brings its own styles, which do not reach outside, nor the page's inside. Throws if `replica` is not open in this page.
 */
export function mountInspector(place: Element, { replica, token, entries = true }: InspectorOptions): Inspector {
  const open = [...openReplicas()].find((one) => one.replica === replica);
  if (!open) throw new Error("the inspector needs a replica that this page has open");
  const element = createElement();
  const root = element.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [BASE_STYLE, PLOT_STYLE, ENTRIES_STYLE, STYLE].map(toSheet);
  root.innerHTML = MARKUP;
  place.append(element);
  const parts = [watch(root, open, token), new FaultPanel(root, open)];
  const panel = find("entries-panel", HTMLElement, root);
  panel.hidden = !entries;
  if (entries) parts.push(browse(panel, open.replica));
  element.removed = () => {
    for (const part of parts.splice(0)) part.close();
  };
  return {
    element,
    close: () => {
      element.removed();
      element.remove();
    },
  };
}

/** An element that tells when it was taken out of its page, and not only moved. */
interface InspectorElement extends HTMLElement {
  removed(): void;
}

/** Two copies of this library in one page share the first one's class. */
function createElement(): InspectorElement {
  if (!customElements.get(ELEMENT)) {
    customElements.define(
      ELEMENT,
      class extends HTMLElement implements InspectorElement {
        removed = (): void => {};
        disconnectedCallback(): void {
          queueMicrotask(() => !this.isConnected && this.removed());
        }
      },
    );
  }
  return document.createElement(ELEMENT) as InspectorElement;
}

interface Part {
  close(): void;
}

function watch(root: ShadowRoot, open: OpenReplica, token: TokenSource | undefined): Part {
  const { replica, url } = open;
  const options: PrimaryOptions = { url };
  if (token !== undefined) options.token = token;
  const client = connectPrimary(options);
  const charts = new Charts(root);
  const picture = new Picture(root, replica);
  const events = new EventList(root);
  let isOpen = true;
  const observation = new Observation(
    open,
    () => client.status(),
    oncePerFrame(() => {
      if (!isOpen) return;
      charts.paint(observation.samples, replica.status.secondaryId);
      picture.paint(observation.status, observation.failure, (id) => charts.colourOf(id));
      events.paint(observation.events);
    }),
  );
  return {
    close: () => {
      isOpen = false;
      observation.close();
      charts.close();
    },
  };
}

function browse(panel: HTMLElement, replica: Replica): Part {
  return new EntryList(panel, replica, {
    edit: (key, value, seq) => {
      const checks = seq === undefined ? [] : [{ key, seq }];
      return endingOf(replica.batch([{ insert: { key, value } }], { checks }));
    },
    remove: (key) => endingOf(replica.remove(key)),
  });
}

function toSheet(text: string): CSSStyleSheet {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(text);
  return sheet;
}
