/**
 * Calls of an action to the deployment, with the action's token. What is safe to repeat is repeated while a
 * gateway is away: queries, and mutations, which have a key and so happen once.
 */

import { Agent, request as httpRequest } from "node:http";
import { Agent as SecureAgent, request as httpsRequest } from "node:https";

import { decodeValue, encodeValue } from "../../../libs/js/bitbend/values/encode.js";

const PATIENCE_MS = 60_000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 2000;
const TIMEOUT_MS = 40_000;

const agents = { "http:": new Agent({ keepAlive: true }), "https:": new SecureAgent({ keepAlive: true }) };

/** `task`: {id, token, gateways}; `signal` ends what waits; `BitBendError` is the application's class. */
export function createApi({ task, signal, BitBendError }) {
  let preferred = 0;
  let mutations = 0;

  function send(path, body, headers) {
    const target = new URL(path, `${task.gateways[preferred % task.gateways.length]}/`);
    return new Promise((done, fail) => {
      const request = target.protocol === "https:" ? httpsRequest : httpRequest;
      const outgoing = request(
        target,
        {
          method: "POST",
          agent: agents[target.protocol],
          timeout: TIMEOUT_MS,
          headers: { Authorization: `BitBend-Action ${task.token}`, "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body), ...headers },
        },
        (response) => {
          const chunks = [];
          response.on("data", (chunk) => chunks.push(chunk));
          response.on("error", fail);
          response.on("end", () => done({ status: response.statusCode, json: parse(Buffer.concat(chunks).toString("utf8")) }));
        },
      );
      outgoing.on("timeout", () => outgoing.destroy(new Error("no answer in time")));
      outgoing.on("error", fail);
      outgoing.end(body);
    });
  }

  async function call(path, name, args, headers = {}) {
    const body = JSON.stringify({ path: name, args: encodeValue(args ?? {}, "args"), format: "convex_encoded_json" });
    for (let end = Date.now() + PATIENCE_MS, pause = RETRY_MIN_MS; ; pause = Math.min(pause * 2, RETRY_MAX_MS)) {
      let answer;
      try {
        answer = await send(path, body, headers);
      } catch (error) {
        answer = { status: 503, json: { code: "Unavailable", message: `No gateway answers: ${error.message}` } };
      }
      const { status, json } = answer;
      if (status === 200 && json !== undefined) return valueOf(json, name);
      if (status < 502 || signal.aborted || Date.now() > end) throw errorOf(json?.code ?? "InternalError", json?.message ?? `HTTP ${status}`);
      preferred++;
      await new Promise((wake) => setTimeout(wake, pause));
    }
  }

  function valueOf(json, name) {
    if (json.status === "success") return decodeValue(json.value ?? null, "result");
    const text = (json.errorMessage ?? "").replace(/^\[Request ID: [0-9a-f]+\] Server Error\n?/, "");
    if (json.code === "UserError" && json.errorData !== undefined) {
      throw Object.assign(new BitBendError(decodeValue(json.errorData, "errorData")), { remoteStack: text });
    }
    throw errorOf(json.code, `${name} failed: ${text.replace(/^Uncaught (Error: )?/, "")}`);
  }

  const once = () => ({ "Idempotency-Key": `${task.id}:${task.attempt ?? 0}:${++mutations}` });

  return {
    query: (name, args) => call("/api/query", name, args),
    mutation: (name, args) => call("/api/mutation", name, args, once()),
    schedule: (name, args, due) => call("/api/function", "_system:createJob", { path: name, args: args ?? {}, due, identity: task.identity }, once()),
    cancelJob: (id) => call("/api/function", "_system:cancelJob", { id }, once()),
  };
}

/** The code is told under another name, as it is not the failure of this action itself. */
function errorOf(code, message) {
  return Object.assign(new Error(message), { name: "Error", cause: code });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
