// Holds a recorded history to SPEC.md, knowing nothing but what users and replicas have seen. Pure: a history in, broken
// rules out.
//
// The primary's own log is not part of a history, but most of it can be told: an answer names the seq of its update, and
// every entry that anybody has seen names the seq at which its value was written. Values are unique, so each of these is
// a fact about one update. From the facts of one key (written at 4, absent at 7, ...) follows what everybody else can
// have seen of it: whoever shows seq 9 shows neither an older value nor one that was gone by 7. That holds each replica
// to all others, to the answers and to the end at once, and a batch to its one seq. Where seqs do not reach (reads that
// name none, real time), the search in linearizability.ts decides, key by key.

import { isCovered } from "../kv.ts";
import type { HistoryLine, Observe, RecordedEntry, RecordedOperation, RecordedOutcome } from "./history.ts";
import { judge } from "./linearizability.ts";
import type { Held, Step } from "./linearizability.ts";

/** A rule of SPEC.md that the history breaks; "undecided", where the search for an order was given up. */
export interface Violation {
  rule: string;
  what: string;
}

type LineOf<Type extends HistoryLine["type"]> = Extract<HistoryLine, { type: Type }>;
type Update = Extract<RecordedOperation, { kind: "insert" | "remove" | "batch" }>;

interface Recorded<Kind extends RecordedOperation = RecordedOperation> {
  name: string;
  operation: Kind;
  start: number;
  /** Infinity without an answer. */
  end: number;
  outcome: RecordedOutcome;
  shown: LineOf<"respond">["shown"];
  /** Where it took effect, once that is known. */
  seq: number | undefined;
}

/** Returns what is wrong with a history; nothing, if nothing is. */
export function checkHistory(lines: readonly HistoryLine[]): Violation[] {
  return new Checker(lines).check();
}

const UNKNOWN: RecordedOutcome = { result: "unknown" };

class Checker {
  readonly #violations: Violation[] = [];
  readonly #statusLagMs: number;
  readonly #operations = new Map<string, Recorded>();
  readonly #updates: Recorded<Update>[] = [];
  readonly #gets: Recorded<{ kind: "get"; key: string }>[] = [];
  readonly #byValue = new Map<string, Recorded<Update>>();
  readonly #observations: LineOf<"observe">[];
  readonly #final: LineOf<"final"> | undefined;
  readonly #lines: readonly HistoryLine[];
  /** The history that the primary is in at the end. Only of this one are all updates known. */
  readonly #epoch: string | null;
  readonly #timelines = new Map<string, Timeline>();
  readonly #writers = new Map<number, Recorded<Update>>();
  /** Seqs that no update which wrote a value is known to have. */
  readonly #freeSeqs: number[] = [];
  readonly #disks = new Map<string, Disk>();
  readonly #seqsOfOlderEpochs = new Map<string, number>();
  /** When a value was first seen to be there, in the last epoch. */
  readonly #firstSeen = new Map<string, number>();

  constructor(lines: readonly HistoryLine[]) {
    this.#lines = lines;
    this.#observations = lines.filter((line) => line.type === "observe");
    this.#final = lines.find((line) => line.type === "final");
    this.#statusLagMs = lines.find((line) => line.type === "header")?.statusLagMs ?? 0;
    this.#epoch = this.#final?.epoch ?? this.#observations.at(-1)?.epoch ?? null;
    this.#learnDisks();
    this.#collect(lines.findLast((line) => line.type === "restored")?.at ?? -Infinity);
  }

  check(): Violation[] {
    this.#checkReplicas();
    this.#checkOwnWrites();
    this.#checkEffects();
    this.#learnTimelines();
    this.#checkSeqs();
    this.#checkRealTime();
    this.#checkStates();
    this.#checkAgreement();
    this.#checkChecks();
    this.#checkDisks();
    this.#checkConvergence();
    this.#checkOrder();
    return this.#violations;
  }

