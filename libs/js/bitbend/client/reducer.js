/**
 * The client's protocol as a pure function; the table is in SPEC.md.
 *
 * `step(state, event)` changes nothing that it is given and returns `{ state, effects }`.
 */

import { sameOrNext } from "./identity.js";
import { overlay } from "./optimistic.js";

export const BACKOFF_MIN_MS = 200;
export const BACKOFF_MAX_MS = 10_000;
/** A server's news waits this long at most for the answer of a mutation with an optimistic update. */
export const HOLD_MS = 2_000;
/** An answered mutation whose result is not shown asks for it after this long. */
export const REACH_MS = 100;

export function initialState() {
  return {
    isClosed: false,
    /** `number` tells an old stream's events from the present one's; `tx` is the moment of all that is shown. */
    stream: { phase: "idle", number: 0, attempt: 0, session: undefined, tx: 0, isCautious: false },
    /** Ids that the server's session has. */
    sent: new Set(),
    /** The change of the set that is under way, or null. */
    change: null,
    isFlushDue: false,
    mustAuthenticate: false,
    reach: 0,
    nextId: 1,
    /** key -> { id, path, args, count, isRefused, result: { status, value, error, hash } } */
    queries: new Map(),
    /** News that waits for the answer of a mutation: { tx, isResync, changes: Map of id -> change }, or null. */
    held: null,
    /** The first of `queue` is the one in flight, or waiting for its next attempt. */
    mutations: { phase: "idle", attempt: 0, queue: [] },
    /** Optimistic updates that are not in what the server sent yet: { id, update, args, tx } */
    optimistic: [],
    /** key -> result as the optimistic updates make it. */
    views: new Map(),
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

/** What a query shows: its result, or what optimistic updates make of it. */
export function shownOf(state, key) {
  return state.views.get(key) ?? state.queries.get(key)?.result;
}

/** idle, connecting, connected, reconnecting or closed: what a page shows its user. */
export function connectionOf(state) {
  if (state.isClosed) return "closed";
  const { stream, mutations } = state;
  const isLost = stream.phase === "waiting" || (stream.phase === "connecting" && stream.attempt > 0);
  if (isLost || mutations.phase === "waiting" || mutations.attempt > 0) return "reconnecting";
  return stream.phase === "open" ? "connected" : stream.phase;
}

export function backoffMs(attempt, random) {
  return Math.round(Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(attempt, 16)) * (0.5 + random / 2));
}

const HANDLERS = {
  subscribe(state, { key, path, args }) {
    const known = state.queries.get(key);
    if (known !== undefined) return { state: withQuery(state, key, { ...known, count: known.count + 1 }), effects: [] };
    const result = { status: "loading", value: undefined, error: undefined, hash: undefined };
    const query = { id: state.nextId, path, args, count: 1, isRefused: false, result };
    return flushSoon(withQuery({ ...state, nextId: state.nextId + 1 }, key, query));
  },

  unsubscribe(state, { key }) {
    const query = state.queries.get(key);
    if (query === undefined) return { state, effects: [] };
    if (query.count > 1) return { state: withQuery(state, key, { ...query, count: query.count - 1 }), effects: [] };
    const queries = new Map(state.queries);
    queries.delete(key);
    // What was one too many may fit now.
    for (const [other, one] of queries) if (one.isRefused) queries.set(other, { ...one, isRefused: false });
    return flushSoon({ ...state, queries, views: withoutKey(state.views, key) });
  },

  /** All that one turn of the application subscribed and ended: one change of the set. */
  flush: (state) => sync({ ...state, isFlushDue: false }),

  streamEvent(state, event) {
    const { stream } = state;
    if (event.stream !== stream.number || (stream.phase !== "connecting" && stream.phase !== "open")) return { state, effects: [] };
    switch (event.name) {
      case "session":
        // A mutation may have been answered since the session was asked for.
        return after(sync(withStream(state, { phase: "open", session: event.session })), waitForOwn);
      case "changes":
        return takeNews(withStream(state, { attempt: 0 }), event);
      case "refused":
        return refuse(state, event);
      case "bye":
        return wait(state, event, true);
      default:
        return { state, effects: [] }; // an event of a newer server
    }
  },

  streamEnded(state, event) {
    return isPresent(state, event) ? wait(state, event) : { state, effects: [] };
  },

  /** The server refused (`error`, with its status), or nobody answered (no `error`). */
  streamFailed(state, event) {
    if (!isPresent(state, event)) return { state, effects: [] };
    return event.error === undefined ? wait(state, event) : refuse(state, event);
  },

  changeDone(state, event) {
    if (!isPresent(state, event) || state.change === null) return { state, effects: [] };
    const sent = new Set([...state.sent, ...state.change.add]);
    for (const id of state.change.remove) sent.delete(id);
    const isDone = !state.change.isPart;
    return sync(withStream({ ...state, sent, change: null }, isDone ? { isCautious: false } : {}));
  },

  /** Refused (`error`): nothing changed. Lost: nobody knows, so the session is opened anew with the whole set. */
  changeFailed(state, event) {
    const { change } = state;
    if (!isPresent(state, event) || change === null) return { state, effects: [] };
    if (event.error === undefined || change.add.length === 0) return wait({ ...state, change: null }, event, true);
    // Nothing of it was done: what it asked for besides is asked for again.
    const mustAuthenticate = state.mustAuthenticate || change.authenticate;
    const undone = { ...state, change: null, reach: Math.max(state.reach, change.reach), mustAuthenticate };
    if (change.add.length > 1) return sync(withStream(undone, { isCautious: true }));
    const refused = fail(undone, ({ id }) => id === change.add[0], event.error, true);
    return after(refused, sync);
  },

  timer(state, event) {
    switch (event.timer) {
      case "mutation":
        return state.mutations.phase === "waiting" ? sendFirst(state) : { state, effects: [] };
      case "stream":
        return state.stream.phase === "waiting" ? connect(state) : { state, effects: [] };
      case "hold":
        return releaseHeld(state);
      case "reach":
        return askForOwn(state);
      default:
        return { state, effects: [] };
    }
  },

  /** The network is back: do not wait for the timers. */
  online(state) {
    const stream = state.stream.phase === "waiting" ? clearing("stream", connect(state)) : { state, effects: [] };
    return after(stream, (next) => (next.mutations.phase === "waiting" ? clearing("mutation", sendFirst(next)) : { state: next, effects: [] }));
  },

  /** Another user, or the same with a new token. */
  reauthenticate(state) {
    if (state.stream.phase !== "open" && state.stream.phase !== "connecting") return HANDLERS.online(state);
    return sync({ ...state, mustAuthenticate: true });
  },

  mutate(state, { mutation }) {
    const { mutations } = state;
    const { id, update, updateArgs: args } = mutation;
    const queued = { ...state, mutations: { ...mutations, queue: [...mutations.queue, mutation] } };
    const optimistic = update === undefined ? state.optimistic : [...state.optimistic, { id, update, args, tx: undefined }];
    // The first time an error of the update is the caller's; later ones drop the update.
    if (update !== undefined) overlay({ ...queued, optimistic }, true);
    const shown = show(state, { ...queued, optimistic });
    return after(shown, (next) => (mutations.phase === "idle" ? sendFirst(next) : { state: next, effects: [] }));
  },

  mutationAnswered(state, { id, outcome }) {
    const { mutations } = state;
    if (mutations.phase !== "sending" || mutations.queue[0].id !== id) return { state, effects: [] };
    const queue = mutations.queue.slice(1);
    // A mutation that changed nothing saw the moment `readTx`.
    const ownTx = Math.max(state.ownTx, outcome.tx ?? outcome.readTx ?? 0);
    const tx = outcome.status === "success" ? (outcome.tx ?? 0) : 0;
    const optimistic = state.optimistic.map((one) => (one.id === id ? { ...one, tx } : one));
    const answered = { ...state, ownTx, optimistic, mutations: { phase: "idle", attempt: 0, queue } };
    const settled = after(releaseHeld(answered, state), (next) => ({ state: next, effects: [{ type: "settleMutation", id, outcome }] }));
    return after(after(settled, waitForOwn), (next) => (queue.length > 0 ? sendFirst(next) : { state: next, effects: [] }));
  },

  mutationLost(state, { id, retryAfterMs = 0, random }) {
    const { mutations } = state;
    if (mutations.phase !== "sending" || mutations.queue[0].id !== id) return { state, effects: [] };
    const delayMs = Math.max(retryAfterMs, backoffMs(mutations.attempt, random));
    const lost = { ...state, mutations: { ...mutations, phase: "waiting", attempt: mutations.attempt + 1 } };
    return after({ state: lost, effects: [{ type: "setTimer", timer: "mutation", delayMs }] }, releaseHeld);
  },

  close(state) {
    const effects = ["mutation", "stream", "hold", "reach"].map((timer) => ({ type: "clearTimer", timer }));
    if (state.stream.phase !== "idle") effects.push({ type: "closeStream", stream: state.stream.number });
    for (const { id } of state.mutations.queue) effects.push({ type: "settleMutation", id, outcome: { status: "closed" } });
    return { state: { ...initialState(), isClosed: true }, effects };
  },
};

/* ---- the set of queries, here and at the server ---- */

function flushSoon(state) {
  if (state.isFlushDue) return { state, effects: [] };
  return { state: { ...state, isFlushDue: true }, effects: [{ type: "flushSoon" }] };
}

/** Brings the server's set to ours: opens, changes or closes. */
function sync(state) {
  const { stream } = state;
  if (state.queries.size === 0) return stream.phase === "idle" ? { state, effects: [] } : disconnect(state);
  if (stream.phase === "idle") return connect(state);
  if (stream.phase !== "open" || state.change !== null) return { state, effects: [] };
  const wanted = [...state.queries.values()].filter(({ isRefused }) => !isRefused);
  const ids = new Set(wanted.map(({ id }) => id));
  const missing = wanted.filter(({ id }) => !state.sent.has(id));
  const add = stream.isCautious ? missing.slice(0, 1) : missing;
  const remove = [...state.sent].filter((id) => !ids.has(id));
  const { reach, mustAuthenticate } = state;
  if (add.length + remove.length + reach === 0 && !mustAuthenticate) return { state, effects: [] };
  const change = { add: add.map(({ id }) => id), remove, isPart: add.length < missing.length, reach, authenticate: mustAuthenticate };
  return {
    state: { ...state, change, reach: 0, mustAuthenticate: false },
    effects: [{ type: "sendChange", stream: stream.number, session: stream.session, add: add.map(asked), remove, reach, authenticate: mustAuthenticate }],
  };
}

function asked({ id, path, args, result }) {
  return { id, path, args, hash: result.hash };
}

/** A new session with the whole set; after a refusal of the whole with none, to find the one that is refused. */
function connect(state) {
  const wanted = state.stream.isCautious ? [] : [...state.queries.values()].filter(({ isRefused }) => !isRefused);
  const number = state.stream.number + 1;
  const next = { ...state, sent: new Set(wanted.map(({ id }) => id)), change: null, mustAuthenticate: false, reach: 0 };
  return {
    state: withStream(next, { phase: "connecting", number, session: undefined }),
    effects: [{ type: "openStream", stream: number, queries: wanted.map(asked), afterTx: Math.max(state.stream.tx, state.ownTx) }],
  };
}

function disconnect(state) {
  const effects = [{ type: "closeStream", stream: state.stream.number }, { type: "clearTimer", timer: "stream" }];
  const next = withStream({ ...state, change: null, sent: new Set(), held: null }, { phase: "idle", attempt: 0, session: undefined });
  return after({ state: next, effects }, (idle) => show(idle, idle));
}

function wait(state, { random, retryAfterMs = 0 }, closes = false) {
  const { stream } = state;
  const delayMs = Math.max(retryAfterMs, backoffMs(stream.attempt, random));
  const effects = closes ? [{ type: "closeStream", stream: stream.number }] : [];
  const next = withStream({ ...state, change: null }, { phase: "waiting", attempt: stream.attempt + 1, session: undefined });
  return after(releaseHeld(next), (released) => ({ state: released, effects: [...effects, { type: "setTimer", timer: "stream", delayMs }] }));
}

/** One bad query refuses all: the next session begins empty, and they are added one by one. */
function refuse(state, event) {
  const isOfSet = [400, 403, 413].includes(event.error.status) && state.sent.size > 0;
  if (isOfSet) return after(connect(withStream(state, { isCautious: true })), (next) => ({ state: next, effects: [] }));
  const failed = fail(state, () => true, event.error, false);
  return after(failed, (next) => wait(withStream(next, { attempt: 16 }), event));
}

function fail(state, test, error, isRefused) {
  const queries = new Map(state.queries);
  for (const [key, query] of queries) {
    if (!test(query)) continue;
    queries.set(key, { ...query, isRefused, result: nextResult(query.result, { error, hash: undefined }) });
  }
  return show(state, { ...state, queries });
}

function isPresent(state, { stream }) {
  return stream === state.stream.number && (state.stream.phase === "connecting" || state.stream.phase === "open");
}

/* ---- news ---- */

/** While a mutation with an optimistic update is under way, news waits for its answer: both are shown at once. */
function takeNews(state, { tx, isResync = false, changes }) {
  const { mutations, held } = state;
  const byId = new Map(held?.changes);
  for (const change of changes) byId.set(change.id, change);
  const news = { tx, isResync: isResync || (held?.isResync ?? false), changes: byId };
  const isHeld = mutations.phase === "sending" && mutations.queue[0].update !== undefined;
  if (!isHeld) return show(state, applyNews({ ...state, held: null }, news));
  return { state: { ...state, held: news }, effects: held === null ? [{ type: "setTimer", timer: "hold", delayMs: HOLD_MS }] : [] };
}

function releaseHeld(state, shownBefore = state) {
  if (state.held === null) return show(shownBefore, state);
  return clearing("hold", show(shownBefore, applyNews({ ...state, held: null }, state.held)));
}

/** Time never goes back, unless the server says that another history began. */
function applyNews(state, { tx, isResync, changes }) {
  if (tx < state.stream.tx && !isResync) return state;
  const queries = new Map(state.queries);
  for (const [key, query] of queries) {
    const change = changes.get(query.id);
    if (change !== undefined) queries.set(key, { ...query, result: nextResult(query.result, change) });
  }
  return withStream({ ...state, queries, ownTx: isResync ? 0 : state.ownTx }, { tx });
}

/** What did not change keeps its identity. */
function nextResult(result, { value, error, hash }) {
  if (error !== undefined) {
    return { status: "failed", value: undefined, error: isSameError(result.error, error) ? result.error : error, hash };
  }
  return { status: "value", value: sameOrNext(result.value, value), error: undefined, hash };
}

/* ---- optimistic updates ---- */

/** Drops updates that the server's news holds, lays the others over the results, and tells what looks different. */
function show(before, state) {
  const { stream } = state;
  const isThere = ({ tx }) => tx !== undefined && (tx <= stream.tx || stream.phase === "idle");
  const optimistic = state.optimistic.filter((one) => !isThere(one));
  const laid = overlay({ ...state, optimistic }, false);
  const views = new Map([...laid.views].map(([key, view]) => [key, keepIdentity(before.views.get(key), view)]));
  const next = { ...state, optimistic: laid.optimistic, views, queries: confirmed(before, state, views) };
  const keys = [...next.queries.keys()].filter((key) => !isSameResult(shownOf(before, key), shownOf(next, key)));
  return { state: next, effects: keys.length > 0 ? [{ type: "notify", keys }] : [] };
}

/** A result that turns out as an update showed it keeps the identity of what was shown. */
function confirmed(before, { queries }, views) {
  const gone = [...before.views].filter(([key]) => !views.has(key) && queries.get(key)?.result.status === "value");
  if (gone.length === 0) return queries;
  const copy = new Map(queries);
  for (const [key, view] of gone) {
    const query = copy.get(key);
    copy.set(key, { ...query, result: { ...query.result, value: sameOrNext(view.value, query.result.value) } });
  }
  return copy;
}

function keepIdentity(before, view) {
  return { ...view, value: sameOrNext(before?.value, view.value) };
}

/** An answered mutation whose result the next news does not bring soon asks for it. */
function waitForOwn(state) {
  const waits = state.stream.phase === "open" && state.optimistic.some(({ tx }) => tx !== undefined);
  return { state, effects: waits ? [{ type: "setTimer", timer: "reach", delayMs: REACH_MS }] : [] };
}

function askForOwn(state) {
  const reach = Math.max(0, ...state.optimistic.map(({ tx }) => tx ?? 0));
  return reach === 0 ? { state, effects: [] } : sync({ ...state, reach });
}

/* ---- mutations ---- */

function sendFirst(state) {
  const { mutations } = state;
  return {
    state: { ...state, mutations: { ...mutations, phase: "sending" } },
    effects: [{ type: "sendMutation", mutation: mutations.queue[0] }],
  };
}

/* ---- small things ---- */

/** `move` from the state of what came before, with the effects of both. */
function after({ state, effects }, move) {
  const next = move(state);
  return { state: next.state, effects: [...effects, ...next.effects] };
}

function clearing(timer, { state, effects }) {
  return { state, effects: [{ type: "clearTimer", timer }, ...effects] };
}

function isSameResult(a, b) {
  return a !== undefined && a.status === b.status && Object.is(a.value, b.value) && a.error === b.error;
}

function isSameError(a, b) {
  return a !== undefined && a.code === b.code && a.message === b.message && sameOrNext(a.data, b.data) === a.data;
}

function withQuery(state, key, query) {
  return { ...state, queries: new Map(state.queries).set(key, query) };
}

function withStream(state, changes) {
  return { ...state, stream: { ...state.stream, ...changes } };
}

function withoutKey(map, key) {
  if (!map.has(key)) return map;
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}
