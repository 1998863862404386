import { expect, test } from "vitest";
import { Progress, formatBytes } from "./progress.ts";

function terminal(isTTY: boolean): { isTTY: boolean; shown: string[]; write: (text: string) => void } {
  const shown: string[] = [];
  return { isTTY, shown, write: (text) => void shown.push(text) };
}

test("a bar is drawn over itself and is gone at the end; what is beyond the total is all of it", () => {
  const screen = terminal(true);
  for (const done of [30, 120]) {
    const progress = new Progress(60, (done) => `${done} of 60`, screen);
    progress.advance(done);
    progress.end();
    progress.end();
  }
  const [half, full] = ["█".repeat(12) + "░".repeat(12), "█".repeat(24)];
  const clear = "\r\u001B[K";
  expect(screen.shown).toEqual([`${clear}${half} 50% 30 of 60`, clear, `${clear}${full} 100% 120 of 60`, clear]);
});

test("what is no terminal sees nothing of it", () => {
  const file = terminal(false);
  const progress = new Progress(2, String, file);
  progress.advance(1);
  progress.end();
  expect(file.shown).toEqual([]);
});

test("bytes are told in units that one can grasp", () => {
  expect([999, 1000, 5_240_000, 2e15].map(formatBytes)).toEqual(["999 bytes", "1.0 kB", "5.2 MB", "2000.0 TB"]);
});
