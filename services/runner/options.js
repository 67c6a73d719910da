/** Options: `--name value` or `BITBEND_RUNNER_NAME`; the table is the help, too. */

import { readFileSync } from "node:fs";

const OPTIONS = {
  nats: { text: "URL", help: "The NATS server (nats://127.0.0.1:4222)." },
  gateway: { text: "URLS", help: "Gateways of the deployment (http://127.0.0.1:3210), separated by commas." },
  "admin-key": { text: "KEY", help: "The deployment's admin key; better in a file. BITBEND_ADMIN_KEY works, too." },
  "admin-key-file": { text: "FILE", help: "A file whose first line is the admin key." },
  data: { text: "DIR", help: "A folder for the code of actions; made when it is missing." },
  deployment: { text: "NAME", default: "main", help: "The name in subjects of NATS, as the gateways have it." },
  slots: { number: [1, 1000], default: 32, help: "Actions that may run at once; beyond them another runner is asked." },
  "memory-mb": { number: [64, 1 << 20], default: 512, help: "JavaScript memory of one action; beyond it only that action ends." },
  "process-memory-mb": { number: [128, 1 << 22], default: 4096, help: "Memory of the process that runs all actions, buffers and native code too; beyond it they all end." },
  "time-max-s": { number: [1, 30 * 86_400], default: 86_400, help: "How long one action may run." },
  "idle-s": { number: [1, 86_400], default: 60, help: "The process of the actions ends when nothing has run for so long; the next action starts it again." },
  "drain-s": { number: [0, 86_400], default: 25, help: "How long SIGTERM waits for actions that run." },
};

export class OptionError extends Error {}

export function usage() {
  const lines = Object.entries(OPTIONS).map(([name, { text = "NUMBER", help, ...option }]) => `  --${`${name} ${text}`.padEnd(28)} ${help}${option.default === undefined ? "" : ` Default: ${option.default}.`}`);
  return `bitbend-runner: runs the actions of a deployment in Node.js\n\n${lines.join("\n")}\n`;
}

export function parseOptions(argv, env) {
  const given = readArguments(argv);
  const options = {};
  for (const [name, option] of Object.entries(OPTIONS)) {
    const text = given.get(name) ?? env[`BITBEND_RUNNER_${name.toUpperCase().replaceAll("-", "_")}`];
    options[name] = text === undefined ? option.default : option.number ? readNumber(name, text, option.number) : text;
  }
  options["admin-key"] ??= options["admin-key-file"] ? readKey(options["admin-key-file"]) : env.BITBEND_ADMIN_KEY;
  for (const name of ["nats", "gateway", "admin-key", "data"]) {
    if (!options[name]) throw new OptionError(`--${name} is missing`);
  }
  if (!/^[A-Za-z0-9_-]+$/.test(options.deployment)) throw new OptionError(`--deployment: "${options.deployment}" may have letters, digits, - and _ only`);
  return { ...options, gateways: options.gateway.split(",").map((url) => url.trim().replace(/\/+$/, "")) };
}

function readArguments(argv) {
  const given = new Map();
  for (let i = 0; i < argv.length; i++) {
    const [, name, inline] = /^--([a-z-]+)(?:=(.*))?$/.exec(argv[i]) ?? [];
    if (name === undefined || !(name in OPTIONS)) throw new OptionError(`${argv[i]} is no option`);
    const value = inline ?? argv[++i];
    if (value === undefined) throw new OptionError(`--${name} needs a value`);
    given.set(name, value);
  }
  return given;
}

function readNumber(name, text, [min, max]) {
  const number = Number(text);
  if (!Number.isInteger(number) || number < min || number > max) throw new OptionError(`--${name}: ${text} is no number from ${min} to ${max}`);
  return number;
}

function readKey(file) {
  return readFileSync(file, "utf8").split("\n")[0].trim();
}
