/**
 * The client: one-shot calls, live queries, mutations in order and exactly once. It drives the reducer
 * (reducer.js): performs its effects, feeds back what happened. All live queries of a client come on one
 * stream, and what one event brings is told at once: no callback ever sees two queries at different moments.
 */

import { getFunctionName } from "../server/references.js";
import { decodeValue, encodeValue } from "../values/encode.js";
import { createAuth } from "./auth.js";
import { ClosedError, errorOfAnswer, isRetryable, RequestError } from "./errors.js";
import { keyOf } from "./optimistic.js";
import { backoffMs, connectionOf, initialState, shownOf, step } from "./reducer.js";
import { canShare, shareAmongTabs } from "./tabs.js";
import { createTransport } from "./transport.js";
import { createFeed } from "./txs.js";

const FORMAT = "convex_encoded_json";
const QUERY_RETRY_MS = 30_000;
const WARN_AFTER_ATTEMPTS = 5;

export class Client {
  #origin;
  #transport;
  #feed;
  #timers;
  #random;
  #logger;
  #state = initialState();
  #listeners = new Map(); // query key -> Set of { onValue, onError }
  #streams = new Map(); // number of a stream -> cancel
  #pending = new Map(); // timer name -> handle
  #promises = new Map(); // mutation id -> { resolve, reject }
  #connectionListeners = new Set();
  #connection = "idle";
  #inFlight = new AbortController();
  #token = null;
  #auth = null;
  #nextMutation = 1;
  #name; // in the ids of its mutations
  #onOnline = () => this.#dispatch({ type: "online" });