  #demand(condition: boolean, rule: string, what: () => string): void {
    if (!condition) this.#violations.push({ rule, what: what() });
  }

  #collect(restoredAt: number): void {
    for (const line of this.#lines) {
      if (line.type === "invoke") this.#invoked(line);
      else if (line.type === "respond") this.#responded(line);
    }
    for (const recorded of this.#operations.values()) {
      // Before the primary was set back, or at that moment: it may have been undone, and may be there all the same.
      const isLoose = recorded.start <= restoredAt && !isNever(recorded.outcome);
      if (isLoose) recorded.outcome = UNKNOWN;
      if (!isUpdate(recorded)) {
        this.#gets.push(recorded as Recorded<{ kind: "get"; key: string }>);
        continue;
      }
      const { outcome } = recorded;
      if (outcome.result === "acked" || (outcome.result === "failed" && outcome.applied)) recorded.seq = outcome.seq;
      this.#updates.push(recorded);
      for (const { value } of recorded.operation.writes) if (value !== null) this.#byValue.set(value, recorded);
    }
  }

  #invoked({ client, id, at, operation }: LineOf<"invoke">): void {
    const name = `${client}:${id}`;
    this.#demand(!this.#operations.has(name), "I1", () => `${name} was asked for twice`);
    const open = { outcome: UNKNOWN, end: Infinity, shown: undefined, seq: undefined };
    this.#operations.set(name, { name, operation, start: at, ...open });
  }

  #responded({ client, id, at, outcome, shown }: LineOf<"respond">): void {
    const name = `${client}:${id}`;
    const recorded = this.#operations.get(name);
    this.#demand(
      recorded !== undefined && recorded.end === Infinity,
      "A1",
      () => `${name} has two answers, or no start`,
    );
    if (!recorded) return;
    recorded.end = at;
    recorded.outcome = outcome;
    recorded.shown = shown;
  }

  // --- what each replica shows, one after the other

  /** V2: no way back within a life, nor after a restart below what was on disk. */
  #checkReplicas(): void {
    const lives = new Map<string, Observe>();
    const leftEpochs = new Map<string, Set<string>>();
    for (const line of this.#observations) {
      const life = `${line.replica} in its life ${line.life}`;
      const before = lives.get(life);
      if (before) this.#checkAdvance(life, before, line, leftEpochs);
      else this.#checkRestart(life, line);
      lives.set(life, line);
    }
  }

  #checkAdvance(life: string, before: Observe, after: Observe, leftEpochs: Map<string, Set<string>>): void {
    if (before.epoch === after.epoch) {
      const isForward = after.seq >= before.seq;
      return this.#demand(isForward, "V2", () => `${life} went back from ${before.seq} to ${after.seq}`);
    }
    const left = leftEpochs.get(life) ?? new Set<string>();
    if (before.epoch !== null) left.add(before.epoch);
    leftEpochs.set(life, left);
    this.#demand(
      after.epoch !== null && !left.has(after.epoch),
      "V2",
      () => `${life} went back to the history ${after.epoch}`,
    );
  }

  #checkRestart(life: string, { epoch, seq, at, begunAt = at, disk = "" }: Observe): void {
    const held = this.#disks.get(disk)?.latest(begunAt, at);
    if (!held) return;
    // Another history may have begun meanwhile, but not without a state of it.
    const isKept = epoch === held.epoch ? seq >= held.seq : epoch !== null;
    this.#demand(isKept, "V2", () => `${life} begins at ${epoch} ${seq}, on its disk was ${held.epoch} ${held.seq}`);
  }

  /** O3: who was acked sees the write in the own replica at once. */
  #checkOwnWrites(): void {
    for (const { name, outcome, shown } of this.#updates) {
      if (outcome.result !== "acked" || shown?.epoch !== this.#epoch) continue;
      this.#demand(
        shown.seq >= outcome.seq,
        "O3",
        () => `${name} was acked at ${outcome.seq} while its own replica showed ${shown.seq}`,
      );
    }
  }

  // --- which update took effect where

  /** A2, A3, A4, I1: every value that is seen is that of an update which may be there, at the seq that it was told. */
  #checkEffects(): void {
    for (const line of this.#observations) {
      const isLast = line.epoch === this.#epoch;
      for (const entry of line.entries) this.#checkEntry(line.replica, line.at, entry, isLast, line.epoch ?? "");
    }
    const { at = 0, entries = [], epoch = "" } = this.#final ?? {};
    for (const entry of entries) this.#checkEntry("the primary", at, entry, true, epoch);
    for (const { name, operation, outcome, end } of this.#gets) {
      if (outcome.result !== "read" || outcome.value === null) continue;
      const { writtenAt } = outcome;
      if (writtenAt === undefined) this.#writerOf(name, operation.key, outcome.value, true);
      else this.#checkEntry(name, end, [operation.key, outcome.value, writtenAt], true, this.#epoch ?? "");
      this.#saw(outcome.value, end);
    }
  }

  #checkEntry(who: string, at: number, [key, value, seq]: RecordedEntry, isLast: boolean, epoch: string): void {
    const writer = this.#writerOf(who, key, value, isLast);
    if (!writer) return;
    const place = `${epoch} ${writer.name}`;
    const known = isLast ? writer.seq : this.#seqsOfOlderEpochs.get(place);
    if (known === undefined) this.#seqsOfOlderEpochs.set(place, seq);
    if (!isLast) {
      return this.#demand(
        (known ?? seq) === seq,
        "I1",
        () => `${writer.name} is at ${known} and at ${seq} of ${epoch}`,
      );
    }
    this.#saw(value, at);
    if (known === undefined) writer.seq = seq;
    const { outcome } = writer;
    const rule = outcome.result === "acked" ? "A2" : outcome.result === "failed" && outcome.applied ? "A4" : "I1";
    this.#demand(
      (known ?? seq) === seq,
      rule,
      () => `${who} shows ${key} as ${writer.name} wrote it at ${seq}, which took effect at ${known}`,
    );
  }

  #writerOf(who: string, key: string, value: string, isLast: boolean): Recorded<Update> | undefined {
    const writer = this.#byValue.get(value);
    const hasWritten = writer?.operation.writes.some((write) => write.key === key && write.value === value) ?? false;
    this.#demand(hasWritten, "V1", () => `${who} shows ${key} = ${value}, which nobody wrote`);
    if (!writer || !hasWritten) return undefined;
    // What had happened in a history that was then set back may have failed in the next one, when it was asked again.
    this.#demand(
      !isLast || !isNever(writer.outcome),
      "A3",
      () => `${who} shows ${key} as ${writer.name}, which failed for good`,
    );
    return writer;
  }

  #saw(value: string, at: number): void {
    this.#firstSeen.set(value, Math.min(this.#firstSeen.get(value) ?? Infinity, at));
  }

  // --- the facts of each key

  #timeline(key: string): Timeline {
    const timeline = this.#timelines.get(key) ?? new Timeline();
    this.#timelines.set(key, timeline);
    return timeline;
  }

  #learnTimelines(): void {
    for (const update of this.#updates) {
      const isOpen = mayStillHappen(update.outcome) && update.seq === undefined;
      for (const { key, value } of update.operation.writes) {
        const timeline = this.#timeline(key);
        if (isOpen && value === null) timeline.openRemovals.push(update.start);
        if (update.seq === undefined || isNever(update.outcome)) continue;
        if (value !== null) timeline.versions.push(update.seq);
        else {
          // Whether it was there before or not: after a Remove the key is absent.
          timeline.absences.push(update.seq);
          timeline.removals.push(update.seq);
        }
      }
    }
    for (const { operation, outcome } of this.#gets) {
      if (outcome.result !== "read" || outcome.seq === undefined) continue;
      if (outcome.value === null) this.#timeline(operation.key).absences.push(outcome.seq);
    }
    for (const line of this.#states()) {
      if (line.isSeqLeast) continue;
      const present = new Set(line.entries.map(([key]) => key));
      for (const [key, timeline] of this.#timelines) {
        if (!present.has(key) && isCovered(key, line.prefixes)) timeline.absences.push(line.seq);
      }
    }
    for (const timeline of this.#timelines.values()) timeline.sort();
  }

  /** Every state of the last epoch that anybody has seen, the primary's own at the end among them. */
  *#states(): Generator<Omit<Observe, "type">> {
    for (const line of this.#observations) if (line.epoch === this.#epoch) yield line;
    if (!this.#final) return;
    const { at, epoch, head, entries } = this.#final;
    yield { at, epoch, entries, replica: "the primary", life: 1, seq: head };
  }

  // --- seqs

  /** O1: one update for each seq, without gaps, and nothing beyond head. */
  #checkSeqs(): void {
    const tentative = new Set<number>();
    for (const update of this.#updates) {
      const { name, seq, operation } = update;
      if (seq === undefined || isNever(update.outcome)) continue;
      const head = this.#final?.head ?? Infinity;
      this.#demand(seq <= head, "O2", () => `${name} took effect at ${seq}, beyond head, which is ${head}`);
      // What only removes may have changed nothing, and has then been told the head of that moment.
      if (operation.writes.every(({ value }) => value === null)) {
        tentative.add(seq);
        continue;
      }
      const other = this.#writers.get(seq);
      this.#demand(other === undefined, "O1", () => `${name} and ${other?.name} both took effect at ${seq}`);
      this.#writers.set(seq, update);
    }
    let highest = 0;
    for (const { seq } of this.#states()) highest = Math.max(highest, seq);
    for (let seq = 1; seq <= highest; seq++) if (!this.#writers.has(seq)) this.#freeSeqs.push(seq);
    this.#checkGaps(tentative);
  }

  /** Each seq that no update names must be that of one whose end nobody was told, and which had begun in time. */
  #checkGaps(tentative: ReadonlySet<number>): void {
    if (!this.#final) return;
    const { head, at } = this.#final;
    const starts = this.#updates
      .filter((update) => update.seq === undefined && mayStillHappen(update.outcome))
      .map(({ start }) => start)
      .sort((a, b) => a - b);
    // By when each seq was there: before all later ones were seen.
    const latest = Array.from<number>({ length: head + 2 }).fill(at);
    for (const update of this.#updates) {
      const { seq, end } = update;
      if (seq !== undefined && seq <= head && isAnswered(update.outcome)) latest[seq] = Math.min(latest[seq]!, end);
    }
    for (const { seq, at: seenAt } of this.#states()) if (seq <= head) latest[seq] = Math.min(latest[seq]!, seenAt);
    for (let seq = head - 1; seq > 0; seq--) latest[seq] = Math.min(latest[seq]!, latest[seq + 1]!);
    for (let seq = 1; seq <= head; seq++) {
      if (this.#writers.has(seq) || tentative.has(seq)) continue;
      const start = starts.shift();
      if (start !== undefined && start <= latest[seq]!) continue;
      return this.#demand(false, "O1", () => `no update can have had the seq ${seq}`);
    }
  }

  /** O1: the order of seqs is an order of real time, over all keys. */
  #checkRealTime(): void {
    const seen: { at: number; seq: number; who: string }[] = [];
    for (const { end, seq, name, outcome } of this.#updates) {
      if (seq !== undefined && isAnswered(outcome) && !isNever(outcome)) seen.push({ at: end, seq, who: name });
    }
    for (const { at, seq, replica } of this.#states()) seen.push({ at, seq, who: replica });
    const begun: { start: number; seq: number; name: string; isStrict: boolean }[] = [];
    for (const { start, seq, name, operation, outcome } of this.#updates) {
      if (seq === undefined || isNever(outcome)) continue;
      begun.push({ start, seq, name, isStrict: operation.writes.some(({ value }) => value !== null) });
    }
    for (const { start, end, name, outcome } of this.#gets) {
      if (outcome.result !== "read" || outcome.seq === undefined) continue;
      seen.push({ at: end, seq: outcome.seq, who: name });
      begun.push({ start, seq: outcome.seq, name, isStrict: false });
    }
    seen.sort((a, b) => a.at - b.at);
    begun.sort((a, b) => a.start - b.start);
    let next = 0;
    let highest = { seq: 0, who: "nobody" };
    for (const { start, seq, name, isStrict } of begun) {
      for (; next < seen.length && seen[next]!.at < start; next++) {
        if (seen[next]!.seq > highest.seq) highest = seen[next]!;
      }
      const { seq: before, who } = highest;
      this.#demand(
        isStrict ? seq > before : seq >= before,
        "O1",
        () => `${name} has the seq ${seq}, but before it began ${who} had seen ${before}`,
      );
    }
  }

  // --- states

  /** V1 at replicas, A2 at the primary: every state is the one that the facts allow at its seq. */
  #checkStates(): void {
    for (const state of this.#states()) {
      const { seq, replica, entries, at, prefixes, isSeqLeast = false } = state;
      const rule = replica === "the primary" ? "A2" : "V1";
      const place = `${replica} at ${seq}`;
      const present = new Map(entries.map(([key, , writtenAt]) => [key, writtenAt]));
      for (const [key, timeline] of this.#timelines) {
        const writtenAt = present.get(key);
        const fault =
          writtenAt !== undefined
            ? timeline.refusesPresence(writtenAt, seq)
            : isCovered(key, prefixes) && timeline.refusesAbsence(seq, isSeqLeast ? Infinity : seq, at, this.#freeSeqs);
        this.#demand(!fault, rule, () => `${place} shows ${key} ${writtenAt ? `of ${writtenAt}` : "absent"}: ${fault}`);
      }
    }
    for (const { name, operation, outcome } of this.#gets) {
      if (outcome.result !== "read" || outcome.seq === undefined) continue;
      const { seq, writtenAt } = outcome;
      const timeline = this.#timeline(operation.key);
      const fault = writtenAt === undefined ? undefined : timeline.refusesPresence(writtenAt, seq);
      this.#demand(!fault, "R1", () => `${name} read ${operation.key} of ${writtenAt} at ${seq}: ${fault}`);
    }
  }

  /** V1: no two states of one (epoch, seq) differ, of whatever history. */
  #checkAgreement(): void {
    const states = new Map<string, { who: string; text: string }>();
    const seen = [...this.#observations];
    if (this.#final) {
      const { at, epoch, entries, head } = this.#final;
      seen.push({ type: "observe", at, replica: "the primary", life: 1, epoch, seq: head, entries });
    }
    for (const { replica, epoch, seq, entries, prefixes, isSeqLeast } of seen) {
      if (isSeqLeast) continue;
      const name = JSON.stringify([epoch, seq, prefixes]);
      const text = JSON.stringify(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
      const other = states.get(name) ?? { who: replica, text };
      states.set(name, other);
      const what = (): string => `at ${epoch} ${seq} ${other.who} shows ${other.text}, ${replica} ${text}`;
      this.#demand(other.text === text, "V1", what);
    }
  }

  /** O4: the checks of a batch that was applied were true of what came before it. */
  #checkChecks(): void {
    for (const { name, operation, seq, outcome } of this.#updates) {
      // A batch that changed nothing has no seq of its own.
      if (seq === undefined || isNever(outcome) || operation.writes.every(({ value }) => value === null)) continue;
      for (const check of operation.checks) {
        const timeline = this.#timeline(check.key);
        const fault =
          check.seq === null
            ? timeline.refusesAbsence(seq - 1, seq - 1, Infinity, this.#freeSeqs)
            : timeline.refusesPresence(check.seq, seq - 1);
        this.#demand(
          !fault,
          "O4",
          () => `${name} was applied at ${seq} though it wanted ${JSON.stringify(check)}: ${fault}`,
        );
      }
    }
  }

  // --- disks and the end

  #learnDisks(): void {
    for (const line of this.#lines) {
      if (line.type !== "persisted" && line.type !== "disk-lost") continue;
      const disk = this.#disks.get(line.disk) ?? new Disk();
      this.#disks.set(line.disk, disk);
      if (line.type === "disk-lost") disk.losses.push(line);
      else disk.add(line);
    }
  }

  /** A2: an ack that counts n replicas was given when n disks held the update. */
  #checkDisks(): void {
    for (const { name, operation, outcome, end } of this.#updates) {
      // What a Remove that changed nothing is told is a seq that need not concern every replica.
      if (outcome.result !== "acked" || operation.writes.every(({ value }) => value === null)) continue;
      const { seq, replicas } = outcome;
      const holders = [...this.#disks.values()].filter(
        (disk) =>
          operation.writes.some(({ key }) => isCovered(key, disk.prefixes)) &&
          (this.#statusLagMs > 0
            ? !disk.deniesAfter(end + this.#statusLagMs, this.#epoch, seq)
            : disk.hasHeld(end, this.#epoch, seq)),
      );
      this.#demand(
        holders.length >= replicas,
        "A2",
        () => `${name} was acked at ${seq} as on ${replicas} replicas, but ${holders.length} disks can have held it`,
      );
    }
  }

  /** V3: in the end every replica shows the primary's state. */
  #checkConvergence(): void {
    if (!this.#final) return;
    const { epoch, head, entries, replicas } = this.#final;
    const last = new Map(this.#observations.map((line) => [line.replica, line]));
    for (const replica of replicas) {
      const line = last.get(replica);
      const expected = entries.filter(([key]) => isCovered(key, line?.prefixes));
      const isEqual =
        line?.epoch === epoch &&
        (line.seq === head || line.prefixes !== undefined) &&
        line.entries.length === expected.length &&
        line.entries.every((entry) => expected.some((one) => one.every((part, index) => part === entry[index])));
      this.#demand(
        isEqual,
        "V3",
        () => `${replica} ends at ${line?.epoch} ${line?.seq}, the primary at ${epoch} ${head}`,
      );
    }
  }

  // --- the order of each key at the primary

  /** R1: what was read at the primary and what was answered has an order, key by key. */
  #checkOrder(): void {
    const steps = new Map<string, Step[]>();
    const add = (key: string, step: Step): void => void steps.set(key, [...(steps.get(key) ?? []), step]);
    for (const update of this.#updates) this.#addSteps(update, add);
    for (const { operation, outcome, start, end } of this.#gets) {
      if (outcome.result !== "read") continue;
      add(operation.key, { start, end, isCertain: true, apply: reading(outcome.value) });
    }
    if (this.#final) {
      const { at, entries } = this.#final;
      const values = new Map(entries.map(([key, value]) => [key, value]));
      for (const key of this.#timelines.keys()) {
        const apply = reading(values.get(key) ?? null);
        add(key, { start: at, end: Infinity, isCertain: true, apply });
      }
    }
    for (const [key, all] of steps) {
      const verdict = judge(all);
      this.#demand(verdict !== "undecided", "undecided", () => `the search for an order of ${key} was given up`);
      this.#demand(verdict !== "not-linearizable", "R1", () => `the ${all.length} operations on ${key} have no order`);
    }
  }

  #addSteps(update: Recorded<Update>, add: (key: string, step: Step) => void): void {
    const { operation, outcome, start, end, seq } = update;
    if (isNever(outcome)) return;
    const seenAt = Math.min(...operation.writes.map(({ value }) => this.#firstSeen.get(value ?? "") ?? Infinity));
    const isCertain = !mayStillHappen(outcome) || seenAt < Infinity;
    const times = {
      start,
      end: isAnswered(outcome) ? Math.min(end, seenAt) : seenAt,
      isCertain,
      // A Remove that found nothing was told the head of that moment, after which it comes.
      place: seq === undefined || operation.writes.some(({ value }) => value !== null) ? seq : seq + 0.5,
    };
    const checks = new Map(operation.checks.map((check) => [check.key, check.seq]));
    const writes = new Map(operation.writes.map(({ key, value }) => [key, value]));
    for (const key of new Set([...checks.keys(), ...writes.keys()])) {
      // What nobody has seen and nobody was told of can be left out of every order, unless it may explain an absence.
      if (!isCertain && writes.get(key) !== null) continue;
      const wanted = isCertain && checks.has(key) ? this.#valueAt(key, checks.get(key)!) : undefined;
      const apply = (held: Held): Held | undefined => {
        if (wanted !== undefined && held !== wanted) return undefined;
        return writes.has(key) ? writes.get(key)! : held;
      };
      // An open step has no check that anybody could know.
      add(key, { ...times, apply, ...(!isCertain && { writes: null }) });
    }
  }

  /** What a check wants the key to hold; undefined if nobody knows. */
  #valueAt(key: string, seq: number | null): Held | undefined {
    if (seq === null) return null;
    return this.#writers.get(seq)?.operation.writes.find((write) => write.key === key)?.value ?? undefined;
  }
}

const reading =
  (value: Held) =>
  (held: Held): Held | undefined =>
    held === value ? held : undefined;

const isUpdate = (recorded: Recorded): recorded is Recorded<Update> => recorded.operation.kind !== "get";

const isNever = (outcome: RecordedOutcome): boolean => outcome.result === "failed" && outcome.applied === false;

const isAnswered = (outcome: RecordedOutcome): boolean =>
  outcome.result === "acked" || (outcome.result === "failed" && outcome.applied !== undefined);

/** Whether nobody was told if it took effect. */
const mayStillHappen = (outcome: RecordedOutcome): boolean => !isAnswered(outcome) && outcome.result !== "read";

/** What is known of one key in one epoch, all of it as rising seqs. */
class Timeline {
  readonly versions: number[] = [];
  readonly absences: number[] = [];
  /** Updates that are known to have removed it, or to have found it absent. */
  readonly removals: number[] = [];
  /** When updates began that would remove it, and whose end nobody was told. */
  readonly openRemovals: number[] = [];

  sort(): void {
    for (const seqs of [this.versions, this.absences, this.removals, this.openRemovals]) seqs.sort((a, b) => a - b);
  }

  /** Why the version of `writtenAt` cannot be there at `seq`. */
  refusesPresence(writtenAt: number, seq: number): string | undefined {
    if (writtenAt > seq) return `that is of a later seq`;
    const version = firstAbove(this.versions, writtenAt);
    if (version !== undefined && version <= seq) return `it was written again at ${version}`;
    const absence = firstAbove(this.absences, writtenAt - 1);
    if (absence !== undefined && absence <= seq) return `it was absent at ${absence}`;
    return undefined;
  }

  /**
   * Why the key cannot be absent at `seq`, or (seen at `at`) at any seq from there to `seqMax`. `freeSeqs` are those which
   * no update is known to have.
   */
  refusesAbsence(seq: number, seqMax: number, at: number, freeSeqs: readonly number[]): string | undefined {
    const version = lastUpTo(this.versions, seq);
    if (version === undefined) return undefined;
    const removal = firstAbove(this.removals, version);
    if (removal !== undefined && removal <= seqMax) return undefined;
    const isOpen = this.openRemovals[0] !== undefined && this.openRemovals[0] <= at;
    if (isOpen && (firstAbove(freeSeqs, version) ?? Infinity) <= seqMax) return undefined;
    return `it was written at ${version} and not removed since`;
  }
}

/** What a disk is known to have held, and when. */
class Disk {
  prefixes: readonly string[] | undefined;
  readonly losses: LineOf<"disk-lost">[] = [];
  readonly #reports: LineOf<"persisted">[] = [];
  /** By epoch: the time of each report that raised the highest seq, and that seq. */
  readonly #highest = new Map<string, { times: number[]; seqs: number[] }>();

  add(report: LineOf<"persisted">): void {
    const { at, epoch, seq, prefixes } = report;
    this.prefixes = prefixes;
    this.#reports.push(report);
    const highest = this.#highest.get(epoch) ?? { times: [], seqs: [] };
    this.#highest.set(epoch, highest);
    if (seq <= (highest.seqs.at(-1) ?? -1)) return;
    highest.times.push(at);
    highest.seqs.push(seq);
  }

  /** Whether everything up to `seq` was on it by then, at least for a while. */
  hasHeld(time: number, epoch: string | null, seq: number): boolean {
    const { times, seqs } = this.#highest.get(epoch ?? "") ?? { times: [], seqs: [] };
    return (seqs[countUpTo(times, time) - 1] ?? -1) >= seq;
  }

  /** Whether it says after that time that it holds less, without having lost anything since. */
  deniesAfter(time: number, epoch: string | null, seq: number): boolean {
    const after = this.#reports.find(({ at }) => at > time);
    if (!after || (after.epoch === epoch && after.seq >= seq)) return false;
    return !this.losses.some(({ at }) => at <= after.at);
  }

  /** What must still be on it for who began to read at `begunAt`, and has read by `at`. */
  latest(begunAt: number, at: number): { epoch: string; seq: number } | undefined {
    const loss = this.losses.findLast((one) => one.at <= at);
    const lostAt = loss ? (loss.until ?? loss.at) : -Infinity;
    return this.#reports.findLast((report) => report.at <= begunAt && report.at > lostAt);
  }
}

/** The first of rising numbers above a limit. */
function firstAbove(numbers: readonly number[], limit: number): number | undefined {
  return numbers[countUpTo(numbers, limit)];
}

/** The last of rising numbers up to a limit. */
function lastUpTo(numbers: readonly number[], limit: number): number | undefined {
  return numbers[countUpTo(numbers, limit) - 1];
}

function countUpTo(numbers: readonly number[], limit: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
