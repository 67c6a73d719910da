/**
 * The transaction feed as an async iterator: pulls as the loop asks for more, so a slow loop holds one
 * piece of the stream and the server nothing; goes on where it was when the connection is lost.
 */

import { decodeValue } from "../values/encode.js";
import { ConnectionError, errorOfStatus, isRetryable, RequestError } from "./errors.js";
import { createEventParser } from "./sse.js";

const FORMAT = "convex_encoded_json";
/** The server sends something every 15 s; after this long without a byte the connection is dead. */
const SILENCE_MS = 45_000;
const BACKOFF_MS = 500;
const BACKOFF_MAX_MS = 15_000;
/** How often a consumer for which nothing comes acknowledges that. */
const IDLE_ACK_MS = 60_000;

/**
 * `request` is that of the transport. Returns `{ txs, consumer }`, which `Client` shows under these names.
 * `signal` ends all iterators.
 */
export function createFeed({ origin, headers, request, fetch = (...args) => globalThis.fetch(...args), timers, random, signal }) {
  const deps = { origin, headers, request, fetch, timers, random };

  function open(options, consumer) {
    const { from, tables, include, signal: own } = options;
    const search = new URLSearchParams({ format: FORMAT });
    if (tables !== undefined) search.set("tables", tables.join(","));
    if (include !== undefined) search.set("include", include);
    if (consumer !== undefined) search.set("consumer", consumer.name);
    return iterate(deps, search, positionOf(from), consumer, [signal, own]);
  }

  return {
    txs: (options = {}) => open(options),
    consumer(name, options = {}) {
      return open(options, { name, acks: createAcks(deps, name, [signal, options.signal]) });
    },
  };
}

function positionOf(from = "now") {
  if (from instanceof Date) return from.getTime() * 1000;
  if (from === "now" || from === "earliest" || from === "start" || (Number.isSafeInteger(from) && from >= 0)) return from;
  throw new TypeError(`txs: "from" is a tx, a Date, "earliest" or "now", found ${String(from)}.`);
}

/** An iterator whose `return` ends the connection at once, also while `next` waits. */
function iterate(deps, search, from, consumer, signals) {
  const abort = new AbortController();
  const end = () => abort.abort();
  for (const signal of signals) {
    if (signal?.aborted) end();
    else signal?.addEventListener("abort", end);
  }
  const records = follow(deps, search, from, consumer, abort.signal);
  const leave = () => {
    end();
    for (const signal of signals) signal?.removeEventListener("abort", end);
  };
  return {
    async next() {
      const step = await records.next().catch((error) => {
        leave();
        throw error;
      });
      if (step.done) leave();
      return step;
    },
    return(value) {
      leave();
      return records.return(value);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

async function* follow(deps, search, from, consumer, signal) {
  const { timers, random } = deps;
  let position = from;
  let last; // the last record that the loop got
  let hasHeard = false; // `position` is the feed's word, not where the caller would begin
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      for await (const { name, data } of events(deps, search, position, hasHeard, signal)) {
        if (name === "bye") break;
        const event = JSON.parse(data);
        if (name === "failed") throw new RequestError(event.code, event.message, 0);
        attempt = 0;
        if (name === "progress") {
          position = event.closed;
          hasHeard = true;
          search.set("cluster", event.cluster);
          consumer?.acks.idle(event.closed, last);
        } else if (name === "message") {
          last = event.tx;
          yield recordOf(event, consumer);
          position = event.tx;
          hasHeard = true;
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!isRetryable(error)) throw error;
    }
    if (!signal.aborted) await sleep(timers, signal, Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** attempt) * (0.5 + random()));
  }
}

/** The events of one connection. Reads the next piece when the last one is used up. */
async function* events({ origin, headers, fetch, timers }, search, position, hasHeard, signal) {
  const query = new URLSearchParams(search);
  query.set("from", String(position));
  const abort = new AbortController();
  const leave = () => abort.abort();
  signal.addEventListener("abort", leave);
  const inTime = (promise) => {
    const timer = timers.setTimeout(leave, SILENCE_MS);
    return promise.finally(() => timers.clearTimeout(timer));
  };
  try {
    const response = await inTime(
      fetch(`${origin}/api/tx?${query}`, {
        headers: { ...(await headers()), Accept: "text/event-stream", ...(hasHeard ? { "Last-Event-ID": String(position) } : {}) },
        signal: abort.signal,
        cache: "no-store",
      }),
    );
    if (response.status !== 200) throw errorOfStatus(response.status, await response.text(), response.headers.get("Retry-After"));
    const found = [];
    const parser = createEventParser((event) => found.push(event));
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await inTime(reader.read());
      if (done) return;
      parser.push(decoder.decode(value, { stream: true }));
      yield* found.splice(0);
    }
  } catch (error) {
    throw error instanceof RequestError ? error : new ConnectionError(origin, error);
  } finally {
    signal.removeEventListener("abort", leave);
    abort.abort();
  }
}

function recordOf(event, consumer) {
  for (const change of event.changes) {
    if (change.before) change.before = decodeValue(change.before, "before");
    if (change.after) change.after = decodeValue(change.after, "after");
    if (change.fields) change.fields = decodeValue(change.fields, "fields");
  }
  if (consumer !== undefined) event.ack = () => consumer.acks.ack(event.tx);
  return event;
}

/** Acknowledgements of one consumer: one on its way at a time, always of the newest record. */
function createAcks({ request, timers, random }, name, signals) {
  let wanted = 0;
  let done = 0;
  let sending = null;
  let idleAt = Date.now();
  const path = `/api/tx/consumers/${encodeURIComponent(name)}/ack`;

  async function send() {
    for (let attempt = 0; done < wanted; ) {
      const tx = wanted;
      try {
        await request(path, { body: { tx } });
        done = tx;
        attempt = 0;
      } catch (error) {
        if (!isRetryable(error) || signals.some((signal) => signal?.aborted)) throw error;
        await sleep(timers, signals[0], Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** attempt++) * (0.5 + random()));
      }
    }
  }

  async function ack(tx) {
    wanted = Math.max(wanted, tx);
    while (done < tx) await (sending ??= send().finally(() => (sending = null)));
  }

  return {
    ack,
    /** Nothing up to `closed` is left to do: so that the position does not fall behind the retention. */
    idle(closed, last = 0) {
      if (done < last || Date.now() < idleAt + IDLE_ACK_MS) return;
      idleAt = Date.now();
      ack(closed).catch(() => {});
    },
  };
}

function sleep(timers, signal, ms) {
  return new Promise((done) => {
    const timer = timers.setTimeout(wake, ms);
    function wake() {
      timers.clearTimeout(timer);
      signal?.removeEventListener("abort", wake);
      done();
    }
    signal?.addEventListener("abort", wake);
  });
}
