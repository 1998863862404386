// The public names of a module with their declarations and comments, read from its source or from what the compiler has made of
// it for editors. What only re-exports a name leads to the module that declares it.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseSync } from "vite";
import type { ESTree, ParseResult } from "vite";

/** A name that is declared, or a member of one. */
export interface Declaration {
  name: string;
  /** Whether it is there when a program runs. */
  isValue: boolean;
  /** As it is written, but for what is behind it: the body of a function, members that have their own declarations. */
  code: string;
  /** The text of the comment above it; empty if there is none. */
  comment: string;
  members: Declaration[];
  /** The module that declares it. */
  path: string;
}

/** What a module has for others. */
export interface Declarations {
  /** What it says of itself, at its top. */
  intro: string;
  /** In the order in which it exports them. */
  exported: Declaration[];
  /** Types with a comment that it does not export, and that types need which it does. */
  needed: Declaration[];
}

type Declared = Exclude<ESTree.ExportNamedDeclaration["declaration"], null>;
type Member = ESTree.ClassElement | ESTree.TSSignature;

/** Modules, and what they have from each other. */
export class Modules {
  readonly #modules = new Map<string, Module>();

  /** What a module has for others. Throws if a name that it exports is declared nowhere. */
  read(path: string): Declarations {
    const { exports, intro } = this.#open(path);
    const all = exports.map(([name, local]) => {
      const declaration = this.#find(local, path);
      if (!declaration) throw new Error(`${path} does not declare ${name}`);
      return { ...declaration, name };
    });
    const exported = [...all];
    // Grows at its end by what those that come are made of.
    for (const declaration of all) {
      for (const type of declaration.isValue ? [] : this.typesIn(declaration)) {
        const isKnown = all.some(({ name, path }) => name === type.name && path === type.path);
        if (!isKnown && !type.isValue && type.comment !== "") all.push(type);
      }
    }
    return { intro, exported, needed: all.slice(exported.length) };
  }

  /** What the names in a declaration stand for, as far as that is known here. */
  typesIn({ name, path, code, members }: Declaration): Declaration[] {
    const text = [code, ...members.map((member) => member.code)].join("\n");
    const names = new Set(text.match(/\b[A-Z]\w*/g));
    return [...names].flatMap((one) => (one === name ? [] : (this.#find(one, path) ?? [])));
  }

  #find(name: string, path: string): Declaration | undefined {
    const module = this.#open(path);
    const own = module.declarationOf(name);
    const source = module.sourceOf(name);
    if (own || !source) return own;
    const found = this.#find(source.name, source.path);
    return found && { ...found, name, code: found.code.replace(source.name, name) };
  }

  #open(path: string): Module {
    const module = this.#modules.get(path) ?? new Module(path);
    this.#modules.set(path, module);
    return module;
  }
}

/** The exported names that have no comment above them, and the members that have none: `Replica.get`. */
export function undocumentedOf(path: string): string[] {
  return new Modules()
    .read(path)
    .exported.flatMap(({ name, comment, members }) => [
      ...(comment === "" ? [name] : []),
      ...members.filter((member) => member.comment === "").map((member) => `${name}.${member.name}`),
    ]);
}

class Module {
  readonly #path: string;
  readonly #text: string;
  readonly #body: ESTree.Program["body"];
  readonly #comments: ParseResult["comments"];

  constructor(path: string) {
    this.#path = path;
    this.#text = readFileSync(path, "utf8");
    const { program, comments, errors } = parseSync(path, this.#text);
    if (errors.length > 0) throw new Error(`${path}: ${errors[0]!.message}`);
    this.#body = program.body;
    this.#comments = comments;
  }

  /** The lines of comment before anything else. */
  get intro(): string {
    const lines = this.#comments.filter(({ type, end }) => type === "Line" && end <= this.#body[0]!.start);
    return lines.map(({ value }) => value.trim()).join("\n");
  }

  /** What it exports, each with the name that it has in here. */
  get exports(): [name: string, local: string][] {
    const names = this.#body.flatMap((node): [string, string][] => {
      if (node.type !== "ExportNamedDeclaration") return [];
      if (node.declaration) return namesOf(node.declaration).map((name) => [name, name]);
      return node.specifiers.map(({ exported, local }) => [nameOf(exported), nameOf(local)]);
    });
    return [...new Map(names)];
  }

