// Bugs that the simulation must find: each is one small change of a machine, of the kind that one makes by mistake. If
// the simulation does not find one, it is the simulation that has a bug.

export interface PlantedBug {
  name: string;
  /** The first seed that shows it. */
  seed: number;
  /** The file of the core, and what stands there once. */
  file: string;
  right: string;
  wrong: string;
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: "a secondary acks before its disk has confirmed",
    seed: 1,
    file: "secondary.ts",
    right: `if (this.#mode === "memory") return this.#ack(seq);`,
    wrong: `this.#ack(seq); if (this.#mode === "memory") return;`,
  },
  {
    name: "a commit is sent to the secondaries before it is durable",
    seed: 1,
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
    seed: 155,
    file: "arbiter.ts",
    right: `this.#inSync.delete(member);\n    if (this.#named`,
    wrong: `if (this.#named`,
  },
  {
    name: "everything sent counts as acked",
    seed: 1,
    file: "replicator.ts",
    right: `return this.#owesNothing ? this.#covered : this.#confirmed;`,
    wrong: `return this.#sent;`,
  },
  {
    name: "the ack of a part counts as the ack of a snapshot",
    seed: 8,
    file: "primary.ts",
    right: `type === "part-ack" ? replicator.receive(seq, now) : replicator.ack(seq, now)`,
    wrong: `replicator.ack(seq, now)`,
  },
  {
    name: "a repeated update is done again",
    seed: 4,
    file: "group.ts",
    right: `if (known) return known;`,
    wrong: ``,
  },
  {
    name: "what was turned away is forgotten, and a repeat makes it happen",
    seed: 1339,
    file: "updates.ts",
    right: `this.#refusals.push({ clientId, outcome: { id, code } });`,
    wrong: ``,
  },
  {
    name: "what is in doubt is said not to have happened",
    seed: 2,
    file: "updates.ts",
    right: `if (!pending.isAnswered) this.#fail(pending, { code: "in-doubt" });`,
    wrong: `if (!pending.isAnswered) this.#fail(pending, { code: "in-doubt", applied: false });`,
  },
  {
    name: "a refused commit is dropped instead of tried again",
    seed: 742,
    file: "updates.ts",
    right: `this.#queue = [...again, ...this.#queue];`,
    wrong: `void again;`,
  },
  {
    name: "an unconfirmed update is never told so",
    seed: 4,
    file: "updates.ts",
    right: `for (const waiting of [...takeExpired(this.#waiting, now), ...takeExpired(this.#others, now)])`,
    wrong: `for (const waiting of takeExpired(this.#others, now))`,
  },
  {
    name: "floor is off by one",
    seed: 331,
    file: "primary.ts",
    right: `const reset = epoch !== own || since < floor || since > head;`,
    wrong: `const reset = epoch !== own || since < floor - 1 || since > head;`,
  },
  {
    name: "an older history is continued",
    seed: 4,
    file: "primary.ts",
    right: `const reset = epoch !== own || since < floor || since > head;`,
    wrong: `const reset = epoch === null || since < floor || since > head;`,
  },
  {
    name: "a catch-up leaves the tombstones out",
    seed: 6,
    file: "primary.ts",
    right: `tombstonesAfter: reset ? head : 0`,
    wrong: `tombstonesAfter: head`,
  },
  {
    name: "a compaction takes tombstones that a walk still needs",
    seed: 22,
    file: "replicator.ts",
    right: `return (this.#owesNothing ? this.#covered : this.#received) >= floor;`,
    wrong: `return floor >= 0;`,
  },
  {
    name: "a part may end in the middle of a batch",
    seed: 12,
    file: "store.ts",
    right: `if (isFull && row.seq !== seq) return`,
    wrong: `if (isFull) return`,
  },
  {
    name: "a deletion forgets the outcomes of what was done before it",
    seed: 9,
    file: "store.ts",
    right: `this.#changes.clear();`,
    wrong: `this.#changes.clear();\n    this.#clients.clear();`,
  },
  {
    name: "a deletion takes no seq",
    seed: 9,
    file: "store.ts",
    right: `this.head += 1;\n    this.floor = this.head;`,
    wrong: `this.floor = this.head;`,
  },
  {
    name: "a snapshot from the future is applied",
    seed: 8,
    file: "secondary.ts",
    right: `if (snapshot.prev > cursor) return this.#askFrom(membership, cursor);`,
    wrong: ``,
  },
  {
    name: "the parts of a step are shown one by one",
    seed: 8,
    file: "secondary.ts",
    right: `if (snapshot.seq < this.#aside.until) return this.#ackAgain();`,
    wrong: ``,
  },
  {
    name: "a step is closed by a snapshot that was read before its parts",
    seed: 21,
    file: "secondary.ts",
    right: `this.#aside.until = Math.max(this.#aside.until, snapshot.until);`,
    wrong: `this.#aside.until = snapshot.until;`,
  },
  {
    name: "what is on disk of an older history is acked in the new one",
    seed: 2411,
    file: "secondary.ts",
    right: `this.#persistedSeq = 0; // What`,
    wrong: `// What`,
  },
  {
    name: "the answer to an older Join is taken for the answer to the newest",
    seed: 859,
    file: "secondary.ts",
    right: `return this.#resume();`,
    wrong: `this.#isPaused = false;\n        return this.#join(now);`,
  },
  {
    name: "after a loss of memory everyone is taken to hold everything",
    seed: 187,
    file: "primary.ts",
    right: `const start = { since: acked, acked, sentMax`,
    wrong: `const start = { since: this.#store.head, acked: this.#store.head, sentMax`,
  },
  {
    name: "a memo says that more was acked than was",
    seed: 187,
    file: "primary.ts",
    right: `acked: replicator.hasAcked ? replicator.acked : null,`,
    wrong: `acked: replicator.hasAcked ? this.#store.head : null,`,
  },
  {
    name: "an ack is told before the own replica shows the write",
    seed: 4,
    file: "outbox.ts",
    right: `if (reply.type === "operation-ack" && mustSee(pending.operation, reply.seq)) {`,
    wrong: `if (reply.type === "operation-ack" && reply.seq < 0) {`,
  },
  {
    name: "what a lost connection left unanswered is not asked again",
    seed: 10,
    file: "outbox.ts",
    right: `this.#waiting = new Map([...this.#sent, ...this.#waiting]);`,
    wrong: ``,
  },
];
