// Which commands there are, and what each takes. What they do stands in files of their own.

import { Argument, Command, InvalidArgumentError, Option } from "commander";
import type { Ack } from "../web/client.ts";
import { deleteStore, exportStore, importStore } from "./backup.ts";
import { Connection } from "./connection.ts";
import { dev } from "./dev.ts";
import { batch, get, list, put, remove } from "./entries.ts";
import { CommandFailedError } from "./failure.ts";
import { init } from "./init.ts";
import { manifest } from "./manifest.ts";
import type { Output } from "./output.ts";
import { status } from "./status.ts";
import { mintToken } from "./token.ts";
import { watch } from "./watch.ts";

const EXITS = `
Exit codes:
  0  done
  1  not found, or refused by the store
  2  the command line, or a file that it names, is wrong
  3  the store cannot be reached, or was cut off
  4  unconfirmed or unknown: it may have been applied (put, rm, batch, import and delete)
  130, 143  ended by Ctrl-C, or by SIGTERM`;

const KEY = new Argument("<key>", "the key of an entry");
const VALUE = new Argument("<value>", "JSON, or - to read it from stdin");
const FILE = new Argument("<file>", "- for stdin");

const ack = (): Option =>
  new Option("--ack <who>", "who has it on disk: all in-sync replicas (the default), primary, or so many").argParser(
    toAck,
  );
const ifSeq = (): Option =>
  new Option("--if-seq <seq>", "only if the seq of the key's last write is this").argParser(toCount);

/** The command line, whose commands speak through `output`. */
export function makeProgram(output: Output): Command {
  const program = new Command("headwater")
    .description(manifest.description)
    .version(manifest.version)
    .option("--json", "results as JSON, one a line; errors as a line of JSON with a code, on stderr")
    .addOption(new Option("--url <url>", "where the primary is").env("HEADWATER_URL").default("http://localhost:8787"))
    .addOption(new Option("--token <token>", "who you are; better given in the environment").env("HEADWATER_TOKEN"))
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .configureOutput({
      outputError: (text) => output.failed({ code: "usage", message: text.replace(/^error: /, "").trim() }),
    })
    .addHelpText("after", EXITS);
  addEntryCommands(program, output);
  addStoreCommands(program, output);
  addAppCommands(program, output);
  return program;
}

/** A command on one store. */
function onStore(program: Command, name: string, description: string): Command {
  return program.command(name).description(description).argument("<store>", "the name of the store");
}

/** The way to the store that a command names. */
function connect(store: string, command: Command): Connection {
  const { url, token } = command.optsWithGlobals<{ url: string; token?: string }>();
  return new Connection({ url, store, token });
}

function addEntryCommands(program: Command, output: Output): void {
  onStore(program, "get", "print the value of a key, as JSON")
    .addArgument(KEY)
    .option("--text", "print a string as it is")
    .action((store: string, key: string, options: object, command: Command) =>
      get(connect(store, command), output, key, options),
    );
  onStore(program, "put", "set the value of a key")
    .addArgument(KEY)
    .addArgument(VALUE)
    .option("--text", "the value is a string and given as it is")
    .addOption(ack())
    .addOption(ifSeq())
    .addOption(new Option("--if-absent", "only if there is no such key").conflicts("ifSeq"))
    .action((store: string, key: string, value: string, options: object, command: Command) =>
      put(connect(store, command), output, [key, value], options),
    );
  onStore(program, "rm", "remove a key; one that is not there is no error")
    .addArgument(KEY)
    .addOption(ack())
    .addOption(ifSeq())
    .action((store: string, key: string, options: object, command: Command) =>
      remove(connect(store, command), output, key, options),
    );
  onStore(program, "list", "print keys and values, in the order of the keys")
    .option("--prefix <prefix>", "only keys that begin so")
    .option("--start <key>", "from this key on")
    .option("--end <key>", "up to before this key")
    .addOption(new Option("--limit <count>", "at most so many").argParser(toCount))
    .option("--reverse", "from the last key to the first")
    .action((store: string, options: object, command: Command) => list(connect(store, command), output, options));
  onStore(program, "batch", "do several operations as one, or none: the body of POST /batch")
    .addArgument(FILE)
    .addOption(ack())
    .action((store: string, file: string, options: object, command: Command) =>
      batch(connect(store, command), output, file, options),
    );
}

