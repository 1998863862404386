// A history without end, of which every commit can be told from its seq: what a store holds says whether it is whole.

import type { Change, Json } from "../../../src/kv.ts";
import type { ClientRecord, Commit } from "../../../src/store.ts";

const GROUPS = 7;

/** Commit `seq` writes the four keys of one of seven groups, two of them large, and the record of one client. */
export function commitAt(seq: number): Commit {
  const changes = ["a", "b", "c", "d"].map((name, index): Change<Json> => {
    const key = `${seq % GROUPS}/${name}`;
    if (name === "d" && seq % 3 === 0) return { key, removed: true, seq };
    return { key, value: JSON.stringify({ seq, filling: "x".repeat(index % 2 === 0 ? 10 : 20_000) }), seq };
  });
  const record: ClientRecord = { settled: seq - 1, outcomes: [{ id: seq, seq }] };
  return { seq, changes, clients: new Map([["writer", record]]) };
}

/** The changes that a store shows after commit `head`. */
export function changesAt(head: number): Change<Json>[] {
  const changes: Change<Json>[] = [];
  for (let seq = Math.max(1, head - GROUPS + 1); seq <= head; seq++) changes.push(...commitAt(seq).changes);
  return changes;
}
