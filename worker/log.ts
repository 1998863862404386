// What operators must see, as one JSON object a line. Keys, values and tokens never appear here.

/** Reports a failure that the host has dealt with, with the error that showed it. */
export function logFailure(event: string, error: unknown): void {
  // oxlint-disable-next-line no-console -- the platform collects logs from the console
  console.error(JSON.stringify({ event, error: error instanceof Error ? error.message : String(error) }));
}
