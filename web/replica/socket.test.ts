import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { UNSENT_LIMIT_MS } from "../../src/limits.ts";
import { Socket } from "./socket.ts";

const CROWD = 200;
const SLOT_MS = 100;

/** It takes connections and says nothing, so that an attempt lasts until the test ends it. */
const silent = createServer((connection) => connection.on("error", () => {}).resume());
let url: string;
let sockets: Socket[];

beforeAll(async () => {
  await once(silent.listen(0, "127.0.0.1"), "listening");
  url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/v1/stores/s`;
});
afterAll(() => {
  silent.close();
});
beforeEach(() => {
  vi.useFakeTimers();
  sockets = [];
});
afterEach(() => {
  for (const socket of sockets) socket.stop();
  vi.useRealTimers();
});

/** Starts a crowd; `attempting` is called with a socket's number before each of its attempts. */
async function startCrowd(attempting: (socket: Socket, number: number) => void): Promise<void> {
  for (let number = 0; number < CROWD; number++) {
    const socket: Socket = new Socket(url, {
      tokenFor: async () => {
        attempting(socket, number);
        return undefined;
      },
      opened: () => {},
      received: () => {},
      closed: () => {},
    });
    sockets.push(socket);
    socket.start();
  }
  await vi.advanceTimersByTimeAsync(0);
}

describe("Socket", () => {
  test("a crowd that is cut off together comes back spread out, and each in time for an update that waits", async () => {
    const cutOff = new Map<Socket, number>();
    const returns: number[] = [];
    await startCrowd((socket) => {
      const at = cutOff.get(socket);
      if (at === undefined) return;
      returns.push(performance.now() - at);
      socket.stop(); // One return of each is enough.
    });
    for (const socket of sockets) {
      cutOff.set(socket, performance.now());
      socket.drop("cut off");
    }
    await vi.advanceTimersByTimeAsync(UNSENT_LIMIT_MS);
    expect(returns).toHaveLength(CROWD);
    expect(Math.max(...returns)).toBeLessThanOrEqual(UNSENT_LIMIT_MS / 2);
    const slots = Array.from({ length: UNSENT_LIMIT_MS / SLOT_MS }, () => 0);
    for (const at of returns) slots[Math.floor(at / SLOT_MS)]! += 1;
    expect(Math.max(...slots)).toBeLessThan(0.4 * CROWD);
  });

  test("each wait is drawn from a span that doubles, up to ten seconds", async () => {
    const waits: number[][] = [];
    const lastAt: number[] = [];
    const counts: number[] = [];
    await startCrowd((socket, number) => {
      const now = performance.now();
      const count = counts[number] ?? 0;
      if (count > 0) (waits[count - 1] ??= []).push(now - lastAt[number]!);
      counts[number] = count + 1;
      lastAt[number] = now;
      // When the attempt has been made.
      setTimeout(() => socket.drop("away"));
    });
    await vi.advanceTimersByTimeAsync(60_000);
    for (const [count, spanMs] of [500, 1000, 2000, 4000, 8000, 10_000, 10_000].entries()) {
      const drawn = waits[count]!;
      expect(drawn.length).toBeGreaterThan(0.9 * CROWD);
      expect(Math.max(...drawn)).toBeLessThanOrEqual(spanMs + 1);
      expect(Math.max(...drawn)).toBeGreaterThan(0.9 * spanMs);
      expect(Math.min(...drawn)).toBeLessThan(0.1 * spanMs);
    }
  });
});
