import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BATCH_OPERATIONS_MAX, PART_CHANGES_MAX } from "../src/limits.ts";
import { CLOSE } from "../src/protocol.ts";
import type { ExportEnd } from "../src/protocol.ts";
import { createApp } from "./app.ts";
import type { AppEnv } from "./app.ts";
import { ANYONE } from "./grant.ts";
import type { Grant } from "./grant.ts";
import type { Primary } from "./primary-host.ts";
import { Peer } from "./testing/peer.ts";

interface Entry {
  key: string;
  value: unknown;
  seq: number;
}
type Change = Entry | { key: string; removed: true; seq: number };
type Op = { insert: { key: string; value: unknown } } | { remove: { key: string } };

const insertOf = (key: string, value: unknown): Op => ({ insert: { key, value } });
const removeOf = (key: string): Op => ({ remove: { key } });

let storesUsed = 0;

/** A store of the test's own, as one with `admin` asks it over HTTP. */
class Store {
  readonly name = `histories-${++storesUsed}`;
  readonly grant: Grant = { ...ANYONE, admin: true };
  readonly #app = createApp({ authorize: () => this.grant });

  get object(): DurableObjectStub<Primary> {
    return (env as AppEnv).PRIMARY.getByName(this.name);
  }

  url(path: string): string {
    return `http://headwater/v1/stores/${this.name}${path}`;
  }

  async fetch(request: Request): Promise<Response> {
    return await this.#app.fetch(request, env);
  }

  async ask(method: string, path: string, body?: BodyInit, headers: Record<string, string> = {}): Promise<Response> {
    const init = body === undefined ? { method, headers } : { method, headers, body };
    return this.fetch(new Request(this.url(path), init));
  }

  async batch(ops: Op[]): Promise<number> {
    const answer = await this.ask("POST", "/batch", JSON.stringify({ ops }));
    return (await answer.json<{ seq: number }>()).seq;
  }

  async status(): Promise<{ epoch: string; head: number; floor: number; entries: number }> {
    return (await this.ask("GET", "/status")).json();
  }

  async list(): Promise<Entry[]> {
    const entries: Entry[] = [];
    for (let cursor: string | undefined = ""; cursor !== undefined;) {
      const answer: Response = await this.ask("GET", `/entries?limit=1000&cursor=${cursor}`);
      const page = (await answer.json()) as { entries: Entry[]; cursor?: string };
      entries.push(...page.entries);
      ({ cursor } = page);
    }
    return entries;
  }

  async export(): Promise<string> {
    return textOf(await this.ask("GET", "/export"));
  }

  async import(file: BodyInit): Promise<[status: number, body: unknown]> {
    const answer = await this.ask("POST", "/import", file);
    return [answer.status, await answer.json()];
  }

  async connect(): Promise<Peer> {
    return Peer.connect(this, this.url("/replicate"));
  }
}

/** The runtime warns of reading anything as text that does not call itself so. */
async function textOf({ body }: Response): Promise<string> {
  let text = "";
  for await (const piece of body!.pipeThrough(new TextDecoderStream())) text += piece;
  return text;
}

/** The lines of an export between its first and its last, and the last. */
function linesOf(file: string): { changes: Change[]; end: ExportEnd } {
  const lines = file
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
  return { changes: lines.slice(1, -1) as Change[], end: lines.at(-1) as ExportEnd };
}

const fileOf = (lines: readonly unknown[]): string => lines.map((line) => `${JSON.stringify(line)}\n`).join("");
const HEADER = { headwater: 1, store: "board", epoch: "e-1" };

/** A body that the test gives out piece by piece. */
class Pieces {
  readonly body: ReadableStream<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor() {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    this.body = readable;
    this.#writer = writable.getWriter();
  }

  give(text: string): Promise<void> {
    return this.#writer.write(new TextEncoder().encode(text));
  }

  end(): Promise<void> {
    return this.#writer.close();
  }

  cut(): Promise<void> {
    return this.#writer.abort(new Error("cut off by the test"));
  }
}

/** The beginning of an export that is large enough for its import to have begun. */
const LARGE_BEGINNING = fileOf([
  HEADER,
  ...Array.from({ length: 2 * PART_CHANGES_MAX }, (_, i) => ({ key: `key-${i}`, value: i, seq: i + 1 })),
]);

