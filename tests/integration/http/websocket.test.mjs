// The WebSocket of compatible clients, message by message: what breaks its rules, its limits, its end.
import assert from "node:assert/strict";
import { get as httpGet } from "node:http";
import { after, before, describe, test } from "node:test";

import WebSocket from "ws";

import { eventually, get, mutation } from "./api.mjs";
import { app } from "./modes.mjs";
import { startSuite } from "../js/suite.mjs";

describe("WebSocket", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ mode: "processes", appDir: app, options: { gateway: { "body-max": "2M", "session-queries": 3 } } });
  });
  after(() => suite?.stop());

  const open = async ({ connect = true, ...options } = {}) => {
    const socket = new WebSocket(`${suite.url.replace("http", "ws")}/api/1.48.0/sync`, options);
    const received = [];
    const closed = new Promise((done) => socket.on("close", (code, reason) => done([code, String(reason)])));
    socket.on("message", (data) => received.push(JSON.parse(data)));
    socket.on("error", () => {});
    await new Promise((done, fail) => socket.once("open", done).once("error", fail));
    const send = (message, options) => socket.send(typeof message === "string" ? message : JSON.stringify(message), options);
    if (connect) send({ type: "Connect", sessionId: `s-${Math.random()}`, connectionCount: 0, lastCloseReason: null, clientTs: 0 });
    const next = (test) => eventually(() => received.find(test));
    return { socket, received, closed, send, next };
  };
  const add = (queryId, udfPath, args) => ({ type: "Add", queryId, udfPath, args: [args] });
  const modify = (baseVersion, ...modifications) => ({ type: "ModifyQuerySet", baseVersion, newVersion: baseVersion + 1, modifications });

  test("the handshake: what is no WebSocket, and what asks for one wrongly, is told so", async () => {
    const plain = await get(suite.url, "/api/1.48.0/sync");
    assert.equal(plain.status, 400);
    assert.match(plain.body.message, /WebSocket/);
    const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "8", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
    const wrong = await new Promise((done, fail) => {
      const request = httpGet(`${suite.url}/api/1.48.0/sync`, { headers: upgrade }, (response) => done(response.resume().statusCode));
      request.on("upgrade", () => done("upgrade")).on("error", fail);
    });
    assert.equal(wrong, 400);
  });

  test("a query set changes, confirmed step by step; pings and fragments work", async () => {
    const { socket, send, next, closed, received } = await open();
    send(modify(0));
    const empty = await next(({ endVersion }) => endVersion?.querySet === 1);
    assert.deepEqual(empty.modifications, []);
    const text = JSON.stringify(modify(1, add(1, "items:numbers", { group: "ws" }), add(2, "items:count", { group: "ws" })));
    socket.send(text.slice(0, 20), { fin: false });
    socket.send(text.slice(20, 40), { fin: false });
    socket.ping("between");
    socket.send(text.slice(40), { fin: true });
    const pong = await new Promise((done) => socket.once("pong", (data) => done(String(data))));
    assert.equal(pong, "between");
    const both = await next(({ endVersion }) => endVersion?.querySet === 2);
    assert.deepEqual(both.modifications.map(({ type, value }) => [type, value]), [["QueryUpdated", []], ["QueryUpdated", 0]]);
    await mutation(suite.url, "items:add", { group: "ws", n: 5 });
    const changed = await next(({ modifications }) => modifications?.some(({ value }) => value === 1));
    assert.deepEqual(changed.modifications.map(({ queryId, value }) => [queryId, value]).sort(), [[1, [5]], [2, 1]]);
    send(modify(2, { type: "Remove", queryId: 2 }));
    const removed = await next(({ endVersion }) => endVersion?.querySet === 3);
    assert.deepEqual(removed.modifications, [{ type: "QueryRemoved", queryId: 2 }]);
    socket.close(1000, "done");
    assert.equal((await closed)[0], 1000);
    assert.ok(received.every(({ type }) => type === "Transition"));
  });

  test("after a reconnect no transition comes before the mutations that are sent again, however late", async () => {
    const sessionId = "back-again";
    const request = { type: "Mutation", requestId: 0, udfPath: "items:add", args: [{ group: "back", n: 1 }] };
    const first = await open({ connect: false });
    first.send({ type: "Connect", sessionId, connectionCount: 0, lastCloseReason: null, clientTs: 0 });
    first.send(request);
    await first.next(({ type }) => type === "MutationResponse");
    first.socket.terminate();
    // The gateway waits 2 s at most; a machine that stood still for that long has shown nothing.
    let second;
    for (let connectionCount = 1, tookMs = 2000; tookMs >= 2000; connectionCount++) {
      assert.ok(connectionCount < 10, "the machine never left the gateway in time");
      second?.socket.terminate();
      second = await open({ connect: false, autoPong: false });
      const pinged = new Promise((done) => second.socket.once("ping", done));
      const start = performance.now();
      second.send({ type: "Connect", sessionId, connectionCount, lastCloseReason: "gone", clientTs: 0 });
      second.send(modify(0, add(1, "items:numbers", { group: "back" })));
      await pinged;
      await new Promise((done) => setTimeout(done, 200));
      tookMs = performance.now() - start;
      if (tookMs < 2000) assert.deepEqual(second.received, [], "the mutation may be on its way");
    }
    second.send(request);
    second.socket.pong();
    const shown = await second.next(({ modifications }) => modifications?.some(({ value }) => value?.length === 1));
    const response = second.received.findIndex(({ type }) => type === "MutationResponse");
    assert.ok(response >= 0 && response < second.received.indexOf(shown), JSON.stringify(second.received));
    second.socket.close();
  });

  test("hundreds of requests that are answered at once, in one packet, do not fill the queue", async () => {
    const { socket, send, received, closed } = await open();
    socket._socket.cork();
    for (let requestId = 0; requestId < 500; requestId++) send({ type: "Mutation", requestId, udfPath: "items:add", args: [{}], componentPath: "none" });
    for (let i = 0; i < 100; i++) socket.ping(String(i));
    let pongs = 0;
    socket.on("pong", () => pongs++);
    socket._socket.uncork();
    await eventually(() => received.length === 500 && pongs === 100);
    assert.deepEqual(received.map(({ requestId }) => requestId), Array.from({ length: 500 }, (_, i) => i));
    socket.close(1000);
    assert.equal((await closed)[0], 1000);
  });

  test("a client that does not read its answers stops being read, and goes on when it does", async () => {
    const { socket, send, received } = await open();
    socket.pause();
    // Far more answers than kernels keep for a reader that is stuck.
    const count = 60_000;
    for (let requestId = 0; requestId < count; requestId++) send({ type: "Mutation", requestId, udfPath: "items:add", args: [{}], componentPath: "none" });
    await new Promise((done) => setTimeout(done, 1000));
    socket.resume();
    for (let seen = -1; received.length < count && received.length > seen; ) {
      seen = received.length; // as long as more come, it goes on
      await eventually(() => received.length > seen);
    }
    assert.equal(received.length, count);
    socket.close();
  });

  test("a mutation is answered before any transition that shows it, and again when it is sent again", async () => {
    const first = await open({ connect: false });
    const connect = { type: "Connect", sessionId: "the-same", connectionCount: 0, lastCloseReason: null, clientTs: 0 };
    const request = { type: "Mutation", requestId: 3, udfPath: "items:add", args: [{ group: "order", n: 1 }] };
    first.send(connect);
    first.send(modify(0, add(1, "items:numbers", { group: "order" })));
    first.send(request);
    const shown = await first.next(({ modifications }) => modifications?.some(({ value }) => value?.length === 1));
    const response = first.received.find(({ type }) => type === "MutationResponse");
    assert.ok(first.received.indexOf(response) < first.received.indexOf(shown), JSON.stringify(first.received));
    assert.deepEqual([response.requestId, response.success, typeof response.result, response.logLines], [3, true, "string", []]);
    first.socket.terminate();
    const second = await open({ connect: false });
    second.send({ ...connect, maxObservedTimestamp: shown.endVersion.ts });
    second.send(modify(0, add(1, "items:numbers", { group: "order" })));
    second.send(request);
    const again = await second.next(({ type }) => type === "MutationResponse");
    assert.deepEqual([again.result, again.ts], [response.result, response.ts], "the first outcome");
    const view = await second.next(({ type }) => type === "Transition");
    assert.deepEqual(view.modifications[0].value, [1]);
    second.send({ ...request, args: [{ group: "order", n: 2 }] });
    const reused = await second.next(({ success }) => success === false);
    assert.match(reused.result, /./);
    second.socket.close();
  });

  test("what breaks the rules is closed with its code, and the others go on", async () => {
    const bystander = await open();
    bystander.send(modify(0, add(1, "items:count", { group: "bystander" })));
    const cases = [
      [["{not json"], 1008, /BadRequest/],
      [[{ type: "Shout" }], 1008, /no message of type/],
      [[modify(0)], 1002, /first message/, false],
      [[{ type: "Connect", sessionId: "x" }], 1002, /twice/],
      [[modify(1)], 1002, /does not follow/],
      [[{ type: "ModifyQuerySet", baseVersion: 0, newVersion: 2, modifications: [] }], 1002, /does not follow/],
      [[modify(0, { type: "Add", queryId: 1 })], 1002, /udfPath/],
      [[{ type: "Authenticate", tokenType: "None", baseVersion: 4 }], 1002, /does not follow/],
      [[Buffer.from([1, 2])], 1003, /text/],
      [[JSON.stringify({ type: "Event", event: "x".repeat(2_200_000) })], 1009, /larger/],
    ];
    for (const [messages, code, reason, connect] of cases) {
      const { socket, send, closed } = await open({ connect });
      for (const message of messages) Buffer.isBuffer(message) ? socket.send(message) : send(message);
      const [gotCode, gotReason] = await closed;
      assert.equal(gotCode, code, `${JSON.stringify(messages).slice(0, 80)}: ${gotReason}`);
      assert.match(gotReason, reason);
    }
    await mutation(suite.url, "items:add", { group: "bystander", n: 1 });
    await bystander.next(({ modifications }) => modifications?.some(({ value }) => value === 1));
    bystander.socket.close();
  });

  test("limits: queries beyond those of a session fail by themselves, mutations beyond the queue close the socket", async () => {
    const { send, next, socket } = await open();
    send(modify(0, ...[1, 2, 3, 4].map((id) => add(id, "items:count", { group: `limit-${id}` }))));
    const { modifications } = await next(({ endVersion }) => endVersion?.querySet === 1);
    assert.deepEqual(modifications.map(({ type }) => type).sort(), ["QueryFailed", "QueryUpdated", "QueryUpdated", "QueryUpdated"]);
    socket.close();
    const busy = await open();
    // Faster than they can run, as long as it is open: on a slow machine a first lot may be done before the next one comes.
    for (let requestId = 0; busy.socket.readyState === WebSocket.OPEN; await new Promise((done) => setTimeout(done, 10))) {
      busy.socket._socket.cork();
      for (const end = requestId + 1100; requestId < end; requestId++) {
        busy.send({ type: "Mutation", requestId, udfPath: "items:add", args: [{ group: "busy", n: requestId }] });
      }
      busy.socket._socket.uncork();
    }
    const [code, reason] = await busy.closed;
    assert.equal(code, 1013);
    assert.match(reason, /^TooManyConcurrentRequests/);
  });

  test("system functions need the admin key, in queries and mutations", async () => {
    const { send, next, socket } = await open();
    send(modify(0, add(1, "_system:tables", {})));
    const { modifications } = await next(({ endVersion }) => endVersion?.querySet === 1);
    assert.equal(modifications[0].type, "QueryFailed");
    send({ type: "Mutation", requestId: 0, udfPath: "_system:ackConsumer", args: [{ name: "x", tx: 1 }] });
    assert.match((await next(({ type }) => type === "MutationResponse")).result, /admin key/);
    send({ type: "Authenticate", tokenType: "Admin", value: "wrong", baseVersion: 0 });
    const refused = await next(({ type }) => type === "AuthError");
    assert.deepEqual([refused.baseVersion, refused.authUpdateAttempted], [0, true]);
    send({ type: "Authenticate", tokenType: "Admin", value: suite.adminKey, baseVersion: 0 });
    const shown = await next(({ endVersion }) => endVersion?.identity === 1);
    assert.equal(shown.modifications.find(({ queryId }) => queryId === 1)?.type, "QueryUpdated");
    socket.close();
  });

  test("a planned stop says so, and the client may come back", async () => {
    const { closed, send, next } = await open();
    send(modify(0));
    await next(({ type }) => type === "Transition");
    await suite.restart("gateway", "SIGTERM");
    const [code, reason] = await closed;
    assert.equal(code, 1012);
    assert.match(reason, /^InternalServerError/);
    const again = await open();
    again.send(modify(0));
    await again.next(({ type }) => type === "Transition");
    again.socket.close();
  });
});
