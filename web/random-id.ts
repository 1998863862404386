// Random names of clients, replicas and checkpoints.

/** 22 letters that can stand in headers, logs and lock names. `crypto.randomUUID` is missing on insecure pages. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .slice(0, 22);
}
