/** A worker thread: runs one action at a time, from the modules of its version of the code. */

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parentPort, workerData } from "node:worker_threads";

import { decodeValue, encodeValue } from "../../../libs/js/bitbend/values/encode.js";
import { createApi } from "./api.js";
import { installConsole } from "./console.js";
import { createContext, NotAvailableError } from "./context.js";
import { replyOfError } from "./errors.js";
import { runHttp } from "./http.js";

const RESULT_MAX = 16 << 20;
const DEPTH_MAX = 8;

const { dir } = workerData;
const port = parentPort;
const lines = installConsole();
const load = (path) => import(pathToFileURL(join(dir, "functions", path)).href);
let current = null; // { id, abort }

port.on("message", (message) => {
  if (message.type === "run") run(message);
  else if (message.type === "cancel" && current?.id === message.id) current.abort.abort(new DOMException(message.message, "AbortError"));
});

async function run(task) {
  const abort = new AbortController();
  const send = (message) => port.postMessage({ ...message, id: task.id });
  current = { id: task.id, abort };
  setEnvironment(task.environment);
  const before = activeResources();
  lines.begin(send);
  let reply;
  try {
    reply = { status: "success", value: encodeResult(await invoke(task, abort.signal, send)) };
  } catch (error) {
    reply = replyOfError(error);
  }
  const logLines = lines.end();
  current = null;
  send({ type: "done", reply: { ...reply, logLines }, isClean: activeResources() <= before });
}

async function invoke(task, signal, send) {
  const { BitBendError } = await load("_bitbend/values.js");
  const api = createApi({ task, signal, BitBendError });
  const progress = (value) => send({ type: "progress", value: encodeValue(value ?? null, "progress") });
  const start = async (path, args, depth) => {
    if (depth > DEPTH_MAX) throw new NotAvailableError(`ctx.runAction: actions call each other more than ${DEPTH_MAX} levels deep at ${path}.`);
    const found = await find(path);
    const runAction = async (name, given) => copy(await start(name, copy(given ?? {}, "args"), depth + 1), "result");
    const result = await found.invoke(createContext({ task: { ...task, path }, api, signal, progress, runAction }), args);
    return result === undefined ? null : result;
  };
  const args = decodeValue(task.args, "args");
  if (task.kind !== "http") return await start(task.path, args, 0);
  const runAction = async (name, given) => copy(await start(name, copy(given ?? {}, "args"), 1), "result");
  const { default: router } = await load("http.js");
  return await runHttp({ task, router, args: { ...args, params: task.params }, ctx: createContext({ task, api, signal, progress, runAction }), signal });
}

async function find(path) {
  const colon = path.lastIndexOf(":");
  const module = path.slice(0, colon);
  let exported;
  try {
    exported = await load(`${module}.js`);
  } catch (error) {
    if (error?.code !== "ERR_MODULE_NOT_FOUND" || !String(error.message).includes(join("functions", `${module}.js`))) throw error;
  }
  const name = path.slice(colon + 1);
  const found = exported !== undefined && Object.hasOwn(exported, name) ? exported[name] : undefined;
  if (found?.isBitBendFunction !== true) throw new NotAvailableError(`Could not find function ${path}. Is it exported, and deployed?`);
  if (found.kind !== "action") throw new NotAvailableError(`ctx.runAction runs an action; ${path} is of kind ${found.kind}.`);
  return found;
}

/** As if it had been sent: nothing is shared, and only values pass. */
function copy(value, name) {
  return decodeValue(encodeValue(value, name), name);
}

function encodeResult(value) {
  const encoded = encodeValue(value, "result");
  const size = JSON.stringify(encoded).length;
  if (size > RESULT_MAX) throw Object.assign(new Error(`The result of the action has ${size} bytes, the limit is ${RESULT_MAX}.`), { code: "ResultTooLarge" });
  return encoded;
}

function setEnvironment(environment = {}) {
  for (const name of previous) if (!(name in environment)) delete process.env[name];
  for (const [name, value] of Object.entries(environment)) process.env[name] = value;
  previous = Object.keys(environment);
}
let previous = [];

/** Timers, servers, files that are open: a thread that an action left with such is not used again. */
function activeResources() {
  return process.getActiveResourcesInfo().filter((name) => name !== "MessagePort" && name !== "TCPSocketWrap" && name !== "Immediate").length;
}
