// Steps of a store as text, to be given to another process.

import type { StoreStep } from "../../../src/testing/store-steps.ts";

export function encodeSteps(steps: readonly StoreStep[]): string {
  return JSON.stringify(steps, (_, value: unknown) => (value instanceof Map ? { pairs: [...value] } : value));
}

export function decodeSteps(text: string): StoreStep[] {
  const isMap = (value: unknown): value is { pairs: [unknown, unknown][] } =>
    typeof value === "object" && value !== null && "pairs" in value;
  return JSON.parse(text, (_, value: unknown) => (isMap(value) ? new Map(value.pairs) : value)) as StoreStep[];
}
