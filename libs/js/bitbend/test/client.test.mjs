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

test("a live query follows, shares its stream, and ends with the last listener", async (t) => {
  const streams = [];
  const { client, server } = await start(t, (request, answer) => void streams.push(answer.events()));
  const first = listen(client, "m:list", { b: 1, a: 2 });
  const second = listen(client, "m:list", { a: 2, b: 1 });
  await until(() => streams.length > 0);
  streams[0].send("value", { value: [{ _id: "x", n: 1 }], tx: 5 }, 5);
  const { value } = await first.next();
  assert.equal((await second.next()).value, value);
  streams[0].send("value", { value: [{ _id: "x", n: 1 }], tx: 6 }, 6);
  streams[0].send("value", { value: [{ _id: "y" }, { _id: "x", n: 1 }], tx: 7 }, 7);
  const next = (await first.next()).value;
  assert.equal(next[1], value[0], "what did not change keeps its identity");
  assert.equal(client.connectionState(), "connected");
  assert.equal(server.requests.length, 1);
  assert.deepEqual(JSON.parse(server.requests[0].search.get("args")), { a: 2, b: 1 });
  const third = listen(client, "m:list", { a: 2, b: 1 });
  assert.equal((await third.next()).value, next, "a newcomer gets what is there");
  first.stop();
  second.stop();
  third.stop();
  third.stop();
  await streams[0].closed;
  assert.equal(client.connectionState(), "idle");
});

test("a live query comes back after a cut, with the tx it has seen, and tells nothing twice", async (t) => {
  const streams = [];
  const { client, server } = await start(t, (request, answer) => void streams.push(answer.events()));
  const states = [];
  client.onConnectionState((state) => states.push(state));
  const live = listen(client, "m:list");
  await until(() => streams.length === 1);
  streams[0].send("value", { value: 1, tx: 41 }, 41);
  assert.deepEqual(await live.next(), { value: 1 });
  streams[0].cut();
  await until(() => streams.length === 2);
  assert.equal(server.requests[1].headers["last-event-id"], "41");
  streams[1].send("value", { value: 1, tx: 41 }, 41);
  streams[1].send("value", { value: 2, tx: 42 }, 42);
  assert.deepEqual(await live.next(), { value: 2 });
  assert.deepEqual(states, ["connecting", "connected", "reconnecting", "connected"]);
  streams[1].send("bye", { reason: "stopping" });
  await until(() => streams.length === 3);
});

test("a live query that fails tells so, and goes on", async (t) => {
  const streams = [];
  const { client } = await start(t, (request, answer) => void streams.push(answer.events()));
  const live = listen(client, "m:list");
  await until(() => streams.length === 1);
  streams[0].send("failed", { code: "UserError", errorMessage: "no", errorData: { why: "x" }, tx: 3 }, 3);
  assert.deepEqual((await live.next()).error.data, { why: "x" });
  streams[0].send("value", { value: "well", tx: 4 }, 4);
  assert.deepEqual(await live.next(), { value: "well" });
});

test("a refused live query is told once", async (t) => {
  const { client } = await start(t, (request, answer) => answer.json({ code: "FunctionNotFound", message: "Could not find m:none" }, 404));
  const { error } = await listen(client, "m:none").next();
  assert.equal(error.code, "FunctionNotFound");
  assert.equal(client.connectionState(), "reconnecting");
});

test("an error in a callback stops nobody else", async (t) => {
  const streams = [];
  const { client } = await start(t, (request, answer) => void streams.push(answer.events()));
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  t.after(() => delete globalThis.reportError);
  client.onUpdate("m:q", {}, () => {
    throw new Error("mine");
  });
  const other = listen(client, "m:q");
  await until(() => streams.length === 1);
  streams[0].send("value", { value: 1, tx: 1 }, 1);
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
  execFileSync(process.execPath, ["--input-type=module", "-e", program], { timeout: 5000 });
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
