/**
 * One request of an endpoint (http.ts): a web Request in, a web Response out. Small bodies travel with the task and
 * with its reply; others are fetched from, and posted to, the gateway that holds the client, piece by piece, as fast
 * as the slower side takes them.
 */

import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

const INLINE_MAX = 256 << 10;
const INLINE_WAIT_MS = 30; // for more of a body that is small so far
const CANCEL_MS = 3000; // for what a handler does when its client has left
const BODILESS = new Set(["GET", "HEAD"]);
const EMPTY_STATUS = new Set([101, 204, 205, 304]);

/** `task`: {id, token, gateway, route: {path, method}}; `args.request`: {method, url, headers, body, isStreamed}. */
export async function runHttp({ task, router, args, ctx, signal }) {
  const { request: given, params } = args;
  const found = router?.getRoutes?.().find(([path, method]) => path === task.route.path && method === task.route.method);
  if (found === undefined) throw new Error(`http.ts has no route ${task.route.method} ${task.route.path}.`);
  const gone = new AbortController();
  const ends = AbortSignal.any([signal, gone.signal]);
  const request = new Request(given.url, { method: given.method, headers: given.headers, signal: ends, ...bodyOf(task, given, ends) });
  const response = await found[2].invoke(Object.defineProperty(ctx, "params", { value: Object.freeze({ ...params }) }), request);
  if (!(response instanceof Response)) throw new TypeError(`The handler of ${task.route.method} ${task.route.path} must return a Response.`);
  return await answer(task, given, response, { ends, gone });
}

function bodyOf(task, given, signal) {
  if (BODILESS.has(given.method)) return {};
  if (given.isStreamed) return { body: lazyBody(task, signal), duplex: "half" };
  return given.body === null ? {} : { body: given.body };
}

/** The client's body: asked for when somebody reads. */
function lazyBody(task, signal) {
  let reader = null;
  return new ReadableStream(
    {
      async pull(controller) {
        reader ??= Readable.toWeb(await open(task, "GET", "request", signal)).getReader();
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(new Uint8Array(value));
      },
      cancel: (reason) => reader?.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

function requestTo(task, method, what, headers) {
  const url = new URL(`/api/runner/http/${task.id}/${what}`, task.gateway);
  return (url.protocol === "https:" ? httpsRequest : httpRequest)(url, { method, headers: { Authorization: `BitBend-Action ${task.token}`, ...headers }, agent: false });
}

function open(task, method, what, signal) {
  return new Promise((done, fail) => {
    const outgoing = requestTo(task, method, what, {});
    signal.addEventListener("abort", () => outgoing.destroy(signal.reason), { once: true });
    outgoing.on("response", (response) => {
      if (response.statusCode === 200) return done(response);
      response.resume();
      fail(new Error(`The body of the request cannot be read: HTTP ${response.statusCode}.`));
    });
    outgoing.on("error", fail);
    outgoing.end();
  });
}

async function answer(task, given, response, { ends, gone }) {
  const head = { status: response.status, headers: [...response.headers] };
  if (response.body === null || given.method === "HEAD" || EMPTY_STATUS.has(response.status)) {
    await response.body?.cancel();
    return { ...head, body: null };
  }
  const reader = response.body.getReader();
  const { chunks, pending, isDone } = await takeSmall(reader);
  if (isDone) return { ...head, body: join(chunks) };
  try {
    await post(task, head, piecesOf(chunks, pending, reader), ends);
  } catch (error) {
    // The handler hears of it, by request.signal and by its stream's `cancel`, before the action ends.
    gone.abort(error);
    await Promise.race([reader.cancel(error).catch(() => {}), new Promise((late) => setTimeout(late, CANCEL_MS).unref())]);
    throw error;
  }
  return { isStreamed: true };
}

/** What comes soon, up to a bound; `pending`: the read that goes on. */
async function takeSmall(reader) {
  const chunks = [];
  for (let bytes = 0; ; ) {
    const pending = reader.read();
    let timer;
    const read = await Promise.race([pending, new Promise((late) => (timer = setTimeout(late, INLINE_WAIT_MS, null)))]);
    clearTimeout(timer); // a thread that a timer is left in is not used again
    if (read === null) return { chunks, pending, isDone: false };
    if (read.done) return { chunks, pending: null, isDone: true };
    chunks.push(bytesOf(read.value));
    bytes += read.value.byteLength;
    if (bytes > INLINE_MAX) return { chunks, pending: null, isDone: false };
  }
}

async function* piecesOf(chunks, pending, reader) {
  yield* chunks;
  for (let read = await (pending ?? reader.read()); !read.done; read = await reader.read()) yield bytesOf(read.value);
}

function bytesOf(value) {
  if (value instanceof Uint8Array) return value;
  throw new TypeError("The body of a Response gives something else than bytes.");
}

function join(chunks) {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes.buffer;
}

async function post(task, head, pieces, signal) {
  const outgoing = requestTo(task, "POST", "response", { "BitBend-Response": Buffer.from(JSON.stringify(head)).toString("base64"), "Content-Type": "application/octet-stream" });
  const answered = new Promise((done, fail) => {
    outgoing.on("response", (response) => {
      response.resume();
      if (response.statusCode === 200) return done();
      const error = new Error(response.statusCode === 413 ? "The response is larger than the gateway lets pass (--http-response-max)." : "The client has left.");
      outgoing.destroy(error);
      fail(error);
    });
    outgoing.on("error", fail);
  });
  answered.catch(() => {});
  outgoing.flushHeaders(); // the client gets the head while the body is still being made
  await pipeline(pieces, outgoing, { signal }).catch(async (error) => {
    // What the gateway said is the reason, when it said something.
    await Promise.race([answered, new Promise((late) => setTimeout(late, 100))]);
    throw error;
  });
  await answered;
}
