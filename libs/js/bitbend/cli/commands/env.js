/** `bitbend env`: the variables that functions find in `process.env`. Values are shown only when asked for. */

import { readFileSync } from "node:fs";
import { parseEnv } from "node:util";

import { connect } from "../app.js";
import { usageError } from "../options.js";
import { CliError } from "../output.js";

const STDIN_MAX = 64 * 1024;

export async function run({ output, appDir, options, positionals }) {
  const [what, ...rest] = positionals;
  const action = Object.hasOwn(ACTIONS, what) ? ACTIONS[what] : null;
  if (action === null) throw usageError(`"${what}" is not what env can do.`, "There are set, get, list and remove.");
  return await action({ output, options, rest, admin: connect(appDir, options) });
}

const ACTIONS = {
  async set({ output, options, rest, admin }) {
    const variables = options.file === undefined ? [await variableOf(rest)] : fileVariables(options.file, rest);
    await change(output, admin, variables);
  },

  async get({ output, rest, admin }) {
    const name = onlyName("get", rest);
    const value = await admin.call("_system:environmentValue", { name });
    if (value === null) throw new CliError(`There is no variable ${name}. "bitbend env list" shows their names.`);
    if (output.isJson) output.json({ name, value });
    else output.line(value);
  },

  async list({ output, options, rest, admin }) {
    if (rest.length > 0) throw usageError(`"${rest[0]}" is one argument too many.`, "Usage: bitbend env list [--values]");
    const values = options.values ? await admin.call("_system:environment") : null;
    const rows = await admin.call("_system:environmentNames");
    if (output.isJson) return rows.forEach(({ name, time }) => output.json({ name, time, ...(values && { value: values[name] }) }));
    if (rows.length === 0) return output.note("No variables yet: bitbend env set NAME VALUE");
    if (values !== null) return rows.forEach(({ name }) => output.line(lineOf(name, values[name] ?? "")));
    output.table(["name", "set"], rows.map(({ name, time }) => [name, new Date(time).toISOString()]));
  },

  async remove({ output, rest, admin }) {
    if (rest.length === 0) throw usageError("An argument is missing.", "Usage: bitbend env remove NAME..");
    const states = await change(output, admin, rest.map((name) => ({ name, value: null })));
    return Object.values(states).includes("missing") ? 1 : 0;
  },
};

async function change(output, admin, changes) {
  const states = await admin.call("_system:changeEnvironment", { changes });
  const said = { set: "is set", same: "has this value already", removed: "is removed", missing: "was not there" };
  for (const [name, state] of Object.entries(states)) {
    if (output.isJson) output.json({ name, state });
    else output.line(`${name} ${said[state]}.`);
  }
  return states;
}

/** NAME VALUE, NAME=VALUE, or NAME with the value on standard input, which keeps it out of the shell's history. */
async function variableOf([first, second, ...more]) {
  if (first === undefined || more.length > 0) throw usageError("env set takes one variable.", "Usage: bitbend env set NAME [VALUE], or --file .env");
  if (second !== undefined) return { name: first, value: second };
  const at = first.indexOf("=");
  if (at > 0) return { name: first.slice(0, at), value: first.slice(at + 1) };
  if (process.stdin.isTTY) process.stderr.write(`Value of ${first}, then Ctrl-D: `);
  return { name: first, value: (await readAll(process.stdin, first)).replace(/\r?\n$/, "") };
}

async function readAll(stream, name) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    if (bytes > STDIN_MAX) throw new CliError(`The value of ${name} is too large: more than ${STDIN_MAX} bytes came.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function fileVariables(file, rest) {
  if (rest.length > 0) throw usageError(`"${rest[0]}" is one argument too many.`, "Usage: bitbend env set --file .env");
  try {
    const variables = Object.entries(parseEnv(readFileSync(file, "utf8")));
    if (variables.length === 0) throw new CliError(`${file} has no line such as NAME=VALUE.`);
    return variables.map(([name, value]) => ({ name, value }));
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`${file} cannot be read: ${error.message}.`);
  }
}

function onlyName(what, rest) {
  if (rest.length !== 1) throw usageError(`env ${what} takes one name.`, `Usage: bitbend env ${what} NAME`);
  return rest[0];
}

/** As `env set --file` reads it back. */
function lineOf(name, value) {
  if (/^[\w./:@%+,-]*$/.test(value)) return `${name}=${value}`;
  const quote = ["'", '"', "`"].find((one) => !value.includes(one) && !(one === '"' && value.includes("\\")));
  return quote === undefined ? `# ${name} has every kind of quote: see it with bitbend env get ${name}` : `${name}=${quote}${value}${quote}`;
}
