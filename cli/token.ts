// `token`: mints a token for development, signed with the secret that the worker is given as JWT_SECRET. Tokens for people are
// made by whoever signs them in.

import { SignJWT } from "jose";
import type { TokenClaim } from "../src/rights.ts";
import { CommandFailedError } from "./failure.ts";
import type { Output } from "./output.ts";

export interface TokenOptions {
  secret?: string;
  store: string[];
  read?: string[];
  write?: string[];
  sync?: boolean;
  admin?: boolean;
  sub?: string;
  hours: number;
  issuer?: string;
  audience?: string;
}

const SECRET_BYTES_MIN = 32;

export async function mintToken(output: Output, options: TokenOptions): Promise<void> {
  const secret = new TextEncoder().encode(options.secret);
  if (secret.length < SECRET_BYTES_MIN)
    throw new CommandFailedError("usage", `JWT_SECRET, or --secret, is to have at least ${SECRET_BYTES_MIN} bytes`);
  const token = new SignJWT({ headwater: claimOf(options) })
    .setProtectedHeader({ alg: "HS256" })
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000 + options.hours * 3600));
  if (options.sub !== undefined) token.setSubject(options.sub);
  if (options.issuer !== undefined) token.setIssuer(options.issuer);
  if (options.audience !== undefined) token.setAudience(options.audience);
  const signed = await token.sign(secret);
  await output.result({ token: signed }, () => signed);
}

function claimOf({ store, read, write, sync = false, admin = false }: TokenOptions): TokenClaim {
  const claim: TokenClaim = { stores: store, sync, admin };
  if (read) claim.read = read;
  if (write) claim.write = write.includes("") ? true : write;
  return claim;
}
