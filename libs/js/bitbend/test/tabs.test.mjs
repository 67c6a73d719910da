import assert from "node:assert/strict";
import { test } from "node:test";

import { RequestError } from "../client/errors.js";
import { canShare, shareAmongTabs, userOf } from "../client/tabs.js";

/** Locks as browsers have them: the next in the queue gets one when its holder ends. */
function createLocks() {
  const queues = new Map();
  const pump = (name) => {
    const [first] = queues.get(name);
    if (first === undefined || first.isHeld) return;
    first.isHeld = true;
    Promise.resolve(first.run({ name })).then((value) => {
      if (queues.get(name)[0] !== first) return; // it was stolen
      queues.get(name).shift();
      first.resolve(value);
      pump(name);
    });
  };
  return {
    request(name, { signal, ifAvailable = false, steal = false }, run) {
      return new Promise((resolve, reject) => {
        const entry = { run, resolve, reject, isHeld: false };
        if (!queues.has(name)) queues.set(name, []);
        if (ifAvailable && queues.get(name).length > 0) return resolve(run(null));
        const [holder] = queues.get(name);
        if (steal) queues.set(name, [entry, ...queues.get(name).filter((other) => other !== holder || !holder.isHeld)]);
        else queues.get(name).push(entry);
        if (steal && holder?.isHeld) holder.reject(new Error("stolen"));
        signal?.addEventListener("abort", () => {
          if (entry.isHeld) return;
          queues.set(name, queues.get(name).filter((other) => other !== entry));
          reject(new Error("aborted"));
        });
        queueMicrotask(() => pump(name));
      });
    },
  };
}

/** A browser with a server that shows for each query its path, and counts streams. */
function createBrowser(t) {
  const locks = createLocks();
  const server = { open: new Set(), opened: 0, changes: [], tx: 1, refuses: () => null };
  const tabs = [];
  t.after(() => tabs.forEach((tab) => tab.transport.close()));
  const inner = {
    request: async () => "answer",
    session(body, on) {
      const stream = { body, on, queries: [...body.queries] };
      server.open.add(stream);
      stream.name = `real ${++server.opened}`;
      const end = () => server.open.delete(stream);
      stream.show = (queries, more = {}) => on.event({ name: "changes", data: JSON.stringify({ tx: ++server.tx, ...more, changes: queries.map(({ id, path }) => ({ id, hash: "h", value: path })) }) });
      stream.cut = (error) => (end(), on.end(error));
      queueMicrotask(() => {
        if (!server.open.has(stream)) return;
        on.event({ name: "session", data: JSON.stringify({ session: stream.name }) });
        stream.show(stream.queries, { set: 1 });
      });
      return end;
    },
    async change(session, body) {
      server.changes.push(body);
      const error = server.refuses(body);
      if (error) throw error;
      const stream = [...server.open].find(({ name }) => name === session);
      if (stream === undefined) throw new RequestError("NotFound", "over", 404);
      stream.queries = stream.queries.filter(({ id }) => !(body.remove ?? []).includes(id)).concat(body.add ?? []);
      queueMicrotask(() => stream.show(body.add ?? [], { set: 2 }));
      return { set: 2 };
    },
  };
  function openTab(authorization = "", timers = createClock()) {
    const tab = { events: [], ended: [], authorization, late: null };
    /** While it hangs nothing that comes from outside runs in a tab. */
    const whenAwake = (run) => (tab.late === null ? run() : tab.late.push(run));
    class Channel extends BroadcastChannel {
      set onmessage(handler) {
        super.onmessage = (message) => whenAwake(() => handler(message));
      }
    }
    const own = { request: (name, how, run) => new Promise((done, failed) => locks.request(name, how, run).then(done, (error) => whenAwake(() => failed(error)))) };
    const env = { document: {}, BroadcastChannel: Channel, navigator: { locks: own }, crypto: globalThis.crypto };
    tab.hang = () => (tab.late = []);
    tab.wake = () => tab.late.splice(0).forEach((run) => run(), (tab.late = null));
    tab.transport = shareAmongTabs(inner, { origin: "http://o", headers: async () => (tab.authorization ? { Authorization: tab.authorization } : {}), timers, env });
    tab.open = (...paths) => (tab.cancel = tab.transport.session({ queries: paths.map((path, i) => ({ id: i + 1, path, args: {} })), format: "f" }, {
      event: ({ name, data }) => {
        const parsed = JSON.parse(data);
        if (name === "session") tab.session = parsed.session;
        tab.events.push({ name, ...parsed });
      },
      end: (error) => tab.ended.push(error),
    }));
    tab.shown = () => tab.events.filter(({ name }) => name === "changes").flatMap(({ changes }) => changes.map(({ id, value }) => `${id} ${value}`));
    tabs.push(tab);
    return tab;
  }
  return { server, openTab };
}

