/** The admin API of a deployment. Errors come as `CliError`s that a person can act on. */

import { ConnectionError, RequestError } from "../client/errors.js";
import { createTransport } from "../client/transport.js";
import { decodeValue, encodeValue } from "../values/encode.js";
import { dropArchives, uploadArchives } from "./archive.js";
import { CliError } from "./output.js";

const FORMAT = "convex_encoded_json";

export function createAdmin({ url, adminKey }) {
  const headers = () => ({ Authorization: `BitBend ${adminKey}` });
  const transport = createTransport({ origin: url, headers });

  async function request(path, options) {
    try {
      return await transport.request(path, options);
    } catch (error) {
      throw explain(url, error);
    }
  }

  /** The whole answer of a call: `{status, value, tx, logLines}` or `{status: "error", ..}`. */
  function callRaw(path, args, { debug = [] } = {}) {
    const more = debug.length > 0 ? { headers: { "BitBend-Debug": debug.join(",") } } : {};
    return request("/api/function", { body: { path, args: encodeValue(args, "args"), format: FORMAT }, ...more });
  }

  return {
    url,
    adminKey,
    callRaw,

    /** The value of a function; a `CliError` when it failed. */
    async call(path, args = {}) {
      const answer = await callRaw(path, args);
      if (answer.status !== "success") throw new CliError(readableError(answer), { json: answer });
      return decodeValue(answer.value ?? null);
    },

    /** What a deploy of these modules changed, or would change. */
    async deploy(modules, { dryRun = false, node = null, signal } = {}) {
      const code = node === null ? {} : { node: { archives: await uploadArchives(this, node.archives), functions: node.functions } };
      const answer = await request("/api/deploy", { body: { modules, dryRun, ...code }, signal });
      if (answer.status === "error") {
        throw new CliError(readableError(answer), { json: answer });
      }
      const result = decodeValue(answer.status === "success" && "value" in answer ? answer.value : answer, "deploy");
      await dropArchives(this, result.unusedCode ?? []);
      return result;
    },

    status: () => request("/api/admin/status", { method: "GET" }),

    logs: ({ cursor, waitMs = 0, signal }) => request(`/api/admin/logs?cursor=${cursor}&wait=${waitMs}`, { method: "GET", signal }),

    consumers: () => request("/api/tx/consumers", { method: "GET" }),
    consumer: (method, name, body) => request(`/api/tx/consumers/${encodeURIComponent(name)}`, { method, body }),

    async isAlive(timeoutMs = 2000) {
      try {
        const response = await fetch(`${url}/api/ping`, { signal: AbortSignal.timeout(timeoutMs) });
        return response.status === 200 && (await response.text()).includes("pong");
      } catch {
        return false;
      }
    },
  };
}

/** What a function's failure says to a developer: message and stack, without what is for clients only. */
export function readableError({ errorMessage, message, code }) {
  const text = (errorMessage ?? message ?? code ?? "The call failed.").replace(/^\[Request ID: [0-9a-f]+\] Server Error\n?/, "");
  return text.replace(/^Uncaught (Error: )?/, "") || `${code ?? "The call failed"}; the deployment keeps the reason to itself (--show-errors)`;
}

/** Nobody answered, so starting or waiting may help; everything else is the user's to change. */
export function isConnectionTrouble(error) {
  return error instanceof CliError && error.isConnectionTrouble === true;
}

function explain(url, error) {
  if (error instanceof ConnectionError) {
    const reason = error.cause?.cause?.code === "ECONNREFUSED" ? "nothing listens there" : error.message;
    return Object.assign(new CliError(`${url} does not answer (${reason}). Is the suite running? "npx bitbend dev" starts it.`), { isConnectionTrouble: true });
  }
  if (!(error instanceof RequestError)) return error;
  if (error.status === 401 || error.status === 403) {
    return new CliError(`${url} refused the admin key (${error.code}: ${error.message}). Check --admin-key or BITBEND_ADMIN_KEY.`, { json: jsonOf(error) });
  }
  const wrapped = new CliError(`${error.message} (${error.code}, HTTP ${error.status})`, { json: jsonOf(error) });
  return Object.assign(wrapped, { code: error.code, status: error.status, isConnectionTrouble: error.status === 503 });
}

function jsonOf({ code, message, status }) {
  return { status: "error", code, message, httpStatus: status };
}

