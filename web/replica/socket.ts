// The WebSocket of a replica: makes it, makes it again when it is gone, and notices when it is gone without a word. What
// is said over it is none of its business, but for the two words of the watchdog, which are no lines of the protocol.

import { UNSENT_LIMIT_MS } from "../../src/limits.ts";
import { CLOSE, DEFLATE_SUBPROTOCOL, SUBPROTOCOL } from "../../src/protocol.ts";
import { canInflate, inflate } from "./inflate.ts";

/**
 * The first wait before a new attempt is at most this, and doubles with each that fails. It is as long as it can be, since
 * all replicas of a store are cut off together and come back to one object; an update that is given to a replica meanwhile
 * must still be sent in time (UNSENT_LIMIT_MS).
 */
const BACKOFF_BASE_MS = UNSENT_LIMIT_MS / 2;
const BACKOFF_CAP_MS = 10_000;
/** The wait when the primary has said that it cannot read what this replica sends. */
const REFUSED_BACKOFF_MS = 30_000;
/** How often the connection must prove itself: that what goes up arrives, and that the answer comes down. */
const WATCH_MS = 5000;
/**
 * A connection that must prove itself and stays silent for so long is dropped. On a slow network a single frame may take longer,
 * and nothing is heard of it before it is whole: so the next connection gets twice as long.
 */
const PROOF_PATIENCE_MS = 3000;
const PROOF_PATIENCE_CAP_MS = 60_000;
/** While other things come down, the answer may be behind a whole window of them on a slow network. */
const UPWARD_PATIENCE_MS = 20_000;
/** A timer that comes so late was not waited for: the machine, or this worker, was asleep. */
const SLEPT_MS = 1000;
/** A connection that does not open for so long is given up. */
const OPEN_PATIENCE_MS = 10_000;

/** The primary lets nobody in with this token any more, or not so far. */
const REFUSALS: readonly number[] = [CLOSE.expired, CLOSE.forbidden];

export interface SocketEvents {
  /** The token to show, if any: any, one that is not old, or another than the last, which was refused. */
  tokenFor(need: TokenNeed): Promise<string | undefined>;
  opened(): void;
  received(text: string): void;
  /** The connection is gone, or an attempt has failed; the next one follows by itself. */
  closed(wasOpen: boolean, reason: string, code?: number): void;
}

/** Makes a WebSocket. */
export type Connect = (url: string, protocols: string[]) => WebSocket;

export type TokenNeed = "any" | "fresh" | "another";

export class Socket {
  readonly #url: string;
  readonly #events: SocketEvents;
  readonly #connectTo: Connect;
  #socket: WebSocket | undefined;
  #isRunning = false;
  /** Rises with each attempt: a token that comes late is not for the next one. */
  #attempts = 0;
  #tokenNeed: TokenNeed = "any";
  #failures = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #watchTimer: ReturnType<typeof setInterval> | undefined;
  #openTimer: ReturnType<typeof setTimeout> | undefined;
  #proofTimer: ReturnType<typeof setTimeout> | undefined;
  /** Something has come since it was last looked. */
  #hasHeard = false;
  /** What was still to go up when it was last looked, in bytes. */
  #toGo = 0;
  #askedAt = 0;
  #patienceMs = PROOF_PATIENCE_MS;
  #inflating: Promise<void> | undefined;

