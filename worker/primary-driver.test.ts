import { expect, it } from "vitest";
import { PRIMARY_DEFAULTS } from "../src/primary.ts";
import type { Update } from "../src/protocol.ts";
import { CommitInDoubtError, MemoryStore } from "../src/store.ts";
import { PrimaryDriver } from "./primary-driver.ts";

/** A disk that fails in the middle of every commit. */
class DoubtfulStore extends MemoryStore {
  override apply(): never {
    throw new CommitInDoubtError("the disk has failed");
  }
}

it("P3: answers nothing about a commit that is in doubt, and asks to be started anew", async () => {
  let hasFailed: (error: unknown) => void;
  const failure = new Promise<unknown>((resolve) => (hasFailed = resolve));
  const driver = new PrimaryDriver(new DoubtfulStore("epoch"), PRIMARY_DEFAULTS, {
    glance: () => Promise.resolve(),
    comeRound: () => scheduler.wait(0),
    written: () => {},
    ended: () => {},
    failed: (error) => hasFailed(error),
  });
  driver.start();
  const update: Update = {
    type: "insert",
    clientId: null,
    id: 1,
    ack: "primary",
    settled: 0,
    repeat: false,
    key: "a",
    json: "1",
  };
  const outcome = driver.operate(update);
  expect(await failure).toBeInstanceOf(CommitInDoubtError);
  driver.stop(1001, "it starts anew");
  await expect(outcome).rejects.toThrow("it starts anew");
});