/** An import of which so much has come that something lies aside, and its answer when the rest has come, too. */
async function beginImport(store: Store, query = ""): Promise<{ file: Pieces; answer: Promise<Response> }> {
  const file = new Pieces();
  const answer = store.ask("POST", `/import${query}`, file.body);
  await file.give(LARGE_BEGINNING);
  const find = "SELECT count(*) AS count FROM sqlite_master WHERE name = 'loaded'";
  const isThere = (): Promise<boolean> =>
    runInDurableObject(store.object, (_, { storage }) => storage.sql.exec(find).one()["count"] === 1);
  while (!(await isThere())) await scheduler.wait(1);
  return { file, answer };
}

describe("an export", () => {
  it("E1: is each key's latest change in the order of seqs, and says what it is the state of", async () => {
    const store = new Store();
    for (const ops of [
      [insertOf("a", { x: [1] })],
      [insertOf("ü😀", null)],
      [insertOf("a", 2), insertOf("c", 3)],
      [removeOf("c")],
    ])
      await store.batch(ops);
    const answer = await store.ask("GET", "/export");
    expect(answer.headers.get("Content-Type")).toBe("application/x-ndjson");
    expect(answer.headers.get("Content-Disposition")).toBe(`attachment; filename="${store.name}.ndjson"`);
    const { epoch } = await store.status();
    expect((await textOf(answer)).split("\n")).toEqual([
      JSON.stringify({ headwater: 1, store: store.name, epoch }),
      '{"key":"ü😀","value":null,"seq":2}',
      '{"key":"a","value":2,"seq":3}',
      '{"seq":4,"entries":2}',
      "",
    ]);
    expect((await store.ask("HEAD", "/export")).status).toBe(200);
    expect(await store.status()).toMatchObject({ secondaries: [] });
  });

  it("E1: of a store without entries is two lines", async () => {
    const store = new Store();
    const { epoch } = await store.status();
    expect(await store.export()).toBe(
      fileOf([
        { headwater: 1, store: store.name, epoch },
        { seq: 0, entries: 0 },
      ]),
    );
  });

  it("E1, S3: is broken off, without its last line, where the token ends or the store is deleted before it does", async () => {
    const endings: ((store: Store) => Promise<unknown>)[] = [
      ({ grant }) => scheduler.wait(grant.expiresAt! - Date.now() + 1),
      (store) => store.ask("DELETE", ""),
    ];
    for (const end of endings) {
      const store = new Store();
      const large = "x".repeat(900_000);
      for (let i = 0; i < 8; i++) await store.batch([insertOf(`${i}`, large)]);
      store.grant.expiresAt = Date.now() + 1000;
      const reader = (await store.ask("GET", "/export")).body!.pipeThrough(new TextDecoderStream()).getReader();
      let text = (await reader.read()).value!;
      await end(store);
      const rest = (async () => {
        for (let next = await reader.read(); !next.done; next = await reader.read()) text += next.value;
      })();
      await expect(rest).rejects.toThrow();
      expect(text).toContain('"headwater":1');
      expect(text).not.toContain('"entries"');
    }
  });
});

