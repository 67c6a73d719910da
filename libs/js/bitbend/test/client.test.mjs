import assert from "node:assert/strict";
import { test } from "node:test";

import { createEventParser } from "../client/sse.js";
import { BitBendError, Client, ClosedError, ConnectionError, FunctionError, RequestError } from "../index.js";
import { startServer } from "./server-double.mjs";

async function start(t, handler, options = {}) {
  const server = await startServer(handler);
  const client = new Client(server.url, { logger: { warn() {}, error() {} }, ...options });
  t.after(() => {
    client.close();
    return server.stop();
  });
  return { server, client };
}

/** The values that a live query brings, one promise after the other. */
function listen(client, path, args = {}) {
  const heard = [];
  const waiting = [];
  const take = (item) => (waiting.length > 0 ? waiting.shift()(item) : heard.push(item));
  const stop = client.onUpdate(path, args, (value) => take({ value }), (error) => take({ error }));
  return { stop, next: () => (heard.length > 0 ? Promise.resolve(heard.shift()) : new Promise((done) => waiting.push(done))), heard };
}

test("calls send encoded arguments and decode results", async (t) => {
  const { server, client } = await start(t, (request, answer) => answer.json({ status: "success", value: { n: { $integer: "AQAAAAAAAAA=" } }, tx: 7 }));
  assert.deepEqual(await client.query("m:q", { a: 2n, skip: undefined }), { n: 1n });
  await client.mutation("m:w", {});
  await client.action("m:a");
  await client.query("m:q");
  assert.deepEqual(server.requests[0].body, { path: "m:q", args: { a: { $integer: "AgAAAAAAAAA=" } }, format: "convex_encoded_json" });
  assert.deepEqual(server.requests.map(({ path }) => path), ["/api/query", "/api/mutation", "/api/action", "/api/query"]);
  assert.ok(server.requests[1].headers["idempotency-key"].length >= 36);
  assert.equal(server.requests[0].headers["bitbend-after"], undefined);
  assert.equal(server.requests[3].headers["bitbend-after"], "7", "a client reads its own writes");
});

test("each kind of failure has its class and code", async (t) => {
  const answers = {
    "m:data": [{ status: "error", code: "UserError", errorMessage: "Uncaught", errorData: { code: "full", n: { $integer: "AQAAAAAAAAA=" } } }],
    "m:throw": [{ status: "error", code: "ServerError", errorMessage: "Uncaught Error: x", logLines: ["a"] }],
    "m:none": [{ code: "FunctionNotFound", message: "Could not find public function m:none" }, 404],
    "m:html": ["<html>", 500],
  };
  const { client, server } = await start(t, (request, answer) => answer.json(...answers[request.body.path]));
  await assert.rejects(client.query("m:data"), (error) => error instanceof BitBendError && error.data.n === 1n && error.data.code === "full");
  await assert.rejects(client.mutation("m:throw"), (error) => error instanceof FunctionError && error.code === "ServerError" && error.logLines[0] === "a");
  await assert.rejects(client.query("m:none"), (error) => error instanceof RequestError && error.code === "FunctionNotFound" && error.status === 404);
  await assert.rejects(client.query("m:html"), { code: "HttpError", status: 500 });
  assert.equal(server.requests.length, 4, "none of these is tried again");
  await assert.rejects(async () => client.query("m:f", { f: () => 1 }), /args\.f: function f is not a value/);
  assert.throws(() => new Client("localhost:3210"), /needs the URL/);
});

test("a mutation whose answer got lost is sent again with the same key, and the next waits for it", async (t) => {
  let attempts = 0;
  const { client, server } = await start(t, (request, answer) => {
    if (request.body.path === "m:first" && ++attempts < 3) return attempts === 1 ? answer.cut() : answer.json({ code: "OutcomeUnknown", message: "?" }, 503);
    answer.json({ status: "success", value: request.body.path, tx: 1 });
  });
  const results = await Promise.all([client.mutation("m:first"), client.mutation("m:second")]);
  assert.deepEqual(results, ["m:first", "m:second"]);
  assert.deepEqual(server.requests.map(({ body }) => body.path), ["m:first", "m:first", "m:first", "m:second"]);
  const keys = server.requests.map(({ headers }) => headers["idempotency-key"]);
  assert.equal(new Set(keys).size, 2);
  assert.equal(keys[0], keys[2]);
});

test("a query is tried again, an action is not", async (t) => {
  let attempts = 0;
  const { client } = await start(t, (request, answer) => (++attempts === 2 ? answer.json({ status: "success", value: 1 }) : answer.cut()));
  assert.equal(await client.query("m:q"), 1);
  await assert.rejects(client.action("m:a"), (error) => error instanceof ConnectionError && error.code === "ConnectionFailed");
  assert.equal(attempts, 3);
});

