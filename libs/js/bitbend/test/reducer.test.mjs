import assert from "node:assert/strict";
import { test } from "node:test";

import { sameOrNext } from "../client/identity.js";
import { BACKOFF_MAX_MS, backoffMs, connectionOf, initialState, shownOf, step } from "../client/reducer.js";

/** Runs events one after the other; keeps the last state and all effects. */
function run(...events) {
  return runFrom(initialState(), ...events);
}
function runFrom(start, ...events) {
  let state = start;
  const effects = [];
  for (const event of events) {
    const before = structuredClone(withoutFunctions(state));
    const next = step(state, { random: 0.5, ...event });
    assert.deepEqual(withoutFunctions(state), before, `${event.type} changed the state that it was given`);
    state = next.state;
    effects.push(...next.effects);
  }
  return { state, effects };
}
const withoutFunctions = (state) => ({
  ...state,
  optimistic: state.optimistic.map(({ update, ...one }) => one),
  mutations: { ...state.mutations, queue: state.mutations.queue.map(({ update, ...one }) => one) },
});
const types = (effects) => effects.map(({ type }) => type);
const subscribe = (key = "k") => ({ type: "subscribe", key, path: "m:f", args: {} });
const flush = { type: "flush" };
const opened = (stream = 1) => ({ type: "streamEvent", stream, name: "session", session: `s${stream}` });
const news = (tx, values, stream = 1, more = {}) => ({
  type: "streamEvent",
  stream,
  name: "changes",
  tx,
  changes: Object.entries(values).map(([id, value]) => ({ id: Number(id), hash: `h${JSON.stringify(value)}`, value })),
  ...more,
});
const open = [subscribe(), flush, opened()];
const refusal = (status = 400) => Object.assign(new Error("no"), { code: "BadRequest", status });

test("what one turn subscribes is one session; the same query twice is one", () => {
  const { state, effects } = run(subscribe("a"), subscribe("a"), subscribe("b"), flush);
  assert.deepEqual(types(effects), ["flushSoon", "openStream"]);
  assert.deepEqual(effects[1].queries.map(({ id }) => id), [1, 2]);
  assert.equal(state.queries.get("a").count, 2);
});

test("later queries are changes of the set, one after the other", () => {
  const first = run(...open, subscribe("b"), flush);
  assert.deepEqual(first.effects.at(-1), { type: "sendChange", stream: 1, session: "s1", add: [{ id: 2, path: "m:f", args: {}, hash: undefined }], remove: [], reach: 0, authenticate: false });
  const second = runFrom(first.state, { type: "unsubscribe", key: "k" }, subscribe("c"), flush);
  assert.deepEqual(types(second.effects), ["flushSoon"], "it waits for the answer");
  const third = runFrom(second.state, { type: "changeDone", stream: 1 });
  assert.deepEqual([third.effects[0].add.map(({ id }) => id), third.effects[0].remove], [[3], [1]]);
});

test("the last query that ends closes the stream; one that ends and begins in one turn does not", () => {
  const again = run(...open, { type: "unsubscribe", key: "k" }, subscribe("k"), flush);
  assert.deepEqual([again.effects.at(-1).add.length, again.effects.at(-1).remove.length], [1, 1]);
  const gone = run(...open, { type: "unsubscribe", key: "k" }, flush);
  assert.deepEqual(types(gone.effects.slice(-2)), ["closeStream", "clearTimer"]);
  assert.equal(connectionOf(gone.state), "idle");
});

test("one event is told at once: all keys of it in one effect", () => {
  const { effects } = run(subscribe("a"), subscribe("b"), flush, opened(), news(5, { 1: "x", 2: "y" }));
  assert.deepEqual(effects.at(-1), { type: "notify", keys: ["a", "b"] });
});

test("an equal value is not told again and keeps its identity", () => {
  const first = run(...open, news(5, { 1: [{ _id: "a", n: 1 }] }));
  const again = runFrom(first.state, news(6, { 1: [{ _id: "a", n: 1 }] }));
  assert.deepEqual(again.effects, []);
  assert.equal(shownOf(again.state, "k").value, shownOf(first.state, "k").value);
  assert.equal(again.state.stream.tx, 6);
});

test("time never goes back, unless the server says resync", () => {
  const { state } = run(...open, news(9, { 1: "new" }));
  assert.deepEqual(runFrom(state, news(8, { 1: "old" })).effects, []);
  assert.deepEqual(types(runFrom(state, news(3, { 1: "other" }, 1, { isResync: true })).effects), ["notify"]);
});

