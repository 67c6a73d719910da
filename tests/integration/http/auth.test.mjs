// Users: whose tokens are accepted, what functions see of them, when an identity changes and ends.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { join } from "node:path";

import WebSocket from "ws";

import { Client } from "../../../libs/js/bitbend/index.js";
import { eventually, get, mutation, openStream, post, query, subscribe } from "./api.mjs";
import { startIssuer } from "./issuer.mjs";
import { startSuite } from "../js/suite.mjs";

const FUNCTIONS = (oidc, custom) => ({
  "auth.config.ts": `export default { providers: [
    { domain: "${oidc.url}", applicationID: "app" },
    { type: "customJwt", issuer: "https://inline.example", jwks: ${JSON.stringify(custom.keySet)}, algorithm: "ES256" },
    { type: "customJwt", issuer: "https://data.example/", jwks: "data:text/plain;charset=utf-8;base64,${Buffer.from(JSON.stringify(custom.keySet)).toString("base64")}", applicationID: "app" },
  ] };`,
  "schema.ts": `import { defineSchema, defineTable } from "bitbend/server";
    export default defineSchema({ orders: defineTable({}), secrets: defineTable({}), admitted: defineTable({}) });`,
  "who.ts": `import { mutation, query } from "bitbend/server";
    export const am = query(async (ctx) => await ctx.auth.getUserIdentity());
    export const name = query(async (ctx) => (await ctx.auth.getUserIdentity())?.subject ?? null);
    export const all = query(async (ctx) => (await ctx.db.query("orders").collect()).length);
    export const order = mutation(async (ctx) => {
      await ctx.db.insert("orders", { by: (await ctx.auth.getUserIdentity())?.subject ?? null });
      return (await ctx.auth.getUserIdentity())?.subject ?? null;
    });
    export const hide = mutation(async (ctx) => void (await ctx.db.insert("secrets", { x: 1 })));
    export const admit = mutation({ handler: async (ctx, { name, yes }) => {
      if (yes) await ctx.db.put("admitted", name, { name });
      else await ctx.db.retract({ table: "admitted", keys: [name] });
    } });`,
  "feed.ts": `import { feedRule } from "bitbend/server";
    export default feedRule(async (ctx, { tables, identity }) =>
      tables.every((table) => table === "orders") && (await ctx.db.getByKey("admitted", identity.subject)) !== null);`,
});

const bearer = (token) => ({ authorization: `Bearer ${token}` });
const seconds = (count) => Math.floor(Date.now() / 1000) + count;

