import { writeFileSync } from "node:fs";

import { Client } from "../../client/client.js";
import { makeFunctionReference } from "../../server/references.js";
import { decodeValue, encodeValue } from "../../values/encode.js";
import { readableError } from "../admin.js";
import { connect } from "../app.js";
import { usageError } from "../options.js";
import { CliError } from "../output.js";
import { printTrace } from "../trace.js";

/** Options that write a file for Chrome DevTools. */
const PROFILES = ["cpu-profile", "heap-profile", "heap-snapshot"];

export async function run({ output, appDir, options, positionals }) {
  const [path, text = "{}"] = positionals;
  const args = parseArguments(text);
  const admin = connect(appDir, options);
  const profile = chosenProfile(options);
  if (options.watch) return watch(output, admin, path, args);

  const debug = [...(options.trace ? ["trace"] : []), ...(profile === undefined ? [] : [profile])];
  const answer = await admin.callRaw(path, args, { debug });
  if (profile !== undefined) saveProfile(profile, options[profile], answer);
  if (options.trace && !output.isJson) printTrace(output, answer.trace);
  for (const line of answer.logLines ?? []) process.stderr.write(`${typeof line === "string" ? line : `[${line.level}] ${line.text}`}\n`);
  if (answer.status !== "success") throw new CliError(describeFailure(path, answer), { json: answer });
  if (output.isJson) output.json(answer);
  else output.value(decodeValue(answer.value ?? null));
}

function chosenProfile(options) {
  const chosen = PROFILES.filter((name) => options[name] !== undefined);
  if (chosen.length > 1) throw usageError(`--${chosen[0]} and --${chosen[1]}:`, "a call can be profiled in one way at a time.");
  if (options.watch && (chosen.length > 0 || options.trace)) {
    throw usageError("--watch follows a query; tracing and profiling look at one call.", "Leave one of them out.");
  }
  return chosen[0];
}

function saveProfile(kind, file, answer) {
  if (answer.profile === undefined) {
    process.stderr.write(`No profile was taken: ${kind === "heap-snapshot" ? "the heap is too large for one (over 40 MB as text)" : "the call did not come to run"}.\n`);
    return;
  }
  writeFileSync(file, JSON.stringify(answer.profile));
  process.stderr.write(`${file} is written: open it in Chrome DevTools (${kind === "cpu-profile" ? "Performance" : "Memory"}, Load profile).\n`);
  delete answer.profile;
}

/** JSON, or what people write instead on a command line: {name: 'Ada'} is explained, not guessed. */
function parseArguments(text) {
  let json;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw usageError(`The arguments are not JSON (${error.message}).`, `Write them like this: '{"name": "Ada"}'`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw usageError("The arguments are no JSON object.", `Write them like this: '{"name": "Ada"}'`);
  }
  return decodeValue(json, "arguments");
}

function describeFailure(path, answer) {
  const data = answer.errorData === undefined ? "" : `\n  data: ${JSON.stringify(answer.errorData)}`;
  return `${path} failed: ${readableError(answer)}${data}`;
}

/** Prints every result until Ctrl-C; a query that fails is shown and followed on. */
function watch(output, admin, path, args) {
  const client = new Client(admin.url, { adminKey: admin.adminKey, logger: { warn: output.error, error: output.error } });
  return new Promise((done) => {
    client.onUpdate(
      makeFunctionReference(path),
      args,
      (value) => (output.isJson ? output.json({ status: "success", value: encodeValue(value) }) : output.value(value)),
      (error) => {
        if (output.isJson) output.json({ status: "error", code: error.code, errorMessage: error.message });
        else output.error(describeFailure(path, { errorMessage: error.message, errorData: error.data }));
      },
    );
    client.onConnectionState((state) => state === "reconnecting" && output.error(`${admin.url} does not answer; trying again.`));
    const stop = () => {
      client.close();
      done(0);
    };
    process.once("SIGINT", stop);
    process.once("SIGTERM", stop);
  });
}

