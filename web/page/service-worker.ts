// Keeps this build of the page, so that a reload without the server still shows the board. It knows nothing of stores:
// it answers for the page's own files, and everything else passes it by.
//
// A page is shown whole from one build: the cache is filled once, at installation, and never changed. A newer build
// waits until no tab is left that may still need the files of the older one, then clears it away.

// What a service worker has beyond a page, as far as it is used here: the library of types for workers excludes that
// for pages, which the rest of this folder needs.
interface ExtendableEvent extends Event {
  waitUntil(promise: Promise<unknown>): void;
}
interface InstallEvent extends ExtendableEvent {
  /** Missing where browsers do not have it yet. */
  addRoutes?(rules: readonly { condition: object; source: object }[]): Promise<void>;
}
interface FetchEvent extends ExtendableEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}
interface ServiceWorkerScope {
  readonly location: Location;
  readonly clients: { claim(): Promise<void>; matchAll(options: object): Promise<readonly unknown[]> };
  addEventListener(type: "install", listener: (event: InstallEvent) => void): void;
  addEventListener(type: "activate", listener: (event: ExtendableEvent) => void): void;
  addEventListener(type: "fetch", listener: (event: FetchEvent) => void): void;
  skipWaiting(): Promise<void>;
}

/** Written by the build: the paths of all files of the page, and a name that changes with any of their contents. */
declare const PAGE_FILES: readonly string[];
declare const PAGE_BUILD: string;

const CACHE_PREFIX = "headwater page ";
const CACHE = CACHE_PREFIX + PAGE_BUILD;
const PAGE = "/";
/** A server that is silent for so long is as good as down. */
const NAVIGATION_PATIENCE_MS = 2000;

const scope = globalThis as unknown as ServiceWorkerScope;
const files = new Set(PAGE_FILES);

scope.addEventListener("install", (event) => {
  event.waitUntil(install());
  // The browser takes these from the cache by itself, also when the process of this worker hangs.
  const condition = { urlPattern: new URLPattern({ pathname: "/assets/*", baseURL: scope.location.origin }) };
  const routed = event.addRoutes?.([{ condition, source: { cacheName: CACHE } }]);
  if (routed) event.waitUntil(routed);
});
scope.addEventListener("activate", (event) => event.waitUntil(activate()));
scope.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== scope.location.origin || !files.has(pathname)) return;
  event.respondWith(pathname === PAGE ? answerNavigation(request) : answerFile(request));
});

async function install(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll([...files].map((path) => new Request(path, { cache: "no-cache" })));
  // A lone tab has loaded what it needs; with more of them, one may be of the older build.
  const tabs = await scope.clients.matchAll({ type: "window", includeUncontrolled: true });
  if (tabs.length <= 1) await scope.skipWaiting();
}

async function activate(): Promise<void> {
  for (const name of await caches.keys()) {
    if (name.startsWith(CACHE_PREFIX) && name !== CACHE) await caches.delete(name);
  }
  // The tabs that were open before the first installation can be reloaded offline, too.
  await scope.clients.claim();
}

/** The server's page if it answers in time, for it may be newer; else the one that is kept. */
async function answerNavigation(request: Request): Promise<Response> {
  const kept = await match(PAGE);
  if (!kept) return fetch(request);
  // A request that nobody waits for any more must not hold one of the few connections that a browser opens to a server.
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), NAVIGATION_PATIENCE_MS);
  try {
    const response = await fetch(request, { signal: patience.signal });
    return response.status < 500 ? response : kept;
  } catch {
    return kept;
  } finally {
    clearTimeout(timer);
  }
}

/** What is kept, for a file's name changes with its contents. */
async function answerFile(request: Request): Promise<Response> {
  return (await match(request)) ?? fetch(request);
}

async function match(request: Request | string): Promise<Response | undefined> {
  const cache = await caches.open(CACHE);
  return cache.match(request, { ignoreSearch: true, ignoreVary: true });
}
