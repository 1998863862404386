import { openReplica } from "headwater";
import { mountInspector } from "headwater/inspector";
import { z } from "zod";

const schema = { title: z.string(), "card/${string}": z.object({ text: z.string() }) };
const replica = await openReplica({ url: `/v1/stores/${location.hash.slice(1)}`, schema });
const draw = (): void => {
  document.querySelector("#title")!.textContent = replica.get("title") ?? "";
  const cards = replica.list({ prefix: "card/" }).map(({ value }) => {
    const item = document.createElement("li");
    item.textContent = value.text;
    return item;
  });
  document.querySelector("#cards")!.replaceChildren(...cards);
};
replica.subscribe({}, draw);
draw();
if (location.search === "?inspect") mountInspector(document.body, { replica });
Object.assign(window, { headwater: { replica } });