describe("users", () => {
  let oidc;
  let custom;
  let suite;
  before(async () => {
    [oidc, custom] = [await startIssuer(), await startIssuer()];
    const gateway = { "auth-skew": 0 };
    suite = await startSuite({ mode: "processes", gateways: 2, functions: FUNCTIONS(oidc, custom), options: { gateway, gateway2: gateway } });
    suite.adminHeaders = { authorization: `BitBend ${suite.adminKey}` };
    await eventually(async () => (await post(suite.url, "/api/query", { path: "who:am", args: {} }, bearer(oidc.token()))).status === 200);
    await eventually(async () => (await post(suite.urls[1], "/api/query", { path: "who:am", args: {} }, bearer(oidc.token()))).status === 200);
  });
  after(async () => {
    await suite?.stop();
    await oidc?.stop();
    await custom?.stop();
  });
  const ask = (token, path = "who:am") => post(suite.url, "/api/query", { path, args: {} }, bearer(token));

  test("a function sees the user of a genuine token, whatever its algorithm and provider", async () => {
    for (const algorithm of ["RS256", "ES256", "EdDSA"]) {
      const claims = { sub: algorithm, email: "a@example.com", email_verified: true, given_name: "Ann", roles: ["x", { y: 1 }] };
      const { body } = await ask(oidc.token(claims, { algorithm }));
      assert.deepEqual(body.value, {
        tokenIdentifier: `${oidc.url}|${algorithm}`, issuer: oidc.url, subject: algorithm,
        email: "a@example.com", emailVerified: true, givenName: "Ann", roles: ["x", { y: 1 }],
      });
    }
    assert.equal((await ask(custom.token({ iss: "https://inline.example", aud: undefined }, { algorithm: "ES256" }), "who:name")).body.value, "ann");
    assert.equal((await ask(custom.token({ iss: "https://data.example/", aud: ["other", "app"] }), "who:name")).body.value, "ann");
    assert.equal(await mutation(suite.url, "who:order", {}, bearer(oidc.token({ sub: "buyer" }))), "buyer");
    assert.equal(await query(suite.url, "who:am"), null, "nobody without a token");
  });

  test("every other token is refused with 401 and the reason", async () => {
    const cases = [
      [oidc.token({ exp: seconds(-1) }), /expired/],
      [oidc.token({ exp: undefined }), /when it expires/],
      [oidc.token({ nbf: seconds(100) }), /becomes valid/],
      [oidc.token({ aud: "other" }), /not for this application/],
      [oidc.token({ iss: "https://elsewhere.example" }), /issuer https:\/\/elsewhere.example is none/],
      [oidc.token({}, { key: { ...custom.keyOf("EdDSA"), id: oidc.keyOf("EdDSA").id } }), /signature/],
      [oidc.token({}, { header: { alg: "none" } }), /algorithm/],
      [oidc.token({}, { header: { alg: "HS256" } }), /algorithm/],
      [custom.token({ iss: "https://inline.example" }, { algorithm: "RS256" }), /signed with RS256, not ES256/],
      [custom.token({ iss: "https://inline.example" }, { algorithm: "ES256", header: { kid: "unknown" } }), /its key is none/],
      [oidc.token({ sub: undefined }), /subject/],
      ["x.y.z", /three parts/],
    ];
    for (const [token, reason] of cases) {
      const { status, body } = await ask(token);
      assert.equal(status, 401, JSON.stringify(body));
      assert.equal(body.code, "Unauthorized");
      assert.match(body.message, reason);
      assert.equal((await post(suite.url, "/api/mutation", { path: "who:order", args: {} }, bearer(token))).status, 401);
    }
    assert.equal((await get(suite.url, `/api/subscribe?path=who:am&token=x.y.z`)).status, 401);
  });

  test("an issuer's new keys are fetched when a token names one, at most once in a while", async () => {
    const old = oidc.token({ sub: "old" });
    assert.equal((await ask(old)).status, 200);
    const asked = oidc.asked;
    for (let i = 0; i < 20; i++) assert.ok([401, 503].includes((await ask(oidc.token({}, { header: { kid: `guess-${i}` } }))).status));
    assert.ok(oidc.asked <= asked + 2, `strangers make us ask: ${oidc.asked - asked} times`);
    oidc.rotate();
    await eventually(async () => (await ask(oidc.token({ sub: "new" }), "who:name")).body.value === "new");
    assert.equal((await ask(old)).status, 401, "the key was taken back");
  });

  test("a session changes its user on either gateway; what does not look at the user is shared", async () => {
    const body = { queries: [{ id: 1, path: "who:name", args: {} }, { id: 2, path: "who:all", args: {} }] };
    const open = (token) => openStream(`${suite.url}/api/sync`, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", ...(token ? bearer(token) : {}) } });
    const [ann, bob] = [await open(oidc.token({ sub: "ann" })), await open(oidc.token({ sub: "bob" }))];
    const changesOf = (stream) => stream.events.filter(({ event }) => event === "changes").map(({ data }) => data);
    const shown = (stream, id) => changesOf(stream).flatMap(({ changes }) => changes).filter((change) => change.id === id).at(-1)?.value;
    await eventually(() => shown(ann, 1) === "ann" && shown(bob, 1) === "bob");
    const before = changesOf(bob).length;
    const { session } = bob.events.find(({ event }) => event === "session").data;
    for (const [url, who] of [[suite.urls[1], "eve"], [suite.urls[0], "fay"]]) {
      // A gateway that has not heard of the new keys yet says 503 until it has.
      await eventually(async () => (await post(url, `/api/sync/${session}`, { authenticate: true }, bearer(oidc.token({ sub: who })))).status === 200);
      await eventually(() => shown(bob, 1) === who);
    }
    assert.equal((await post(suite.url, `/api/sync/${session}`, { authenticate: true })).status, 200);
    await eventually(() => shown(bob, 1) === null);
    assert.equal(changesOf(bob).slice(before).flatMap(({ changes }) => changes).filter(({ id }) => id === 2).length, 0, "the shared result did not change");
    assert.equal(shown(ann, 1), "ann");
    ann.close();
    bob.close();
  });

  /** Tokens are short-lived so that tests need not wait; `use(seconds)` is false when one had expired before it was looked at. */
  async function whileItLives(use) {
    for (const life of [2, 6, 20]) if (await use(life)) return;
    assert.fail("no token lived for long enough");
  }

  test("when a token expires its session goes on as nobody's, and the stream of one query ends", async () => {
    let token, session, single;
    const open = async (life) => {
      session?.close();
      token = oidc.token({ sub: "brief", exp: seconds(life) });
      session = await openStream(`${suite.url}/api/sync`, { method: "POST", body: JSON.stringify({ queries: [{ id: 1, path: "who:name", args: {} }] }), headers: { "content-type": "application/json", ...bearer(token) } });
      single = await subscribe(suite.url, "who:name", {}, bearer(token));
      const isShown = () => single.events.some(({ event, data }) => event === "value" && data.value === "brief");
      await eventually(() => isShown() || single.ended);
      return session.status === 200 && isShown();
    };
    await whileItLives(open);
    const kept = await subscribe(suite.url, "who:name", {}, bearer(oidc.token({ sub: "kept" })));
    await eventually(() => session.events.some(({ event }) => event === "expired"));
    await eventually(() => session.events.at(-1).event === "changes" && session.events.at(-1).data.changes[0].value === null);
    await eventually(() => single.ended);
    assert.equal(single.events.at(-1).event, "failed");
    assert.equal(single.events.at(-1).data.code, "Unauthorized");
    assert.equal(kept.ended, false);
    assert.equal((await ask(token)).status, 401);
    session.close();
    kept.close();
  });

  test("a WebSocket authenticates, hears of expiry, and goes on with the next token; an admin acts as a user", async () => {
    let socket, received;
    const send = (message) => socket.send(JSON.stringify(message));
    const isShown = (value, identity) => received.some(({ endVersion, modifications }) => endVersion?.identity === identity && modifications.some((part) => part.value === value));
    const shows = (value, identity) => eventually(() => isShown(value, identity));
    const authError = () => received.find(({ type }) => type === "AuthError");
    const open = async (life) => {
      socket?.close();
      socket = new WebSocket(`${suite.url.replace("http", "ws")}/api/1.48.0/sync`);
      const own = (received = []);
      socket.on("message", (data) => own.push(JSON.parse(data)));
      await new Promise((done, fail) => socket.once("open", done).once("error", fail));
      send({ type: "Connect", sessionId: `users ${life}`, connectionCount: 0, lastCloseReason: null, clientTs: 0 });
      send({ type: "Authenticate", tokenType: "User", value: oidc.token({ sub: "first", exp: seconds(life) }), baseVersion: 0 });
      send({ type: "ModifyQuerySet", baseVersion: 0, newVersion: 1, modifications: [{ type: "Add", queryId: 1, udfPath: "who:name", args: [{}] }] });
      await eventually(() => isShown("first", 1) || authError());
      return isShown("first", 1);
    };
    await whileItLives(open);
    const expired = await eventually(authError);
    assert.deepEqual([expired.authUpdateAttempted, expired.baseVersion], [false, 0]);
    send({ type: "Mutation", requestId: 1, udfPath: "who:order", args: [{}] });
    const refused = await eventually(() => received.find(({ type }) => type === "MutationResponse"));
    assert.match(refused.result, /expired/);
    send({ type: "Authenticate", tokenType: "User", value: oidc.token({ sub: "second" }), baseVersion: 1 });
    await shows("second", 2);
    send({ type: "Authenticate", tokenType: "User", value: "x.y.z", baseVersion: 2 });
    const wrong = await eventually(() => received.find(({ authUpdateAttempted }) => authUpdateAttempted === true));
    assert.equal(wrong.baseVersion, 2);
    send({ type: "Authenticate", tokenType: "Admin", value: suite.adminKey, baseVersion: 2, impersonating: { subject: "acted", issuer: "i", tokenIdentifier: "i|acted" } });
    await shows("acted", 3);
    socket.close();
    const as = Buffer.from(JSON.stringify({ subject: "by-header" })).toString("base64");
    assert.equal(await query(suite.url, "who:name", {}, { authorization: `BitBend ${suite.adminKey}:${as}` }), "by-header");
  });

  test("the client asks for tokens, renews them, and its live queries follow the user", async () => {
    let client, shown;
    await whileItLives(async (life) => {
      client?.close();
      client = new Client(suite.url);
      const own = (shown = []);
      client.onUpdate("who:name", {}, (name) => own.push(name));
      await eventually(() => own.at(-1) === null);
      let count = 0;
      client.setAuth(async () => oidc.token({ sub: `user-${++count}`, exp: seconds(count === 1 ? life : 3600) }));
      await eventually(() => own.includes("user-1") || count > 1);
      await eventually(() => own.at(-1) === `user-${count}` && count > 1);
      return own.includes("user-1");
    });
    assert.equal(shown.at(-1), "user-2");
    assert.equal(await client.mutation("who:order"), "user-2");
    client.clearAuth();
    await eventually(() => shown.at(-1) === null);
    client.close();
  });

  test("feedRule admits users to the tables that it names, until it says otherwise or the token expires", async () => {
    const token = oidc.token({ sub: "auditor" });
    const feed = (tables, headers = bearer(token)) => openStream(`${suite.url}/api/tx?from=now&tables=${tables}`, { headers });
    const refused = async (route, headers) => {
      const { status, body } = await get(suite.url, route, headers);
      assert.deepEqual([status, body.code], [403, "Forbidden"], JSON.stringify(body));
    };
    await refused("/api/tx?tables=orders&limit=1", {});
    await refused("/api/tx?tables=orders&limit=1", bearer(token));
    await mutation(suite.url, "who:admit", { name: "auditor", yes: true });
    await refused("/api/tx?limit=1", bearer(token));
    await refused("/api/tx?tables=secrets&limit=1", bearer(token));
    await refused("/api/tx?tables=orders,secrets&limit=1", bearer(token));
    await refused("/api/tx?tables=_deployment&limit=1", bearer(token));
    await refused("/api/tx?tables=orders&consumer=mine", bearer(token));
    await refused("/api/tx?tables=orders&limit=1", bearer(oidc.token({ sub: "other" })));
    assert.equal((await get(suite.url, "/api/tx?tables=orders&limit=1", bearer("x.y.z"))).status, 401);
    const page = await get(suite.url, "/api/tx?tables=orders&from=earliest&limit=10", bearer(token));
    assert.equal(page.status, 200, page.text);
    assert.ok(page.body.txs.length > 0 && page.body.txs.every(({ identity, changes }) => identity === null && changes.every(({ table }) => table === "orders")));
    const stream = await feed("orders");
    let brief;
    await whileItLives(async (life) => {
      brief?.close();
      brief = await feed("orders", bearer(oidc.token({ sub: "auditor", exp: seconds(life + 1) })));
      return brief.status === 200;
    });
    await mutation(suite.url, "who:hide");
    await mutation(suite.url, "who:order", {}, bearer(token));
    await eventually(() => stream.events.some(({ event }) => event === "message"));
    assert.deepEqual(stream.events.filter(({ event }) => event === "message").flatMap(({ data }) => data.changes.map(({ table }) => table)), ["orders"]);
    await eventually(() => brief.ended);
    assert.deepEqual([brief.events.at(-1).event, brief.events.at(-1).data.code], ["failed", "Unauthorized"]);
    await mutation(suite.url, "who:admit", { name: "auditor", yes: false });
    await eventually(() => stream.ended);
    assert.deepEqual([stream.events.at(-1).event, stream.events.at(-1).data.code], ["failed", "Forbidden"]);
  });

  test("an issuer that is away is 503, not 401; a file of providers serves beside the application's", async () => {
    const away = await startIssuer();
    away.setAway(true);
    const file = join(suite.dir, "auth.json");
    writeFileSync(file, JSON.stringify({ providers: [{ domain: away.url, applicationID: "app" }] }));
    suite.settings("gateway2")["auth-config"] = file;
    await suite.restart("gateway2");
    const askSecond = (token) => post(suite.urls[1], "/api/query", { path: "who:name", args: {} }, bearer(token));
    const { status, headers, body } = await askSecond(away.token());
    assert.equal(status, 503, JSON.stringify(body));
    assert.ok(headers.get("retry-after"));
    away.setAway(false);
    await eventually(async () => (await askSecond(away.token())).body?.value === "ann");
    await eventually(async () => (await askSecond(oidc.token({ sub: "both" }))).body?.value === "both");
    await away.stop();
  });

  test("a deploy with a wrong auth.config.ts is refused with the reason", async () => {
    const source = (config) => ({ path: "auth.config.js", source: `exports.default = ${config};`, sourceMap: null });
    for (const [config, reason] of [
      ["{}", /default export/],
      ["{ providers: [{ domain: 'http://id.example', applicationID: 'a' }] }", /https/],
      ["{ providers: [{ domain: 'id.example' }] }", /applicationID/],
      ["{ providers: [{ type: 'customJwt', issuer: 'x', jwks: 'ftp://y' }] }", /jwks/],
      ["{ providers: [{ domain: process.env.MISSING, applicationID: 'a' }] }", /environment variable/],
    ]) {
      const { status, text } = await post(suite.url, "/api/deploy", { modules: [source(config)] }, suite.adminHeaders);
      assert.equal(status, 400, text);
      assert.match(text, reason);
    }
  });
});
