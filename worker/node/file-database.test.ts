import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, describe, expect, test } from "vitest";
import type { Change, Json } from "../../src/kv.ts";
import { testPrimaryPersistence } from "../../src/testing/primary-store-contract.ts";
import type { OpenPrimary, PrimaryDisk } from "../../src/testing/primary-store-contract.ts";
import { Random } from "../../src/testing/random.ts";
import type { StoreStep } from "../../src/testing/store-steps.ts";
import { SqlStore } from "../sql-store.ts";
import { SteppedDatabase } from "../testing/stepped-database.ts";
import { FileDatabase } from "./file-database.ts";
import { changesAt, commitAt } from "./testing/endless-history.ts";
import { encodeSteps } from "./testing/steps.ts";

const SEED = 20_261_020;
const ROUNDS = 25;
const TEST_MS = 60_000;
const CRASHING_PROCESS = join(import.meta.dirname, "testing", "crashing-process.ts");

const folder = mkdtempSync(join(tmpdir(), "headwater-store-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let filesUsed = 0;
const newFile = (): string => join(folder, `${filesUsed++}.sqlite`);

/** A store in a file of its own. Opening it anew closes it first, as only one may have it. */
class FileDisk implements PrimaryDisk {
  readonly path = newFile();

  async use<Result>(body: (open: OpenPrimary) => Result): Promise<Result> {
    let database: FileDatabase | undefined;
    try {
      return body((onStep) => {
        database?.close();
        database = new FileDatabase(this.path);
        return new SqlStore(new SteppedDatabase(database, (isOver) => void (isOver || onStep?.())));
      });
    } finally {
      database?.close();
    }
  }
}

async function crash({ path }: FileDisk, steps: readonly StoreStep[], boundary: number): Promise<boolean> {
  const end = spawnSync(process.execPath, [CRASHING_PROCESS, "steps", path, String(boundary)], {
    input: encodeSteps(steps),
    encoding: "utf8",
  });
  if (end.signal === "SIGKILL") return true;
  expect(end).toMatchObject({ status: 0, stderr: "" });
  return false;
}

function readAll(store: SqlStore): Change<Json>[] {
  const changes: Change<Json>[] = [];
  for (let since = 0, isEnd = false; !isEnd;) {
    const page = store.readChanges(since, 0);
    changes.push(...page.changes);
    ({ seq: since, isEnd } = page);
  }
  return changes;
}

describe("a store in a file", () => {
  testPrimaryPersistence(
    (title, run) => test(title, run, TEST_MS),
    () => new FileDisk(),
    { seed: SEED, runs: 100, crash },
  );

  test(
    `O2: kill -9 at ${ROUNDS} random moments loses nothing that was reported, and leaves whole commits`,
    async () => {
      const random = new Random(SEED);
      const path = newFile();
      let reported = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const child = spawn(process.execPath, [CRASHING_PROCESS, "endless", path], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        const ended = once(child, "exit");
        let commitsLeft = random.between(1, 40);
        for await (const line of createInterface({ input: child.stdout })) {
          reported = Number(line);
          // What was written to the pipe before the end is read all the same.
          if (commitsLeft-- === 0) setTimeout(() => child.kill("SIGKILL"), random.next() * 3);
        }
        expect((await ended)[1]).toBe("SIGKILL");
        const database = new FileDatabase(path);
        const store = new SqlStore(database);
        expect(store.head).toBeGreaterThanOrEqual(reported);
        expect(store.head).toBeLessThanOrEqual(reported + 1);
        expect(readAll(store)).toEqual(changesAt(store.head));
        expect(store.readClient("writer")).toEqual(commitAt(store.head).clients.get("writer"));
        database.close();
      }
    },
    TEST_MS,
  );

  test("has one process at a time, and one opening of it", () => {
    const path = newFile();
    const first = new FileDatabase(path);
    expect(() => new FileDatabase(path)).toThrow("locked");
    first.close();
    new FileDatabase(path).close();
  });

  test("says that the disk is full as a Durable Object does, and goes on when there is room", () => {
    const database = new FileDatabase(newFile());
    const store = new SqlStore(database);
    const [pages] = [...database.query<[number]>("PRAGMA page_count")].flat();
    const limit = (count: number): unknown => [...database.query(`PRAGMA max_page_count = ${count}`)];
    limit(pages! + 2);
    expect(() => store.apply(commitAt(1), 1)).toThrow("SQLITE_FULL");
    expect(readAll(store)).toEqual([]);
    limit(1000);
    store.apply(commitAt(1), 1);
    expect(readAll(store)).toEqual(changesAt(1));
    database.close();
  });
});