/** Time that goes on only when a test says so, so that a slow machine makes no leader late. */
function createClock() {
  const due = new Map(); // timer -> { at, run }
  let now = 0;
  let nextTimer = 1;
  const clock = {
    setTimeout: (run, ms) => (due.set(nextTimer, { at: now + ms, run }), nextTimer++),
    clearTimeout: (timer) => void due.delete(timer),
    /** One timer after the other; what they start, answers of other tabs too, is over before the next one runs. */
    async pass(ms, isOver = () => false) {
      for (const end = now + ms; !isOver();) {
        const [timer, next] = [...due].sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
        if (next === undefined || next.at > end) return void (now = end);
        now = next.at;
        due.delete(timer);
        next.run();
        await quiet();
      }
    },
  };
  return clock;
}

/** All messages that were posted before have come, and the answers to them, and the answers to those. */
async function quiet() {
  for (let i = 0; i < 4; i++) {
    const [from, to] = [new BroadcastChannel("quiet"), new BroadcastChannel("quiet")];
    const came = new Promise((done) => (to.onmessage = done));
    from.postMessage(i);
    await came;
    from.close();
    to.close();
    await new Promise((done) => setTimeout(done, 2));
  }
}

async function until(check) {
  for (let i = 0; i < 500; i++) {
    if (check()) return;
    await new Promise((done) => setTimeout(done, 5));
  }
  assert.fail("it did not become true");
}

test("tabs share one stream; each hears of its own queries, under its own numbers", async (t) => {
  const { server, openTab } = createBrowser(t);
  const tabs = Array.from({ length: 8 }, () => openTab());
  tabs.forEach((tab, i) => tab.open(`q${i}`, "all"));
  await until(() => tabs.every((tab) => tab.shown().length === 2));
  tabs.forEach((tab, i) => assert.deepEqual(tab.shown().sort(), [`1 q${i}`, "2 all"]));
  assert.equal(server.opened, 1);
  const [stream] = server.open;
  const heard = tabs.map((tab) => tab.events.length);
  stream.show(stream.queries.filter(({ path }) => path === "q3"));
  await until(() => tabs[3].shown().length === 3);
  assert.deepEqual(tabs.map((tab, i) => tab.events.length - heard[i]), [0, 0, 0, 1, 0, 0, 0, 0]);
  await tabs[5].transport.change(tabs[5].session, { add: [{ id: 9, path: "more", args: {} }], remove: [1] });
  await until(() => tabs[5].shown().includes("9 more"));
  assert.ok(stream.queries.some(({ path }) => path === "more") && !stream.queries.some(({ path }) => path === "q5"));
});

test("when the leader is closed another tab leads, and all open their streams again", async (t) => {
  const { server, openTab } = createBrowser(t);
  const tabs = [openTab(), openTab(), openTab()];
  tabs.forEach((tab) => tab.open("q"));
  await until(() => tabs.every((tab) => tab.shown().length === 1));
  tabs[0].transport.close();
  await until(() => tabs[1].ended.length === 1 && tabs[2].ended.length === 1);
  [tabs[1], tabs[2]].forEach((tab) => tab.open("q"));
  await until(() => tabs[1].shown().length === 2 && tabs[2].shown().length === 2);
  assert.deepEqual([server.opened, server.open.size], [2, 1]);
});

