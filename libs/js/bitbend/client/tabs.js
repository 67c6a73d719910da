/**
 * All tabs of a browser on one stream: the tab that has the lock of a group leads, and opens the only stream of
 * the server (hub.js); the others ask it over a channel. When the leader is closed or crashes the browser gives
 * its lock to another tab, and all open their streams again, as after a lost connection. A leader that hangs is
 * found out by tabs that somebody sees: one of them takes its lock. A tab whose leader does not answer its first
 * question uses a stream of its own.
 *
 * A group is a server and a user: tabs of different users never share.
 */

import { ConnectionError, RequestError } from "./errors.js";
import { createHub } from "./hub.js";

const OPEN_MS = 8_000;
const CHANGE_MS = 15_000;
/** A tab that heard nothing of its leader for this long asks it, this often, and waits this long for each answer. */
const QUIET_MS = 2_000;
const ASKED_MAX = 2;
const ANSWER_MS = 1_000;
/** Claims that are of a token and not of its user; the server looks at none of them. */
const OF_THE_TOKEN = ["exp", "iat", "nbf", "jti", "sid", "nonce", "at_hash", "c_hash", "auth_time"];

/** Can tabs share here? Not in Node.js, not in old browsers, not on pages without TLS. */
export function canShare(env = globalThis) {
  return typeof env.document === "object" && typeof env.BroadcastChannel === "function" && env.navigator?.locks !== undefined && env.crypto?.subtle !== undefined;
}

export function shareAmongTabs(inner, { origin, headers, timers, env = globalThis }) {
  const tab = env.crypto.randomUUID();
  let group = null;
  let nextStream = 1;
  let isClosed = false;

  async function groupOf() {
    const name = await groupName(origin, await headers(), env.crypto);
    if (isClosed) throw new ConnectionError(origin, new Error("closed"));
    if (group?.name !== name) {
      group?.leave();
      group = createGroup(name, tab, inner, { timers, env });
    }
    return group;
  }

  return {
    request: inner.request,
    session(body, on) {
      const stream = `${tab}/${nextStream++}`;
      let cancel;
      let isOver = false;
      const end = (error) => {
        if (!isOver) on.end(error);
        isOver = true;
      };
      groupOf().then((found) => {
        if (!isOver) cancel = found.open(stream, body, { event: (event) => isOver || on.event(event), end });
      }, end);
      return () => {
        isOver = true;
        cancel?.();
      };
    },
    async change(session, body, signal) {
      const mine = group;
      if (mine === null || !mine.has(session)) return inner.change(session, body, signal);
      if (body.authenticate && mine.name !== (await groupName(origin, await headers(), env.crypto))) {
        mine.leave();
        if (group === mine) group = null;
        throw new RequestError("NotFound", "Another user has another session.", 404);
      }
      return mine.change(session, body);
    },
    close() {
      isClosed = true;
      group?.leave();
    },
  };
}

