import { expect, it, vi } from "vitest";
import { LINE_PATIENCE_MS } from "../src/limits.ts";
import { CLOSE } from "../src/protocol.ts";
import { SocketSession } from "./sessions.ts";

it("L1: waits for a message that comes slowly, and closes a socket of which nothing more of one comes", () => {
  vi.useFakeTimers();
  try {
    const close = vi.fn();
    const socket = { readyState: 1, send: () => {}, close };
    const session = new SocketSession(socket, 1, { grant: undefined, deflates: false });
    for (const piece of ['{"type"', ':"leave"', "}"]) {
      expect(session.read(piece)).toEqual({ messages: [] });
      vi.advanceTimersByTime(LINE_PATIENCE_MS - 1);
    }
    expect(session.read("\n")).toEqual({ messages: [{ type: "leave" }] });
    vi.advanceTimersByTime(LINE_PATIENCE_MS);
    expect(close).not.toHaveBeenCalled();
    session.read('{"type"');
    vi.advanceTimersByTime(LINE_PATIENCE_MS);
    expect(close).toHaveBeenCalledWith(CLOSE.badMessage, expect.any(String));
  } finally {
    vi.useRealTimers();
  }
});
