// What the app has found out about a request, on its way to the primary: a header that no client can set, because the app
// makes the request that carries it.

import type { Rights } from "../src/rights.ts";

/** What a request may do with one store, and for how long. */
export interface Grant extends Rights {
  /** Who it is, by a name that lasts, of up to 256 letters: what one may ask for is counted by it. */
  identity?: string;
  /** It may export, import and delete the store. */
  admin: boolean;
  /** When it ends, in milliseconds since 1970; left out: not before its session does. */
  expiresAt?: number;
}

/** Everyone is let in, and may do what anyone may. */
export const ANYONE: Grant = { read: null, write: null, sync: true, admin: false };

const HEADER = "Headwater-Grant";

export function attachGrant(headers: Headers, grant: Grant): void {
  // Keys may have any letters, a header may not.
  headers.set(HEADER, encodeURIComponent(JSON.stringify(grant)));
}

/** Undefined if the request comes from somewhere that grants everything. */
export function grantOf(headers: Headers): Grant | undefined {
  const text = headers.get(HEADER);
  return text === null ? undefined : (JSON.parse(decodeURIComponent(text)) as Grant);
}

export const hasEnded = ({ expiresAt = Infinity }: Pick<Grant, "expiresAt">, now: number): boolean => expiresAt <= now;