/** One group as one tab sees it. */
function createGroup(name, tab, inner, { timers, env }) {
  const channel = new env.BroadcastChannel(name);
  const streams = new Map(); // own streams -> { body, on, leader, timer, own: cancel of a stream of its own }
  const calls = new Map(); // changes that wait for the leader -> { resolve, reject, timer }
  const locks = new AbortController();
  let line = null; // our place in the queue for the group's lock
  let leader = null;
  let since = 0; // when it became the leader: what a former one still says is not heard
  let look; // timer: is it there?
  let hasSpoken = false;
  let asked = 0; // since it has spoken
  let hub = null;
  let nextCall = 1;
  let resign = () => {};
  let waiting = []; // messages to the leader, until this tab has its own lock

  const tabOf = (stream) => stream.slice(0, stream.indexOf("/"));
  const post = (message) => locks.signal.aborted || channel.postMessage(message);

  // ---- as the leader ----

  function lead() {
    if (locks.signal.aborted) return undefined;
    since = Math.max(Date.now(), since + 1);
    hub = createHub(inner, (stream, message) => {
      const plain = { stream, ...("end" in message ? { end: plainError(message.end) } : { event: message.event }) };
      if (tabOf(stream) === tab) queueMicrotask(() => take(plain));
      else tell(tabOf(stream), plain);
    });
    tell(undefined, {});
    heedLeader(tab);
    return new Promise((done) => {
      resign = () => {
        hub?.endAll();
        hub = null;
        done();
      };
    });
  }
  function standInLine() {
    const mine = (line = new AbortController());
    env.navigator.locks.request(name, { signal: mine.signal }, lead).catch(() => mine.signal.aborted || dethroned());
  }
  /** Another tab has taken our lock, as we did not answer. */
  function dethroned() {
    if (locks.signal.aborted) return;
    hub?.endAll();
    hub = null;
    heedLeader(null);
    since = 0;
    standInLine();
  }
  const tell = (to, message) => post({ to, leader: tab, since, ...message });
  const watched = new Set();
  /** The browser gives us a tab's own lock when the tab is gone. */
  function watch(other) {
    if (watched.has(other)) return;
    watched.add(other);
    env.navigator.locks.request(`${name} ${other}`, { signal: locks.signal }, () => {
      watched.delete(other);
      hub?.leave(other);
    }).catch(() => {});
  }
  async function serve({ type, stream, call, body, from }) {
    if (from !== tab) watch(from);
    if (type === "open") return hub.open(stream, body);
    if (type === "close") return hub.close(stream);
    if (type === "ask") return tell(from, {});
    const answer = await hub.change(stream, body).then(() => ({ call }), (error) => ({ call, error: plainError(error) }));
    if (from === tab) take(answer);
    else tell(from, answer);
  }

  // ---- as a tab ----

  /** While it is needed: is it there? Nobody looks at a hidden tab, and its timers are late: it has time. */
  function lookAfterLeader() {
    const isNeeded = hub === null && (calls.size > 0 || [...streams.values()].some(({ own }) => own === undefined));
    look = undefined;
    if (locks.signal.aborted || !isNeeded) return;
    if (hasSpoken || asked === ASKED_MAX || waiting !== null || env.document.visibilityState === "hidden") {
      if (!hasSpoken && asked === ASKED_MAX) takeOver(since);
      hasSpoken = false;
      asked = 0;
      look = timers.setTimeout(lookAfterLeader, QUIET_MS);
    } else {
      asked++;
      post({ to: "leader", type: "ask", from: tab });
      look = timers.setTimeout(lookAfterLeader, ANSWER_MS);
    }
  }
  /** One tab does it, and not when another has done it meanwhile. */
  function takeOver(before) {
    env.navigator.locks.request(`${name} take-over`, { ifAvailable: true }, (mine) => {
      if (mine === null || since !== before || hub !== null) return undefined;
      line.abort();
      return new Promise((done) => {
        const granted = () => (done(), lead());
        env.navigator.locks.request(name, { steal: true }, granted).catch(() => (done(), dethroned()));
      });
    }).catch(() => {});
  }
  function ask(message) {
    look ??= timers.setTimeout(lookAfterLeader, QUIET_MS);
    if (waiting !== null) waiting.push(message);
    else if (hub !== null) serve({ ...message, from: tab });
    else post({ to: "leader", ...message, from: tab });
  }
  function beHere() {
    const messages = waiting;
    waiting = null;
    messages.forEach(ask);
    return new Promise((done) => locks.signal.addEventListener("abort", done));
  }
  /** Streams of a former leader are over; what nobody answered is asked of the new one. */
  function heedLeader(next) {
    const former = leader;
    leader = next;
    for (const [stream, state] of [...streams]) {
      if (state.own !== undefined) continue;
      if (state.leader === undefined) ask({ type: "open", stream, body: state.body });
      else if (former !== next) finish(stream, new ConnectionError("the leading tab", new Error("another one leads")));
    }
    for (const [call, { reject }] of [...calls]) {
      drop(call);
      reject(new ConnectionError("the leading tab", new Error("another one leads")));
    }
  }
  function drop(call) {
    timers.clearTimeout(calls.get(call)?.timer);
    calls.delete(call);
  }
  function finish(stream, error) {
    const state = streams.get(stream);
    if (state === undefined) return;
    timers.clearTimeout(state.timer);
    streams.delete(stream);
    state.on.end(error);
  }
  /** What a leader says. */
  function hear(message) {
    if (hub !== null || message.since < since) return;
    since = message.since;
    hasSpoken = true;
    const isWord = message.stream === undefined && message.call === undefined; // that it leads, or is there
    if (message.leader !== leader && (leader !== null || isWord)) heedLeader(message.leader);
    leader = message.leader;
    take(message);
  }
  function take(message) {
    const { stream, call, event } = message;
    if (call !== undefined) {
      const made = calls.get(call);
      drop(call);
      return message.error === undefined ? made?.resolve() : made?.reject(errorOf(message.error));
    }
    const state = streams.get(stream);
    if (state === undefined || state.own !== undefined) return; // or no stream at all
    if (event === undefined) return finish(stream, errorOf(message.end));
    timers.clearTimeout(state.timer);
    state.leader = leader;
    state.on.event(event);
  }
  channel.onmessage = ({ data }) => {
    if (data.to === "leader") return void (hub !== null && serve(data));
    if (data.to === undefined || data.to === tab) hear(data);
  };

  // This tab is there as long as it has its own lock; it leads when it gets the group's.
  env.navigator.locks.request(`${name} ${tab}`, { signal: locks.signal }, beHere).catch(() => {});
  standInLine();

  return {
    name,
    has: (stream) => streams.has(stream),
    open(stream, body, on) {
      const state = { body, on };
      streams.set(stream, state);
      state.timer = timers.setTimeout(() => {
        ask({ type: "close", stream });
        state.own = inner.session(body, {
          event: (event) => {
            if (event.name === "session") streams.delete(stream); // its changes go to the server itself
            on.event(event);
          },
          end: on.end,
        });
      }, OPEN_MS);
      ask({ type: "open", stream, body });
      return () => {
        timers.clearTimeout(state.timer);
        state.own?.();
        if (streams.delete(stream) && state.own === undefined) ask({ type: "close", stream });
      };
    },
    change(stream, body) {
      const { authenticate, ...rest } = body;
      // A token of the same user: the leader has its own.
      const wanted = hub !== null ? body : rest;
      if (hub === null && authenticate && !rest.reach && !rest.add?.length && !rest.remove?.length) return Promise.resolve();
      const call = `${tab}/${nextCall++}`;
      return new Promise((resolve, reject) => {
        const timer = timers.setTimeout(() => {
          calls.delete(call);
          reject(new ConnectionError("the leading tab", new Error("it does not answer")));
        }, CHANGE_MS);
        calls.set(call, { resolve, reject, timer });
        ask({ type: "change", stream, call, body: wanted });
      });
    },
    leave() {
      resign();
      timers.clearTimeout(look);
      locks.abort(); // with our lock the leader forgets our streams
      line.abort();
      channel.close();
      for (const [stream, { own }] of [...streams]) {
        own?.();
        finish(stream, new ConnectionError("the leading tab", new Error("this tab has left it")));
      }
      for (const [call, { reject }] of [...calls]) {
        drop(call);
        reject(new ConnectionError("the leading tab", new Error("this tab has left it")));
      }
    },
  };
}

/** The name of the group: what tabs say to each other, and a hash, so that no secret is in the name of a lock. */
async function groupName(origin, { Authorization = "" }, crypto) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${origin}\n${userOf(Authorization)}`));
  return `bitbend 2 ${Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** What tells users apart: the claims of their token that are not the token's own. */
export function userOf(authorization) {
  try {
    const claims = JSON.parse(decodeURIComponent(escape(atob(authorization.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")))));
    for (const name of OF_THE_TOKEN) delete claims[name];
    return JSON.stringify(Object.entries(claims).sort(([a], [b]) => (a < b ? -1 : 1)));
  } catch {
    return authorization;
  }
}

function plainError(error) {
  if (error === undefined) return null;
  const { code, message, status = 0, retryAfterMs = 0 } = error;
  return { code, message, status, retryAfterMs, isConnection: error instanceof ConnectionError };
}

function errorOf(plain) {
  if (plain === null || plain === undefined) return undefined;
  if (plain.isConnection) return Object.assign(new ConnectionError("the server", new Error()), { message: plain.message });
  return new RequestError(plain.code, plain.message, plain.status, plain.retryAfterMs);
}
