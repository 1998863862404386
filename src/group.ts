// One group commit in the making: updates are put in order, each over what the ones before it have changed. Nothing
// here is visible to anyone until the group is durable.

import type { Arbiter } from "./arbiter.ts";
import { changeBytes, writeBytes } from "./kv.ts";
import type { Change, Check, Json, Write } from "./kv.ts";
import { COMMIT_BYTES_MAX, COMMIT_OPERATIONS_MAX, OUTCOMES_PER_CLIENT_MAX } from "./limits.ts";
import { costOf, writesOf } from "./protocol.ts";
import type { Update } from "./protocol.ts";
import type { ClientRecord, Commit, OutcomeRecord, PrimaryStore } from "./store.ts";

/** What the group decided about an update. It counts once the group is durable. */
export type Decision = OutcomeRecord | { id: number; code: "expired" };

export class Group {
  readonly #store: PrimaryStore;
  readonly #arbiter: Arbiter;
  #seq: number;
  #bytes = 0;
  #operations = 0;
  // A key that is written again is taken out and put back, so that changes stay in the order of their seqs.
  readonly #changes = new Map<string, Change<Json>>();
  readonly #clients = new Map<string, OpenRecord>();

  constructor(store: PrimaryStore, arbiter: Arbiter) {
    this.#store = store;
    this.#arbiter = arbiter;
    this.#seq = store.head;
  }

  /** Whether an update must wait for the next one: what becomes of a group is one line to each secondary. */
  isFullFor(update: Update): boolean {
    if (this.#operations === 0) return false;
    const bytes = writesOf(update).reduce((sum, write) => sum + writeBytes(write), 0);
    return this.#bytes + bytes > COMMIT_BYTES_MAX || this.#operations + costOf(update) > COMMIT_OPERATIONS_MAX;
  }

  /** Whether there is nothing to write. */
  get isEmpty(): boolean {
    return this.#changes.size === 0 && ![...this.#clients.values()].some((record) => record.isChanged);
  }

  toCommit(): Commit {
    const clients = new Map<string, ClientRecord>();
    for (const [clientId, record] of this.#clients) if (record.isChanged) clients.set(clientId, closeRecord(record));
    return { seq: this.#seq, changes: [...this.#changes.values()], clients };
  }

  /** I1: decides an update, unless it was decided before: then that decision is the answer and nothing changes. */
  place(update: Update): Decision {
    this.#operations += costOf(update);
    const { clientId, id } = update;
    if (clientId === null) return this.#decide(update);
    const record = this.#openRecord(clientId);
    if (id <= record.settled) return { id, code: "expired" }; // I3
    // I4: whoever has settled something had a record; without it nobody knows whether this has happened before.
    if (record.isNew && update.repeat && update.settled > 0) return { id, code: "expired" };
    const known = record.outcomes.get(id);
    if (known) return known;
    const outcome = this.#decide(update);
    record.outcomes.set(id, outcome);
    record.settling = Math.max(record.settling, update.settled);
    record.isNew = false;
    record.isChanged = true;
    return outcome;
  }

  /** Keeps an outcome that was decided without a group, unless the name has one already. */
  record(clientId: string, outcome: OutcomeRecord): void {
    const record = this.#openRecord(clientId);
    if (outcome.id <= record.settled || record.outcomes.has(outcome.id)) return;
    record.outcomes.set(outcome.id, outcome);
    record.isChanged = true;
  }

  #openRecord(clientId: string): OpenRecord {
    let open = this.#clients.get(clientId);
    if (!open) {
      const kept = this.#store.readClient(clientId);
      const { settled, outcomes } = kept ?? { settled: 0, outcomes: [] };
      const byId = new Map(outcomes.map((outcome) => [outcome.id, outcome]));
      open = { settled, settling: settled, outcomes: byId, isNew: !kept, isChanged: false };
      this.#clients.set(clientId, open);
    }
    return open;
  }

  #decide(update: Update): OutcomeRecord {
    const { id, ack } = update;
    const writes = writesOf(update);
    if (typeof ack === "number") {
      const { expected } = this.#arbiter.count(
        writes.map((write) => write.key),
        Infinity,
      );
      if (expected < ack) return { id, code: "not-enough-replicas" };
    }
    const check = update.type === "batch" ? this.#failedCheck(update.checks) : undefined;
    if (check) return { id, code: "conflict", check };
    this.#apply(writes);
    return { id, seq: this.#seq };
  }

  #failedCheck(checks: readonly Check[]): Check | undefined {
    for (const { key, seq } of checks) {
      const actual = this.#seqOf(key);
      if (actual !== seq) return { key, seq: actual };
    }
    return undefined;
  }

  /** O1: all writes of one update take one seq; removing what is not there changes nothing and takes none. */
  #apply(writes: readonly Write[]): void {
    const seq = this.#seq + 1;
    for (const write of writes) {
      if ("removed" in write && this.#seqOf(write.key) === null) continue;
      const change: Change<Json> =
        "removed" in write ? { key: write.key, removed: true, seq } : { key: write.key, value: write.json, seq };
      this.#changes.delete(write.key);
      this.#changes.set(write.key, change);
      this.#bytes += changeBytes(change);
      this.#seq = seq;
    }
  }

  /** The seq of a key's entry as this group leaves it; null if there is none. */
  #seqOf(key: string): number | null {
    const change = this.#changes.get(key);
    if (change) return "value" in change ? change.seq : null;
    return this.#store.get(key)?.seq ?? null;
  }
}

/** A client's record while the group is in the making. */
interface OpenRecord {
  settled: number;
  /** What `settled` becomes with this group; until then the group itself still answers repeats. */
  settling: number;
  outcomes: Map<number, OutcomeRecord>;
  isNew: boolean;
  isChanged: boolean;
}

/** Forgets what the client has settled and, at the limit, its oldest outcomes. */
function closeRecord({ settling, outcomes }: OpenRecord): ClientRecord {
  const kept = [...outcomes.values()].filter((outcome) => outcome.id > settling).sort((a, b) => a.id - b.id);
  const surplus = kept.splice(0, Math.max(0, kept.length - OUTCOMES_PER_CLIENT_MAX));
  return { settled: surplus.at(-1)?.id ?? settling, outcomes: kept };
}
