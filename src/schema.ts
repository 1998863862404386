// What the values of a store must be, key by key: Standard Schemas (version 1, https://standardschema.dev), of whatever library
// they come from. It is only asked whether a value is right; what a schema would make of it is not used.

import { writesOf } from "./protocol.ts";
import type { Update } from "./protocol.ts";

/** The part of a Standard Schema that is used here. */
export interface ValueSchema<Value = unknown> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => Verdict | Promise<Verdict>;
    readonly types?: { readonly input: Value; readonly output: unknown } | undefined;
  };
}

interface Verdict {
  readonly issues?: readonly Issue[] | undefined;
}

interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/**
 * A schema for each kind of key. A name is a key, or a pattern in which each `${string}` stands for any text, as in
 * `"user:${string}"`. The first name that fits counts; a key that none fits may not be written.
 */
export type Schemas = Readonly<Record<string, ValueSchema>>;

const WILDCARD = "${string}";
/** As much as a person wants to read at once. */
const ISSUES_MAX = 3;

export class StoreSchema {
  readonly #rules: { pieces: string[]; schema: ValueSchema }[];

  constructor(schemas: Schemas) {
    this.#rules = Object.entries(schemas).map(([name, schema]) => ({ pieces: name.split(WILDCARD), schema }));
  }

  /** Why this value may not be written at this key, and where in the value the reason lies; undefined if it may. */
  flawOf(key: string, value: unknown): string | undefined {
    const schema = this.#rules.find(({ pieces }) => fits(key, pieces))?.schema;
    if (!schema) return `${JSON.stringify(key)}: the store has no such key`;
    try {
      const verdict = schema["~standard"].validate(value);
      if ("then" in verdict) return `${JSON.stringify(key)}: its schema is asynchronous, which none can be here`;
      const issues = verdict.issues?.slice(0, ISSUES_MAX).map(describe);
      return issues && `${JSON.stringify(key)}: ${issues.join("; ")}`;
    } catch (error) {
      return `${JSON.stringify(key)}: its schema failed: ${String(error)}`;
    }
  }
}

/** What a store's schema has against an update. */
export function flawOf(schema: StoreSchema, update: Update): string | undefined {
  for (const write of writesOf(update)) {
    const flaw = "json" in write ? schema.flawOf(write.key, JSON.parse(write.json)) : undefined;
    if (flaw !== undefined) return flaw;
  }
  return undefined;
}

/** Whether a key is made of these pieces with any text between them. Each stands as early as it can, so nothing is tried twice. */
function fits(key: string, pieces: readonly string[]): boolean {
  const [first = "", ...rest] = pieces;
  const last = rest.pop();
  if (last === undefined) return key === first;
  if (!key.startsWith(first)) return false;
  let at = first.length;
  for (const piece of rest) {
    const found = key.indexOf(piece, at);
    if (found === -1) return false;
    at = found + piece.length;
  }
  return key.length - last.length >= at && key.endsWith(last);
}

function describe({ message, path = [] }: Issue): string {
  const steps = path.map((step) => String(typeof step === "object" ? step.key : step));
  return steps.length > 0 ? `${steps.join(".")}: ${message}` : message;
}
