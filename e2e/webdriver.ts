// WebKit, which Playwright can only drive in a build of its own, through the classic WebDriver protocol: the driver and
// browser of WebKitGTK on a display that nobody sees. The display, the driver and the browser are processes of ours.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "./kit/index.ts";

const START_MS = 30_000;
/** Longer than any wait of a spec's, which then fails with a better reason. */
const ANSWER_MS = 60_000;
const SAID_MAX = 4_000;

/** One browser with one session, which is all that a driver process has. What it stores is gone after the session. */
export class WebKitSession {
  readonly #started: OwnProcess[] = [];
  #url = "";
  /** Commands go to one window at a time, so the next one waits for the last. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor() {}

  /** `binary` is a browser that understands --automation. */
  static async start(binary: string): Promise<WebKitSession> {
    const session = new WebKitSession();
    try {
      await session.#begin(binary);
    } catch (error) {
      const said = session.#started.map((one) => one.said).join("");
      await session.end();
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${said}`, { cause: error });
    }
    return session;
  }

  async #begin(binary: string): Promise<void> {
    // The server chooses a free display and writes its number into file 3.
    const screen = this.#spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1280x800x24", "-nolisten", "tcp"]);
    const [display] = await once(createInterface(screen.file3), "line", { signal: screen.startSignal });

    const port = await freePort();
    // Without a language of its own it would tell pages the name of C, which is none that they can use.
    const env = { DISPLAY: `:${display}`, LANG: "en_US.UTF-8", LANGUAGE: "en_US", LC_ALL: "" };
    const driver = this.#spawn("WebKitWebDriver", [`--port=${port}`], env);
    const origin = `http://127.0.0.1:${port}`;
    const isReady = (): Promise<boolean> =>
      fetch(`${origin}/status`).then(
        ({ ok }) => ok,
        () => false,
      );
    while (!(await isReady())) await sleep(20, undefined, { signal: driver.startSignal });

    const options = { binary, args: ["--automation"] };
    const timeouts = { script: ANSWER_MS, pageLoad: ANSWER_MS };
    const capabilities = { alwaysMatch: { "webkitgtk:browserOptions": options, timeouts } };
    const session = await call("POST", `${origin}/session`, { capabilities }, driver.startSignal);
    this.#url = `${origin}/session/${(session as { sessionId: string }).sessionId}`;
  }

  async newTab(): Promise<WebKitTab> {
    const created = await this.#inTurn(() => call("POST", `${this.#url}/window/new`, { type: "tab" }));
    const { handle } = created as { handle: string };
    return new WebKitTab((method, path, body) =>
      this.#inTurn(async () => {
        await call("POST", `${this.#url}/window`, { handle });
        return call(method, `${this.#url}${path}`, body);
      }),
    );
  }

  /** Ends the browser and everything that was started for it. */
  async end(): Promise<void> {
    if (this.#url !== "") await call("DELETE", this.#url).catch(() => {}); // It is killed below if it does not listen.
    for (const one of this.#started.toReversed()) await one.end();
  }

  #spawn(command: string, args: string[], env: Record<string, string> = {}): OwnProcess {
    const started = new OwnProcess(command, args, env);
    this.#started.push(started);
    return started;
  }

  #inTurn(command: () => Promise<unknown>): Promise<unknown> {
    const result = this.#turn.then(command);
    this.#turn = result.catch(() => {});
    return result;
  }
}

type Method = "POST" | "DELETE";
type Command = (method: Method, path: string, body?: object) => Promise<unknown>;

/** One tab. */
export class WebKitTab {
  readonly #command: Command;

  constructor(command: Command) {
    this.#command = command;
  }

  /** Resolves when the page has loaded. */
  async open(url: string): Promise<void> {
    await this.#command("POST", "/url", { url });
  }

  /** Resolves when the page has loaded. */
  async reload(): Promise<void> {
    await this.#command("POST", "/refresh", {});
  }

  /** The value of an expression in the page, or what its promise resolves to. It must be JSON. */
  async evaluate(expression: string): Promise<unknown> {
    const script = `
      const answer = arguments[arguments.length - 1];
      (async () => ${expression})().then((value) => answer({ value }), (error) => answer({ error: String(error) }));`;
    const answer = await this.#command("POST", "/execute/async", { script, args: [] });
    const { value, error } = answer as { value?: unknown; error?: string };
    if (error !== undefined) throw new Error(error);
    return value;
  }

  async close(): Promise<void> {
    await this.#command("DELETE", "/window");
  }
}

/** One command of the protocol; throws what the driver says against it. */
async function call(
  method: Method,
  url: string,
  body?: object,
  signal = AbortSignal.timeout(ANSWER_MS),
): Promise<unknown> {
  const answer = await fetch(url, { method, signal, ...(body && { body: JSON.stringify(body) }) });
  const { value } = (await answer.json()) as { value: unknown };
  if (answer.ok) return value;
  const { error, message } = value as { error: string; message: string };
  throw new Error(`${method} ${new URL(url).pathname}: ${error}: ${message}`);
}

/** A process in a group of its own, which is ended as a whole. It does not outlive this process, however that ends. */
class OwnProcess {
  /** Ends the wait for its start: when it has ended, or time is up. */
  readonly startSignal: AbortSignal;
  readonly #process: ChildProcess;
  readonly #ended = new AbortController();
  #said = "";

  constructor(command: string, args: string[], env: Record<string, string>) {
    this.startSignal = AbortSignal.any([this.#ended.signal, AbortSignal.timeout(START_MS)]);
    this.#process = spawn("setpriv", ["--pdeathsig", "KILL", command, ...args], {
      detached: true,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    this.#process.once("error", (error) => this.#ended.abort(error));
    this.#process.once("exit", () => this.#ended.abort(new Error(`${command} has ended`)));
    for (const stream of [this.#process.stdout!, this.#process.stderr!]) {
      stream.on("data", (text: Buffer) => (this.#said = (this.#said + text.toString()).slice(-SAID_MAX)));
    }
  }

  /** What it writes into its file 3. */
  get file3(): Readable {
    return this.#process.stdio[3] as Readable;
  }

  /** What it has printed last. */
  get said(): string {
    return this.#said;
  }

  async end(): Promise<void> {
    const { signal } = this.#ended;
    const ended = signal.aborted ? undefined : once(signal, "abort");
    try {
      // What it has started may still be there when it has ended itself.
      if (this.#process.pid !== undefined) process.kill(-this.#process.pid, "SIGKILL");
    } catch {
      // Nothing of it is left.
    }
    await ended;
  }
}
