// The parent's end of a driver.

import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import type { Order, Report } from "./driver.ts";
import type { Figure, System } from "./system.ts";

export class Driver {
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess) {
    this.#process = process;
  }

  static async start(system: System, origin: string, execArgv: string[] = []): Promise<Driver> {
    const driver = new Driver(
      fork(join(import.meta.dirname, "driver.ts"), { execArgv: ["--no-warnings", ...execArgv] }),
    );
    const { folder, variant } = system;
    await driver.order({ type: "open", folder, variant, origin }, 60_000);
    return driver;
  }

  /** Rejects when it fails, ends, or takes longer than the limit; then it is of no more use. */
  order(order: Order, limitMs: number): Promise<Figure[]> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#process.off("message", answered);
        this.#process.off("exit", ended);
      };
      const answered = (report: Report): void => {
        end();
        if ("figures" in report) resolve(report.figures);
        else reject(new Error(report.error));
      };
      const ended = (): void => {
        end();
        reject(new Error("the driver has ended"));
      };
      const timer = setTimeout(() => {
        end();
        this.stop();
        reject(new Error(`not finished after ${limitMs / 1000} s`));
      }, limitMs);
      if (!this.#process.connected) return ended();
      this.#process.on("message", answered);
      this.#process.on("exit", ended);
      this.#process.send(order);
    });
  }

  stop(): void {
    this.#process.kill("SIGKILL");
  }

  /** Lets it end by itself, so that what it records on its way out is written. */
  leave(): void {
    this.#process.disconnect();
  }
}
