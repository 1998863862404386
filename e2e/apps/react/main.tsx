import { openReplica } from "headwater";
import type { ReadonlyEntry } from "headwater";
import { ReplicaProvider, useEntries, useEntry, useReplica, useStatus } from "headwater/react";
import { Suspense, memo } from "react";
import { createRoot } from "react-dom/client";

/** How often each component was drawn, for the test. */
const draws: Record<string, number> = {};
const drawn = (name: string): void => void (draws[name] = (draws[name] ?? 0) + 1);

function Title() {
  drawn("title");
  return <h1 id="title">{String(useEntry("title")?.value ?? "")}</h1>;
}

const Card = memo(function Card({ entry }: { entry: ReadonlyEntry }) {
  drawn(entry.key);
  return <li>{String(entry.value)}</li>;
});

function Cards() {
  drawn("cards");
  const cards = useEntries({ prefix: "card/" });
  return (
    <ul id="cards">
      {cards.map((entry) => (
        <Card key={entry.key} entry={entry} />
      ))}
    </ul>
  );
}

function Status() {
  const replica = useReplica();
  Object.assign(window, { headwater: { replica }, draws });
  return <p id="status">{useStatus()?.state}</p>;
}

createRoot(document.querySelector("#root")!).render(
  <ReplicaProvider replica={openReplica({ url: `/v1/stores/${location.hash.slice(1)}` })}>
    <Suspense fallback={<p>Opening</p>}>
      <Title />
      <Cards />
      <Status />
    </Suspense>
  </ReplicaProvider>,
);
