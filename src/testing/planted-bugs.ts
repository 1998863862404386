// Bugs that the simulation must find: each is one small change of a machine, of the kind that one makes by mistake. If
// the simulation does not find one, it is the simulation that has a bug.

export interface PlantedBug {
  name: string;
  /** The file of the core, and what stands there once. */
  file: string;
  right: string;
  wrong: string;
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: "a secondary acks before its disk has confirmed",
    file: "secondary.ts",
    right: `if (this.#mode === "memory") return this.#ack(seq);`,
    wrong: `this.#ack(seq); if (this.#mode === "memory") return;`,
  },
  {
    name: "a commit is sent to the secondaries before it is durable",
    file: "updates.ts",
    right: `else this.#emit({ type: "persist", commit: this.#flight.commit });`,
    wrong: `else {
        const { prev, commit } = this.#flight;
        this.#replicate(new LiveCommit(prev, commit.seq, commit.changes), now);
        this.#emit({ type: "persist", commit });
      }`,
  },
  {
    name: "whoever leaves is still waited for",
    file: "arbiter.ts",
    right: `this.#inSync.delete(member);\n    if (this.#named`,
    wrong: `if (this.#named`,
  },
  {
    name: "everything sent counts as acked",
    file: "replicator.ts",
    right: `return this.#owesNothing ? this.#covered : this.#confirmed;`,
    wrong: `return this.#sent;`,
  },
  {
    name: "the ack of a part counts as the ack of a snapshot",
    file: "primary.ts",
    right: `type === "part-ack" ? replicator.receive(seq) : replicator.ack(seq)`,
    wrong: `replicator.ack(seq)`,
  },
  {
    name: "a repeated update is done again",
    file: "group.ts",
    right: `if (known) return known;`,
    wrong: ``,
  },
  {
    name: "what was turned away is forgotten, and a repeat makes it happen",
    file: "updates.ts",
    right: `this.#refusals.push({ clientId, outcome: { id, code } });`,
    wrong: ``,
  },
  {
    name: "what is in doubt is said not to have happened",
    file: "updates.ts",
    right: `if (!pending.isAnswered) this.#fail(pending, { code: "in-doubt" });`,
    wrong: `if (!pending.isAnswered) this.#fail(pending, { code: "in-doubt", applied: false });`,
  },
  {
    name: "a refused commit is dropped instead of tried again",
    file: "updates.ts",
    right: `this.#queue = [...again, ...this.#queue];`,
    wrong: `void again;`,
  },
  {
    name: "an unconfirmed update is never told so",
    file: "updates.ts",
    right: `for (const waiting of [...takeExpired(this.#waiting, now), ...takeExpired(this.#others, now)])`,
    wrong: `for (const waiting of takeExpired(this.#others, now))`,
  },
  {
    name: "floor is off by one",
    file: "primary.ts",
    right: `const reset = epoch !== own || since < floor || since > head;`,
    wrong: `const reset = epoch !== own || since < floor - 1 || since > head;`,
  },
  {
    name: "an older history is continued",
    file: "primary.ts",
    right: `const reset = epoch !== own || since < floor || since > head;`,
    wrong: `const reset = epoch === null || since < floor || since > head;`,
  },
  {
    name: "a catch-up leaves the tombstones out",
    file: "primary.ts",
    right: `tombstonesAfter: reset ? head : 0`,
    wrong: `tombstonesAfter: head`,
  },
  {
    name: "a compaction takes tombstones that a walk still needs",
    file: "replicator.ts",
    right: `return (this.#owesNothing ? this.#covered : this.#received) >= floor;`,
    wrong: `return floor >= 0;`,
  },
  {
    name: "a part may end in the middle of a batch",
    file: "store.ts",
    right: `if (isFull && row.seq !== seq) return`,
    wrong: `if (isFull) return`,
  },
  {
    name: "a snapshot from the future is applied",
    file: "secondary.ts",
    right: `if (snapshot.prev > cursor) return this.#askFrom(membership, cursor);`,
    wrong: ``,
  },
  {
    name: "the parts of a step are shown one by one",
    file: "secondary.ts",
    right: `if (snapshot.seq < this.#aside.until) return this.#ackAgain();`,
    wrong: ``,
  },
  {
    name: "a step is closed by a snapshot that was read before its parts",
    file: "secondary.ts",
    right: `this.#aside.until = Math.max(this.#aside.until, snapshot.until);`,
    wrong: `this.#aside.until = snapshot.until;`,
  },
  {
    name: "a Join that comes twice begins a second walk amid the first",
    file: "primary.ts",
    right: `if (this.#arbiter.memberOf(session)) return;`,
    wrong: `this.#arbiter.remove(session);`,
  },
  {
    name: "after a loss of memory everyone is taken to hold everything",
    file: "primary.ts",
    right: `const start = { since: acked, acked, tombstonesAfter: 0, isStepOpen: false };`,
    wrong: `const { head } = this.#store;\n    const start = { since: head, acked: head, tombstonesAfter: 0, isStepOpen: false };`,
  },
  {
    name: "an ack is told before the own replica shows the write",
    file: "outbox.ts",
    right: `if (reply.type === "operation-ack" && mustSee(pending.operation, reply.seq)) {`,
    wrong: `if (reply.type === "operation-ack" && reply.seq < 0) {`,
  },
  {
    name: "what a lost connection left unanswered is not asked again",
    file: "outbox.ts",
    right: `this.#waiting = new Map([...this.#sent, ...this.#waiting]);`,
    wrong: ``,
  },
];
