import assert from "node:assert/strict";
import { test } from "node:test";

import { sameOrNext } from "../client/identity.js";
import { BACKOFF_MAX_MS, backoffMs, connectionOf, initialState, step } from "../client/reducer.js";

/** Runs events one after the other; keeps the last state and all effects. */
function run(...events) {
  let state = initialState();
  const effects = [];
  for (const event of events) {
    const before = structuredClone(state);
    const next = step(state, { random: 0.5, ...event });
    assert.deepEqual(state, before, `${event.type} changed the state that it was given`);
    state = next.state;
    effects.push(...next.effects);
  }
  return { state, effects };
}
const types = (effects) => effects.map(({ type }) => type);
const subscribe = (key = "k") => ({ type: "subscribe", key, path: "m:f", args: {} });
const value = (tx, value, stream = 1, key = "k") => ({ type: "streamEvent", stream, key, name: "value", tx, value });

test("the same query twice opens one stream and closes it with the last", () => {
  const { state, effects } = run(subscribe(), subscribe(), { type: "unsubscribe", key: "k" });
  assert.deepEqual(types(effects), ["openStream"]);
  assert.equal(state.queries.get("k").count, 1);
  const end = step(state, { type: "unsubscribe", key: "k" });
  assert.deepEqual(types(end.effects), ["closeStream", "clearTimer"]);
  assert.equal(end.state.streams.size + end.state.queries.size, 0);
});

test("an equal value is not told again and keeps its identity", () => {
  const first = run(subscribe(), { type: "streamOpened", stream: 1 }, value(5, [{ _id: "a", n: 1 }]));
  assert.deepEqual(types(first.effects), ["openStream", "notify"]);
  const again = step(first.state, value(6, [{ _id: "a", n: 1 }]));
  assert.deepEqual(again.effects, []);
  assert.equal(again.state.queries.get("k").result.value, first.state.queries.get("k").result.value);
  assert.equal(again.state.queries.get("k").result.tx, 6);
});

test("time never goes back, unless the server says resync", () => {
  const { state } = run(subscribe(), value(9, "new"));
  assert.deepEqual(step(state, value(8, "old")).effects, []);
  const resynced = step(state, { type: "streamEvent", stream: 1, name: "resync" }).state;
  assert.equal(resynced.queries.get("k").result.value, "new");
  assert.deepEqual(types(step(resynced, value(3, "other")).effects), ["notify"]);
});

test("a lost stream waits, comes back with the last tx, and waits longer each time", () => {
  const lost = run(subscribe(), { type: "streamOpened", stream: 1 }, value(7, 1), { type: "streamEnded", stream: 1 });
  assert.deepEqual(lost.effects.at(-1), { type: "setTimer", timer: 1, delayMs: 150 });
  assert.equal(connectionOf(lost.state), "reconnecting");
  const back = step(lost.state, { type: "timer", timer: 1 });
  assert.equal(back.effects[0].queries[0].tx, 7);
  const lostAgain = step(back.state, { type: "streamFailed", stream: 1, random: 0.5 });
  assert.equal(lostAgain.effects[0].delayMs, 300);
  // A value brings the shortest wait back; opening alone does not.
  const opened = step(step(lostAgain.state, { type: "timer", timer: 1 }).state, { type: "streamOpened", stream: 1 }).state;
  assert.equal(step(opened, { type: "streamEnded", stream: 1, random: 0.5 }).effects[0].delayMs, 600);
  const heard = step(opened, value(8, 2)).state;
  assert.equal(step(heard, { type: "streamEnded", stream: 1, random: 0.5 }).effects[0].delayMs, 150);
  assert.equal(connectionOf(heard), "connected");
});

test("a refusal is told once and asked about seldom", () => {
  const error = Object.assign(new Error("no"), { code: "FunctionNotFound" });
  const { state, effects } = run(subscribe(), { type: "streamFailed", stream: 1, error });
  assert.deepEqual(types(effects), ["openStream", "notify", "setTimer"]);
  assert.ok(effects.at(-1).delayMs >= BACKOFF_MAX_MS / 2);
  const again = step(step(state, { type: "timer", timer: 1 }).state, { type: "streamFailed", stream: 1, error: Object.assign(new Error("no"), { code: "FunctionNotFound" }), random: 0 });
  assert.deepEqual(types(again.effects), ["setTimer"]);
});

