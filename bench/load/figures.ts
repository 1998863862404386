// What is counted and timed while a load runs.

export class Figures {
  /** By what was asked for: how long it took until it was answered as wanted, in milliseconds. */
  readonly times = new Map<string, number[]>();
  /** By what was asked for and how it ended. */
  readonly outcomes = new Map<string, Map<string, number>>();

  took(kind: string, ms: number): void {
    const times = this.times.get(kind) ?? [];
    times.push(ms);
    this.times.set(kind, times);
  }

  ended(kind: string, outcome: string): void {
    const counts = this.outcomes.get(kind) ?? new Map<string, number>();
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    this.outcomes.set(kind, counts);
  }

  /** How many of all kinds have ended so; of all updates without an argument. */
  count(outcome?: string): number {
    const all = [...this.outcomes.values()].flatMap((counts) => [...counts]);
    return all.reduce((sum, [name, count]) => sum + (outcome === undefined || name === outcome ? count : 0), 0);
  }
}
