import { openReplica } from "headwater";

const replica = await openReplica({ url: `/v1/stores/${location.hash.slice(1)}` });
const draw = (): void => {
  document.querySelector("#title")!.textContent = String(replica.get("title") ?? "");
  const cards = replica.list({ prefix: "card/" }).map(({ value }) => {
    const item = document.createElement("li");
    item.textContent = String(value);
    return item;
  });
  document.querySelector("#cards")!.replaceChildren(...cards);
};
replica.subscribe({}, draw);
draw();
Object.assign(window, { headwater: { replica } });
