/** HTTP by `fetch`: requests with a JSON answer, and streams of server-sent events. */

import { ConnectionError, errorOfStatus } from "./errors.js";
import { createEventParser } from "./sse.js";

/** The server sends something every 15 s; after this long without a byte the connection is dead. */
const SILENCE_MS = 45_000;

/**
 * `origin` is "http://host:port". `headers()` gives those of every request; `renew(headers)` says whether others
 * would be better, when a request was refused with 401. `fetch` and `timers` can be
 * replaced for tests.
 */
export function createTransport({ origin, headers = () => ({}), renew = () => false, fetch = globalThis.fetch, timers = globalThis }) {
  async function send(path, options) {
    try {
      return await fetch(origin + path, options);
    } catch (error) {
      throw new ConnectionError(origin, error);
    }
  }

  /** `options` without the headers of every request, which are made for each attempt. */
  async function ask(path, options) {
    const common = await headers();
    const response = await send(path, { ...options, headers: { ...common, ...options.headers } });
    if (response.status !== 401 || !(await renew(common))) return response;
    return send(path, { ...options, headers: { ...(await headers()), ...options.headers } });
  }

  /** The parsed JSON of a 200. Throws `RequestError` or `ConnectionError`. */
  async function request(path, { method = "POST", body, headers: more = {}, signal } = {}) {
    const type = body === undefined ? {} : { "Content-Type": "application/json" };
    const response = await ask(path, {
      method,
      headers: { ...type, ...more },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
    const text = await readText(response, origin);
    // 560: how some servers of this protocol answer when the function threw.
    if (response.status !== 200 && response.status !== 560) {
      throw errorOfStatus(response.status, text, response.headers.get("Retry-After"));
    }
    try {
      return JSON.parse(text);
    } catch {
      throw errorOfStatus(response.status, text, null);
    }
  }

  /**
   * Opens a stream of events. `on` has `event({name, data, id})` and `end(error)`, which comes once, last, and
   * not after `cancel`. Returns `cancel`.
   */
  function stream(path, body, on) {
    const abort = new AbortController();
    let isOver = false;
    let watchdog;

    function end(error) {
      if (isOver) return;
      isOver = true;
      timers.clearTimeout(watchdog);
      abort.abort();
      on.end(error);
    }
    function hear() {
      timers.clearTimeout(watchdog);
      watchdog = timers.setTimeout(() => end(new ConnectionError(origin, new Error("silent for too long"))), SILENCE_MS);
    }
    async function read() {
      hear();
      const response = await ask(path, {
        method: "POST",
        headers: { Accept: "text/event-stream", "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: abort.signal,
        cache: "no-store",
      });
      if (response.status !== 200) {
        throw errorOfStatus(response.status, await readText(response, origin), response.headers.get("Retry-After"));
      }
      if (isOver) return;
      const parser = createEventParser((event) => isOver || on.event(event));
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read().catch((error) => Promise.reject(new ConnectionError(origin, error)));
        if (done || isOver) break;
        hear();
        parser.push(decoder.decode(value, { stream: true }));
      }
    }

    read().then(() => end(undefined), end);
    return function cancel() {
      if (isOver) return;
      isOver = true;
      timers.clearTimeout(watchdog);
      abort.abort();
    };
  }

  return {
    request,
    /** The session of all live queries: as `stream`. */
    session: (body, on) => stream("/api/sync", body, on),
    /** A change of a session. */
    change: (session, body, signal) => request(`/api/sync/${encodeURIComponent(session)}`, { body, signal }),
  };
}

async function readText(response, origin) {
  try {
    return await response.text();
  } catch (error) {
    throw new ConnectionError(origin, error);
  }
}
