// The host of a secondary machine in a browser: feeds it what comes from the primary, from the pages, from IndexedDB and
// from the clock, and carries out its effects.
//
//   page --feed--> operate  \                      / send ----> socket, the lines of a turn packed into frames
//   socket --line-> receive  |                    |  apply ---> visible state, and the feeds of all pages
//   IndexedDB ----> persisted | -> machine ->     |  persist -> IndexedDB
//   timer --------> tick      |                   |  settle --> the feed of the page that asked
//   ownership ----> (anew)   /                     \ wake ----> timer
//
// Whoever owns the database (ownership.ts) is the durable replica of this browser. Any other reads it once, keeps its copy
// in memory, and begins anew as the durable one when it comes to own it.

import { LineReader, decodeDownstream, encodeUpstream, packFrames } from "../../src/codec.ts";
import type { SecondaryEffect, SecondaryInput, SecondaryStatus, Step } from "../../src/effects.ts";
import { isCovered } from "../../src/kv.ts";
import type { Change } from "../../src/kv.ts";
import { CLOSE, keysOf } from "../../src/protocol.ts";
import type { Snapshot, Update, Upstream } from "../../src/protocol.ts";
import { Secondary } from "../../src/secondary.ts";
import { unreachable } from "../../src/assert.ts";
import type { Fault, FromPage, Open, ReplicaSettings, StepLines, ToPage } from "../feed.ts";
import { withDeadline } from "../deadline.ts";
import { randomId } from "../random-id.ts";
import { DurableOutbox } from "./durable-outbox.ts";
import { Faults } from "./faults.ts";
import { IdbOutbox, outboxName } from "./idb-outbox.ts";
import { waitForLock } from "./lock.ts";
import { Ownership } from "./ownership.ts";
import type { ReplicaPersistence, Stored } from "./replica-persistence.ts";
import { Socket } from "./socket.ts";
import type { Connect } from "./socket.ts";
import { Tokens } from "./tokens.ts";
import { VisibleState } from "./visible-state.ts";

/** A page that opens an empty replica waits so long for the first state before it is shown the emptiness. */
const FIRST_STATE_PATIENCE_MS = 2000;
/** Storage that has not been read within this is not waited for. */
const LOAD_PATIENCE_MS = 5000;
/** While the replica lags, its pages hear by how much this often. */
const LAG_REPORT_MS = 500;

/** One page. */
interface Feed {
  port: MessagePort;
  /** It can be asked for a token. */
  hasTokens: boolean;
  /** It has been given the outbox, and hears of what is published. */
  isListening: boolean;
  /** It has been given the state, and gets every step from there on. */
  isFed: boolean;
  /** The pages of the state that is being read were sent ahead. */
  hasPages: boolean;
  items: ToPage[];
}

export class ReplicaHost {
  readonly #settings: ReplicaSettings;
  readonly #deserted: () => void;
  readonly #socket: Socket;
  readonly #tokens = new Tokens(() => this.#askForToken());
  readonly #faults = new Faults();
  readonly #feeds = new Map<string, Feed>();
  readonly #ownership: Ownership | undefined;
  /** A replica that keeps nothing has none. */
  readonly #outbox: DurableOutbox | undefined;
  #outboxRead: Promise<void> | undefined;
  #state = new VisibleState();
  #machine: Secondary | undefined;
  #secondaryId = randomId();
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
  #isEnded = false;
  /** The disk is being emptied: until it is, there is nothing that could be told to the primary. */
  #isWiping = false;
  #storageError: string | null = null;
  #connectionError: string | null = null;
  #reported: SecondaryStatus | undefined;