function addStoreCommands(program: Command, output: Output): void {
  onStore(program, "watch", "print every step of the store's state; at first all there is")
    .option("--prefix <prefix>", "only keys that begin so")
    .option("--since <seq>", "begin after this seq of the present history, or after EPOCH:SEQ")
    .action((store: string, options: object, command: Command) => watch(connect(store, command), output, options));
  onStore(program, "status", "print where the primary stands, and every secondary").action(
    (store: string, _: object, command: Command) => status(connect(store, command), output),
  );
  onStore(program, "export", "write the whole store at one seq to a file; takes admin")
    .argument("[file]", "gets its name when it is whole; stdout unless given", "-")
    .action((store: string, file: string, _: object, command: Command) =>
      exportStore(connect(store, command), output, file),
    );
  onStore(program, "import", "read an export back, whole or not at all; takes admin")
    .addArgument(FILE)
    .option("--replace", "in place of the entries that there are; they stay if the import fails")
    .action((store: string, file: string, { replace }: { replace?: true }, command: Command) =>
      importStore(connect(store, command), output, file, replace === true),
    );
  onStore(program, "delete", "remove everything that a store holds; takes admin")
    .option("--yes", "say that you mean it")
    .action((store: string, { yes }: { yes?: true }, command: Command) => {
      if (!yes) throw new CommandFailedError("usage", `this removes everything in ${store}: say --yes`);
      return deleteStore(connect(store, command), output);
    });
}

function addAppCommands(program: Command, output: Output): void {
  program
    .command("token")
    .description("mint a token for development")
    .addOption(new Option("--secret <secret>", "the worker's JWT_SECRET, at least 32 bytes").env("JWT_SECRET"))
    .requiredOption("--store <name...>", "names of stores, or their beginning with a * behind it")
    .option("--read <prefix...>", "only keys that begin so may be read; left out, all")
    .option("--write <prefix...>", "keys that begin so may be written; '' for all; left out, none")
    .option("--sync", "writers wait for it")
    .option("--admin", "the store may be exported, imported and deleted")
    .option("--sub <name>", "who it is")
    .addOption(new Option("--hours <hours>", "for how long it holds").argParser(toHours).default(1))
    .option("--issuer <issuer>", "what JWT_ISSUER demands")
    .option("--audience <audience>", "what JWT_AUDIENCE demands")
    .action((options) => mintToken(output, options));
  program
    .command("dev")
    .description("run the app of this folder: build its page, serve it with its stores; takes its wrangler")
    .addOption(new Option("--port <port>", "where").env("PORT").argParser(toPort).default(8787))
    .addOption(new Option("--state <folder>", "what keeps the stores").env("HEADWATER_STATE").default(".headwater"))
    .option("--built", "serve the page as it was built last")
    .action((options) => dev(output, options));
  program
    .command("init")
    .description("make a working app: worker, page and tests")
    .argument("[folder]", "an empty folder, or a new one", ".")
    .action((folder: string) => init(output, folder));
}

function toAck(text: string): Ack {
  return text === "all" || text === "primary" ? text : toCount(text);
}

function toCount(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("It is to be a number.");
  return Number(text);
}

function toHours(text: string): number {
  if (!(Number(text) > 0)) throw new InvalidArgumentError("It is to be a number above 0.");
  return Number(text);
}

function toPort(text: string): number {
  const port = toCount(text);
  if (port < 1 || port > 65_535) throw new InvalidArgumentError("It is no port.");
  return port;
}
