// The host of a secondary machine in a browser: feeds it what comes from the primary, from the pages, from IndexedDB and
// from the clock, and carries out its effects.
//
//   page --feed--> operate  \                      / send ----> socket, the lines of a turn packed into frames
//   socket --line-> receive  |                    |  apply ---> visible state, and the feeds of all pages
//   IndexedDB ----> persisted | -> machine ->     |  persist -> IndexedDB
//   timer --------> tick      |                   |  settle --> the feed of the page that asked
//   lock ---------> (anew)   /                     \ wake ----> timer
//
// Whoever holds the Web Lock of the database is the durable replica of this browser. Any other reads the database once,
// keeps its copy in memory, and waits for the lock; with the lock it begins anew, as the durable one.

import { LineReader, decodeDownstream, encodeUpstream, packFrames } from "../../src/codec.ts";
import type { SecondaryEffect, SecondaryInput, SecondaryStatus, Step } from "../../src/effects.ts";
import type { Change } from "../../src/kv.ts";
import { CLOSE } from "../../src/protocol.ts";
import type { Snapshot, Upstream } from "../../src/protocol.ts";
import { Secondary } from "../../src/secondary.ts";
import { unreachable } from "../../src/assert.ts";
import type { FromPage, ReplicaSettings, StepLines, ToPage } from "../feed.ts";
import { withDeadline } from "../deadline.ts";
import { randomId } from "../random-id.ts";
import { IdbStore, databaseName } from "./idb-store.ts";
import { tryLock, waitForLock } from "./lock.ts";
import type { Release } from "./lock.ts";
import type { ReplicaPersistence } from "./replica-persistence.ts";
import { Socket } from "./socket.ts";
import { VisibleState } from "./visible-state.ts";

/** A page that opens an empty replica waits so long for the first state before it is shown the emptiness. */
const FIRST_STATE_PATIENCE_MS = 2000;
/** Storage that cannot be read within this is done without. */
const LOAD_PATIENCE_MS = 10_000;
/** While the replica lags, its pages hear by how much this often. */
const LAG_REPORT_MS = 500;
/** After so many refusals in a row storage is given up and the copy is kept in memory only. */
const REFUSALS_MAX = 50;

/** One page. */
interface Feed {
  port: MessagePort;
  /** It has been given the state, and gets every step from there on. */
  isFed: boolean;
  items: ToPage[];
}

export class ReplicaHost {
  readonly #settings: ReplicaSettings;
  readonly #deserted: () => void;
  readonly #socket: Socket;
  readonly #feeds = new Map<string, Feed>();
  readonly #ended = new AbortController();
  #state = new VisibleState();
  #machine: Secondary | undefined;
  #secondaryId = randomId();
  #store: ReplicaPersistence | undefined;
  #release: Release | undefined;
  #reader = new LineReader();
  /** The received text of each snapshot, for as long as someone needs the snapshot. */
  #lines = new WeakMap<Snapshot, string>();
  #inputs: SecondaryInput[] = [];
  #isInTurn = false;
  #outgoing: Upstream[] = [];
  #wakeTimer: ReturnType<typeof setTimeout> | undefined;
  #reportTimer: ReturnType<typeof setTimeout> | undefined;
  /** There is a state to show, or it has been waited for long enough. */
  #isReadable = false;
  /** The visible state was sent by the primary, not only read from disk. */
  #isFromPrimary = false;
  #refusals = 0;
  #storageError: string | null = null;
  #connectionError: string | null = null;
  #reported: SecondaryStatus | undefined;

