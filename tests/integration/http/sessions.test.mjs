/** Sessions of many live queries: `/api/sync`, through one gateway and through two. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { startSuite } from "../js/suite.mjs";
import { mutation, openStream, post } from "./api.mjs";
import { app, inEachMode } from "./modes.mjs";

const list = (id, group, more = {}) => ({ id, path: "items:list", args: { group }, ...more });
const count = (id, group, more = {}) => ({ id, path: "items:count", args: { group }, ...more });

/** Opens a session; `view` is what a client shows, `change` alters the set. */
async function session(url, queries, more = {}, headers = {}) {
  const stream = await openStream(`${url}/api/sync`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ queries, ...more }),
  });
  assert.equal(stream.status, 200);
  const first = await stream.next(({ event }) => event === "session");
  const name = first.data.session;
  let seen = 0;
  return {
    ...stream,
    name,
    changes: () => stream.events.filter(({ event }) => event === "changes").map(({ data }) => data),
    view() {
      const view = {};
      for (const { changes } of this.changes()) {
        for (const change of changes) view[change.id] = change.failed ?? change.value;
      }
      return view;
    },
    hashes() {
      return Object.fromEntries(this.changes().flatMap(({ changes }) => changes.map(({ id, hash }) => [id, hash])));
    },
    async change(body, at = url, more_ = {}) {
      const answer = await post(at, `/api/sync/${name}`, body, more_);
      return answer;
    },
    /** The next event, after those that were asked for before, that changes this query. */
    async nextWith(id) {
      const found = await stream.next((event) => stream.events.indexOf(event) >= seen && event.event === "changes" && event.data.changes.some((change) => change.id === id));
      seen = stream.events.indexOf(found) + 1;
      return found;
    },
  };
}

