// `watch`: the steps of a store's state, for as long as one wants to see them.

import type { WatchOptions, WatchedStep } from "../web/client.ts";
import type { Connection } from "./connection.ts";
import { CommandFailedError } from "./failure.ts";
import { paint, showKey, showValue } from "./output.ts";
import type { Output } from "./output.ts";

export async function watch(
  connection: Connection,
  output: Output,
  { prefix = "", since }: { prefix?: string; since?: string },
): Promise<void> {
  const options = since === undefined ? {} : { since: await findState(connection, since) };
  for await (const step of connection.connect((fetch) => tellLosses(fetch, output)).watch(options)) {
    const changes = step.changes.filter(({ key }) => key.startsWith(prefix));
    if (changes.length === 0 && !step.reset) continue;
    await output.result({ ...step, changes }, () => describe({ ...step, changes }));
  }
}

/** `EPOCH:SEQ` names a state of any history; a seq alone one of the present history. */
async function findState(connection: Connection, since: string): Promise<NonNullable<WatchOptions["since"]>> {
  const [, epoch, seq] = /^(?:(.+):)?(\d+)$/.exec(since) ?? [];
  if (seq === undefined) throw new CommandFailedError("usage", `--since takes SEQ or EPOCH:SEQ, not ${since}`);
  return { epoch: epoch ?? (await connection.connect().status()).epoch, seq: Number(seq) };
}

/** The client connects anew by itself. That it asks again shows that the connection was lost. */
function tellLosses(ask: typeof fetch, output: Output): typeof fetch {
  let state: "new" | "connected" | "lost" = "new";
  return async (...request) => {
    if (state === "connected") {
      state = "lost";
      output.note("connection-lost", "the connection is lost; connecting again");
    }
    const response = await ask(...request);
    if (state === "lost" && response.ok) output.note("connected-again", "connected again");
    if (response.ok) state = "connected";
    return response;
  };
}

function describe({ reset, seq, changes }: WatchedStep): string {
  const words = changes.map((change) =>
    "value" in change
      ? `${showKey(change.key)} = ${showValue(change.value)}`
      : paint("red", `${showKey(change.key)} removed`),
  );
  const head = paint("bold", `seq ${seq}`);
  return [reset ? `${head} ${paint("yellow", "(all there is)")}` : head, ...words].join("  ");
}