  /** `deserted` is called whenever the last page has gone. */
  constructor(settings: ReplicaSettings, deserted: () => void) {
    this.#settings = settings;
    this.#deserted = deserted;
    this.#socket = new Socket(settings.url, settings.token, {
      opened: () => this.#opened(),
      received: (text) => this.#received(text),
      closed: (wasOpen, reason, code) => this.#closed(wasOpen, reason, code),
    });
  }

  /** Reads local state and connects. */
  async start(): Promise<void> {
    const mode = await this.#openStorage();
    if (this.#ended.signal.aborted) return this.#closeStorage();
    this.#begin(mode);
  }

  /** Adds a page, or a page that was here before and comes back. */
  attach(clientId: string, port: MessagePort): void {
    this.#feeds.get(clientId)?.port.close();
    const wasAlone = this.#feeds.size === 0;
    const feed: Feed = { port, isFed: false, items: [] };
    this.#feeds.set(clientId, feed);
    if (!this.#machine) return; // The port keeps what comes until `#begin` listens to it.
    if (wasAlone) this.#turn({ type: "resume" });
    this.#listen(clientId, feed);
    this.#flush();
  }

  refresh(): void {
    this.#turn({ type: "refresh" });
  }

  hurry(): void {
    this.#socket.hurry();
  }

  /** Gives everything back: connection, database and lock. */
  async stop(): Promise<void> {
    this.#ended.abort();
    this.#socket.stop();
    clearTimeout(this.#wakeTimer);
    clearTimeout(this.#reportTimer);
    for (const { port } of this.#feeds.values()) port.close();
    this.#feeds.clear();
    this.#machine = undefined;
    await this.#closeStorage();
  }

  // --- storage

  /** Takes the lock if it is free, and reads the database in any case. */
  async #openStorage(): Promise<"durable" | "memory"> {
    const { durability, url, prefixes } = this.#settings;
    if (durability === "memory") return "memory";
    const name = databaseName(url, prefixes);
    try {
      this.#release = await tryLock(name);
      this.#store = new IdbStore(name, durability, () => this.#state.toImage());
      await withDeadline(this.#load(this.#store), LOAD_PATIENCE_MS, "the database cannot be read");
      if (this.#release) return "durable";
      await this.#store.close();
      this.#store = undefined;
      if ((navigator.locks as LockManager | undefined) === undefined) {
        this.#storageError = "this page has no Web Locks (it is not a secure context), so the copy is in memory only";
      } else {
        void this.#takeOver(name, durability);
      }
    } catch (error) {
      this.#storageError = `local storage cannot be used: ${String(error)}`;
      await this.#closeStorage();
    }
    return "memory";
  }

  /** Takes what is stored as the visible state. Only the lock's holder may throw away what is of no use. */
  async #load(store: ReplicaPersistence): Promise<void> {
    const stored = await store.load();
    const state = VisibleState.fromStored(stored);
    if (!state) {
      this.#storageError = "the local copy could not be read and was discarded";
      if (this.#release) await store.clear();
      return;
    }
    if (this.#release && stored.checkpoint) this.#secondaryId = stored.checkpoint.secondaryId;
    this.#state = state;
    const { checkpoint, pages, steps } = stored;
    if (!checkpoint) return;
    // Pages that wait get the stored text itself, which spares writing all of it out again.
    const { epoch, seq } = checkpoint;
    const items: ToPage[] = [
      { type: "state", state: { epoch, seq, pages } },
      ...steps.map((step): ToPage => ({ type: "step", step })),
    ];
    for (const feed of this.#feeds.values()) {
      feed.isFed = true;
      feed.items.push(...items);
    }
  }

  /** Waits for the lock and then becomes the durable replica. */
  async #takeOver(name: string, durability: "relaxed" | "strict"): Promise<void> {
    const release = await waitForLock(name, this.#ended.signal);
    if (!release) return;
    this.#release = release;
    // Without a connection nothing moves, and what is asked meanwhile is asked again afterwards.
    this.#socket.stop();
    const own = this.#state;
    const store = new IdbStore(name, durability, () => this.#state.toImage());
    try {
      const stored = await store.load();
      const state = VisibleState.fromStored(stored);
      if (stored.checkpoint) this.#secondaryId = stored.checkpoint.secondaryId;
      // A state that this replica has only read, never been sent, says nothing about which history is the younger.
      const isDiskNewer =
        state && state.epoch !== null && (state.epoch === own.epoch ? state.seq > own.seq : !this.#isFromPrimary);
      if (isDiskNewer) this.#show(state);
      else if (own.epoch === null) await store.clear();
      else await store.checkpoint(this.#secondaryId);
    } catch (error) {
      this.#storageError = `local storage cannot be used: ${String(error)}`;
      await store.close();
      release();
      this.#release = undefined;
      return this.#socket.start();
    }
    if (this.#ended.signal.aborted) return store.close().then(release);
    this.#store = store;
    this.#storageError = null;
    this.#begin("durable");
    for (const feed of this.#feeds.values()) feed.items.push({ type: "ask-again" });
    this.#flush();
  }

  async #closeStorage(): Promise<void> {
    await this.#store?.close();
    this.#store = undefined;
    this.#release?.();
    this.#release = undefined;
  }

  #persist(steps: Step[], machine: Secondary): void {
    const lines = steps.map((step) => this.#toLines(step));
    // Without a store the machine is in memory mode and asks for nothing; a stopped host has no one to answer to.
    const done = this.#store?.persist(lines, this.#secondaryId);
    done?.then(
      () => this.#persisted(machine),
      (error: unknown) => this.#refused(machine, String(error)),
    );
  }

  #persisted(machine: Secondary): void {
    if (machine !== this.#machine) return;
    this.#refusals = 0;
    this.#storageError = null;
    this.#turn({ type: "persisted" });
  }

  #refused(machine: Secondary, detail: string): void {
    if (machine !== this.#machine) return;
    this.#refusals += 1;
    if (this.#refusals < REFUSALS_MAX) return this.#turn({ type: "refused", detail });
    this.#storageError = `local storage was given up after ${REFUSALS_MAX} failures: ${detail}`;
    void this.#closeStorage();
    this.#turn({ type: "change-mode", mode: "memory" });
  }

  // --- the machine

  /** A machine begins where the visible state stands. */
  #begin(mode: "durable" | "memory"): void {
    const { prefixes } = this.#settings;
    const { epoch, seq } = this.#state;
    const isFirst = this.#machine === undefined;
    this.#machine = new Secondary({ secondaryId: this.#secondaryId, prefixes });
    clearTimeout(this.#wakeTimer);
    if (epoch !== null) this.#isReadable = true;
    else setTimeout(() => this.#becomeReadable(), FIRST_STATE_PATIENCE_MS);
    this.#turn({ type: "start", mode, epoch, seq });
    if (this.#feeds.size === 0) this.#turn({ type: "pause" });
    if (isFirst) for (const [clientId, feed] of this.#feeds) this.#listen(clientId, feed);
    this.#flush();
    this.#socket.start();
  }

  /**
   * One turn: the machine takes the inputs one after the other and each one's effects are carried out in order; what
   * they send, to the primary and to the pages, leaves at the end.
   */
  #turn(...inputs: SecondaryInput[]): void {
    this.#inputs.push(...inputs);
    if (this.#isInTurn || !this.#machine) return;
    this.#isInTurn = true;
    for (let input = this.#inputs.shift(); input; input = this.#inputs.shift()) {
      for (const effect of this.#machine.step(input, performance.now())) this.#carryOut(effect, this.#machine);
    }
    this.#isInTurn = false;
    this.#flush();
  }

  #carryOut(effect: SecondaryEffect, machine: Secondary): void {
    switch (effect.type) {
      case "send":
        this.#outgoing.push(effect.message);
        return;
      case "apply":
        return this.#apply(effect.step);
      case "persist":
        return this.#persist(effect.steps, machine);
      case "settle": {
        const { clientId } = effect.settled;
        if (clientId !== null) this.#feeds.get(clientId)?.items.push({ type: "settled", settled: effect.settled });
        return;
      }
      case "reconnect":
        return this.#socket.drop(effect.reason);
      case "wake":
        return this.#wakeAt(effect.at);
      default:
        return unreachable(effect);
    }
  }

  #apply(step: Step): void {
    this.#state.apply(step, changesOf(step));
    this.#isFromPrimary = true;
    this.#isReadable = true;
    const item: ToPage = { type: "step", step: this.#toLines(step) };
    for (const feed of this.#feeds.values()) {
      feed.isFed ||= step.reset;
      if (feed.isFed) feed.items.push(item);
    }
  }

  #toLines({ epoch, prev, seq, reset, parts }: Step): StepLines {
    return { epoch, prev, seq, reset, lines: parts.map((part) => this.#lines.get(part)!) };
  }

  #wakeAt(at: number | undefined): void {
    clearTimeout(this.#wakeTimer);
    if (at === undefined) return;
    // Rounded up: a timer counts whole milliseconds, and a tick before its time would go unheard.
    const delayMs = Math.max(0, Math.ceil(at - performance.now()));
    this.#wakeTimer = setTimeout(() => {
      if (performance.now() < at) this.#wakeAt(at);
      else this.#turn({ type: "tick" });
    }, delayMs);
  }

  // --- the socket

  #opened(): void {
    this.#reader = new LineReader();
    this.#turn({ type: "connect" });
  }

  #received(text: string): void {
    const lines = this.#reader.push(text);
    if (!lines.ok) return this.#socket.drop(lines.detail);
    const inputs: SecondaryInput[] = [];
    for (const line of lines.value) {
      const message = decodeDownstream(line);
      if (!message.ok) {
        this.#turn(...inputs);
        return this.#socket.drop(message.detail);
      }
      if (message.value.type === "snapshot") this.#lines.set(message.value, line);
      else if (message.value.type === "joined-secondary") this.#joined();
      inputs.push({ type: "receive", message: message.value });
    }
    this.#turn(...inputs);
  }

  #joined(): void {
    this.#connectionError = null;
    this.#socket.confirm();
  }

  #closed(wasOpen: boolean, reason: string, code: number | undefined): void {
    this.#outgoing = [];
    this.#connectionError = reason;
    if (wasOpen) this.#turn({ type: "disconnect" });
    // Whoever still hears this is alive: someone else goes by the same id, a copy of the browser's profile, say.
    if (code === CLOSE.superseded) this.#rename();
    else this.#flush();
    this.#becomeReadable();
  }

  #rename(): void {
    this.#secondaryId = randomId();
    this.#turn({ type: "rename", secondaryId: this.#secondaryId });
  }

  // --- the pages

  /** There will be nothing better to show soon. */
  #becomeReadable(): void {
    if (this.#isReadable || !this.#machine) return;
    this.#isReadable = true;
    this.#flush();
  }

  #listen(clientId: string, feed: Feed): void {
    feed.port.onmessage = ({ data }: MessageEvent<FromPage>) => {
      if (data === "farewell") this.#detach(clientId, feed);
      else this.#turn(...data.map((operation): SecondaryInput => ({ type: "operate", operation })));
    };
    // Where browsers tell it, the end of a page that could not say farewell.
    feed.port.addEventListener("close", () => this.#detach(clientId, feed));
  }

  /** Forgets a page, unless it has come back meanwhile over another port. */
  #detach(clientId: string, feed: Feed): void {
    if (this.#feeds.get(clientId) !== feed) return;
    feed.port.close();
    this.#feeds.delete(clientId);
    if (this.#feeds.size > 0) return;
    // Nobody looks: do not keep writers waiting for a copy that may be frozen at any moment.
    this.#turn({ type: "pause" });
    this.#deserted();
  }

  /** Shows a state that did not come about by steps. */
  #show(state: VisibleState): void {
    this.#state = state;
    this.#isReadable = true;
    for (const feed of this.#feeds.values()) feed.isFed = false;
  }

  /** Sends what the turn has gathered. */
  #flush(): void {
    if (this.#isInTurn || !this.#machine) return;
    if (this.#outgoing.length > 0) this.#socket.send(packFrames(this.#outgoing.splice(0).map(encodeUpstream)));
    const status = this.#statusIfNew(this.#machine);
    for (const feed of this.#feeds.values()) {
      const isFirst = !feed.isFed && this.#isReadable;
      if (isFirst) {
        feed.items.unshift({ type: "state", state: this.#state.toWholeState() });
        feed.isFed = true;
      }
      if (status) feed.items.push({ type: "status", status });
      else if (isFirst && this.#reported) feed.items.push({ type: "status", status: this.#reported });
      if (feed.items.length > 0) feed.port.postMessage(feed.items.splice(0));
    }
  }

  #reportLag(): void {
    this.#reported = undefined;
    this.#flush();
  }

  #statusIfNew(machine: Secondary): SecondaryStatus | undefined {
    const status = machine.status(performance.now());
    status.lastError = this.#storageError ?? status.lastError ?? this.#connectionError;
    const old = this.#reported;
    if (old && isSameStatus(status, old)) return undefined;
    this.#reported = status;
    clearTimeout(this.#reportTimer);
    if (status.head > status.seq) {
      this.#reportTimer = setTimeout(() => this.#reportLag(), LAG_REPORT_MS);
    }
    return status;
  }
}

function* changesOf({ parts }: Step): Generator<Change> {
  for (const part of parts) yield* part.changes;
}

/** Nothing has changed but what a page counts for itself, and the lag, which is reported by the clock. */
function isSameStatus(a: SecondaryStatus, b: SecondaryStatus): boolean {
  const names = Object.keys(a) as (keyof SecondaryStatus)[];
  return names.every((name) => name === "pending" || name === "lagMs" || a[name] === b[name]);
}
