/**
 * The client's protocol as a pure function; the table is in SPEC.md.
 *
 * `step(state, event)` changes nothing that it is given and returns `{ state, effects }`.
 */

import { sameOrNext } from "./identity.js";

export const BACKOFF_MIN_MS = 200;
export const BACKOFF_MAX_MS = 10_000;

export function initialState() {
  return {
    isClosed: false,
    nextStream: 1,
    /** stream id -> { phase: connecting | open | waiting | done, attempt, keys } */
    streams: new Map(),
    /** key -> { path, args, count, stream, result: { status, value, error, tx } } */
    queries: new Map(),
    /** The first of `queue` is the one in flight, or waiting for its next attempt. */
    mutations: { phase: "idle", attempt: 0, queue: [] },
    /** Newest tx that an own mutation wrote or saw: later reads ask for it or a later one. */
    ownTx: 0,
  };
}

export function step(state, event) {
  if (state.isClosed) return { state, effects: [] };
  const handler = HANDLERS[event.type];
  if (handler === undefined) throw new Error(`unknown event ${event.type}`);
  return handler(state, event);
}

/** idle, connecting, connected, reconnecting or closed: what a page shows its user. */
export function connectionOf(state) {
  if (state.isClosed) return "closed";
  const streams = [...state.streams.values()].filter((stream) => stream.phase !== "done");
  const { phase, attempt } = state.mutations;
  const isLost = streams.some((stream) => stream.phase === "waiting" || (stream.phase === "connecting" && stream.attempt > 0));
  if (isLost || phase === "waiting" || attempt > 0) return "reconnecting";
  if (streams.some((stream) => stream.phase === "connecting")) return "connecting";
  return streams.length === 0 ? "idle" : "connected";
}

export function backoffMs(attempt, random) {
  return Math.round(Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(attempt, 16)) * (0.5 + random / 2));
}

const HANDLERS = {
  subscribe(state, { key, path, args }) {
    const known = state.queries.get(key);
    if (known !== undefined) return { state: withQuery(state, key, { ...known, count: known.count + 1 }), effects: [] };
    const { stream, next } = planStream(state);
    const result = { status: "loading", value: undefined, error: undefined, tx: 0 };
    const opened = withStream(next, stream, { phase: "connecting", attempt: 0, keys: [key] });
    const subscribed = withQuery(opened, key, { path, args, count: 1, stream, result });
    return { state: subscribed, effects: [openEffect(subscribed, stream)] };
  },

  unsubscribe(state, { key }) {
    const query = state.queries.get(key);
    if (query === undefined) return { state, effects: [] };
    if (query.count > 1) return { state: withQuery(state, key, { ...query, count: query.count - 1 }), effects: [] };
    const stream = state.streams.get(query.stream);
    const without = withQuery(state, key, null);
    const keys = stream.keys.filter((other) => other !== key);
    if (keys.length > 0) return { state: withStream(without, query.stream, { ...stream, keys }), effects: [] };
    return {
      state: withStream(without, query.stream, null),
      effects: [{ type: "closeStream", stream: query.stream }, { type: "clearTimer", timer: query.stream }],
    };
  },

  streamOpened(state, { stream }) {
    const known = state.streams.get(stream);
    if (known?.phase !== "connecting") return { state, effects: [] };
    return { state: withStream(state, stream, { ...known, phase: "open" }), effects: [] };
  },

  streamEvent(state, event) {
    const stream = state.streams.get(event.stream);
    if (stream === undefined || stream.phase === "waiting" || stream.phase === "done") return { state, effects: [] };
    const query = event.key === undefined ? undefined : state.queries.get(event.key);
    switch (event.name) {
      case "value":
      case "failed": {
        const heard = withStream(state, event.stream, { ...stream, phase: "open", attempt: 0 });
        return query === undefined ? { state: heard, effects: [] } : showResult(heard, event.key, query, event);
      }
      case "resync":
        return { state: forgetTx(state, stream), effects: [] };
      case "done":
        return {
          state: withStream(state, event.stream, { ...stream, phase: "done" }),
          effects: [{ type: "closeStream", stream: event.stream }],
        };
      case "bye":
        return wait(state, event.stream, stream, event, [{ type: "closeStream", stream: event.stream }]);
      default:
        return { state, effects: [] }; // an event of a newer server
    }
  },

  streamEnded(state, event) {
    const stream = state.streams.get(event.stream);
    if (stream?.phase !== "connecting" && stream?.phase !== "open") return { state, effects: [] };
    return wait(state, event.stream, stream, event, []);
  },

  /** The server refused (`error`, with its status), or nobody answered (no `error`). */
  streamFailed(state, event) {
    const stream = state.streams.get(event.stream);
    if (stream?.phase !== "connecting" && stream?.phase !== "open") return { state, effects: [] };
    if (event.error === undefined) return wait(state, event.stream, stream, event, []);
    let next = state;
    const effects = [];
    for (const key of stream.keys) {
      const shown = showResult(next, key, next.queries.get(key), { name: "failed", error: event.error, tx: 0 });
      next = shown.state;
      effects.push(...shown.effects);
    }
    return wait(next, event.stream, { ...stream, attempt: 16 }, event, effects);
  },

  timer(state, { timer }) {
    if (timer === "mutation") {
      return state.mutations.phase === "waiting" ? sendFirst(state) : { state, effects: [] };
    }
    const stream = state.streams.get(timer);
    if (stream?.phase !== "waiting") return { state, effects: [] };
    const next = withStream(state, timer, { ...stream, phase: "connecting" });
    return { state: next, effects: [openEffect(next, timer)] };
  },

  /** The network is back: do not wait for the timers. */
  online(state) {
    let next = state;
    const effects = [];
    const timers = [...state.streams.keys(), "mutation"];
    for (const timer of timers) {
      const moved = HANDLERS.timer(next, { timer });
      if (moved.effects.length > 0) effects.push({ type: "clearTimer", timer }, ...moved.effects);
      next = moved.state;
    }
    return { state: next, effects };
  },

  mutate(state, { mutation }) {
    const { mutations } = state;
    const next = { ...state, mutations: { ...mutations, queue: [...mutations.queue, mutation] } };
    return mutations.phase === "idle" ? sendFirst(next) : { state: next, effects: [] };
  },

  mutationAnswered(state, { id, outcome }) {
    const { mutations } = state;
    if (mutations.phase !== "sending" || mutations.queue[0].id !== id) return { state, effects: [] };
    const queue = mutations.queue.slice(1);
    // A mutation that changed nothing saw the moment `readTx`.
    const ownTx = Math.max(state.ownTx, outcome.tx ?? outcome.readTx ?? 0);
    const next = { ...state, ownTx, mutations: { phase: "idle", attempt: 0, queue } };
    const settled = { type: "settleMutation", id, outcome };
    if (queue.length === 0) return { state: next, effects: [settled] };
    const sent = sendFirst(next);
    return { state: sent.state, effects: [settled, ...sent.effects] };
  },

  mutationLost(state, { id, retryAfterMs = 0, random }) {
    const { mutations } = state;
    if (mutations.phase !== "sending" || mutations.queue[0].id !== id) return { state, effects: [] };
    const delayMs = Math.max(retryAfterMs, backoffMs(mutations.attempt, random));
    return {
      state: { ...state, mutations: { ...mutations, phase: "waiting", attempt: mutations.attempt + 1 } },
      effects: [{ type: "setTimer", timer: "mutation", delayMs }],
    };
  },

  close(state) {
    const effects = [{ type: "clearTimer", timer: "mutation" }];
    for (const stream of state.streams.keys()) effects.push({ type: "closeStream", stream }, { type: "clearTimer", timer: stream });
    for (const { id } of state.mutations.queue) effects.push({ type: "settleMutation", id, outcome: { status: "closed" } });
    return { state: { ...initialState(), isClosed: true }, effects };
  },
};

