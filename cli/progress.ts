// The bar of a command that takes its time. It is drawn on a terminal and nowhere else, and is gone when the command has ended.

/** What it is drawn on. */
export interface Terminal {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

const BAR_LETTERS = 24;
const REDRAW_MS = 100;
const CLEAR = "\r\u001B[K";

export class Progress {
  readonly #total: number;
  readonly #describe: (done: number) => string;
  readonly #terminal: Terminal;
  readonly #clear = (): void => void this.#terminal.write(CLEAR);
  #drawnAt = -Infinity;

  /** A bar of `total` steps. `describe` says in words how far it has come. */
  constructor(total: number, describe: (done: number) => string, terminal: Terminal = process.stderr) {
    this.#total = total;
    this.#describe = describe;
    this.#terminal = terminal;
    if (terminal.isTTY) process.on("exit", this.#clear);
  }

  advance(done: number): void {
    const now = performance.now();
    const isSoon = now - this.#drawnAt < REDRAW_MS && done < this.#total;
    if (!this.#terminal.isTTY || isSoon) return;
    this.#drawnAt = now;
    // What is counted may have grown since it was counted.
    const share = this.#total > 0 ? Math.min(1, done / this.#total) : 1;
    const letters = Math.round(share * BAR_LETTERS);
    const bar = "█".repeat(letters) + "░".repeat(BAR_LETTERS - letters);
    this.#terminal.write(`${CLEAR}${bar} ${Math.floor(share * 100)}% ${this.#describe(done)}`);
  }

  end(): void {
    process.off("exit", this.#clear);
    if (this.#drawnAt !== -Infinity) this.#clear();
    this.#drawnAt = -Infinity;
  }
}

export const formatCount = (count: number): string => count.toLocaleString("en");

export function formatBytes(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}
