// What the command line is used on: a primary in a process of its own, which may be killed and started again.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { RequestListener, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const SERVING_PROCESS = join(import.meta.dirname, "..", "..", "worker", "node", "testing", "serving-process.ts");

export class ServedPrimary {
  readonly folder = mkdtempSync(join(tmpdir(), "headwater-cli-"));
  url = "";
  #process: ChildProcess | undefined;

  /** Everyone may do everything with its stores. */
  static async start(): Promise<ServedPrimary> {
    const primary = new ServedPrimary();
    await primary.restart();
    return primary;
  }

  /** Starts it again where it was. */
  async restart(): Promise<void> {
    const port = this.url === "" ? [] : [new URL(this.url).port];
    const started = spawn(process.execPath, [SERVING_PROCESS, join(this.folder, "stores"), ...port], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#process = started;
    [this.url] = (await once(createInterface({ input: started.stdout }), "line")) as [string];
  }

  async kill(): Promise<void> {
    const ended = once(this.#process!, "exit");
    this.#process!.kill("SIGKILL");
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Something else that answers in place of a primary. */
export async function answer(listener: RequestListener): Promise<{ url: string; server: Server }> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}