  constructor(url, options = {}) {
    this.#origin = originOf(url);
    this.#token = options.token ?? null;
    this.#timers = options.timers ?? globalThis;
    this.#random = options.random ?? Math.random;
    this.#logger = options.logger ?? console;
    this.#name = globalThis.crypto.randomUUID();
    const headers = async () => authorization(options.adminKey, this.#token);
    const renew = async ({ Authorization = "" }) => !options.adminKey && this.#auth !== null && (await this.#auth.replaces(Authorization.slice(7) || null));
    const direct = options.transport ?? createTransport({ origin: this.#origin, headers, renew, fetch: options.fetch, timers: this.#timers });
    const shares = options.transport === undefined && options.shareStream !== false && canShare();
    this.#transport = shares ? shareAmongTabs(direct, { origin: this.#origin, headers, timers: this.#timers }) : direct;
    const { request } = this.#transport;
    this.#feed = createFeed({ origin: this.#origin, headers, request, fetch: options.fetch, timers: this.#timers, random: this.#random, signal: this.#inFlight.signal });
    if (typeof globalThis.addEventListener === "function") globalThis.addEventListener("online", this.#onOnline);
  }

  get url() {
    return this.#origin;
  }

  /** The JWT of later requests (or a function that gives one), or null. Open live queries go on as that user. */
  setToken(token) {
    this.#auth?.end();
    this.#auth = null;
    this.#token = token;
    this.#dispatch({ type: "reauthenticate" });
  }

  /** Later requests are those of the user whose tokens `fetchToken` gives. */
  setAuth(fetchToken, onChange) {
    this.#auth?.end();
    const auth = createAuth({ fetchToken, onChange, timers: this.#timers, renewed: () => this.#dispatch({ type: "reauthenticate" }) });
    this.#auth = auth;
    this.#token = auth.token;
    this.#dispatch({ type: "reauthenticate" });
  }

  clearAuth() {
    this.setToken(null);
  }

  async query(reference, args = {}) {
    const body = bodyOf(reference, args);
    const startedAt = Date.now();
    for (let attempt = 0; ; attempt++) {
      try {
        return valueOf(await this.#call("/api/query", body, this.#readHeaders()));
      } catch (error) {
        if (!isRetryable(error) || this.#state.isClosed || Date.now() - startedAt > QUERY_RETRY_MS) throw this.#orClosed(error);
        await this.#sleep(Math.max(error.retryAfterMs ?? 0, backoffMs(attempt, this.#random())));
      }
    }
  }

  mutation(reference, args = {}, { optimisticUpdate } = {}) {
    return new Promise((resolve, reject) => {
      if (this.#state.isClosed) throw new ClosedError("The client is closed.");
      const id = `${Date.now().toString(36)}-${this.#name}-${this.#nextMutation++}`; // the suite reads the time in it
      const mutation = { id, body: bodyOf(reference, args), update: optimisticUpdate, updateArgs: args };
      this.#promises.set(id, { resolve, reject });
      try {
        this.#dispatch({ type: "mutate", mutation });
      } catch (error) {
        this.#promises.delete(id);
        throw error;
      }
    });
  }

  /** Sent once: an action may have effects outside, so it is never sent again. */
  async action(reference, args = {}) {
    try {
      return valueOf(await this.#call("/api/action", bodyOf(reference, args), this.#readHeaders()));
    } catch (error) {
      throw this.#orClosed(error);
    }
  }

  onUpdate(reference, args, onValue, onError) {
    if (this.#state.isClosed) throw new ClosedError("The client is closed.");
    if (typeof onValue !== "function") throw new TypeError("onUpdate(reference, args, callback) needs a callback");
    const { path, args: encoded } = bodyOf(reference, args);
    const key = keyOf(path, encoded);
    const listener = { onValue, onError, isActive: true };
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners.add(listener));
    this.#dispatch({ type: "subscribe", key, path, args: encoded });
    if (shownOf(this.#state, key).status !== "loading") queueMicrotask(() => this.#tell(listener, key));

    const stop = () => {
      if (!listener.isActive) return;
      listener.isActive = false;
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(key);
      this.#dispatch({ type: "unsubscribe", key });
    };
    stop.getCurrentValue = () => (listener.isActive ? shownOf(this.#state, key)?.value : undefined);
    return stop;
  }

  txs(options) {
    return this.#feed.txs(options);
  }

  consumer(name, options) {
    return this.#feed.consumer(name, options);
  }

  /** What a live query shows now: `{ status, value, error }`; undefined when nobody listens to it. */
  currentResult(reference, args = {}) {
    const { path, args: encoded } = bodyOf(reference, args);
    return shownOf(this.#state, keyOf(path, encoded));
  }

  connectionState() {
    return this.#connection;
  }

  onConnectionState(callback) {
    this.#connectionListeners.add(callback);
    return () => void this.#connectionListeners.delete(callback);
  }

  close() {
    if (typeof globalThis.removeEventListener === "function") globalThis.removeEventListener("online", this.#onOnline);
    this.#auth?.end();
    this.#dispatch({ type: "close" });
    this.#transport.close?.();
    this.#inFlight.abort();
    this.#listeners.clear();
  }

  #dispatch(event) {
    const { state, effects } = step(this.#state, { random: this.#random(), ...event });
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
    const connection = connectionOf(this.#state);
    if (connection !== this.#connection) {
      this.#connection = connection;
      for (const callback of this.#connectionListeners) this.#guard(() => callback(connection));
    }
  }

  #perform(effect) {
    switch (effect.type) {
      case "openStream":
        return this.#openStream(effect);
      case "closeStream":
        this.#streams.get(effect.stream)?.();
        return void this.#streams.delete(effect.stream);
      case "setTimer":
        this.#clearTimer(effect.timer);
        return void this.#pending.set(effect.timer, this.#timers.setTimeout(() => this.#dispatch({ type: "timer", timer: effect.timer }), effect.delayMs));
      case "clearTimer":
        return this.#clearTimer(effect.timer);
      case "flushSoon":
        return queueMicrotask(() => this.#dispatch({ type: "flush" }));
      case "sendChange":
        return void this.#sendChange(effect);
      case "notify":
        for (const key of effect.keys) {
          for (const listener of [...(this.#listeners.get(key) ?? [])]) this.#tell(listener, key);
        }
        return;
      case "sendMutation":
        return void this.#sendMutation(effect.mutation);
      case "settleMutation":
        return this.#settle(effect);
      default:
        throw new Error(`unknown effect ${effect.type}`);
    }
  }

  #openStream({ stream, queries, afterTx }) {
    const body = { queries: queries.map(wired), format: FORMAT, ...(afterTx > 0 ? { after: afterTx } : {}) };
    const cancel = this.#transport.session(body, {
      event: (event) => {
        if (event.name === "expired") this.#auth?.renew();
        else this.#dispatch({ type: "streamEvent", stream, ...parseEvent(event) });
      },
      end: (error) => {
        this.#streams.delete(stream);
        const refusal = error instanceof RequestError && !isRetryable(error) ? error : undefined;
        this.#dispatch({ type: error === undefined ? "streamEnded" : "streamFailed", stream, error: refusal, retryAfterMs: error?.retryAfterMs ?? 0 });
      },
    });
    this.#streams.set(stream, cancel);
  }

  async #sendChange({ stream, session, add, remove, reach, authenticate }) {
    const body = { add: add.map(wired), remove, ...(reach > 0 ? { reach } : {}), ...(authenticate ? { authenticate } : {}) };
    try {
      await this.#transport.change(session, body, this.#inFlight.signal);
      this.#dispatch({ type: "changeDone", stream });
    } catch (error) {
      const isRefusal = error instanceof RequestError && !isRetryable(error) && error.status !== 404;
      this.#dispatch({ type: "changeFailed", stream, error: isRefusal ? error : undefined, retryAfterMs: error.retryAfterMs });
    }
  }

  async #sendMutation({ id, body }) {
    try {
      const answer = await this.#call("/api/mutation", body, { "Idempotency-Key": id });
      this.#dispatch({ type: "mutationAnswered", id, outcome: answer });
    } catch (error) {
      if (isRetryable(error)) {
        this.#dispatch({ type: "mutationLost", id, retryAfterMs: error.retryAfterMs });
        if (this.#state.mutations.attempt === WARN_AFTER_ATTEMPTS) {
          this.#logger.warn(`BitBend: ${error.message} The mutation waits and is sent again.`);
        }
      } else {
        this.#dispatch({ type: "mutationAnswered", id, outcome: { status: "refused", error } });
      }
    }
  }

  #settle({ id, outcome }) {
    const { resolve, reject } = this.#promises.get(id);
    this.#promises.delete(id);
    if (outcome.status === "refused") return reject(outcome.error);
    if (outcome.status === "closed") return reject(new ClosedError());
    try {
      resolve(valueOf(outcome));
    } catch (error) {
      reject(error);
    }
  }

  #tell(listener, key) {
    const result = shownOf(this.#state, key);
    if (!listener.isActive || result === undefined || result.status === "loading") return;
    this.#guard(() => {
      if (result.status === "value") listener.onValue(result.value);
      else if (listener.onError) listener.onError(result.error);
      else this.#logger.error(`BitBend: the live query ${key.slice(0, key.indexOf("\n"))} failed: ${result.error.message}`);
    });
  }

  /** An error in a callback of the application is the application's: reported, and nothing else stops. */
  #guard(callback) {
    try {
      callback();
    } catch (error) {
      if (typeof globalThis.reportError === "function") globalThis.reportError(error);
      else queueMicrotask(() => Promise.reject(error));
    }
  }

  #call(path, body, headers) {
    return this.#transport.request(path, { body, headers, signal: this.#inFlight.signal });
  }

  #readHeaders() {
    return this.#state.ownTx > 0 ? { "BitBend-After": String(this.#state.ownTx) } : {};
  }

  #orClosed(error) {
    return this.#state.isClosed && isRetryable(error) ? new ClosedError() : error;
  }

  #sleep(ms) {
    return new Promise((resolve) => this.#timers.setTimeout(resolve, ms));
  }

  #clearTimer(timer) {
    this.#timers.clearTimeout(this.#pending.get(timer));
    this.#pending.delete(timer);
  }
}

function originOf(url) {
  if (typeof url !== "string" || !/^https?:\/\//.test(url)) {
    throw new TypeError(`Client needs the URL of a BitBend server such as "http://127.0.0.1:3210", found ${JSON.stringify(url)}.`);
  }
  return url.replace(/\/+$/, "");
}

async function authorization(adminKey, token) {
  if (adminKey) return { Authorization: `BitBend ${adminKey}` };
  const jwt = typeof token === "function" ? await token() : token;
  return jwt ? { Authorization: `Bearer ${jwt}` } : {};
}

function bodyOf(reference, args) {
  return { path: getFunctionName(reference), args: encodeValue(args ?? {}, "args"), format: FORMAT };
}

function valueOf(answer) {
  if (answer.status !== "success") throw errorOfAnswer(answer);
  return decodeValue(answer.value ?? null, "result");
}

/** A query as the server takes it. */
function wired({ id, path, args, hash }) {
  return { id, path, args, ...(hash === undefined ? {} : { hash }) };
}

function parseEvent({ name, data }) {
  if (name === "session") return { name, session: JSON.parse(data).session };
  if (name === "changes") {
    const { tx, resync, changes } = JSON.parse(data);
    return { name, tx, isResync: resync === true, changes: changes.map(parseChange) };
  }
  if (name !== "refused") return { name };
  const { code, message, status } = JSON.parse(data);
  return { name, error: new RequestError(code, message, status) };
}

function parseChange({ id, hash, value, failed }) {
  if (failed !== undefined) return { id, hash, error: errorOfAnswer(failed) };
  return { id, hash, value: decodeValue(value, "result") };
}