  /** The module from which it has a name, and the name there. */
  sourceOf(name: string): { name: string; path: string } | undefined {
    for (const node of this.#body) {
      if (node.type !== "ImportDeclaration" && node.type !== "ExportNamedDeclaration") continue;
      for (const specifier of node.source?.value.startsWith(".") ? node.specifiers : []) {
        if (specifier.type !== "ImportSpecifier" && specifier.type !== "ExportSpecifier") continue;
        const [here, there] =
          specifier.type === "ImportSpecifier"
            ? [specifier.local.name, specifier.imported]
            : [nameOf(specifier.exported), specifier.local];
        if (here === name) return { name: nameOf(there), path: this.#pathOf(node.source!.value) };
      }
    }
    return undefined;
  }

  declarationOf(name: string): Declaration | undefined {
    const all = this.#body.flatMap((node) => {
      const declared = node.type === "ExportNamedDeclaration" ? node.declaration : node;
      return declared && isDeclared(declared) && namesOf(declared).includes(name) ? [{ node, declared }] : [];
    });
    // Where there are several signatures, the one with a body is nobody's business.
    const shown = all.length > 1 ? all.filter(({ declared }) => !("body" in declared && declared.body)) : all;
    const [first] = shown;
    if (!first) return undefined;
    return {
      name,
      isValue: !first.declared.type.startsWith("TS") || first.declared.type === "TSDeclareFunction",
      code: shown.map(({ declared }) => this.#codeOf(declared)).join("\n"),
      comment: this.#commentAbove(first.node.start),
      members: this.#membersOf(first.declared),
      path: this.#path,
    };
  }

  #membersOf(declared: Declared): Declaration[] {
    if (declared.type !== "ClassDeclaration" && declared.type !== "TSInterfaceDeclaration") return [];
    const members = new Map<string, Declaration>();
    for (const member of declared.body.body) {
      const name = publicNameOf(member);
      if (name === undefined) continue;
      const code = this.#text.slice(member.start, endOf(member)).replace(/\basync |[\s;=]+$/g, "");
      const own = {
        name,
        isValue: false,
        code: code.replaceAll("\n  ", "\n"),
        comment: "",
        members: [],
        path: this.#path,
      };
      const known = members.get(name);
      if (known) known.code += `\n${own.code}`;
      else members.set(name, { ...own, comment: this.#commentAbove(member.start) });
    }
    return [...members.values()];
  }

  #codeOf(declared: Declared): string {
    return this.#text
      .slice(declared.start, endOf(declared))
      .replace(/^(declare|async) /, "")
      .replace(/(\s|;|=>)+$/, "");
  }

  /** Nothing but space may be between. */
  #commentAbove(start: number): string {
    const comment = this.#comments.findLast(({ end }) => end <= start);
    if (comment?.type !== "Block" || this.#text.slice(comment.end, start).trim() !== "") return "";
    return comment.value
      .replace(/^\*/, "")
      .replace(/\n\s*\* ?/g, "\n")
      .trim();
  }

  #pathOf(source: string): string {
    const path = join(dirname(this.#path), source);
    return this.#path.endsWith(".d.ts") ? path.replace(/\.[jt]s$/, ".d.ts") : path;
  }
}

function isDeclared(node: ESTree.Node): node is Declared {
  return ["id", "declarations"].some((name) => name in node);
}

function namesOf(declared: Declared): string[] {
  const ids =
    declared.type === "VariableDeclaration"
      ? declared.declarations.map(({ id }) => id)
      : "id" in declared
        ? [declared.id]
        : [];
  return ids.flatMap((id) => (id?.type === "Identifier" ? [id.name] : []));
}

const nameOf = (name: ESTree.ModuleExportName): string => (name.type === "Literal" ? name.value : name.name);

/** Undefined if it is private, or only what its class has from another one. */
function publicNameOf(member: Member): string | undefined {
  if (!("key" in member) || member.key.type !== "Identifier") return undefined;
  const isConstant = "value" in member && member.value?.type === "Literal" && "readonly" in member && member.readonly;
  const isOthers = ("override" in member && member.override) || isConstant || member.key.name === "constructor";
  return isOthers || member.accessibility === "private" ? undefined : member.key.name;
}

/** Where a declaration ends as far as others see it. */
function endOf(node: Declared | Member): number {
  const init = node.type === "VariableDeclaration" ? node.declarations[0]?.init : undefined;
  if (init?.type === "ArrowFunctionExpression") return init.body.start;
  if (node.type === "MethodDefinition") return node.value.body?.start ?? node.end;
  if (node.type === "PropertyDefinition") return (node.typeAnnotation && node.value?.start) ?? node.end;
  return "body" in node && node.body && "start" in node.body ? node.body.start : node.end;
}
