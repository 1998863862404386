// Lets the page itself be loaded without the server; the entries are in the replica anyway.

const SCRIPT = "/service-worker.js";

/** Only what was built has assets that can be kept by name, and only a secure context may keep them. */
export async function keepForOffline(): Promise<void> {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) return;
  await navigator.serviceWorker.register(SCRIPT, { updateViaCache: "none" });
}
