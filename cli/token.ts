// `npm run token -- --secret S --store board`: mints a token for development, signed with the secret that the worker is given as
// JWT_SECRET. Tokens for people are made by whoever signs them in.

import { parseArgs } from "node:util";
import { SignJWT } from "jose";
import type { TokenClaim } from "../auth.ts";

const USAGE = `npm run token -- --secret SECRET --store NAME [--store NAME ...]
  --secret SECRET     the worker's JWT_SECRET, at least 32 bytes; or the variable JWT_SECRET
  --store NAME        a store's name, or the beginning of names with a * behind it
  --read PREFIX       only keys that begin so may be read (more than once: any of them)
  --write PREFIX      keys that begin so may be written; --write '' for all
  --sync              writers wait for it
  --admin             the store may be exported, imported and deleted
  --sub NAME          who it is
  --hours N           for how long it holds, 1 unless given
  --issuer, --audience  what JWT_ISSUER and JWT_AUDIENCE demand`;

const PLAIN = { type: "string" } as const;
const MANY = { type: "string", multiple: true } as const;
const FLAG = { type: "boolean", default: false } as const;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      secret: PLAIN,
      store: MANY,
      read: MANY,
      write: MANY,
      sync: FLAG,
      admin: FLAG,
      sub: PLAIN,
      hours: PLAIN,
      issuer: PLAIN,
      audience: PLAIN,
    },
  });
  const secret = new TextEncoder().encode(values.secret ?? process.env.JWT_SECRET ?? "");
  const hours = Number(values.hours ?? 1);
  if (secret.length < 32 || !values.store || !(hours > 0)) {
    console.error(USAGE);
    return 2;
  }
  const headwater: TokenClaim = { stores: values.store, sync: values.sync, admin: values.admin };
  if (values.read) headwater.read = values.read;
  if (values.write) headwater.write = values.write.includes("") ? true : values.write;
  const token = new SignJWT({ headwater })
    .setProtectedHeader({ alg: "HS256" })
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000 + hours * 3600));
  if (values.sub !== undefined) token.setSubject(values.sub);
  if (values.issuer !== undefined) token.setIssuer(values.issuer);
  if (values.audience !== undefined) token.setAudience(values.audience);
  console.log(await token.sign(secret));
  return 0;
}

process.exitCode = await main();