describe("an import", () => {
  const key = fc
    .string({ minLength: 1, maxLength: 4, unit: "grapheme" })
    .filter((text) => !/\p{Surrogate}/u.test(text));
  const op = fc.oneof(
    { weight: 3, arbitrary: fc.tuple(key, fc.jsonValue()).map(([key, value]) => insertOf(key, value)) },
    { weight: 1, arbitrary: key.map(removeOf) },
  );
  const keyOf = (one: Op): string => ("insert" in one ? one.insert.key : one.remove.key);
  const batches = fc.array(fc.uniqueArray(op, { selector: keyOf, minLength: 1, maxLength: 8 }), { maxLength: 6 });

  it("E1, E2, E4: of an export is the same state, whatever it is, under another epoch", async () => {
    await fc.assert(
      fc.asyncProperty(batches, async (all) => {
        const [from, to] = [new Store(), new Store()];
        for (const ops of all) await from.batch(ops);
        const before = await to.status();
        const file = await from.export();
        const [code, answer] = await to.import(file);
        const { epoch, head, floor, entries } = await to.status();
        expect([code, answer]).toEqual([200, { epoch, seq: head, entries }]);
        expect(await to.list()).toEqual(await from.list());
        expect([head, floor]).toEqual([Math.max(1, (await from.status()).head), head]);
        expect(epoch).not.toBe(before.epoch);
        expect(linesOf(await to.export()).changes).toEqual(linesOf(file).changes);
        expect(await to.batch([insertOf("next", 1)])).toBe(head + 1);
      }),
      { seed: 20_261_125, numRuns: 40 },
    );
  });

  it("E1, E2: of 100,000 entries that were exported while writes went on is the state at one of their seqs", async () => {
    const [from, to] = [new Store(), new Store()];
    const history: Op[][] = [[]];
    const write = async (ops: Op[]): Promise<void> => {
      expect(await from.batch(ops)).toBe(history.length);
      history.push(ops);
    };
    for (let i = 0; i < 100; i++)
      await write(Array.from({ length: BATCH_OPERATIONS_MAX }, (_, at) => insertOf(`key-${i}-${at}`, { i, at })));
    const before = history.length - 1;
    const over = new AbortController();
    const writer = (async () => {
      for (let round = 0; !over.signal.aborted; round++) {
        const at = (step: number): string => `key-${(round * 7) % 100}-${(round * 31 + step) % BATCH_OPERATIONS_MAX}`;
        await write([insertOf(at(0), "new"), removeOf(at(1)), insertOf(`new-${round}`, round), insertOf(at(2), round)]);
      }
    })();
    const file = await from.export();
    over.abort();
    await writer;
    const { changes, end } = linesOf(file);
    expect(end.seq).toBeGreaterThan(before + 10);
    expect(changes.length).toBeGreaterThan(100_000);
    expect(changes.some((change) => "removed" in change)).toBe(true);
    expect(await to.import(file)).toMatchObject([200, { seq: end.seq, entries: end.entries }]);
    const expected = new Map<string, Entry>();
    for (const [seq, ops] of history.slice(0, end.seq + 1).entries()) {
      for (const one of ops) {
        if ("insert" in one) expected.set(one.insert.key, { ...one.insert, seq });
        else expected.delete(one.remove.key);
      }
    }
    const entries = await to.list();
    expect(new Map(entries.map((entry) => [entry.key, entry]))).toEqual(expected);
    expect(entries).toHaveLength(end.entries);
  }, 120_000);

  const line = (key: string, seq: number): Entry => ({ key, value: 1, seq });
  const END = { seq: 2, entries: 1 };
  const fileWith = (...lines: unknown[]): string => fileOf([HEADER, ...lines]);
  const flawed: [what: string, file: string | Uint8Array<ArrayBuffer>, status: number, detail: RegExp][] = [
    ["nothing", "", 400, /after line 0, without its last line/],
    ["something else", "hello\n", 400, /line 1: the header is not JSON/],
    ["another version", fileOf([{ ...HEADER, headwater: 2 }, END]), 400, /line 1: this is no export/],
    ["no header", fileOf([line("a", 1), END]), 400, /line 1: this is no export/],
    ["a line that is not JSON", `${fileWith(line("a", 1))}{\n`, 400, /line 3: it is not JSON/],
    ["a line that is no object", fileWith([], END), 400, /line 2: it must be a JSON object/],
    ["a key that is none", fileWith(line("", 1), END), 400, /line 2: the key is empty/],
    ["a key that is too long", fileWith(line("k".repeat(1025), 1), END), 413, /line 2: .*KEY_BYTES_MAX/],
    ["a value that is too large", fileWith({ key: "a", value: "x".repeat(2 ** 20), seq: 1 }), 413, /VALUE_BYTES_MAX/],
    [
      "a value that nests too deep",
      `${fileWith()}{"key":"a","value":${"[".repeat(300)}${"]".repeat(300)},"seq":1}\n`,
      413,
      /line 2: .*VALUE_DEPTH_MAX/,
    ],
    ["no value", fileWith({ key: "a", seq: 1 }, END), 400, /line 2: a change without key or value/],
    ["a value that is removed", fileWith({ ...line("a", 1), removed: true }, END), 400, /line 2: a change without/],
    ["no seq", fileWith({ key: "a", value: 1 }, END), 400, /line 2: seq must be a whole number/],
    ["seq 0", fileWith(line("a", 0), END), 400, /line 2: seqs begin at 1/],
    ["a seq that falls", fileWith(line("a", 2), line("b", 1), END), 400, /line 3: its seq is below/],
    ["an end below the last seq", fileWith(line("a", 3), END), 400, /line 3: its seq is below/],
    ["a seq beyond numbers", fileWith(line("a", 1), { seq: 2 ** 53 - 1, entries: 1 }), 413, /IMPORT_SEQ_MAX/],
    ["a line behind the end", fileWith(line("a", 1), END, line("b", 3)), 400, /line 4: something follows/],
    ["two exports", fileWith(line("a", 1), END).repeat(2), 400, /line 4: something follows/],
    ["too few entries", fileWith(line("a", 1), { seq: 2, entries: 2 }), 400, /has 1 entries, .* says 2/],
    ["too many entries", fileWith(line("a", 1), line("b", 2), END), 400, /has 2 entries, .* says 1/],
    [
      "an entry that was removed again",
      fileWith(line("a", 1), { key: "a", removed: true, seq: 2 }, END),
      400,
      /has 0 entries, .* says 1/,
    ],
    ["what is not UTF-8", new Uint8Array([0x7b, 0xff, 0x0a]), 400, /not UTF-8/],
    ["no last line", LARGE_BEGINNING, 400, /after line 2001, without its last line/],
    ["an end amid a line", `${LARGE_BEGINNING}{"seq":9`, 400, /line 2002/],
    ["a bad line far behind", `${LARGE_BEGINNING}${fileOf([line("", 3000)])}`, 400, /line 2002: the key is empty/],
  ];
  it.each(flawed)(
    "E2: is refused whole, by the number of its line, where it has %s",
    async (_what, file, code, detail) => {
      const store = new Store();
      const peer = await store.connect();
      const before = await store.status();
      expect(await store.import(file)).toMatchObject([code, { applied: false, detail: expect.stringMatching(detail) }]);
      expect(await store.status()).toEqual(before);
      await peer.enter("peer");
      expect((await store.ask("PUT", "/entries/a?ack=primary", "1")).status).toBe(200);
      expect(await store.list()).toEqual([{ key: "a", value: 1, seq: 1 }]);
      peer.close();
    },
  );

  it("E2: of an export that is cut off anywhere is refused, and of the whole of it is not", async () => {
    const from = new Store();
    await from.batch([insertOf("ü😀", "é"), insertOf("b", [1, { c: null }])]);
    await from.batch([removeOf("b")]);
    const file = new TextEncoder().encode(await from.export());
    const to = new Store();
    for (let length = 0; length < file.length; length++) {
      expect([length, (await to.import(file.slice(0, length)))[0]]).toEqual([length, 400]);
    }
    expect(await to.import(file)).toMatchObject([200, { seq: 2, entries: 1 }]);
    expect(await to.list()).toEqual(await from.list());
  });

  it("E2: into a store with entries is refused, and nobody there notices", async () => {
    const store = new Store();
    await store.batch([insertOf("a", 1)]);
    const peer = await store.connect();
    await peer.enter("peer");
    const before = await store.status();
    expect(await store.import(fileOf([HEADER, { seq: 0, entries: 0 }]))).toMatchObject([
      409,
      { code: "not-empty", applied: false },
    ]);
    expect(await store.status()).toEqual(before);
    peer.close();
  });

  it("E2: may come in whatever pieces", async () => {
    const store = new Store();
    const file = new Pieces();
    const answer = store.import(file.body);
    const value = "é".repeat(100_000);
    const text = fileOf([HEADER, line("a", 1), { key: "b", value, seq: 2 }, { seq: 2, entries: 2 }]);
    for (let at = 0; at < text.length; at += 1000) await file.give(text.slice(at, at + 1000));
    await file.end();
    expect(await answer).toMatchObject([200, { seq: 2, entries: 2 }]);
    expect(await store.list()).toEqual([line("a", 1), { key: "b", value, seq: 2 }]);
  });

  it("E2, E5: lies aside while the store goes on, then takes the place of everything, and closes what was open", async () => {
    const store = new Store();
    await store.batch([insertOf("old", 1)]);
    const peer = await store.connect();
    await peer.enter("peer");
    const { epoch } = await store.status();
    const { file, answer } = await beginImport(store, "?replace=true");
    const second = await store.ask("POST", "/import?replace=true", LARGE_BEGINNING);
    expect([second.status, second.headers.get("Retry-After")]).toEqual([503, "1"]);
    expect(await second.json()).toMatchObject({ code: "unavailable", applied: false });
    const writing = store.batch([insertOf("meanwhile", 2)]);
    expect(await peer.expect("snapshot")).toMatchObject({ seq: 2, changes: [{ key: "meanwhile" }] });
    peer.ack(2);
    expect(await writing).toBe(2);
    expect(await store.list()).toEqual([
      { key: "meanwhile", value: 2, seq: 2 },
      { key: "old", value: 1, seq: 1 },
    ]);
    await file.give(fileOf([{ seq: 5000, entries: 2 * PART_CHANGES_MAX }]));
    await file.end();
    const ended = await answer;
    expect([ended.status, await ended.json()]).toMatchObject([200, { seq: 5000, entries: 2 * PART_CHANGES_MAX }]);
    expect(await peer.closed).toEqual({ code: CLOSE.replaced, reason: expect.stringContaining("being replaced") });
    const again = await store.connect();
    again.join("peer", { epoch, since: 2 });
    expect(await again.expect("joined-secondary")).toMatchObject({ head: 5000, reset: true });
    expect((await store.ask("GET", "/entries/old")).status).toBe(404);
    again.close();
    // The table that is now the store's has what the one before had, also when it is found again.
    await evictDurableObject(store.object);
    expect(await store.batch([insertOf("key-7", "new")])).toBe(5001);
    expect(linesOf(await store.export()).changes.at(-1)).toEqual({ key: "key-7", value: "new", seq: 5001 });
  });

  /** What a store holds that an import has not changed. */
  async function expectUntouched(store: Store, before: unknown): Promise<void> {
    expect(await store.status()).toEqual(before);
    expect(await store.list()).toEqual([{ key: "old", value: 1, seq: 1 }]);
    const answer = await store.ask(
      "POST",
      "/import?replace=true",
      fileOf([HEADER, line("a", 7), { seq: 9, entries: 1 }]),
    );
    expect([answer.status, await answer.json()]).toMatchObject([200, { seq: 9, entries: 1 }]);
    expect(await store.list()).toEqual([line("a", 7)]);
  }

  it("E2: that is cut off on its way leaves the store as it was", async () => {
    const store = new Store();
    await store.batch([insertOf("old", 1)]);
    const before = await store.status();
    const { file, answer } = await beginImport(store, "?replace=true");
    await file.cut();
    const refusal = await answer;
    expect(refusal.status).toBe(400);
    expect(await refusal.json()).toMatchObject({
      applied: false,
      detail: expect.stringMatching(/cut off|without its last line/),
    });
    await expectUntouched(store, before);
  });

  it("E2: into a store that is written to meanwhile is refused at its end", async () => {
    const store = new Store();
    const { file, answer } = await beginImport(store);
    await store.batch([insertOf("old", 1)]);
    const before = await store.status();
    await file.give(fileOf([{ seq: 5000, entries: 2 * PART_CHANGES_MAX }]));
    await file.end();
    const refusal = await answer;
    expect([refusal.status, await refusal.json()]).toMatchObject([409, { code: "not-empty", applied: false }]);
    await expectUntouched(store, before);
  });

  it("E2: of a store that is deleted meanwhile is refused at its end", async () => {
    const store = new Store();
    await store.batch([insertOf("old", 1)]);
    const { file, answer } = await beginImport(store, "?replace=true");
    expect((await store.ask("DELETE", "")).status).toBe(200);
    await file.give(fileOf([{ seq: 5000, entries: 2 * PART_CHANGES_MAX }]));
    await file.end();
    const refusal = await answer;
    expect([refusal.status, await refusal.json()]).toMatchObject([412, { code: "conflict", applied: false }]);
    expect(await store.list()).toEqual([]);
  });

  it("E2: is given up by whoever finds it after a crash", async () => {
    const store = new Store();
    await store.batch([insertOf("old", 1)]);
    const before = await store.status();
    const { answer } = await beginImport(store, "?replace=true");
    const aborted = runInDurableObject(store.object, async (_, state) => {
      await state.storage.sync();
      state.abort("crashed by the test");
    });
    await aborted.catch(() => {});
    expect(await (await answer).json()).toMatchObject({ code: "unavailable" });
    await expectUntouched(store, before);
  });

  it("E2: for which there is no room leaves the store as it was", async () => {
    const store = new Store();
    await store.batch([insertOf("old", 1)]);
    const before = await store.status();
    const { file, answer } = await beginImport(store, "?replace=true");
    const trigger = "CREATE TRIGGER refuse BEFORE INSERT ON loaded WHEN new.key = 'late' BEGIN";
    await runInDurableObject(
      store.object,
      (_, { storage }) =>
        void storage.sql.exec(`${trigger} SELECT RAISE(ABORT, 'database or disk is full: SQLITE_FULL'); END`),
    );
    await file.give(fileOf([line("late", 5000), { seq: 5000, entries: 2 * PART_CHANGES_MAX + 1 }]));
    await file.end();
    const refusal = await answer;
    expect([refusal.status, await refusal.json()]).toMatchObject([507, { code: "storage-full", applied: false }]);
    await expectUntouched(store, before);
  });
});

