// Who someone is and what that allows: bearer tokens (JWT), as `Authorization` or among the subprotocols of a socket, never in
// the address, where logs would keep them.

import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import type { JWTPayload, JWTVerifyGetKey, JWTVerifyOptions } from "jose";
import { readKey } from "../src/codec.ts";
import { IDENTITY_LENGTH_MAX, PREFIXES_MAX, RIGHTS_BYTES_MAX, TOKEN_STORES_MAX } from "../src/limits.ts";
import type { TokenClaim } from "../src/rights.ts";
import { ANYONE } from "./grant.ts";
import type { Grant } from "./grant.ts";

/** How the environment says who is let in. */
export interface AuthEnv {
  /** The secret of tokens that are signed with HS256: at least 32 bytes. */
  JWT_SECRET?: string;
  /** Where the public keys of tokens with other signatures are published (JSON Web Key Set). */
  JWKS_URL?: string;
  /** The `iss` and the `aud` that tokens must have, where they are given. */
  JWT_ISSUER?: string;
  JWT_AUDIENCE?: string;
  /** "true" lets everyone in who shows no token. */
  ALLOW_ANONYMOUS?: string;
}

/** A request is not let in: it has shown nothing that says who it is, or nothing that holds. */
export class Unauthorized extends Error {
  override readonly name = "Unauthorized";
}

const SECRET_BYTES_MIN = 32;
const TOKEN_PROTOCOL = "token.";
/** What is signed with a public key; a secret is never taken for one, nor the other way round. */
const PUBLIC_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];
/** Keys that cannot be fetched (the first is that of an answer other than 200) say nothing about the token. */
const KEYS_MISSING = [errors.JOSEError.code, errors.JWKSTimeout.code, errors.JWKSInvalid.code];
/** The last time that there is (ECMAScript, Date). */
const TIME_MAX = 8.64e15;
/** Clocks differ. */
const CLOCK_TOLERANCE_S = 5;

/** The token that a request shows; undefined if it shows none. */
function tokenOf(headers: Headers): string | undefined {
  const bearer = /^Bearer +(\S+) *$/i.exec(headers.get("Authorization") ?? "")?.[1];
  if (bearer !== undefined) return bearer;
  const offered = headers.get("Sec-WebSocket-Protocol")?.split(",") ?? [];
  const token = offered.map((name) => name.trim()).find((name) => name.startsWith(TOKEN_PROTOCOL));
  return token?.slice(TOKEN_PROTOCOL.length);
}

/** Checks tokens as an environment says. It keeps the public keys that it has fetched. */
export class Authenticator {
  readonly #env: AuthEnv;
  readonly #secret: Uint8Array | undefined;
  readonly #publicKeys: JWTVerifyGetKey | undefined;

  /** Throws a sentence for operators if the environment says something that cannot be meant. */
  constructor(env: AuthEnv) {
    this.#env = env;
    if (env.JWT_SECRET) {
      this.#secret = new TextEncoder().encode(env.JWT_SECRET);
      if (this.#secret.length < SECRET_BYTES_MIN) {
        throw new Error(`JWT_SECRET has less than ${SECRET_BYTES_MIN} bytes, so that tokens could be forged`);
      }
    }
    if (env.JWKS_URL) this.#publicKeys = createRemoteJWKSet(new URL(env.JWKS_URL));
  }

  /** Whether anybody can be let in at all. */
  get isConfigured(): boolean {
    return this.#secret !== undefined || this.#publicKeys !== undefined || this.#env.ALLOW_ANONYMOUS === "true";
  }

