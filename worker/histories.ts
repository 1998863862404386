// The histories of one store, one after the other, on whatever platform: each is served by a driver of its own, and between
// two of them, while the store is replaced, it serves nobody.
//
//   serving --deletion--> cleared ------------------------------> serving, under another epoch
//   serving --import----> cleared --part by part--> loaded -----> serving, under another epoch
//                                        \--refused, cut off, crashed--> cleared --> serving

import type { Change, Json } from "../src/kv.ts";
import { CLOSE } from "../src/protocol.ts";
import type { ExportEnd } from "../src/protocol.ts";
import { CommitInDoubtError } from "../src/store.ts";
import type { PrimaryPersistence } from "../src/store.ts";
import { grantOf } from "./grant.ts";
import type { Grant } from "./grant.ts";
import { ImportRefused, readExport } from "./import.ts";
import { logFailure } from "./log.ts";
import { refusalCodeOf } from "./primary-driver.ts";
import type { PrimaryDriver } from "./primary-driver.ts";
import { problem } from "./problem.ts";

/** What those are told who come between two histories, or were there when one ended. */
export const BETWEEN_HISTORIES = "the store is being replaced: ask again soon";

const refuse = (): Response => problem("unavailable", { detail: BETWEEN_HISTORIES });

export class Histories {
  readonly #store: PrimaryPersistence;
  readonly #newDriver: () => PrimaryDriver;
  readonly #failed: (error: unknown) => void;
  #driver: PrimaryDriver | undefined;

  /**
   * Makes a driver for the history that the store has; its start is the host's. `failed` is called when it is not known
   * what the store holds, so that the host must start anew.
   */
  constructor(store: PrimaryPersistence, newDriver: () => PrimaryDriver, failed: (error: unknown) => void) {
    this.#store = store;
    this.#newDriver = newDriver;
    this.#failed = failed;
    this.#driver = this.#nextDriver();
  }

  /** Undefined between two histories. */
  get serving(): PrimaryDriver | undefined {
    return this.#driver;
  }

  /** Throws between two histories. */
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

  /** E2: takes the whole export, or nothing of it; with `?replace=true` in place of what there is, which then is gone. */
  async #import({ url, body }: Request): Promise<void> {
    const isReplacing = new URL(url).searchParams.get("replace") === "true";
    const parts = readExport(body ?? new Blob().stream());
    try {
      // A file that does not even begin as an export costs nobody his session.
      const first = await parts.next();
      if (!isReplacing && this.#store.countEntries() > 0)
        throw new ImportRefused("not-empty", "only a store without entries can be imported into: delete it first");
      await this.#replace(async () => {
        this.#store.clear(crypto.randomUUID(), true);
        for (let part = first; !part.done; part = await parts.next()) this.#load(part.value);
      });
    } finally {
      await parts.return();
    }
  }

  #load(part: Change<Json>[] | ExportEnd): void {
    if (Array.isArray(part)) return this.#store.load(part);
    const { seq, entries } = part;
    const count = this.#store.countEntries();
    if (count !== entries)
      throw new ImportRefused("bad-request", `the export has ${count} entries, but its last line says ${entries}`);
    this.#store.endLoading(seq);
  }

  /** E5: ends what is served, changes the store, and serves what it has become. */
  async #replace(change: () => void | Promise<void>): Promise<void> {
    this.driver.stop(CLOSE.replaced, BETWEEN_HISTORIES);
    this.#driver = undefined;
    try {
      await change();
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
      this.#driver = this.#nextDriver();
      this.#driver.start();
    } catch (error) {
      logFailure("store-not-reopened", error);
      this.#failed(error);
    }
  }

  /** E2: whoever finds a load that has not ended, gives it up. */
  #nextDriver(): PrimaryDriver {
    if (this.#store.isLoading) this.#store.clear(crypto.randomUUID());
    return this.#newDriver();
  }

  async #answer(replace: () => Promise<void>): Promise<Response> {
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