test("a lost stream waits, comes back with what it holds, and waits longer each time", () => {
  const lost = run(...open, news(7, { 1: 1 }), { type: "streamEnded", stream: 1 });
  assert.deepEqual(lost.effects.at(-1), { type: "setTimer", timer: "stream", delayMs: 150 });
  assert.equal(connectionOf(lost.state), "reconnecting");
  const back = runFrom(lost.state, { type: "timer", timer: "stream" });
  assert.deepEqual(back.effects[0], { type: "openStream", stream: 2, queries: [{ id: 1, path: "m:f", args: {}, hash: "h1" }], afterTx: 7 });
  const lostAgain = runFrom(back.state, { type: "streamFailed", stream: 2 });
  assert.equal(lostAgain.effects.at(-1).delayMs, 300);
  // News brings the shortest wait back; opening alone does not.
  const third = runFrom(lostAgain.state, { type: "timer", timer: "stream" }, opened(3));
  assert.equal(runFrom(third.state, { type: "streamEnded", stream: 3 }).effects.at(-1).delayMs, 600);
  assert.equal(runFrom(third.state, news(8, {}, 3), { type: "streamEnded", stream: 3 }).effects.at(-1).delayMs, 150);
});

test("events of an old stream mean nothing", () => {
  const { state } = run(...open, { type: "streamEnded", stream: 1 }, { type: "timer", timer: "stream" });
  for (const event of [news(9, { 1: "x" }), opened(), { type: "streamEnded", stream: 1 }, { type: "changeDone", stream: 1 }, { type: "changeFailed", stream: 1 }]) {
    assert.deepEqual(runFrom(state, event), { state, effects: [] }, event.type);
  }
});

test("a bad query is found and fails alone", () => {
  const refused = run(subscribe("good"), subscribe("bad"), flush, { type: "streamFailed", stream: 1, error: refusal() });
  assert.deepEqual(refused.effects.at(-1), { type: "openStream", stream: 2, queries: [], afterTx: 0 });
  const one = runFrom(refused.state, opened(2));
  assert.deepEqual(one.effects[0].add.map(({ id }) => id), [1]);
  const two = runFrom(one.state, { type: "changeDone", stream: 2 });
  assert.deepEqual(two.effects[0].add.map(({ id }) => id), [2]);
  const end = runFrom(two.state, { type: "changeFailed", stream: 2, error: refusal() });
  assert.deepEqual(end.effects, [{ type: "notify", keys: ["bad"] }]);
  assert.equal(shownOf(end.state, "bad").error.message, "no");
  assert.equal(shownOf(end.state, "good").status, "loading");
});

test("a server that refuses the client is told to all, and asked again seldom", () => {
  const { effects, state } = run(...open.slice(0, 2), { type: "streamFailed", stream: 1, error: refusal(401) });
  assert.deepEqual(types(effects.slice(-2)), ["notify", "setTimer"]);
  assert.equal(effects.at(-1).delayMs, BACKOFF_MAX_MS * 0.75);
  assert.equal(shownOf(state, "k").status, "failed");
});

test("a change whose fate nobody knows opens the session anew", () => {
  const { effects } = run(...open, subscribe("b"), flush, { type: "changeFailed", stream: 1 });
  assert.deepEqual(types(effects.slice(-2)), ["closeStream", "setTimer"]);
});

test("a new user goes to the open session; while it opens, after that", () => {
  assert.equal(run(...open, { type: "reauthenticate" }).effects.at(-1).authenticate, true);
  const early = run(...open.slice(0, 2), { type: "reauthenticate" });
  assert.equal(runFrom(early.state, opened()).effects.at(-1).authenticate, true);
});

test("mutations go one after the other and keep their id", () => {
  const mutate = (id) => ({ type: "mutate", mutation: { id, body: {} } });
  const lost = run(mutate("a"), mutate("b"), { type: "mutationLost", id: "a" });
  assert.deepEqual(types(lost.effects), ["sendMutation", "setTimer"]);
  const again = runFrom(lost.state, { type: "timer", timer: "mutation" });
  assert.equal(again.effects[0].mutation.id, "a");
  const done = runFrom(again.state, { type: "mutationAnswered", id: "a", outcome: { status: "success", tx: 4 } });
  assert.deepEqual(types(done.effects), ["settleMutation", "sendMutation"]);
  assert.equal(done.state.ownTx, 4);
  assert.deepEqual(runFrom(done.state, { type: "mutationAnswered", id: "a", outcome: {} }).effects, [], "an answer of the past");
});

test("online does not wait for timers, close settles everything", () => {
  const lost = run(...open, { type: "mutate", mutation: { id: "a", body: {} } }, { type: "streamEnded", stream: 1 }, { type: "mutationLost", id: "a" });
  assert.deepEqual(types(runFrom(lost.state, { type: "online" }).effects), ["clearTimer", "openStream", "clearTimer", "sendMutation"]);
  const closed = runFrom(lost.state, { type: "close" });
  assert.ok(types(closed.effects).includes("settleMutation") && types(closed.effects).includes("closeStream"));
  assert.equal(connectionOf(closed.state), "closed");
});

/* ---- optimistic updates ---- */

