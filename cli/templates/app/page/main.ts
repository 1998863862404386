import { openReplica } from "headwater";

interface Item {
  text: string;
}

const form = document.querySelector("form")!;
const input = document.querySelector("input")!;
const list = document.querySelector("ul")!;
const output = document.querySelector("output")!;

const replica = await openReplica<{ [key: `item/${string}`]: Item }>({ url: "/v1/stores/groceries" });

/** Reads are local and synchronous, so the whole list can be drawn whenever something changes. */
function draw(): void {
  list.replaceChildren(...replica.list({ prefix: "item/" }).map(({ key, value, pending }) => row(key, value, pending)));
}

function row(key: `item/${string}`, { text }: Item, isPending = false): HTMLLIElement {
  const item = document.createElement("li");
  item.classList.toggle("pending", isPending);
  const name = document.createElement("span");
  name.textContent = text;
  const done = document.createElement("button");
  done.textContent = "Done";
  // Shown at once, and kept on this disk until the primary has answered, days offline included.
  done.addEventListener("click", () => void replica.remove(key, { optimistic: true, queue: true }).catch(tell));
  item.append(name, done);
  return item;
}

function add(text: string): void {
  const key = `item/${new Date().toISOString()}-${crypto.randomUUID()}` as const;
  replica
    .insert(key, { text }, { optimistic: true, queue: true })
    .then(({ replicas }) => (output.value = `on ${replicas} ${replicas === 1 ? "screen" : "screens"}`))
    .catch(tell);
}

function tell(error: Error): void {
  output.value = error.message;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  add(input.value);
  form.reset();
});
replica.subscribe({ prefix: "item/" }, draw);
draw();