inEachMode("sessions", (suite) => {
  test("b18_live_queries_of_one_session_come_on_one_stream", async (t) => {
    const one = await session(suite.url, [list(1, "s1"), count(2, "s1")]);
    t.after(one.close);
    const first = await one.nextWith(1);
    assert.equal(first.data.tx, first.id, "the id is the tx");
    assert.deepEqual(first.data.changes.map(({ id, value }) => [id, value]), [[1, []], [2, 0]]);
    await mutation(suite.url, "items:add", { group: "s1", n: 1 });
    const next = await one.nextWith(1);
    assert.deepEqual(next.data.changes.map(({ id }) => id).sort(), [1, 2], "both at one tx");
    assert.equal(one.view()[2], 1);
    assert.ok(next.data.tx > first.data.tx);
  });

  test("b19_a_write_elsewhere_sends_nothing_and_half_of_a_set_alone", async (t) => {
    const one = await session(suite.url, [count(1, "s2"), count(2, "s2b")]);
    t.after(one.close);
    await one.nextWith(1);
    await mutation(suite.url, "items:add", { group: "elsewhere", n: 1 });
    await mutation(suite.url, "items:add", { group: "s2b", n: 1 });
    const next = await one.nextWith(2);
    assert.deepEqual(next.data.changes.map(({ id, value }) => [id, value]), [[2, 1]]);
    assert.equal(one.changes().length, 2);
  });

  test("queries are added and removed while others stay", async (t) => {
    const one = await session(suite.url, [count(1, "s3")]);
    t.after(one.close);
    await one.nextWith(1);
    const { status, body } = await one.change({ add: [count(7, "s3b")] });
    assert.equal(status, 200);
    const added = await one.nextWith(7);
    assert.equal(added.data.set, body.set);
    assert.deepEqual(added.data.changes.map(({ id, value }) => [id, value]), [[7, 0]]);
    const removed = await one.change({ remove: [1] });
    await one.next(({ data }) => data.set === removed.body.set);
    await mutation(suite.url, "items:add", { group: "s3", n: 1 });
    await mutation(suite.url, "items:add", { group: "s3b", n: 1 });
    const next = await one.nextWith(7);
    assert.deepEqual(next.data.changes.map(({ id }) => id), [7], "the removed one is silent");
  });

  test("who comes back gets only what differs", async (t) => {
    const one = await session(suite.url, [count(1, "s4"), count(2, "s4b")]);
    await one.nextWith(1);
    const { tx } = one.changes().at(-1);
    const hashes = one.hashes();
    one.close();
    await mutation(suite.url, "items:add", { group: "s4b", n: 1 });
    const back = await session(suite.url, [count(1, "s4", { hash: hashes[1] }), count(2, "s4b", { hash: hashes[2] })], { after: tx });
    t.after(back.close);
    // An event at the moment that it had may come before the gateway has heard of the write.
    const first = await back.next(({ event, data }) => event === "changes" && data.changes.length > 0);
    assert.deepEqual(first.data.changes.map(({ id, value }) => [id, value]), [[2, 1]]);
    assert.ok(first.data.tx > tx);
    assert.equal(first.data.resync, undefined);
  });

  test("a tx of another history gives a resync", async (t) => {
    const one = await session(suite.url, [count(1, "s5")], { after: 9007199254740000 });
    t.after(one.close);
    const first = await one.next(({ event }) => event === "changes");
    assert.equal(first.data.resync, true);
    assert.equal(first.data.changes[0].value, 0);
  });

  test("an event at a promised tx comes, though nothing differs", async (t) => {
    const one = await session(suite.url, [count(1, "s6")]);
    t.after(one.close);
    await one.nextWith(1);
    const answer = await post(suite.url, "/api/mutation", { path: "items:add", args: { group: "elsewhere", n: 2 } });
    assert.equal((await one.change({ reach: answer.body.tx })).status, 200);
    const next = await one.next(({ event, data }) => event === "changes" && data.tx >= answer.body.tx);
    assert.deepEqual(next.data.changes, []);
  });

  test("a query that throws shows it, and recovers", async (t) => {
    const one = await session(suite.url, [{ id: 1, path: "items:get", args: { id: "nonsense" } }, { id: 2, path: "nobody:home", args: {} }, count(3, "s7")]);
    t.after(one.close);
    const first = await one.nextWith(1);
    const [bad, missing, good] = first.data.changes;
    assert.equal(bad.failed.code, "ArgumentValidation");
    assert.equal(missing.failed.code, "FunctionNotFound");
    assert.equal(good.value, 0);
  });

  test("bad input is refused with its reason and changes nothing", async (t) => {
    const one = await session(suite.url, [count(1, "s8")]);
    t.after(one.close);
    await one.nextWith(1);
    const cases = [
      [{ add: [count(1, "s8")] }, 400, "BadRequest", /already/],
      [{ add: [count(2, "s8"), { id: 3, path: "" }] }, 400, "BadRequest", /path/],
      [{ add: [{ ...count(2, "s8"), hash: "zz" }] }, 400, "BadRequest", /hash/],
      [{ add: [{ ...count(-1, "s8") }] }, 400, "BadRequest", /`id`/],
      [{ add: "x" }, 400, "BadRequest", /list/],
      [{ remove: [1.5] }, 400, "BadRequest", /`id`/],
      [{ reach: 9007199254740000 }, 400, "TxInFuture", /beyond the clock/],
      [{ add: [{ id: 9, path: "_system:status", args: {} }] }, 403, "Forbidden", /admin key/],
      ["{", 400, "BadJson", /./],
      [{ add: Array.from({ length: 1000 }, (_, i) => count(100 + i, "s8")) }, 413, "TooLarge", /--session-queries/],
      [{ add: [{ id: 9, path: "items:list", args: { group: "x".repeat(9 << 20) } }] }, 413, "TooLarge", /--session-bytes/],
    ];
    for (const [body, status, code, text] of cases) {
      const answer = await one.change(body);
      assert.deepEqual([answer.status, answer.body?.code], [status, code], `${JSON.stringify(body).slice(0, 100)}: ${answer.text}`);
      assert.match(answer.body.message, text);
    }
    await mutation(suite.url, "items:add", { group: "s8", n: 1 });
    const next = await one.nextWith(1);
    assert.deepEqual(next.data.changes.map(({ id }) => id), [1]);
    assert.equal(one.changes().length, 2, "no refused change did anything");
    assert.equal((await post(suite.url, "/api/sync/00000000ffffffffffffffffffffffff", {})).status, 404);
    assert.equal((await post(suite.url, "/api/sync/nonsense", {})).status, 404);
    assert.equal((await post(suite.url, "/api/sync", { queries: Array.from({ length: 1001 }, (_, i) => count(i, "x")) })).status, 413);
    assert.equal((await post(suite.url, "/api/sync", { queries: [count(1, "a")], format: "yaml" })).status, 400);
  });

  test("authentication changes in the middle: what depends on it changes together", async (t) => {
    const as = (name) => ({ authorization: `BitBend ${suite.adminKey}:${Buffer.from(JSON.stringify({ subject: name, issuer: "test" })).toString("base64")}` });
    const one = await session(suite.url, [{ id: 1, path: "items:whoami", args: {} }, count(2, "s9")], {}, as("ann"));
    t.after(one.close);
    const first = await one.nextWith(1);
    assert.equal(first.data.changes[0].value, "ann");
    assert.equal((await one.change({ authenticate: true }, suite.url, as("bob"))).status, 200);
    const next = await one.nextWith(1);
    assert.equal(next.data.changes[0].value, "bob");
    assert.equal(next.data.identity, 1);
    assert.deepEqual(next.data.changes.map(({ id }) => id), [1], "what does not look at the user stays");
  });

  test("p14_fewer_events_on_request", async (t) => {
    const one = await session(suite.url, [count(1, "s10")], { refreshMs: 400 });
    t.after(one.close);
    await one.nextWith(1);
    const start = performance.now();
    for (let i = 0; i < 10; i++) await mutation(suite.url, "items:add", { group: "s10", n: i });
    await one.next(({ event, data }) => event === "changes" && data.changes.some(({ value }) => value === 10));
    const took = performance.now() - start;
    assert.ok(one.changes().length <= 3 + took / 400, `${one.changes().length} events for 10 writes within ${Math.round(took)} ms`);
  });

  test("p5_no_polling: no request and no event but heartbeats", async (t) => {
    const one = await session(suite.url, [count(1, "s11")]);
    t.after(one.close);
    await one.nextWith(1);
    const before = one.events.length;
    await new Promise((done) => setTimeout(done, 300));
    assert.equal(one.events.length, before);
  });

  test("GET takes the queries in the URL, for an EventSource", async (t) => {
    const stream = await openStream(`${suite.url}/api/sync?queries=${encodeURIComponent(JSON.stringify([count(1, "s12")]))}`);
    t.after(stream.close);
    const first = await stream.next(({ event }) => event === "changes");
    assert.equal(first.data.changes[0].value, 0);
  });

  test("p7_a_slow_reader: a reader that does not read costs nobody anything, and sees the newest state when it does", async (t) => {
    const fast = await session(suite.url, [list(1, "s13")]);
    t.after(fast.close);
    await fast.nextWith(1);
    const slow = await fetch(`${suite.url}/api/sync`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ queries: [list(1, "s13")] }) });
    await mutation(suite.url, "items:addMany", { group: "s13", from: 0, count: 2000 });
    for (let i = 0; i < 30; i++) await mutation(suite.url, "items:add", { group: "s13", n: 2000 + i });
    await fast.next(({ data }) => data.changes?.some(({ value }) => value?.length === 2030));
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of slow.body) {
      text += decoder.decode(chunk, { stream: true });
      if (text.includes('"n":2029')) break;
    }
    const events = text.split("\n\n").filter((event) => event.startsWith("event: changes"));
    assert.ok(events.length < 25, `${events.length} events for a reader that was away`);
  });
});