test("a leader that hangs is replaced by one tab; when it is back it is a tab as others, and what it still says is not heard", async (t) => {
  const { server, openTab } = createBrowser(t);
  const clock = createClock();
  const tabs = [openTab("", clock), openTab("", clock), openTab("", clock)];
  tabs.forEach((tab) => tab.open("q"));
  await until(() => tabs.every((tab) => tab.shown().length === 1));
  const [former] = server.open;
  tabs[0].hang();
  const isFound = () => tabs[1].ended.length === 1 && tabs[2].ended.length === 1;
  await clock.pass(20_000, isFound);
  assert.ok(isFound(), "it was not found out");
  [tabs[1], tabs[2]].forEach((tab) => tab.open("next"));
  await until(() => tabs[1].shown().length === 2 && tabs[2].shown().length === 2);
  assert.deepEqual([server.opened, tabs[0].ended.length], [2, 0]);

  former.show(former.queries);
  await quiet();
  assert.deepEqual([tabs[1].shown().length, tabs[2].shown().length], [2, 2]);
  tabs[0].wake();
  await until(() => tabs[0].ended.length === 1 && server.open.size === 1);
  tabs[0].open("back");
  await until(() => tabs[0].shown().includes("1 back"));
  assert.deepEqual([server.opened, tabs[1].ended.length, tabs[2].ended.length], [2, 1, 1]);
});

test("a leader that answers is left alone, however little it has to say", async (t) => {
  const { server, openTab } = createBrowser(t);
  const clock = createClock();
  const tabs = [openTab("", clock), openTab("", clock)];
  tabs.forEach((tab) => tab.open("q"));
  await until(() => tabs.every((tab) => tab.shown().length === 1));
  await clock.pass(60_000);
  assert.deepEqual([server.opened, tabs[0].ended.length, tabs[1].ended.length], [1, 0, 0]);
});

test("a tab that is gone leaves no queries behind; the last one ends the stream", async (t) => {
  const { server, openTab } = createBrowser(t);
  const [first, second] = [openTab(), openTab()];
  first.open("a");
  await until(() => first.shown().length === 1);
  second.open("b");
  await until(() => second.shown().length === 1);
  const [stream] = server.open;
  second.transport.close();
  await until(() => stream.queries.every(({ path }) => path === "a"));
  first.cancel();
  await until(() => server.open.size === 0);
});

test("a change that is refused is refused to its tab alone; one that is lost ends the stream of all", async (t) => {
  const { server, openTab } = createBrowser(t);
  const tabs = [openTab(), openTab()];
  tabs.forEach((tab) => tab.open("q"));
  await until(() => tabs.every((tab) => tab.shown().length === 1));
  server.refuses = ({ add }) => (add?.some(({ path }) => path === "bad") ? new RequestError("Forbidden", "no", 403) : null);
  await assert.rejects(tabs[1].transport.change(tabs[1].session, { add: [{ id: 5, path: "bad", args: {} }] }), { code: "Forbidden", status: 403 });
  assert.deepEqual([tabs[0].ended.length, tabs[1].ended.length], [0, 0]);
  server.refuses = () => new RequestError("NotFound", "over", 404);
  await assert.rejects(tabs[1].transport.change(tabs[1].session, { add: [{ id: 6, path: "x", args: {} }] }));
  await until(() => tabs.every((tab) => tab.ended.length === 1));
});

test("tabs of different users do not share; a tab whose user changes leaves", async (t) => {
  const { server, openTab } = createBrowser(t);
  const token = (claims) => `Bearer x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`;
  const [ann, again, bob] = [openTab(token({ sub: "ann", exp: 1 })), openTab(token({ exp: 2, iat: 1, sub: "ann" })), openTab(token({ sub: "bob", exp: 1 }))];
  for (const tab of [ann, again, bob]) tab.open("q");
  await until(() => [ann, again, bob].every((tab) => tab.shown().length === 1));
  assert.equal(server.opened, 2);
  await again.transport.change(again.session, { add: [], remove: [], authenticate: true });
  again.authorization = "";
  await assert.rejects(again.transport.change(again.session, { authenticate: true }), { status: 404 });
  await until(() => again.ended.length === 1);
  again.open("q");
  await until(() => again.shown().length === 2);
  assert.equal(server.opened, 3);
  assert.notEqual(userOf(token({ sub: "ann", role: "x" })), userOf(token({ sub: "ann" })), "other claims, another user");
});

test("Node.js programs and pages without locks have streams of their own", () => {
  assert.equal(canShare(globalThis), false);
  assert.equal(canShare({ document: {}, BroadcastChannel, navigator: {}, crypto: globalThis.crypto }), false);
});
