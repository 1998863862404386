// The histories of one store, one after the other, on whatever platform: each is served by a driver of its own.
//
//   serving --deletion---------------------------------------------------> serving another, which is empty
//   serving --import, part by part, aside: serving on----> whole --------> serving another
//                                        \--refused, cut off, crashed----> serving on

import { CLOSE } from "../src/protocol.ts";
import type { ExportEnd } from "../src/protocol.ts";
import { CommitInDoubtError } from "../src/store.ts";
import type { PrimaryPersistence } from "../src/store.ts";
import { discard } from "./body.ts";
import { grantOf } from "./grant.ts";
import type { Grant } from "./grant.ts";
import { ImportRefused, readExport } from "./import.ts";
import { logFailure } from "./log.ts";
import { refusalCodeOf } from "./primary-driver.ts";
import type { PrimaryDriver } from "./primary-driver.ts";
import { problem } from "./problem.ts";

/** What those are told who were there when a history ended, or come when none could begin. */
export const BETWEEN_HISTORIES = "the store is being replaced: ask again soon";

const refuse = (): Response => problem("unavailable", { detail: BETWEEN_HISTORIES });

export class Histories {
  readonly #store: PrimaryPersistence;
  readonly #newDriver: () => PrimaryDriver;
  readonly #failed: (error: unknown) => void;
  #driver: PrimaryDriver | undefined;
  /** What is loaded aside is one import's. */
  #isImporting = false;

  /**
   * Makes a driver for the history that the store has; its start is the host's. `failed` is called when it is not known
   * what the store holds, so that the host must start anew.
   */
  constructor(store: PrimaryPersistence, newDriver: () => PrimaryDriver, failed: (error: unknown) => void) {
    this.#store = store;
    this.#newDriver = newDriver;
    this.#failed = failed;
    this.#driver = newDriver();
  }

  /** Undefined where no history could begin. */
  get serving(): PrimaryDriver | undefined {
    return this.#driver;
  }

  /** Throws where there is none. */
  get driver(): PrimaryDriver {
    if (!this.#driver) throw new Error(BETWEEN_HISTORIES);
    return this.#driver;
  }

  /** The answer to whoever wants to open a session when none can be. */
  refusal(kind: "socket" | "stream", grant: Grant | undefined): Response | undefined {
    return this.#driver ? this.#driver.refuseIfFull(kind, grant) : refuse();
  }

  /** Opens a stream (GET), imports what the request carries (POST) or deletes the store (DELETE). */
  async fetch(request: Request): Promise<Response> {
    switch (request.method) {
      case "POST":
        return this.#answer(() => this.#import(request));
      case "DELETE":
        return this.#answer(() => this.#replace(() => this.#store.clear(crypto.randomUUID())));
      default:
        return this.refusal("stream", grantOf(request.headers)) ?? this.driver.openStream(request);
    }
  }

  /** E2: takes the whole export, or nothing of it; with `?replace=true` in place of what there is. */
  async #import({ url, body }: Request): Promise<void> {
    if (this.#isImporting) {
      await discard(body);
      throw new ImportRefused("unavailable", "another import is under way: ask again later");
    }
    this.#isImporting = true;
    const { epoch } = this.#store;
    const isReplacing = new URL(url).searchParams.get("replace") === "true";
    const parts = readExport(body ?? new Blob().stream());
    try {
      // A file that does not even begin as an export is not worth a look at the store.
      const first = await parts.next();
      this.#demandRoom(isReplacing);
      this.#store.beginLoading();
      for (let part = first; !part.done; part = await parts.next()) {
        if (Array.isArray(part.value)) this.#store.load(part.value);
        else {
          if (this.#store.epoch !== epoch) throw new ImportRefused("conflict", "the store was deleted meanwhile");
          this.#finish(part.value, isReplacing);
        }
      }
    } finally {
      this.#isImporting = false;
      this.#dropLoaded();
      await parts.return();
    }
  }

  #demandRoom(isReplacing: boolean): void {
    if (!isReplacing && this.#store.countEntries() > 0)
      throw new ImportRefused("not-empty", "only a store without entries can be imported into: delete it first");
  }

  #finish({ seq, entries }: ExportEnd, isReplacing: boolean): void {
    const count = this.#store.countLoaded();
    if (count !== entries)
      throw new ImportRefused("bad-request", `the export has ${count} entries, but its last line says ${entries}`);
    // Somebody may have written meanwhile.
    this.#demandRoom(isReplacing);
    this.#replace(() => this.#store.endLoading(crypto.randomUUID(), seq));
  }

  #dropLoaded(): void {
    try {
      this.#store.dropLoading();
    } catch (error) {
      // It lies aside and harms nobody; the next import, or whoever opens the store anew, drops it.
      logFailure("import-not-dropped", error);
    }
  }

  /** E5: ends what is served, changes the store, and serves what it has become. */
  #replace(change: () => void): void {
    this.driver.stop(CLOSE.replaced, BETWEEN_HISTORIES);
    this.#driver = undefined;
    try {
      change();
    } catch (error) {
      this.#begin(error);
      throw error;
    }
    this.#begin();
  }

  /** Serves what the store holds, where that is known. */
  #begin(refusal?: unknown): void {
    try {
      if (refusal instanceof CommitInDoubtError) throw refusal;
      this.#driver = this.#newDriver();
      this.#driver.start();
    } catch (error) {
      logFailure("store-not-reopened", error);
      this.#failed(error);
    }
  }

  async #answer(replace: () => void | Promise<void>): Promise<Response> {
    if (!this.#driver) return refuse();
    try {
      await replace();
    } catch (error) {
      if (error instanceof ImportRefused) return problem(error.code, { detail: error.message, applied: false });
      if (!this.#driver) throw error; // What has become of it shows when the host has started anew.
      logFailure("replacement-refused", error);
      return problem(refusalCodeOf(error), { applied: false });
    }
    const { epoch, head, entries } = this.driver.status();
    return Response.json({ epoch, seq: head, entries });
  }
}
