// Makes one history of what many pages tell, in the times of this process. A page's clock stands at a fixed, unknown
// distance from ours; each exchange bounds it from one side, and the run's end knows all bounds (after Cristian,
// "Probabilistic Clock Synchronization", 1989). Where the distance is not known exactly, the history has the wider time.

import type { HistoryLine, RecordedOperation, RecordedOutcome } from "../src/testing/history.ts";
import type { PageLine, PageOperation } from "./chaos-page.ts";

/** Pages round their clock to 0.1 ms. */
const ROUNDING_MS = 0.2;

/** One document: a page from one load to the next. */
class Document {
  readonly replica: string;
  readonly disk: string;
  readonly life: number;
  /** Our time of the page's zero is between these. A page that never answers may have begun at any time. */
  #zeroMin = Number.MIN_SAFE_INTEGER;
  #zeroMax = Number.MAX_SAFE_INTEGER;
  #persisted = -1;

  constructor(replica: string, disk: string, life: number) {
    this.replica = replica;
    this.disk = disk;
    this.life = life;
  }

  /** The page's clock showed `time` after our clock had shown `now`. */
  wasAfter(now: number, time: number): void {
    this.#zeroMin = Math.max(this.#zeroMin, now - time - ROUNDING_MS);
  }

  /** The page's clock showed `time` before our clock showed `now`. */
  wasBefore(now: number, time: number): void {
    this.#zeroMax = Math.min(this.#zeroMax, now - time + ROUNDING_MS);
  }

  earliest(time: number): number {
    return this.#zeroMin + time;
  }

  latest(time: number): number {
    return this.#zeroMax + time;
  }

  /** Whether this document says something new about its disk. */
  hasPersisted(seq: number): boolean {
    if (seq === this.#persisted) return false;
    this.#persisted = seq;
    return true;
  }
}

export class ChaosRecorder {
  readonly outcomes = new Map<string, number>();
  observations = 0;
  readonly #documents = new Map<string, Document>();
  readonly #lives = new Map<string, number>();
  /** Where all bounds of all clocks are known, these become lines. */
  readonly #unfinished: (() => HistoryLine)[] = [];
  readonly #operations = new Map<number, RecordedOperation>();
  readonly #highestPersisted = new Map<string, number>();
  readonly #wipedUpTo = new Map<string, number>();

  /** Lines of a document, as they come. `replica` is the tab that it is in, `disk` the browser profile. */
  take(replica: string, disk: string, id: string, lines: PageLine[]): void {
    const now = performance.now();
    let document = this.#documents.get(id);
    if (!document) {
      const life = (this.#lives.get(replica) ?? 0) + 1;
      this.#lives.set(replica, life);
      document = new Document(replica, disk, life);
      this.#documents.set(id, document);
    }
    for (const line of lines) {
      document.wasBefore(now, line.at);
      if (line.type === "state") this.#state(document, line);
      else this.#answer(document, line);
    }
  }

  /** An exchange with a document has bounded its clock: it showed `time` after our `before`. */
  bound(id: string, before: number, time: number): void {
    this.#documents.get(id)?.wasAfter(before, time);
  }

  /** An operation is about to be given to a page. */
  invoke(client: string, { id, kind, key, writes, ack }: PageOperation): void {
    const operation: RecordedOperation = kind === "get" ? { kind, key } : { kind, writes, checks: [], ack };
    const startedAt = performance.now();
    this.#operations.set(id, operation);
    this.#unfinished.push(() => ({ type: "invoke", at: startedAt, client, id, operation }));
  }

  /** A disk is about to be wiped; to be called again when it is. */
  wiping(disk: string): () => void {
    const startedAt = performance.now();
    // Until it is said to be done it may be done at any time.
    let until = Number.MAX_SAFE_INTEGER;
    this.#unfinished.push(() => ({ type: "disk-lost", at: startedAt, until, disk }));
    return () => {
      until = performance.now();
      this.#wipedUpTo.set(disk, this.#highestPersisted.get(disk) ?? 0);
    };
  }

  /** The whole history, once the primary's end is known. */
  finish(statusLagMs: number, final: Omit<Extract<HistoryLine, { type: "final" }>, "type" | "at">): HistoryLine[] {
    const lines = this.#unfinished.map((finish) => finish());
    const at = performance.now();
    return [{ type: "header", version: 1, statusLagMs }, ...lines, { type: "final", at, ...final }];
  }

  #state(document: Document, line: Extract<PageLine, { type: "state" }>): void {
    const { replica, disk, life } = document;
    const { epoch, seq, isSeqLeast, entries, persisted, lastError } = line;
    this.observations += 1;
    // Storage that cannot be read is done without, and the replica says so.
    const isStored = !/storage|local copy/.test(lastError ?? "");
    this.#unfinished.push(() => ({
      type: "observe",
      at: document.latest(line.at),
      begunAt: document.earliest(0),
      replica,
      life,
      ...(isStored && { disk }),
      epoch,
      seq,
      isSeqLeast,
      entries,
    }));
    if (persisted === null || epoch === null || isSeqLeast) return;
    // A page whose disk was wiped goes on saying what it was last told until something is written anew.
    if (persisted <= (this.#wipedUpTo.get(disk) ?? -1) || !document.hasPersisted(persisted)) return;
    this.#highestPersisted.set(disk, Math.max(this.#highestPersisted.get(disk) ?? 0, persisted));
    this.#unfinished.push(() => ({ type: "persisted", at: document.latest(line.at), disk, epoch, seq: persisted }));
  }

  #answer(document: Document, line: Extract<PageLine, { type: "answer" }>): void {
    const operation = this.#operations.get(line.id);
    if (!operation) return;
    // Which seqs the checks named, only the page knows.
    if (operation.kind !== "get") operation.checks = line.checks;
    const outcome = line.outcome as RecordedOutcome;
    const { result } = outcome;
    const name = result === "failed" ? `failed ${outcome.code} ${outcome.applied ?? ""}`.trim() : result;
    this.outcomes.set(name, (this.outcomes.get(name) ?? 0) + 1);
    this.#unfinished.push(() => ({
      type: "respond",
      at: document.latest(line.at),
      client: document.replica,
      id: line.id,
      outcome,
      ...(line.shown && { shown: line.shown }),
    }));
  }
}