  /** What the bearer of a request's token may do with a store; null: nothing. Rejects with Unauthorized. */
  async grantTo(headers: Headers, store: string): Promise<Grant | null> {
    const token = tokenOf(headers);
    const checksTokens = this.#secret !== undefined || this.#publicKeys !== undefined;
    // Where tokens mean nothing, whoever brings one is anyone.
    const isAnyone = token === undefined || !checksTokens;
    if (isAnyone && this.#env.ALLOW_ANONYMOUS === "true") return ANYONE;
    if (token === undefined) throw new Unauthorized("a bearer token is needed");
    return toGrant(await this.#verify(token), store);
  }

  async #verify(token: string): Promise<JWTPayload> {
    const { JWT_ISSUER: issuer, JWT_AUDIENCE: audience } = this.#env;
    const options: JWTVerifyOptions = {
      clockTolerance: CLOCK_TOLERANCE_S,
      requiredClaims: ["exp"],
      ...(issuer && { issuer }),
      ...(audience && { audience }),
    };
    try {
      if (this.#secret && (!this.#publicKeys || isSignedWithSecret(token))) {
        return (await jwtVerify(token, this.#secret, { ...options, algorithms: ["HS256"] })).payload;
      }
      return (await jwtVerify(token, this.#publicKeys!, { ...options, algorithms: PUBLIC_ALGORITHMS })).payload;
    } catch (error) {
      if (error instanceof errors.JOSEError && !KEYS_MISSING.includes(error.code)) {
        const hasExpired = error instanceof errors.JWTExpired;
        throw new Unauthorized(hasExpired ? "the token has expired" : "the token is not valid here");
      }
      throw error;
    }
  }
}

function isSignedWithSecret(token: string): boolean {
  try {
    const header = JSON.parse(atob(token.split(".")[0]!.replaceAll("-", "+").replaceAll("_", "/"))) as {
      alg?: unknown;
    };
    return header.alg === "HS256";
  } catch {
    return false;
  }
}

/** What a token's claim says of a store; null if it does not name it. */
function toGrant({ exp, sub, headwater }: JWTPayload, store: string): Grant | null {
  const flaw = flawOf(headwater);
  if (flaw !== undefined) throw new Unauthorized(`the token's claim \`headwater\`: ${flaw}`);
  const isName = typeof (sub as unknown) === "string" && sub!.length <= IDENTITY_LENGTH_MAX;
  if (sub !== undefined && !isName) {
    throw new Unauthorized(
      `the token's claim \`sub\` is no text of up to ${IDENTITY_LENGTH_MAX} letters (IDENTITY_LENGTH_MAX)`,
    );
  }
  const { stores, read = true, write = false, sync = false, admin = false } = headwater as TokenClaim;
  if (!stores.some((name) => isNamed(store, name))) return null;
  const rights = {
    read: toPrefixes(read),
    write: toPrefixes(write),
    sync,
    admin,
    expiresAt: Math.min(exp! * 1000, TIME_MAX),
  };
  return sub === undefined ? rights : { ...rights, identity: sub };
}

const isNamed = (store: string, name: string): boolean =>
  name.endsWith("*") ? store.startsWith(name.slice(0, -1)) : store === name;

const toPrefixes = (claimed: boolean | string[]): string[] | null =>
  typeof claimed === "boolean" ? (claimed ? null : []) : claimed;

/** What is wrong with a claim; undefined if it has the right form, and what it grants can be kept beside a socket. */
function flawOf(claim: unknown): string | undefined {
  if (typeof claim !== "object" || claim === null) return "it is missing";
  const { stores, read, write, sync, admin } = claim as Record<string, unknown>;
  if (!isList(stores, TOKEN_STORES_MAX)) return `\`stores\` is not a list of up to ${TOKEN_STORES_MAX} names`;
  for (const [name, keys] of Object.entries({ read, write })) {
    if (keys === undefined || typeof keys === "boolean") continue;
    const isRight = isList(keys, PREFIXES_MAX) && keys.every((key) => readKey(key).ok);
    if (!isRight) return `\`${name}\` is neither true nor false nor a list of up to ${PREFIXES_MAX} beginnings of keys`;
  }
  for (const [name, flag] of Object.entries({ sync, admin })) {
    if (flag !== undefined && typeof flag !== "boolean") return `\`${name}\` is neither true nor false`;
  }
  if (new TextEncoder().encode(JSON.stringify([read, write])).length <= RIGHTS_BYTES_MAX) return undefined;
  return `\`read\` and \`write\` have more than ${RIGHTS_BYTES_MAX} bytes (RIGHTS_BYTES_MAX)`;
}

const isList = (value: unknown, max: number): value is string[] =>
  Array.isArray(value) && value.length <= max && value.every((one) => typeof one === "string");
