/** The commands and their options: one table for parsing and for the help text. */

import { parseArgs } from "node:util";

import { CliError } from "./output.js";

const URL_OPTION = { url: { type: "string", value: "URL", help: "the deployment (else BITBEND_URL, else the suite that dev started)" } };
const KEY_OPTION = { "admin-key": { type: "string", value: "KEY", help: "its admin key (else BITBEND_ADMIN_KEY)" } };
const JSON_OPTION = { json: { type: "boolean", help: "one JSON object per line, for programs" } };
const DATA_OPTION = { data: { type: "string", value: "DIR", help: "where the embedded suite keeps everything (default .bitbend)" } };
const REMOTE = { ...URL_OPTION, ...KEY_OPTION, ...DATA_OPTION, ...JSON_OPTION };

export const COMMANDS = {
  dev: {
    usage: "dev",
    help: "start the embedded suite if none is running, deploy, watch, show logs and errors",
    options: {
      once: { type: "boolean", help: "deploy once and end" },
      port: { type: "string", value: "PORT", help: "listen there (default 3210, or the next free one)" },
      ...DATA_OPTION,
      memory: { type: "boolean", help: "keep nothing" },
      static: { type: "string", value: "DIR", help: "files to serve at / (default web, if there is one)" },
      nats: { type: "string", value: "URL", help: "a NATS server that runs already (default: one is started; off: none, and no actions)" },
      ...URL_OPTION,
      ...KEY_OPTION,
      ...JSON_OPTION,
    },
    positionals: 0,
  },
  deploy: {
    usage: "deploy [DIR]",
    help: "bundle the functions in DIR (default bitbend/), show what changes, switch over in one transaction",
    options: { ...REMOTE, "dry-run": { type: "boolean", help: "only show what would change" } },
    positionals: 1,
  },
  run: {
    usage: "run path:fn ['{json}']",
    help: "call any function",
    options: {
      ...REMOTE,
      watch: { type: "boolean", help: "follow a query" },
      trace: { type: "boolean", help: "say what it read and wrote, and how long it took" },
      "cpu-profile": { type: "string", value: "FILE", help: "where its time went (.cpuprofile)" },
      "heap-profile": { type: "string", value: "FILE", help: "what it allocated, and where (.heapprofile)" },
      "heap-snapshot": { type: "string", value: "FILE", help: "the heap when it ends (.heapsnapshot)" },
    },
    positionals: 2,
    needed: 1,
  },
  codegen: { usage: "codegen [DIR]", help: "write _generated/ only", options: { ...JSON_OPTION }, positionals: 1 },
  logs: {
    usage: "logs",
    help: "log lines of function calls",
    options: { ...REMOTE, follow: { type: "boolean", short: "f", help: "go on as they come" } },
    positionals: 0,
  },
  data: {
    usage: "data [table]",
    help: "list the tables, or the newest documents of one",
    options: { ...REMOTE, limit: { type: "string", value: "N", help: "how many documents (default 100)" } },
    positionals: 1,
  },
  jobs: {
    usage: "jobs | jobs cancel ID",
    help: "scheduled functions: what waits, runs, and has run in the last days",
    options: {
      ...REMOTE,
      state: { type: "string", value: "STATE", help: "only those that are pending, running, done, failed or cancelled" },
      limit: { type: "string", value: "N", help: "how many (default 50), the newest first" },
      watch: { type: "boolean", help: "go on: each job when it changes" },
    },
    positionals: 2,
  },
  crons: { usage: "crons", help: "crons: when each runs next, and when it has run", options: { ...REMOTE }, positionals: 0 },
  env: {
    usage: "env set NAME [VALUE] | get NAME | list | remove NAME..",
    help: "the variables that functions find in process.env; a value that is left out is read from standard input",
    options: {
      ...REMOTE,
      file: { type: "string", value: "FILE", help: "set: all variables of such a file as .env" },
      values: { type: "boolean", help: "list: with their values, as lines of a .env file" },
    },
    positionals: 1000,
    needed: 1,
  },
  consumers: {
    usage: "consumers [remove NAME | move NAME TX]",
    help: "the durable consumers of the transaction feed, and how far they are",
    options: { ...REMOTE },
    positionals: 3,
  },
  status: { usage: "status", help: "what runs, and how it is", options: { ...REMOTE }, positionals: 0 },
};

/** `{command, options, positionals}`, or `{help: text}`. Throws a `CliError` for what it does not know. */
export function parseCommandLine(argv, version) {
  const [name, ...rest] = argv;
  if (name === undefined || name === "help" || name === "--help" || name === "-h") return { help: helpOf(rest[0]) };
  if (name === "--version" || name === "-v") return { help: version };
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : null;
  if (command === null) throw usageError(`There is no command "${name}".`, "bitbend --help lists them.");

  let parsed;
  try {
    const options = Object.fromEntries(Object.entries(command.options).map(([key, { type, short }]) => [key, short ? { type, short } : { type }]));
    parsed = parseArgs({ args: rest, options: { ...options, help: { type: "boolean", short: "h" } }, allowPositionals: true });
  } catch (error) {
    throw usageError(`${error.message.split(". ")[0].replace(/\.$/, "")}.`, `bitbend ${name} --help lists the options.`);
  }
  if (parsed.values.help) return { help: helpOf(name) };
  if (parsed.positionals.length > command.positionals) {
    throw usageError(`"${parsed.positionals[command.positionals]}" is one argument too many.`, `Usage: bitbend ${command.usage}`);
  }
  if (parsed.positionals.length < (command.needed ?? 0)) throw usageError("An argument is missing.", `Usage: bitbend ${command.usage}`);
  return { command: name, options: parsed.values, positionals: parsed.positionals };
}

export function usageError(what, next) {
  return new CliError(`${what} ${next}`, { exitCode: 2 });
}

/** A whole number option, or undefined. */
export function numberOption(options, name, min, max) {
  if (options[name] === undefined) return undefined;
  const number = Number(options[name]);
  if (!Number.isInteger(number) || number < min || number > max) {
    throw usageError(`--${name} ${options[name]}:`, `give a whole number from ${min} to ${max}.`);
  }
  return number;
}

function helpOf(name) {
  if (name === undefined || !Object.hasOwn(COMMANDS, name)) {
    const rows = Object.values(COMMANDS).map(({ usage, help }) => `  ${usage.padEnd(24)}${usage.length < 24 ? "" : `\n${" ".repeat(26)}`}${help}`);
    return ["Usage: bitbend <command> [options]", "", ...rows, "", "bitbend <command> --help lists its options."].join("\n");
  }
  const { usage, help, options } = COMMANDS[name];
  const rows = Object.entries(options).map(([key, option]) => {
    const flag = `${option.short ? `-${option.short}, ` : ""}--${key}${option.value ? ` ${option.value}` : ""}`;
    return `  ${flag.padEnd(22)}${option.help}`;
  });
  return [`Usage: bitbend ${usage} [options]`, "", `  ${help}`, "", ...rows].join("\n");
}
