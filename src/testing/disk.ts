// What can happen to a write on its way to a simulated disk.

import type { Random } from "./random.ts";

/** How bad a disk is. All times in ms. */
export interface DiskHealth {
  delayMax: number;
  /** Chance that a write is refused. */
  refuse: number;
  /** Chance that a write takes up to `stallMax`. */
  stall: number;
  stallMax: number;
}

/** The fate of one write. */
export interface Fate {
  delayMs: number;
  isRefused: boolean;
  /** Whether it arrives although its process has crashed meanwhile. */
  survivesCrash: boolean;
}

export function drawFate({ delayMax, refuse, stall, stallMax }: DiskHealth, random: Random): Fate {
  const delayMs = random.between(0, random.chance(stall) ? stallMax : delayMax);
  return { delayMs, isRefused: random.chance(refuse), survivesCrash: random.chance(0.5) };
}