const increment = (id) => ({
  type: "mutate",
  mutation: {
    id,
    body: {},
    updateArgs: {},
    update: (store) => store.setQuery("m:f", {}, (store.getQuery("m:f", {}) ?? 0) + 1),
  },
});
const K = "m:f\n{}";
const counted = [{ type: "subscribe", key: K, path: "m:f", args: {} }, flush, opened(), news(5, { 1: 10 })];
const answered = (id, tx) => ({ type: "mutationAnswered", id, outcome: { status: "success", tx } });

test("an optimistic update shows at once and is replaced without a flicker", () => {
  const shown = run(...counted, increment("a"));
  assert.equal(shownOf(shown.state, K).value, 11);
  assert.deepEqual(types(shown.effects.slice(-2)), ["notify", "sendMutation"]);
  // The server's news comes before the answer: it waits for it.
  const early = runFrom(shown.state, news(6, { 1: 11 }));
  assert.deepEqual(types(early.effects), ["setTimer"]);
  assert.equal(shownOf(early.state, K).value, 11);
  const done = runFrom(early.state, answered("a", 6));
  assert.deepEqual(types(done.effects), ["clearTimer", "settleMutation"], "it looked the same all the time");
  assert.deepEqual([shownOf(done.state, K).value, done.state.optimistic.length], [11, 0]);
});

test("news that comes after the answer replaces the update", () => {
  const done = run(...counted, increment("a"), answered("a", 6));
  assert.deepEqual([shownOf(done.state, K).value, done.effects.at(-1)], [11, { type: "setTimer", timer: "reach", delayMs: 100 }]);
  const older = runFrom(done.state, news(5.5, { 1: 20 }));
  assert.equal(shownOf(older.state, K).value, 21, "laid over what others wrote");
  const newer = runFrom(older.state, news(7, { 1: 21 }));
  assert.deepEqual([shownOf(newer.state, K).value, newer.effects], [21, []]);
  assert.equal(runFrom(done.state, { type: "timer", timer: "reach" }).effects[0].reach, 6, "or it is asked for");
});

test("a mutation that fails takes its update back, and only its own", () => {
  const two = run(...counted, increment("a"), increment("b"));
  assert.equal(shownOf(two.state, K).value, 12);
  const failed = runFrom(two.state, { type: "mutationAnswered", id: "a", outcome: { status: "error" } });
  assert.equal(shownOf(failed.state, K).value, 11);
  const noop = runFrom(failed.state, { type: "mutationAnswered", id: "b", outcome: { status: "success", tx: null, readTx: 5 } });
  assert.equal(shownOf(noop.state, K).value, 10);
});

test("news does not wait for ever, nor while the server is away", () => {
  const held = run(...counted, increment("a"), news(6, { 1: 20 }));
  assert.equal(shownOf(runFrom(held.state, { type: "timer", timer: "hold" }).state, K).value, 21);
  assert.equal(shownOf(runFrom(held.state, { type: "mutationLost", id: "a" }).state, K).value, 21);
  assert.equal(shownOf(runFrom(held.state, { type: "streamEnded", stream: 1 }).state, K).value, 21);
});

test("an update that throws is the caller's error at first, and is dropped later", () => {
  const fussy = { type: "mutate", mutation: { id: "a", body: {}, update: (store) => { if (store.getQuery("m:f", {}) !== 10) throw new Error("mine"); store.setQuery("m:f", {}, 99); } } };
  const { state } = run(...counted, fussy, answered("a", 9));
  assert.equal(shownOf(state, K).value, 99);
  assert.equal(shownOf(runFrom(state, news(6, { 1: 20 })).state, K).value, 20);
  assert.throws(() => step(run(...counted, news(7, { 1: 30 })).state, fussy), /mine/);
});

/* ---- small things ---- */

test("back-off doubles to its longest, with jitter", () => {
  assert.deepEqual([0, 1, 2, 10, 99].map((attempt) => backoffMs(attempt, 1)), [200, 400, 800, BACKOFF_MAX_MS, BACKOFF_MAX_MS]);
  assert.equal(backoffMs(0, 0), 100);
});

test("identity is kept wherever nothing changed", () => {
  const bytes = new Uint8Array([1, 2]).buffer;
  const before = { list: [{ _id: "a", n: 1, tags: ["x"] }, { _id: "b", n: 2 }], deep: { same: [1n, bytes], other: 1 } };
  const after = sameOrNext(before, {
    list: [{ _id: "b", n: 3 }, { _id: "a", n: 1, tags: ["x"] }],
    deep: { same: [1n, new Uint8Array([1, 2]).buffer], other: 2 },
  });
  assert.equal(after.list[1], before.list[0]);
  assert.notEqual(after.list[0], before.list[1]);
  assert.equal(after.deep.same, before.deep.same);
  assert.equal(sameOrNext(before, structuredClone(before)), before);
  assert.notEqual(sameOrNext([1], { 0: 1 }), undefined);
  assert.deepEqual(sameOrNext({ a: 1, b: undefined }, { a: 1 }), { a: 1 });
});

test("an unknown event is a mistake of ours", () => {
  assert.throws(() => step(initialState(), { type: "nonsense" }), /unknown event/);
});
