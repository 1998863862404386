// What runs inside the pages of the fault specs: it looks at every state that the page's replica shows, writes without end
// when told to, and tells both, so that nothing of it is lost with the page.

import type { TabStatus } from "./kit/index.ts";
import type { BoardReplica } from "./tab.ts";

export type Outcome =
  | { result: "acked"; seq: number; replicas: number; ms: number }
  | { result: "failed"; code: string; applied?: boolean; seq?: number; ms: number }
  | { result: "unknown"; ms: number };

export type WitnessLine =
  | { type: "outcome"; key: string; value: string; outcome: Outcome }
  | { type: "status"; status: TabStatus }
  | { type: "violation"; what: string };

export interface PageWitness {
  /** Watches a replica from now on. */
  follow(replica: BoardReplica): void;
  /** Writes one value, and says what became of it. */
  write(key: string, value: string): Promise<Outcome>;
  /** Keeps several writes on their way until it is told to stop; each key is written again and again. */
  keepWriting(name: string): void;
  /** Resolves when everything that was begun has ended. */
  stopWriting(): Promise<void>;
  acked(): number;
  /** Everything that has ever been shown. */
  shown(): string[];
  status(): TabStatus;
  /** How often the replica has stopped following. */
  departures(): number;
  entries(): { key: string; value: unknown; seq: number }[];
}

declare global {
  interface Window {
    witness: PageWitness;
    tellWitness(line: WitnessLine): Promise<void>;
  }
}

/** Given to every document before its own scripts. It stands alone: nothing of this module is there in the page. */
export function watchPage(): void {
  const CHAINS = 4;
  const KEYS = 20;
  const PAUSE_MS = 10;
  /** After so long a replica that cannot follow lets its users go, and it tells how far it is behind only now and then. */
  const LET_GO_MS = 3000;
  const LAG_REPORT_MS = 500;
  const entrySeqs = new Map<string, number>();
  const shown = new Set<string>();
  let replica: BoardReplica;
  let epoch: string | null = null;
  let seq = 0;
  let acked = 0;
  let departures = 0;
  let wasFollowing = false;
  let told = "";
  const writers = { isStopped: false };
  let written = 0;
  let writing: Promise<unknown> = Promise.resolve();

  const tell = (line: WitnessLine): void => void window.tellWitness(line);
  const mustHold = (isRight: boolean, what: string): void => {
    if (!isRight) tell({ type: "violation", what: `${what} (${JSON.stringify(replica.status)})` });
  };

  /** Nobody removes anything here, so an entry that has gone is a step back as well. */
  function look(): void {
    const { status } = replica;
    mustHold(epoch === null || status.epoch === epoch, `the epoch changes from ${epoch}`);
    mustHold(status.seq >= seq, `the seq falls from ${seq}`);
    ({ epoch, seq } = status);
    const entries = replica.list();
    mustHold(entries.length >= entrySeqs.size, `${entrySeqs.size} entries become ${entries.length}`);
    for (const { key, value, seq: entrySeq } of entries) {
      const before = entrySeqs.get(key) ?? 0;
      mustHold(entrySeq >= before, `${key} goes back from ${before} to ${entrySeq}`);
      entrySeqs.set(key, entrySeq);
      shown.add(String(value));
    }
  }

  function lookAtStatus(): void {
    look();
    const { state, inSync, persisted, lastError } = replica.status;
    if (wasFollowing && state !== "following") departures += 1;
    wasFollowing = state === "following";
    const news = JSON.stringify([state, inSync, persisted === null, lastError]);
    if (news === told) return;
    told = news;
    tell({ type: "status", status: replica.status });
  }

  async function write(key: string, value: string): Promise<Outcome> {
    const begin = performance.now();
    const outcome = await replica.insert(key, value).then(
      ({ seq, replicas }): Outcome => ({ result: "acked", seq, replicas, ms: performance.now() - begin }),
      (error: unknown): Outcome => {
        const { name, code, applied, seq } = error as { name: string; code: string; applied?: boolean; seq?: number };
        const ms = performance.now() - begin;
        if (name === "OutcomeUnknownError") return { result: "unknown", ms };
        mustHold(name === "OperationFailedError", `a write fails with ${String(error)}`);
        return {
          result: "failed",
          code,
          ...(applied === undefined ? {} : { applied }),
          ...(seq === undefined ? {} : { seq }),
          ms,
        };
      },
    );
    if (outcome.result === "acked") {
      acked += 1;
      const { state, lagMs } = replica.status;
      const canFollow = state === "following" && lagMs < LET_GO_MS - LAG_REPORT_MS;
      const isShown = (replica.entry(key)?.seq ?? 0) >= outcome.seq;
      mustHold(isShown || !canFollow, `${key} is acknowledged and not shown`);
    }
    tell({ type: "outcome", key, value, outcome });
    return outcome;
  }

  async function chain(name: string): Promise<void> {
    while (!writers.isStopped) {
      const number = written++;
      await write(`${name}/${number % KEYS}`, `${name}#${number}`);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  window.witness = {
    follow(watched) {
      replica = watched;
      lookAtStatus();
      replica.subscribe({}, look);
      replica.subscribeStatus(lookAtStatus);
    },
    write,
    keepWriting(name) {
      writers.isStopped = false;
      writing = Promise.all(Array.from({ length: CHAINS }, () => chain(name)));
    },
    async stopWriting() {
      writers.isStopped = true;
      await writing;
    },
    acked: () => acked,
    shown: () => [...shown],
    status: () => replica.status,
    departures: () => departures,
    entries: () => replica.list(),
  };
}