describe("a deletion", () => {
  it("E3, E4: leaves nothing, and its secondaries are bootstrapped with that, also those of a sleeping object", async () => {
    for (const isAsleep of [false, true]) {
      const store = new Store();
      await store.batch([insertOf("a", 1), insertOf("b", 2)]);
      const peer = await store.connect();
      await peer.enter("peer");
      const { epoch } = await store.status();
      if (isAsleep) await evictDurableObject(store.object);
      const answer = await store.ask("DELETE", "");
      const after = await store.status();
      expect([answer.status, await answer.json()]).toEqual([200, { epoch: after.epoch, seq: 2, entries: 0 }]);
      expect(after).toMatchObject({ head: 2, floor: 2, entries: 0, secondaries: [] });
      expect(after.epoch).not.toBe(epoch);
      expect((await peer.closed).code).toBe(CLOSE.replaced);
      const again = await store.connect();
      again.join("peer", { epoch, since: 1 });
      expect(await again.expect("joined-secondary")).toEqual({
        type: "joined-secondary",
        epoch: after.epoch,
        head: 2,
        reset: true,
      });
      expect(await again.expect("snapshot")).toMatchObject({ prev: 0, seq: 2, changes: [] });
      again.ack(2);
      expect(await again.expect("membership")).toMatchObject({ inSync: true });
      expect(await store.export()).toBe(
        fileOf([
          { headwater: 1, store: store.name, epoch: after.epoch },
          { seq: 2, entries: 0 },
        ]),
      );
      again.close();
      await evictDurableObject(store.object);
      expect(await store.status()).toMatchObject({ epoch: after.epoch, head: 2, entries: 0 });
    }
  });

  it("E3, I1: and an import forget no outcome: what was done before is not done again, over HTTP or a socket", async () => {
    const store = new Store();
    const put = async (id: number, key: string): Promise<[number, unknown]> => {
      const answer = await store.ask("PUT", `/entries/${key}`, "1", { "Idempotency-Key": `me:${id}` });
      return [answer.status, await answer.json()];
    };
    const first = await put(1, "a");
    const file = await store.export();
    // On its way when the store is deleted, and never answered: its secondary does not ack.
    const peer = await store.connect();
    await peer.enter("peer");
    peer.insert("ann", 1, "b", 1);
    await peer.expect("snapshot");
    await store.ask("DELETE", "");
    await peer.closed;
    const repeat = async (): Promise<void> => {
      expect(await put(1, "a")).toEqual(first);
      const again = await store.connect();
      await again.enter("peer");
      again.insert("ann", 1, "b", 1);
      expect(await again.next()).toMatchObject({ type: "operation-ack", clientId: "ann", id: 1, seq: 2 });
      again.close();
    };
    await repeat();
    expect(await store.list()).toEqual([]);
    expect((await store.import(file))[0]).toBe(200);
    await repeat();
    expect(await store.list()).toEqual([{ key: "a", value: 1, seq: 1 }]);
    // What was never done is done.
    expect(await put(2, "c")).toEqual([200, { seq: 5, replicas: 0 }]);
  });

  it("E5: answers nothing about what waits, so that it is asked again", async () => {
    const store = new Store();
    const peer = await store.connect();
    await peer.enter("peer");
    const waiting = store.ask("PUT", "/entries/a", "1");
    await peer.expect("snapshot");
    expect((await store.ask("DELETE", "")).status).toBe(200);
    const answer = await waiting;
    const body = (await answer.json()) as object;
    expect([answer.status, body]).toMatchObject([503, { code: "unavailable" }]);
    expect(body).not.toHaveProperty("applied");
  });
});