/** The server's side of a session: its name at once, then what a test says. */
function sessions(streams, extra = () => false) {
  return (request, answer) => {
    if (extra(request, answer)) return;
    if (request.path !== "/api/sync") return answer.json({ set: 2 });
    const stream = answer.events();
    stream.send("session", { session: `s${streams.length + 1}` });
    streams.push(stream);
  };
}
const say = (stream, tx, values, more = {}) =>
  stream.send("changes", { tx, changes: Object.entries(values).map(([id, value]) => ({ id: Number(id), hash: `h${tx}`, ...(value?.failed ? value : { value }) })), ...more }, tx);

test("live queries share one stream, and end with the last listener", async (t) => {
  const streams = [];
  const { client, server } = await start(t, sessions(streams));
  const first = listen(client, "m:list", { b: 1, a: 2 });
  const second = listen(client, "m:list", { a: 2, b: 1 });
  const other = listen(client, "m:count");
  await until(() => streams.length > 0);
  assert.deepEqual(server.requests[0].body.queries.map(({ id, path, args }) => [id, path, args]), [[1, "m:list", { a: 2, b: 1 }], [2, "m:count", {}]]);
  say(streams[0], 5, { 1: [{ _id: "x", n: 1 }], 2: 1 });
  const { value } = await first.next();
  assert.equal((await second.next()).value, value);
  assert.deepEqual(await other.next(), { value: 1 });
  say(streams[0], 6, { 1: [{ _id: "x", n: 1 }] });
  say(streams[0], 7, { 1: [{ _id: "y" }, { _id: "x", n: 1 }] });
  const next = (await first.next()).value;
  assert.equal(next[1], value[0], "what did not change keeps its identity");
  assert.equal(client.connectionState(), "connected");
  const third = listen(client, "m:list", { a: 2, b: 1 });
  assert.equal((await third.next()).value, next, "a newcomer gets what is there");
  const late = listen(client, "m:late");
  await until(() => server.requests.length === 2);
  assert.deepEqual([server.requests[1].path, server.requests[1].body.add.map(({ id }) => id)], ["/api/sync/s1", [3]]);
  for (const one of [first, second, third, third, other, late]) one.stop();
  await streams[0].closed;
  assert.equal(client.connectionState(), "idle");
});

test("no callback sees two queries at different moments", async (t) => {
  const streams = [];
  const { client } = await start(t, sessions(streams));
  const torn = [];
  const stops = {};
  const look = () => {
    const [a, b] = [stops.a.getCurrentValue(), stops.b.getCurrentValue()];
    if (a !== undefined && a !== b) torn.push([a, b]);
  };
  let heard = 0;
  for (const name of ["a", "b"]) stops[name] = client.onUpdate(`m:${name}`, {}, () => (heard++, look()));
  await until(() => streams.length > 0);
  for (let tx = 1; tx <= 5; tx++) say(streams[0], tx, { 1: tx, 2: tx });
  await until(() => heard === 10);
  assert.deepEqual(torn, []);
});

test("after a cut it goes on with what it holds, and tells nothing twice", async (t) => {
  const streams = [];
  const { client, server } = await start(t, sessions(streams));
  const states = [];
  client.onConnectionState((state) => states.push(state));
  const live = listen(client, "m:list");
  await until(() => streams.length === 1);
  say(streams[0], 41, { 1: 1 });
  assert.deepEqual(await live.next(), { value: 1 });
  streams[0].cut();
  await until(() => streams.length === 2);
  assert.deepEqual([server.requests[1].body.after, server.requests[1].body.queries[0].hash], [41, "h41"]);
  say(streams[1], 41, {});
  say(streams[1], 42, { 1: 2 });
  assert.deepEqual(await live.next(), { value: 2 });
  assert.deepEqual(states, ["connecting", "connected", "reconnecting", "connected"]);
  streams[1].send("bye", {});
  await until(() => streams.length === 3);
});

test("a live query that fails tells so, and goes on", async (t) => {
  const streams = [];
  const { client } = await start(t, sessions(streams));
  const live = listen(client, "m:list");
  await until(() => streams.length === 1);
  say(streams[0], 3, { 1: { failed: { code: "UserError", errorMessage: "no", errorData: { why: "x" } } } });
  assert.deepEqual((await live.next()).error.data, { why: "x" });
  say(streams[0], 4, { 1: "well" });
  assert.deepEqual(await live.next(), { value: "well" });
});

test("a query that the server refuses is told so, and the others live", async (t) => {
  const streams = [];
  const refuse = ({ body }, answer) => [...(body.queries ?? []), ...(body.add ?? [])].some(({ path }) => path === "_system:x") && (answer.json({ code: "Forbidden", message: "no" }, 403), true);
  const { client } = await start(t, sessions(streams, refuse));
  const good = listen(client, "m:list");
  const bad = listen(client, "_system:x");
  const { error } = await bad.next();
  assert.equal(error.code, "Forbidden");
  say(streams.at(-1), 3, { 1: "fine" });
  assert.deepEqual(await good.next(), { value: "fine" });
  assert.equal(client.connectionState(), "connected");
});