describe("two gateways", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "processes", gateways: 2, appDir: app });
  });
  after(() => suite?.stop());

  test("p1_a_write_through one gateway reaches the session of another", async (t) => {
    const [a, b] = suite.urls;
    const one = await session(b, [count(1, "g1")]);
    t.after(one.close);
    await one.nextWith(1);
    await mutation(a, "items:add", { group: "g1", n: 1 });
    assert.equal((await one.nextWith(1)).data.changes[0].value, 1);
  });

  test("a change of the set may reach any gateway", async (t) => {
    const [a, b] = suite.urls;
    const one = await session(b, [count(1, "g2")]);
    t.after(one.close);
    await one.nextWith(1);
    const answer = await one.change({ add: [count(2, "g2b")] }, a);
    assert.equal(answer.status, 200, answer.text);
    assert.equal((await one.nextWith(2)).data.set, answer.body.set);
    const refused = await one.change({ add: [count(2, "g2b")] }, a);
    assert.deepEqual([refused.status, refused.body.code], [400, "BadRequest"]);
    const forged = one.name.replace(/\.[0-9a-f]+$/, ".0000000000000000");
    assert.equal((await post(a, `/api/sync/${forged}`, {})).status, 404);
  });

  test("a killed gateway: the session goes on at the other one, never at an older moment", async () => {
    const [a, b] = suite.urls;
    const one = await session(b, [count(1, "g3")]);
    await one.nextWith(1);
    await mutation(a, "items:add", { group: "g3", n: 1 });
    await one.nextWith(1);
    const { tx } = one.changes().at(-1);
    await suite.kill("gateway2");
    const gone = await one.change({ remove: [1] }, a);
    assert.equal(gone.status, 503, gone.text);
    const back = await session(a, [count(1, "g3", { hash: one.hashes()[1] })], { after: tx });
    const first = await back.next(({ event }) => event === "changes");
    assert.ok(first.data.tx >= tx);
    assert.deepEqual(first.data.changes, []);
    back.close();
    await suite.start("gateway2");
  });

  test("a graceful stop says bye", async () => {
    const one = await session(suite.urls[1], [count(1, "g4")]);
    await one.nextWith(1);
    await suite.kill("gateway2", "SIGTERM");
    await one.next(({ event }) => event === "bye");
  });
});
