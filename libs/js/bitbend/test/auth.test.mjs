import assert from "node:assert/strict";
import { test } from "node:test";

import { Client } from "../index.js";
import { startServer } from "./server-double.mjs";

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const jwt = (name, lifeSeconds = 3600) => {
  const now = Date.now() / 1000;
  return `${encode({ alg: "none" })}.${encode({ sub: name, iat: now, exp: now + lifeSeconds })}.${name}`;
};
const nameOf = ({ headers }) => headers.authorization?.split(".")[2] ?? null;

/** A server that takes the tokens of `good`, and shows in a live query who asks. */
async function start(t) {
  const good = new Set();
  const streams = [];
  let stream;
  const isGood = (request) => nameOf(request) === null || good.has(nameOf(request));
  const changes = (who) => stream.send("changes", { tx: ++tx, set: 1, changes: [{ id: 1, hash: String(who).padStart(32, "0"), value: who }] });
  let tx = 1;
  const server = await startServer((request, answer) => {
    if (!isGood(request)) return answer.json({ code: "Unauthorized", message: "The token has expired." }, 401);
    if (request.path === "/api/sync") {
      stream = answer.events();
      streams.push(stream);
      stream.send("session", { session: "s" });
      return changes(nameOf(request));
    }
    if (request.path.startsWith("/api/sync/")) {
      answer.json({ set: 2 });
      return changes(nameOf(request));
    }
    return answer.json({ status: "success", value: nameOf(request), tx: null });
  });
  const client = new Client(server.url, { logger: { warn() {}, error() {} } });
  t.after(() => {
    client.close();
    return server.stop();
  });
  return { server, client, good, streams };
}

const until = async (check) => {
  for (let i = 0; i < 500; i++) {
    if (check()) return;
    await new Promise((done) => setTimeout(done, 10));
  }
  assert.fail("it did not become true");
};

test("the token is asked for when it is needed, once, and kept", async (t) => {
  const { client, good } = await start(t);
  const asked = [];
  const heard = [];
  good.add("ann");
  client.setAuth(async (options) => (asked.push(options), jwt("ann")), (isUser) => heard.push(isUser));
  assert.deepEqual(await Promise.all([client.query("m:who"), client.query("m:who"), client.mutation("m:who")]), ["ann", "ann", "ann"]);
  assert.deepEqual(asked, [{ forceRefreshToken: false }]);
  assert.deepEqual(heard, [true]);
  client.clearAuth();
  assert.equal(await client.query("m:who"), null);
});

test("a token that the server does not take is replaced by a fresh one, and the request is sent again", async (t) => {
  const { client, good, server } = await start(t);
  const tokens = ["old", "new"];
  const heard = [];
  good.add("new");
  client.setAuth(async ({ forceRefreshToken }) => jwt(tokens[forceRefreshToken ? 1 : 0]), (isUser) => heard.push(isUser));
  assert.equal(await client.mutation("m:who"), "new");
  assert.equal(server.requests.length, 2);
  assert.deepEqual(heard, [true]);
});

test("when no token is taken the request fails, and the page hears that there is no user", async (t) => {
  const { client, server } = await start(t);
  const heard = [];
  const same = jwt("never");
  client.setAuth(() => same, (isUser) => heard.push(isUser));
  await assert.rejects(client.query("m:who"), { code: "Unauthorized", status: 401 });
  assert.equal(server.requests.length, 1, "the same token is not tried again");
  assert.deepEqual(heard, [true, false]);
});

test("a source of tokens that fails is asked again; nothing is sent without a token meanwhile", async (t) => {
  const { client, good, server } = await start(t);
  let attempts = 0;
  good.add("ann");
  client.setAuth(async () => {
    if (++attempts < 3) throw new Error("offline");
    return jwt("ann");
  });
  assert.equal(await client.mutation("m:who"), "ann");
  assert.ok(server.requests.every((request) => nameOf(request) === "ann"));
});

test("live queries go on as another user: when it changes, before a token expires, and when the server says so", async (t) => {
  const { client, good, streams } = await start(t);
  const shown = [];
  client.onUpdate("m:who", {}, (who) => shown.push(who));
  await until(() => shown.at(-1) === null);
  let count = 0;
  const next = (life) => (good.add(`t${++count}`), jwt(`t${count}`, life));
  client.setAuth(async () => next(count === 0 ? 1 : 3600));
  await until(() => shown.includes("t1"));
  await until(() => shown.at(-1) === "t2"); // after nine tenths of a second
  streams.at(-1).send("expired", { code: "Unauthorized", errorMessage: "The token has expired." });
  await until(() => shown.at(-1) === "t3");
  assert.equal(streams.length, 1, "on the same stream");
});