  /** `deserted` is called whenever the last page has gone. `connect` is for those who have no network. */
  constructor(settings: ReplicaSettings, deserted: () => void, connect?: Connect) {
    this.#settings = settings;
    this.#deserted = deserted;
    const { durability, ...rest } = settings;
    if (durability !== "memory") {
      this.#ownership = new Ownership(
        { ...rest, durability },
        {
          readImage: () => this.#state.toImage(),
          isServed: () => this.#isServed(),
          peeked: (stored) => this.#peeked(stored),
          acquired: (store, stored) => this.#acquired(store, stored),
          lost: (reason) => this.#lost(reason),
        },
      );
      const name = outboxName(settings.url, settings.identity);
      this.#outbox = new DurableOutbox(name, (memory) => new IdbOutbox(name, memory), {
        operate: (updates) => this.#turn(...updates.map((operation) => ({ type: "operate" as const, operation }))),
        publish: (item) => this.#publish(item),
        waitForTurn: (signal) => waitForLock(name, signal, () => this.#isServed()),
        isYetToShow: (update, seq) => this.#isYetToShow(update, seq),
      });
    }
    this.#socket = new Socket(
      settings.url,
      {
        tokenFor: (need) => this.#tokens.next(need),
        opened: () => this.#opened(),
        received: (text) => this.#received(text),
        closed: (wasOpen, reason, code) => this.#closed(wasOpen, reason, code),
      },
      connect,
    );
  }

  /** Reads local state and connects. */
  async start(): Promise<void> {
    this.#outboxRead = this.#outbox?.start();
    const read = Promise.all([this.#outboxRead, this.#ownership?.start()]);
    try {
      await withDeadline(read, LOAD_PATIENCE_MS, "local storage");
    } catch (error) {
      // It keeps nobody from the primary; what it has is taken in when it comes.
      if (!this.#machine) this.#storageError = String(error);
    }
    if (!this.#machine && !this.#isEnded) this.#begin("memory");
  }

  /** Adds a page, or a page that was here before and comes back. */
  attach({ clientId, feed: port, token, hasTokens, faults }: Open): void {
    const before = this.#feeds.get(clientId);
    before?.port.close();
    const wasAlone = this.#feeds.size === 0;
    if (token !== undefined) this.#tokens.take(token);
    const feed: Feed = { port, hasTokens, isListening: false, isFed: false, hasPages: false, items: [] };
    this.#feeds.set(clientId, feed);
    this.#setFaults(feed, faults);
    if (before) this.#setFaults(before, []);
    if (!this.#machine) return; // The port keeps what comes until `#begin` listens to it.
    if (wasAlone) this.#turn({ type: "resume" });
    this.#listen(clientId, feed);
    this.#flush();
  }

  hurry(): void {
    this.#socket.hurry();
  }

  /** Gives everything back: connection, database and lock. */
  async stop(): Promise<void> {
    this.#isEnded = true;
    this.#socket.stop();
    clearTimeout(this.#wakeTimer);
    clearTimeout(this.#reportTimer);
    for (const { port } of this.#feeds.values()) port.close();
    this.#feeds.clear();
    this.#machine = undefined;
    await Promise.all([this.#outbox?.stop(), this.#ownership?.stop()]);
  }

  // --- storage

  /** Another replica keeps the database: what it has stored is shown until the primary sends something newer. */
  #peeked(stored: Stored): void {
    if (this.#machine) return;
    const state = this.#read(stored);
    if (state) this.#show(state, stored);
  }

  /** The database is this replica's: the machine begins anew, as the durable one. */
  async #acquired(store: ReplicaPersistence, stored: Stored): Promise<void> {
    // Without a connection nothing moves, and what is asked meanwhile is asked again afterwards.
    this.#socket.stop();
    try {
      await this.#unite(store, stored);
      // What is pending is to be seen together with the first state.
      await withDeadline(Promise.resolve(this.#outboxRead), LOAD_PATIENCE_MS, "the outbox").catch(() => {});
    } finally {
      this.#startSocket();
    }
    this.#begin("durable");
  }

  /** Makes what is stored and what is shown one state: the younger one. */
  async #unite(store: ReplicaPersistence, stored: Stored): Promise<void> {
    const state = this.#read(stored);
    if (!state) await store.clear();
    this.#storageError = state ? null : "the local copy could not be read and was discarded";
    // What does not stand on the disk any more was acked under an id that must not count for it.
    this.#secondaryId = (state && stored.checkpoint?.secondaryId) ?? randomId();
    const own = this.#state;
    // A state that this replica has only read, never been sent, says nothing about which history is the younger.
    const isDiskNewer =
      state && state.epoch !== null && (state.epoch === own.epoch ? state.seq > own.seq : !this.#isFromPrimary);
    if (isDiskNewer) this.#show(state, stored);
    else if (own.epoch !== null) await store.checkpoint(this.#secondaryId);
  }

  /** The database is another's, or cannot be used: the copy is kept in memory, under an id of its own. */
  #lost(reason: string): void {
    this.#storageError = reason;
    if (!this.#machine) return;
    this.#rename();
    this.#turn({ type: "change-mode", mode: "memory" });
  }

  #persist(steps: Step[], machine: Secondary): void {
    const lines = steps.map((step) => this.#toLines(step));
    // Without ownership the machine is in memory mode and asks for nothing; a stopped host has no one to answer to.
    const done = this.#ownership?.persist(lines, this.#secondaryId);
    done?.then(
      () => void this.#faults.disk().then(() => this.#answer(machine, { type: "persisted" })),
      (error: unknown) => this.#answer(machine, { type: "refused", detail: String(error) }),
    );
  }

  /** Begins as one who has never been here; pages show what they have until there is something to show again. */
  async #wipe(): Promise<void> {
    if (!this.#machine || this.#isWiping) return;
    this.#isWiping = true;
    this.#socket.stop("the local copy was wiped");
    this.#state = new VisibleState();
    this.#isFromPrimary = this.#isReadable = false;
    this.#secondaryId = randomId();
    // Whoever acts from here on is a machine that knows nothing; what the one before had on its way is not answered to it.
    this.#begin("memory");
    await this.#ownership?.wipe();
    this.#isWiping = false;
    this.#startSocket();
  }

  #answer(machine: Secondary, input: SecondaryInput): void {
    if (machine !== this.#machine) return;
    if (input.type === "persisted") this.#storageError = null;
    this.#turn(input);
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
    this.#startSocket();
    if (isFirst) return;
    this.#outbox?.askAgain();
    this.#publish({ type: "ask-again" });
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
        this.#outbox?.settled(effect.settled);
        if (clientId !== null) this.#feeds.get(clientId)?.items.push({ type: "settled", settled: effect.settled });
        return;
      }
      case "late":
        return this.#outbox?.settled(effect.reply);
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
    this.#outbox?.shown();
  }

  #isYetToShow(update: Update, seq: number): boolean {
    const { prefixes } = this.#settings;
    return seq > this.#state.seq && keysOf(update).some((key) => isCovered(key, prefixes));
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

  #startSocket(): void {
    if (this.#machine && !this.#isWiping && !this.#faults.has("offline")) this.#socket.start();
  }

  #setFaults(page: Feed, faults: readonly Fault[]): void {
    const wasOffline = this.#faults.has("offline");
    this.#faults.set(page, faults);
    const isOffline = this.#faults.has("offline");
    if (isOffline && !wasOffline) this.#socket.stop("taken offline by a page");
    else if (wasOffline && !isOffline) this.#startSocket();
    this.#flush();
  }

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

  /** False if no page can be asked. */
  #askForToken(): boolean {
    const asked = [...this.#feeds.values()].filter(({ hasTokens, isListening }) => hasTokens && isListening);
    for (const feed of asked) feed.items.push({ type: "token-wanted" });
    this.#flush();
    return asked.length > 0;
  }

  // --- the pages

  /** There will be nothing better to show soon. */
  #becomeReadable(): void {
    if (this.#isReadable || !this.#machine) return;
    this.#isReadable = true;
    this.#flush();
  }

  #listen(clientId: string, feed: Feed): void {
    feed.isListening = true;
    // Ahead of the state: what is pending is to be seen from the first moment.
    const queued = this.#outbox?.queued;
    if (queued) feed.items.unshift({ type: "outbox", queued });
    feed.port.onmessage = ({ data }: MessageEvent<FromPage>) => {
      this.#heard(data, clientId, feed);
    };
    // Where browsers tell it, the end of a page that could not say farewell.
    feed.port.addEventListener("close", () => this.#detach(clientId, feed));
  }

  #heard(message: FromPage, clientId: string, feed: Feed): void {
    switch (message.type) {
      case "operate":
        return this.#turn(...message.operations.map((operation) => ({ type: "operate" as const, operation })));
      case "queue":
        return void this.#outbox?.take(message.updates);
      case "dismiss":
        return void this.#outbox?.dismiss(message.name);
      case "hurry":
        return this.hurry();
      case "refresh":
        return this.#turn({ type: "refresh" });
      case "token":
        return this.#tokens.take(message.token ?? undefined);
      case "faults":
        return this.#setFaults(feed, message.faults);
      case "drop":
        return this.#socket.drop("dropped by a page");
      case "wipe":
        return void this.#wipe();
      case "ping":
        feed.port.postMessage([{ type: "pong" }] satisfies ToPage[]);
        return;
      case "farewell":
        return this.#detach(clientId, feed);
      default:
        return unreachable(message);
    }
  }

  /** Tells all pages; those that come later are given the whole. */
  #publish(item: ToPage): void {
    for (const feed of this.#feeds.values()) if (feed.isListening) feed.items.push(item);
    this.#flush();
  }

  /** Forgets a page, unless it has come back meanwhile over another port. */
  #detach(clientId: string, feed: Feed): void {
    if (this.#feeds.get(clientId) !== feed) return;
    feed.port.close();
    this.#feeds.delete(clientId);
    this.#setFaults(feed, []);
    if (this.#feeds.size > 0) return;
    // Nobody looks: do not keep writers waiting for a copy that may be frozen at any moment.
    this.#turn({ type: "pause" });
    this.#deserted();
  }

  /** Reads what was stored; undefined if it is of no use. Pages that have nothing yet read it at the same time. */
  #read(stored: Stored): VisibleState | undefined {
    for (const feed of this.#feeds.values()) {
      feed.hasPages = !feed.isFed && this.#state.epoch === null && stored.pages.length > 0;
      if (feed.hasPages) feed.port.postMessage([{ type: "ahead", pages: stored.pages }] satisfies ToPage[]);
    }
    return VisibleState.fromStored(stored);
  }

  /** Shows a state that was read. Pages get the stored text itself, which spares writing all of it out again. */
  #show(state: VisibleState, { checkpoint, pages, steps }: Stored): void {
    this.#state = state;
    if (!checkpoint) return;
    this.#isReadable = true;
    const { epoch, seq } = checkpoint;
    for (const feed of this.#feeds.values()) {
      feed.isFed = true;
      feed.items.push({ type: "state", state: { epoch, seq, pages: feed.hasPages ? null : pages } });
      for (const step of steps) feed.items.push({ type: "step", step });
    }
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
    this.#outbox?.setOpen(isJoined(this.#reported));
  }

  #isServed(): boolean {
    return isJoined(this.#machine?.status(performance.now()));
  }

  #reportLag(): void {
    this.#reported = undefined;
    this.#flush();
  }

  #statusIfNew(machine: Secondary): SecondaryStatus | undefined {
    const status = machine.status(performance.now());
    const stall = this.#faults.has("stalled-disk") ? "a page has asked for the disk to stand still" : null;
    status.lastError = stall ?? this.#storageError ?? status.lastError ?? this.#connectionError;
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

const isJoined = (status: SecondaryStatus | undefined): boolean =>
  status?.state === "following" || status?.state === "catching-up";

function* changesOf({ parts }: Step): Generator<Change> {
  for (const part of parts) yield* part.changes;
}

/** Nothing has changed but what a page counts for itself, and the lag, which is reported by the clock. */
function isSameStatus(a: SecondaryStatus, b: SecondaryStatus): boolean {
  const names = Object.keys(a) as (keyof SecondaryStatus)[];
  return names.every((name) => name === "pending" || name === "lagMs" || a[name] === b[name]);
}