test("bye closes and comes back, done stays", () => {
  const bye = run(subscribe(), value(1, 1), { type: "streamEvent", stream: 1, name: "bye" });
  assert.deepEqual(types(bye.effects).slice(-2), ["closeStream", "setTimer"]);
  const done = run(subscribe(), value(1, 1), { type: "streamEvent", stream: 1, name: "done" }, { type: "streamEnded", stream: 1 });
  assert.deepEqual(types(done.effects).slice(-1), ["closeStream"]);
  assert.equal(connectionOf(done.state), "idle");
});

test("late news of a stream that is gone does nothing", () => {
  const { state } = run(subscribe(), { type: "unsubscribe", key: "k" });
  for (const event of [value(1, 1), { type: "streamOpened", stream: 1 }, { type: "streamEnded", stream: 1 }, { type: "timer", timer: 1 }, { type: "unsubscribe", key: "k" }]) {
    assert.deepEqual(step(state, { random: 0, ...event }).effects, []);
  }
});

test("mutations go one at a time, in order, and again with the same id", () => {
  const mutate = (id) => ({ type: "mutate", mutation: { id } });
  const { state, effects } = run(mutate("a"), mutate("b"), { type: "mutationLost", id: "a" });
  assert.deepEqual(types(effects), ["sendMutation", "setTimer"]);
  const resent = step(state, { type: "timer", timer: "mutation" });
  assert.equal(resent.effects[0].mutation.id, "a");
  const answered = step(resent.state, { type: "mutationAnswered", id: "a", outcome: { status: "success", tx: 12 } });
  assert.deepEqual(types(answered.effects), ["settleMutation", "sendMutation"]);
  assert.equal(answered.effects[1].mutation.id, "b");
  assert.equal(answered.state.ownTx, 12);
  // The answer of an attempt that was given up counts for nothing twice.
  assert.deepEqual(step(answered.state, { type: "mutationAnswered", id: "a", outcome: {} }).effects, []);
});

test("Retry-After is respected, online shortens every wait", () => {
  const { state, effects } = run(subscribe(), { type: "mutate", mutation: { id: "a" } }, { type: "mutationLost", id: "a", retryAfterMs: 5000 }, { type: "streamEnded", stream: 1 });
  assert.equal(effects.find(({ timer }) => timer === "mutation").delayMs, 5000);
  assert.deepEqual(types(step(state, { type: "online" }).effects), ["clearTimer", "openStream", "clearTimer", "sendMutation"]);
});

test("close settles everything, and nothing happens afterwards", () => {
  const { state, effects } = run(subscribe(), { type: "mutate", mutation: { id: "a" } }, { type: "close" });
  assert.deepEqual(types(effects).slice(-4), ["clearTimer", "closeStream", "clearTimer", "settleMutation"]);
  assert.equal(connectionOf(state), "closed");
  assert.deepEqual(step(state, subscribe()).effects, []);
});

test("back-off doubles, has a jitter and an end", () => {
  assert.deepEqual([0, 1, 2].map((attempt) => backoffMs(attempt, 1)), [200, 400, 800]);
  assert.equal(backoffMs(0, 0), 100);
  assert.equal(backoffMs(100, 1), BACKOFF_MAX_MS);
});

test("parts that did not change keep their identity, also when they moved", () => {
  const before = [{ _id: "a", deep: { n: 1n } }, { _id: "b", raw: new Uint8Array([1]).buffer }];
  const after = sameOrNext(before, [{ _id: "c" }, { _id: "a", deep: { n: 1n } }, { _id: "b", raw: new Uint8Array([1]).buffer }]);
  assert.equal(after[1], before[0]);
  assert.equal(after[2], before[1]);
  assert.equal(sameOrNext(before, structuredClone(before)), before);
  assert.notEqual(sameOrNext({ a: 1 }, { a: 1, b: undefined }).b, 1);
  assert.ok(Object.is(sameOrNext(0, -0), -0));
  assert.deepEqual(sameOrNext({ a: [1, 2, 3] }, { a: [1, 2] }), { a: [1, 2] });
});