/** Which stream a new query goes to: each gets its own, as long as the server's streams carry one. */
function planStream(state) {
  return { stream: state.nextStream, next: { ...state, nextStream: state.nextStream + 1 } };
}

function openEffect(state, stream) {
  const queries = state.streams.get(stream).keys.map((key) => {
    const { path, args, result } = state.queries.get(key);
    return { key, path, args, tx: result.tx };
  });
  return { type: "openStream", stream, queries, afterTx: state.ownTx };
}

function wait(state, id, stream, { random, retryAfterMs = 0 }, effects) {
  const delayMs = Math.max(retryAfterMs, backoffMs(stream.attempt, random));
  return {
    state: withStream(state, id, { ...stream, phase: "waiting", attempt: stream.attempt + 1 }),
    effects: [...effects, { type: "setTimer", timer: id, delayMs }],
  };
}

function showResult(state, key, query, { name, value, error, tx }) {
  const { result } = query;
  if (tx !== 0 && tx < result.tx) return { state, effects: [] };
  const next =
    name === "value"
      ? { status: "value", value: sameOrNext(result.value, value), error: undefined, tx }
      : { status: "failed", value: undefined, error: isSameError(result.error, error) ? result.error : error, tx };
  const isSame = next.status === result.status && next.value === result.value && next.error === result.error;
  return { state: withQuery(state, key, { ...query, result: next }), effects: isSame ? [] : [{ type: "notify", key }] };
}

/** The server cannot go on from where we were: the next value counts, whatever its tx. */
function forgetTx(state, stream) {
  let next = state;
  for (const key of stream.keys) {
    const query = next.queries.get(key);
    next = withQuery(next, key, { ...query, result: { ...query.result, tx: 0 } });
  }
  return next;
}

function sendFirst(state) {
  const { mutations } = state;
  return {
    state: { ...state, mutations: { ...mutations, phase: "sending" } },
    effects: [{ type: "sendMutation", mutation: mutations.queue[0] }],
  };
}

function isSameError(a, b) {
  return a !== undefined && a.code === b.code && a.message === b.message && sameOrNext(a.data, b.data) === a.data;
}

function withQuery(state, key, query) {
  return { ...state, queries: withEntry(state.queries, key, query) };
}

function withStream(state, id, stream) {
  return { ...state, streams: withEntry(state.streams, id, stream) };
}

function withEntry(map, key, value) {
  const copy = new Map(map);
  if (value === null) copy.delete(key);
  else copy.set(key, value);
  return copy;
}
