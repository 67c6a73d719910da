/** The deployment's HTTP API with the admin key: system functions, large arguments and results, log lines. */

import { Agent, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";

import { decodeValue, encodeValue } from "../../libs/js/bitbend/values/encode.js";

const TIMEOUT_MS = 30_000;
const RETRY_MS = 200;

/** The gateway refused, or none answered; `code` says which, `isAway` that trying later may help. */
export class GatewayError extends Error {
  constructor(code, message, isAway) {
    super(message);
    this.code = code;
    this.isAway = isAway;
  }
}

export function createGateway({ gateways, adminKey }) {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  let preferred = 0;
  let known = { stamp: null, variables: {} }; // environment variables

  /** One request to one gateway; JSON in and out. */
  function send(url, method, path, body) {
    return new Promise((done, fail) => {
      const target = new URL(path, `${url}/`);
      const isSecure = target.protocol === "https:";
      const headers = { Authorization: `BitBend ${adminKey}`, ...(body === undefined ? {} : { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) }) };
      const outgoing = (isSecure ? httpsRequest : httpRequest)(target, { method, headers, agent: isSecure ? undefined : agent, timeout: TIMEOUT_MS }, (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("error", fail);
        response.on("end", () => done({ status: response.statusCode, text: Buffer.concat(chunks).toString("utf8") }));
      });
      outgoing.on("timeout", () => outgoing.destroy(new Error("no answer in time")));
      outgoing.on("error", fail);
      outgoing.end(body);
    });
  }

  async function answerOf(url, method, path, body) {
    let response;
    try {
      response = await send(url, method, path, body);
    } catch (error) {
      throw new GatewayError("Unavailable", `${url} does not answer: ${error.message}`, true);
    }
    const json = parse(response.text);
    if (response.status === 200 && json !== undefined) return json;
    throw new GatewayError(json?.code ?? "InternalError", json?.message ?? `HTTP ${response.status}`, response.status >= 502);
  }

  /** Asks one gateway after the other for up to `patienceMs`. Only for what may be done twice. */
  async function ask(method, path, body, patienceMs) {
    for (const end = Date.now() + patienceMs; ; ) {
      try {
        return await answerOf(gateways[preferred % gateways.length], method, path, body);
      } catch (error) {
        if (!error.isAway || Date.now() > end) throw error;
        preferred++;
        await new Promise((wake) => setTimeout(wake, RETRY_MS));
      }
    }
  }

  const self = {
    /** The value of a system function; safe to repeat. */
    call: (path, args, options) => self.callEncoded(path, encodeValue(args), options),
    /** With arguments that are encoded already. */
    async callEncoded(path, args, { patienceMs = 10_000 } = {}) {
      const body = JSON.stringify({ path, args, format: "convex_encoded_json" });
      const answer = await ask("POST", "/api/function", body, patienceMs);
      if (answer.status === "success") return decodeValue(answer.value ?? null);
      throw new GatewayError(answer.code, answer.errorMessage, false);
    },
    encode: (value) => encodeValue(value),
    /** Environment variables of actions; `stamp` says which (of _system:action): they are asked for when it is new. */
    async environment(stamp) {
      if (stamp === undefined || stamp !== known.stamp) known = { stamp, variables: await self.call("_system:environment", {}) };
      return known.variables;
    },
    /** The JSON text of arguments that a message only names. */
    fetchArguments: (url, id) => answerOf(url, "GET", `/api/runner/args/${id}`),
    /** An answer, given to the gateway that waits for it. */
    sendResult: (url, id, text) => answerOf(url, "POST", `/api/runner/result/${id}`, text),
    sendLogs: (entries) => ask("POST", "/api/runner/logs", JSON.stringify({ entries }), 2000),
    close: () => agent.destroy(),
  };
  return self;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
