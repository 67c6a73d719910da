/**
 * The reducer against a model of servers and network: events dropped, doubled and late, connections cut, the
 * next connection to a gateway that is behind, answers lost, mutations with optimistic updates. After each
 * notification everything that is shown must be one moment of the model's history with the own updates that are
 * not in it laid over; at the end it must be the newest, and each mutation must have happened once, in order.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { initialState, shownOf, step } from "../client/reducer.js";

const KEYS = ["a", "b", "c", "d", "e"];
function addOne(store, { name }) {
  const now = store.getQuery(`m:${name}`, {});
  if (now !== undefined) store.setQuery(`m:${name}`, {}, now + 1);
}
const keyOf = (name) => `m:${name}\n{}`;

function createRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function createWorld(seed, bug) {
  const next = createRandom(seed);
  const below = (n) => Math.floor(next() * n);
  const history = [Object.fromEntries(KEYS.map((key) => [key, 0]))]; // the database after each tx
  const applied = new Map(); // id of a mutation -> its answer
  const order = [];
  let state = initialState();
  let session = null; // what the server keeps of the present stream
  let issued = 0;
  let settled = [];
  const pending = []; // what may happen next: functions
  const timers = new Map();
  const names = new Map(); // key -> name

  const newest = () => history.length - 1;
  const write = (name, by) => {
    history.push({ ...history.at(-1), [name]: history.at(-1)[name] + by });
    return newest();
  };

  function dispatch(event) {
    const { state: after, effects } = step(state, { random: next(), ...event });
    state = after;
    for (const effect of effects) perform(effect);
  }

  function perform(effect) {
    switch (effect.type) {
      case "flushSoon":
        return pending.push(() => dispatch({ type: "flush" }));
      case "setTimer":
        return timers.set(effect.timer, effect.timer);
      case "clearTimer":
        return timers.delete(effect.timer);
      case "closeStream":
        if (session?.number === effect.stream) session = null;
        return;
      case "openStream":
        return openStream(effect);
      case "sendChange":
        return sendChange(effect);
      case "sendMutation":
        return pending.push(() => runMutation(effect.mutation));
      case "settleMutation":
        return settled.push(effect.id);
      case "notify":
        return check();
      default:
        throw new Error(effect.type);
    }
  }

  function openStream({ stream, queries, afterTx }) {
    if (below(5) === 0) return pending.push(() => dispatch({ type: "streamFailed", stream }));
    // Perhaps a gateway that is behind: it waits until it has seen what the client has.
    session = { number: stream, name: `s${stream}`, tx: Math.max(afterTx, newest() - below(4)), held: new Map(), wanted: new Map(), isNew: true };
    for (const { id, path, hash } of queries) {
      session.wanted.set(id, path.slice(2));
      if (hash !== undefined) session.held.set(id, hash);
    }
    const mine = session;
    pending.push(() => session === mine && dispatch({ type: "streamEvent", stream, name: "session", session: mine.name }));
    pending.push(() => ((mine.isOpen = true), push(mine)));
  }

  /** All that changed for this session at one moment. */
  function push(mine, reach = 0) {
    if (session !== mine || !mine.isOpen) return;
    const tx = bug === "stale" && below(4) === 0 ? Math.max(0, mine.tx - 2) : Math.max(mine.tx, reach, newest() - below(2));
    const changes = [];
    for (const [id, name] of mine.wanted) {
      const value = history[tx][name];
      if (mine.held.get(id) === String(value)) continue;
      mine.held.set(id, String(value));
      changes.push({ id, hash: String(value), value });
    }
    mine.tx = Math.max(tx, mine.tx);
    if (bug === "torn" && changes.length > 1) changes.pop();
    const event = { type: "streamEvent", stream: mine.number, name: "changes", tx, changes };
    mine.queue = [...(mine.queue ?? []), event];
    // Within a stream the order holds; an event of an old stream may still come.
    pending.push(() => mine.queue.length > 0 && dispatch(mine.queue.shift()));
  }

  function sendChange({ stream, session: name, add, remove, reach }) {
    const mine = session;
    pending.push(() => {
      const fate = below(10);
      if (session !== mine || mine?.name !== name || fate === 0) return dispatch({ type: "changeFailed", stream });
      for (const { id, path, hash } of add) {
        mine.wanted.set(id, path.slice(2));
        if (hash !== undefined) mine.held.set(id, hash);
      }
      for (const id of remove) {
        mine.wanted.delete(id);
        mine.held.delete(id);
      }
      push(mine, reach);
      if (fate === 1) return dispatch({ type: "changeFailed", stream }); // its answer is lost
      dispatch({ type: "changeDone", stream });
    });
  }

  function runMutation({ id, body }) {
    const fate = below(8);
    if (fate === 0) return dispatch({ type: "mutationLost", id }); // it never arrived
    if (!applied.has(id) && !(bug === "twice" && fate > 5)) {
      applied.set(id, { status: "success", tx: write(body.name, 1) });
      order.push(id);
    } else if (bug === "twice") {
      applied.set(id, { status: "success", tx: write(body.name, 1) });
      order.push(id);
    }
    if (below(3) === 0 && session) push(session);
    if (fate === 1) return dispatch({ type: "mutationLost", id }); // its answer is lost
    pending.push(() => {
      dispatch({ type: "mutationAnswered", id, outcome: applied.get(id) });
      if (below(5) === 0) dispatch({ type: "mutationAnswered", id, outcome: applied.get(id) });
    });
  }

  function check() {
    const { tx } = state.stream;
    for (const [key, name] of names) {
      const shown = shownOf(state, key);
      if (shown === undefined || shown.status === "loading") continue;
      const own = state.optimistic.filter(({ args }) => args.name === name && !(args.tx <= tx)).length;
      assert.equal(shown.value, history[tx][name] + own, `${name} at ${tx}`);
    }
  }

  return {
    act() {
      const what = below(100);
      const name = KEYS[below(KEYS.length)];
      const key = keyOf(name);
      if (what < 8) {
        names.set(key, name);
        dispatch({ type: "subscribe", key, path: `m:${name}`, args: {} });
      } else if (what < 13) dispatch({ type: "unsubscribe", key });
      else if (what < 22) write(name, 1);
      else if (what < 30) session && push(session);
      else if (what < 34) {
        const mine = session;
        session = null;
        if (mine) dispatch({ type: "streamEnded", stream: mine.number });
      } else if (what < 44) {
        const id = String(++issued);
        const update = below(2) === 0 ? undefined : addOne;
        const isShown = shownOf(state, key)?.status === "value";
        dispatch({ type: "mutate", mutation: { id, body: { name }, update: isShown ? update : undefined, updateArgs: { name } } });
      } else if (what < 54 && timers.size > 0) {
        const [timer] = [...timers.keys()].slice(below(timers.size));
        timers.delete(timer);
        dispatch({ type: "timer", timer });
      } else if (what < 56) dispatch({ type: "online" });
      else if (what < 57) dispatch({ type: "reauthenticate" });
      else if (pending.length > 0) pending.splice(below(Math.min(pending.length, 3)), 1)[0]();
    },
    finish() {
      for (const name of KEYS) {
        names.set(keyOf(name), name);
        dispatch({ type: "subscribe", key: keyOf(name), path: `m:${name}`, args: {} });
      }
      for (let i = 0; i < 3000; i++) {
        if (pending.length > 0) pending.shift()();
        else if (timers.size > 0) {
          const [timer] = timers.keys();
          timers.delete(timer);
          dispatch({ type: "timer", timer });
        } else if (session && session.tx < newest()) push(session, newest());
        else if (session === null && state.stream.phase === "open") dispatch({ type: "streamEnded", stream: state.stream.number });
      }
      const view = KEYS.map((name) => shownOf(state, keyOf(name)));
      assert.deepEqual(view.map(({ value }) => value), KEYS.map((name) => history.at(-1)[name]), "everything is the newest");
      assert.equal(state.optimistic.length, 0, "no update is left");
      const all = Array.from({ length: issued }, (_, i) => String(i + 1));
      assert.deepEqual(order, all, "each mutation once, in order");
      assert.deepEqual(settled, all, "each settled once, in order");
    },
    stats: () => ({ tx: newest(), issued, streams: state.stream.number }),
  };
}

function play(seed, bug) {
  const world = createWorld(seed, bug);
  for (let i = 0; i < 1500; i++) world.act();
  world.finish();
  return world.stats();
}

test("random orders of everything: what is shown is one moment, and ends at the newest", () => {
  let streams = 0;
  for (let seed = 1; seed <= 60; seed++) {
    try {
      streams += play(seed).streams;
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
  assert.ok(streams > 500, `${streams} streams`);
});

for (const bug of ["torn", "twice"]) {
  test(`a planted bug is caught: ${bug}`, () => {
    assert.throws(() => {
      for (let seed = 1; seed <= 20; seed++) play(seed, bug);
    });
  });
}
