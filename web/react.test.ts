import { createElement } from "react";
import type { ReactNode } from "react";
import { renderToString } from "react-dom/server";
import { expect, test } from "vitest";
import { ReplicaProvider, useEntries, useEntry, useReplica, useStatus } from "./react.ts";

function Page(): ReactNode {
  const shown = [useReplica(), useEntry("a")?.key, useEntries({ prefix: "a" }).length, useStatus()?.state];
  return createElement("p", null, JSON.stringify(shown));
}

test("on a server there is nothing to read, and the hooks say so", () => {
  const text = "<p>[null,null,0,null]</p>";
  expect(renderToString(createElement(Page)).replaceAll("&quot;", '"')).toBe(text);
  expect(renderToString(createElement(ReplicaProvider, { replica: undefined }, createElement(Page)))).toBe(text);
});