  /** `url` is the store's address, http or https. */
  constructor(
    url: string,
    events: SocketEvents,
    connect: Connect = (address, protocols) => new WebSocket(address, protocols),
  ) {
    this.#connectTo = connect;
    this.#url = `${url.replace(/^http/, "ws")}/replicate`;
    this.#events = events;
  }

  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#connect();
  }

  /** Ends the connection until it is started again; `closed` is called if there was one. */
  stop(reason = "stopped"): void {
    this.#isRunning = false;
    this.#attempts += 1;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.drop(reason);
  }

  send(frames: readonly string[]): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return; // It has gone; what was on its way is asked again.
    for (const frame of frames) this.#socket.send(frame);
  }

  /** The primary has taken this replica in: the next loss begins a new count of failures. */
  confirm(): void {
    this.#failures = 0;
  }

  /** Something has changed: do not wait for the next attempt, nor trust a connection that looks open. */
  hurry(): void {
    if (this.#retryTimer !== undefined) {
      this.#failures = 0;
      void this.#connect();
    } else if (this.#watchTimer !== undefined) {
      this.#demandProof();
    }
  }

  /** Gives the connection up and makes a new one, after the usual wait. */
  drop(reason: string): void {
    const socket = this.#socket;
    if (!socket) return;
    const wasOpen = socket.readyState === WebSocket.OPEN;
    // The close handshake of a dead connection can take minutes, so nothing waits for it.
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.#gone(wasOpen, 1006, reason);
  }

  async #connect(): Promise<void> {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    const attempt = ++this.#attempts;
    const token = await this.#events.tokenFor(this.#tokenNeed);
    if (attempt === this.#attempts) this.#open(token);
  }

  #open(token: string | undefined): void {
    let socket: WebSocket;
    try {
      const offered = canInflate ? [SUBPROTOCOL, DEFLATE_SUBPROTOCOL] : [SUBPROTOCOL];
      socket = this.#connectTo(this.#url, token === undefined ? offered : [...offered, `token.${token}`]);
    } catch (error) {
      // A token that cannot stand in a subprotocol, or a page that may not connect there.
      this.#failures += 1;
      this.#events.closed(false, String(error));
      this.#retry(REFUSED_BACKOFF_MS);
      return;
    }
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#openTimer = setTimeout(() => this.drop("the connection does not open"), OPEN_PATIENCE_MS);
    socket.onopen = () => {
      clearTimeout(this.#openTimer);
      this.#tokenNeed = "any";
      this.#watchTimer = setInterval(() => this.#watch(), WATCH_MS);
      this.#events.opened();
    };
    socket.onmessage = ({ data }) => {
      this.#hasHeard = true;
      if (data === "pong") this.#proven(true);
      else void this.#read(socket, data as string | ArrayBuffer);
    };
    socket.onclose = ({ code, reason }) => {
      const wasOpen = this.#watchTimer !== undefined;
      this.#gone(wasOpen, code, reason || (wasOpen ? "the connection was lost" : "the primary cannot be reached"));
    };
  }

  /** What comes while a frame is being inflated waits until that is read. */
  async #read(socket: WebSocket, frame: string | ArrayBuffer): Promise<void> {
    const before = this.#inflating;
    if (before === undefined && typeof frame === "string") return this.#events.received(frame);
    const text = typeof frame === "string" ? frame : inflate(frame);
    const read = Promise.all([text, before]).then(
      ([line]) => {
        if (this.#socket === socket) this.#events.received(line);
      },
      () => {
        if (this.#socket === socket) this.drop("the primary sent what cannot be inflated");
      },
    );
    this.#inflating = read;
    await read;
    if (this.#inflating === read) this.#inflating = undefined;
  }

  #watch(): void {
    if (this.#proofTimer === undefined) this.#demandProof();
  }

  #demandProof(): void {
    this.#proven();
    this.#askedAt = performance.now();
    this.send(["ping"]);
    this.#awaitProof();
  }

  #awaitProof(): void {
    this.#hasHeard = false;
    this.#toGo = this.#socket?.bufferedAmount ?? 0;
    const due = performance.now() + this.#patienceMs;
    this.#proofTimer = setTimeout(() => {
      const now = performance.now();
      if (now > due + SLEPT_MS) this.#demandProof();
      // The question itself is behind what goes up.
      else if (this.#isUploading) this.#awaitProof();
      else if (!this.#hasHeard) this.#dropSilent();
      else if (now < this.#askedAt + UPWARD_PATIENCE_MS) this.#awaitProof();
      else this.drop("the primary does not hear this replica");
    }, this.#patienceMs);
  }

  get #isUploading(): boolean {
    return this.#toGo > 0 && (this.#socket?.bufferedAmount ?? 0) < this.#toGo;
  }

  #dropSilent(): void {
    this.#patienceMs = Math.min(PROOF_PATIENCE_CAP_MS, this.#patienceMs * 2);
    this.drop("the connection is silent");
  }

  #proven(isAnswered = false): void {
    if (isAnswered) this.#patienceMs = Math.max(PROOF_PATIENCE_MS, this.#patienceMs / 2);
    if (this.#proofTimer === undefined) return;
    clearTimeout(this.#proofTimer);
    this.#proofTimer = undefined;
  }

  #gone(wasOpen: boolean, code: number, reason: string): void {
    clearTimeout(this.#openTimer);
    this.#proven();
    clearInterval(this.#watchTimer);
    this.#watchTimer = undefined;
    this.#socket = undefined;
    this.#inflating = undefined;
    this.#failures += 1;
    if (REFUSALS.includes(code)) this.#tokenNeed = "another";
    else if (!wasOpen && this.#tokenNeed === "any") this.#tokenNeed = "fresh";
    // Full jitter keeps a crowd that was cut off together from coming back together.
    const span = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (this.#failures - 1));
    const isUseless = code === CLOSE.badMessage || code === CLOSE.forbidden;
    this.#retry(isUseless ? REFUSED_BACKOFF_MS : Math.random() * span);
    this.#events.closed(wasOpen, reason, code);
  }

  #retry(delayMs: number): void {
    if (this.#isRunning) this.#retryTimer = setTimeout(() => void this.#connect(), delayMs);
  }
}
