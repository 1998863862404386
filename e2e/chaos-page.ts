// What runs inside the pages of a chaos run: it watches the page's replica, does operations on it, and tells both in
// times of the page's own clock.

export interface PageOperation {
  id: number;
  kind: "insert" | "remove" | "batch" | "get";
  key: string;
  writes: { key: string; value: string | null }[];
  /** Keys that must be as this page shows them. */
  checked: string[];
  ack: "all" | "primary" | number;
  /** It is shown at once. */
  optimistic: boolean;
  /** It waits in the outbox until the primary can be reached. */
  queue: boolean;
}

export type PageLine =
  | {
      type: "state";
      at: number;
      epoch: string | null;
      seq: number;
      isSeqLeast: boolean;
      entries: [key: string, value: string, seq: number][];
      persisted: number | null;
      lastError: string | null;
    }
  | {
      type: "answer";
      at: number;
      id: number;
      checks: { key: string; seq: number | null }[];
      outcome:
        | { result: "acked"; seq: number; replicas: number }
        | { result: "failed"; code: string; applied?: boolean; seq?: number }
        | { result: "unknown" }
        | { result: "read"; value: string | null };
      /** Left out while the replica cannot follow. */
      shown?: { epoch: string | null; seq: number };
    };

/** The part of the public API that chaos uses; it sees the product from outside, so it is written down here again. */
interface ChaosReplica {
  list(): { key: string; value: unknown; seq: number }[];
  entry(key: string): { seq: number } | undefined;
  insert(key: string, value: string, options: object): Promise<{ seq: number; replicas: number }>;
  remove(key: string, options: object): Promise<{ seq: number; replicas: number }>;
  batch(operations: object[], options: object): Promise<{ seq: number; replicas: number }>;
  getFromPrimary(key: string): Promise<string | undefined>;
  subscribe(interest: object, subscriber: (changes: readonly { seq: number }[]) => void): () => void;
  subscribeStatus(subscriber: () => void): () => void;
  pending(): { optimistic: boolean; state: string }[];
  readonly status: {
    state: string;
    epoch: string | null;
    seq: number;
    lagMs: number;
    inSync: boolean;
    persisted: number | null;
    pending: number;
    lastError: string | null;
  };
}

export interface ChaosWindow {
  headwater?: { replica: ChaosReplica };
  /** Offered by the run: takes lines of one document, in order. */
  chaosTell: (document: string, lines: PageLine[]) => Promise<void>;
  chaos?: {
    document: string;
    /** Begins operations; their answers come as lines. Returns the time of this page's clock. */
    operate(operations: PageOperation[]): number;
    /** Writes the present state, and says how the replica stands. */
    look(): { now: number; state: string; inSync: boolean; pending: number; epoch: string | null; seq: number };
  };
}

/** Given to every document before its own scripts. It stands alone: nothing of this module is there in the page. */
export function watchReplica(): void {
  const FLUSH_MS = 30;
  /** After so long a replica lets its users go, whether it can follow or not. */
  const PATIENCE_MS = 3000;
  const page = window as unknown as ChaosWindow;
  const document = `${Math.random()}`;
  let lines: PageLine[] = [];
  /** Optimistic updates of this page that have not ended. */
  let covering = 0;
  const tell = (line: PageLine): void => {
    if (lines.push(line) === 1) setTimeout(flush, FLUSH_MS);
  };
  const flush = (): void => {
    void page.chaosTell(document, lines);
    lines = [];
  };
  const waiting = setInterval(() => {
    if (!page.headwater) return;
    clearInterval(waiting);
    follow(page.headwater.replica);
  }, 5);

  function follow(replica: ChaosReplica): void {
    const observe = (changed: readonly { seq: number }[] | undefined): void => {
      // What is pending lies over what is replicated, and hides it.
      if (covering > 0 || replica.pending().some(({ optimistic, state }) => optimistic && state !== "failed")) return;
      const { epoch, seq: known, persisted, lastError } = replica.status;
      // Amid the steps that came at once the status is still that of the step before them.
      const isSeqLeast = changed !== undefined;
      const seq = isSeqLeast ? Math.max(known, ...[...replica.list(), ...changed].map((one) => one.seq)) : known;
      const entries = replica
        .list()
        .map(({ key, value, seq }) => [key, String(value), seq] as [string, string, number]);
      tell({ type: "state", at: performance.now(), epoch, seq, isSeqLeast, entries, persisted, lastError });
    };
    const lookNow = (): void => observe(undefined);
    lookNow();
    replica.subscribe({}, observe);
    replica.subscribeStatus(lookNow);
    page.chaos = {
      document,
      operate(operations) {
        for (const operation of operations) void operate(replica, operation);
        return performance.now();
      },
      look() {
        lookNow();
        flush();
        const { state, inSync, pending, epoch, seq } = replica.status;
        return { now: performance.now(), state, inSync, pending, epoch, seq };
      },
    };
  }

  async function operate(replica: ChaosReplica, operation: PageOperation): Promise<void> {
    const checks = operation.checked.map((key) => ({ key, seq: replica.entry(key)?.seq ?? null }));
    if (operation.optimistic) covering += 1;
    const outcome = await outcomeOf(() => carryOut(replica, operation, checks));
    if (operation.optimistic) covering -= 1;
    const { epoch, seq, state, lagMs } = replica.status;
    const shown = state === "following" && lagMs < PATIENCE_MS ? { shown: { epoch, seq } } : {};
    tell({ type: "answer", at: performance.now(), id: operation.id, checks, outcome, ...shown });
  }

  type Outcome = Extract<PageLine, { type: "answer" }>["outcome"];

  async function carryOut(
    replica: ChaosReplica,
    { kind, key, writes, ack, optimistic, queue }: PageOperation,
    checks: object[],
  ): Promise<Outcome> {
    if (kind === "get") return { result: "read", value: (await replica.getFromPrimary(key)) ?? null };
    const options = { ack, optimistic, queue };
    if (kind === "remove") return { result: "acked", ...(await replica.remove(key, options)) };
    if (kind === "insert") return { result: "acked", ...(await replica.insert(key, writes[0]!.value!, options)) };
    const operations = writes.map((write) =>
      write.value === null ? { remove: { key: write.key } } : { insert: { key: write.key, value: write.value } },
    );
    return { result: "acked", ...(await replica.batch(operations, { ...options, checks })) };
  }

  async function outcomeOf(run: () => Promise<Outcome>): Promise<Outcome> {
    try {
      return await run();
    } catch (error) {
      const { name, code, applied, seq } = error as { name: string; code: string; applied?: boolean; seq?: number };
      if (name === "OutcomeUnknownError") return { result: "unknown" };
      if (name !== "OperationFailedError") throw error;
      return {
        result: "failed",
        code,
        ...(applied === undefined ? {} : { applied }),
        ...(seq === undefined ? {} : { seq }),
      };
    }
  }
}