test("an optimistic update shows until the server's result is there, at once", async (t) => {
  const streams = [];
  let release;
  const { client, server } = await start(t, sessions(streams, ({ path }, answer) => path === "/api/mutation" && ((release = (body) => answer.json(body)), true)));
  const live = listen(client, "m:list");
  await until(() => streams.length === 1);
  say(streams[0], 5, { 1: ["a"] });
  assert.deepEqual(await live.next(), { value: ["a"] });
  const optimisticUpdate = (store, { text }) => store.setQuery("m:list", {}, [...(store.getQuery("m:list", {}) ?? []), text]);
  const sent = client.mutation("m:add", { text: "b" }, { optimisticUpdate });
  assert.deepEqual(await live.next(), { value: ["a", "b"] });
  await until(() => release !== undefined);
  say(streams[0], 6, { 1: ["a", "b"] });
  await new Promise((done) => setTimeout(done, 30));
  release({ status: "success", value: null, tx: 6 });
  await sent;
  say(streams[0], 7, { 1: ["a", "b", "c"] });
  assert.deepEqual(await live.next(), { value: ["a", "b", "c"] }, "nothing flickered between");
  release = undefined;
  const refused = client.mutation("m:add", { text: "d" }, { optimisticUpdate });
  assert.deepEqual(await live.next(), { value: ["a", "b", "c", "d"] });
  await until(() => release !== undefined);
  release({ status: "error", code: "ServerError", errorMessage: "no" });
  await assert.rejects(refused);
  assert.deepEqual(await live.next(), { value: ["a", "b", "c"] }, "taken back");
  // One whose result the news does not bring asks for it.
  release = undefined;
  const unseen = client.mutation("m:add", { text: "e" }, { optimisticUpdate });
  await until(() => release !== undefined);
  release({ status: "success", value: null, tx: 9 });
  await unseen;
  await until(() => server.requests.some(({ body }) => body.reach === 9));
});

test("a new token reaches the open session", async (t) => {
  const streams = [];
  const { client, server } = await start(t, sessions(streams), { token: "one" });
  listen(client, "m:list");
  await until(() => streams.length === 1);
  assert.equal(server.requests[0].headers.authorization, "Bearer one");
  await until(() => client.connectionState() === "connected");
  client.setToken("two");
  await until(() => server.requests.length === 2);
  assert.deepEqual([server.requests[1].body.authenticate, server.requests[1].headers.authorization], [true, "Bearer two"]);
});

test("an error in a callback stops nobody else", async (t) => {
  const streams = [];
  const { client } = await start(t, sessions(streams));
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  t.after(() => delete globalThis.reportError);
  client.onUpdate("m:q", {}, () => {
    throw new Error("mine");
  });
  const other = listen(client, "m:q");
  await until(() => streams.length === 1);
  say(streams[0], 1, { 1: 1 });
  assert.deepEqual(await other.next(), { value: 1 });
  assert.deepEqual(reported, ["mine"]);
});

test("close rejects what waits", async (t) => {
  const { client } = await start(t, () => {});
  const waiting = [client.mutation("m:a"), client.mutation("m:b"), client.query("m:q")].map((promise) => assert.rejects(promise, ClosedError));
  await new Promise((done) => setTimeout(done, 20));
  client.close();
  await Promise.all(waiting);
  assert.equal(client.connectionState(), "closed");
  await assert.rejects(client.mutation("m:c"), ClosedError);
  assert.throws(() => client.onUpdate("m:q", {}, () => {}), ClosedError);
});

test("a client that was only created keeps no program alive", async () => {
  const { execFileSync } = await import("node:child_process");
  const program = `import { Client } from ${JSON.stringify(new URL("../index.js", import.meta.url).href)}; new Client("http://127.0.0.1:1");`;
  execFileSync(process.execPath, ["--input-type=module", "-e", program], { timeout: 60_000 });
});

test("events are parsed from any pieces", () => {
  const text = ': hello\r\n\r\nid: 7\r\nevent: value\r\ndata: {"a":\r\ndata:  1}\r\n\r\n:\n\ndata\n\nevent: x\ndata:y\r\rdata: no end\n';
  const whole = parse([text]);
  assert.deepEqual(whole, [
    { name: "value", data: '{"a":\n 1}', id: "7" },
    { name: "message", data: "", id: "7" },
    { name: "x", data: "y", id: "7" },
  ]);
  for (let size = 1; size < 9; size++) {
    const pieces = [];
    for (let at = 0; at < text.length; at += size) pieces.push(text.slice(at, at + size));
    assert.deepEqual(parse(pieces), whole, `pieces of ${size}`);
  }
});

function parse(pieces) {
  const events = [];
  const parser = createEventParser((event) => events.push(event));
  for (const piece of pieces) parser.push(piece);
  return events;
}

async function until(condition) {
  for (let i = 0; i < 500 && !condition(); i++) await new Promise((done) => setTimeout(done, 10));
  assert.ok(condition());
}
