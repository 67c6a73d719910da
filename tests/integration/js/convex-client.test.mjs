/** The unmodified npm package convex, its WebSocket clients, against a BitBend deployment. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { BaseConvexClient, ConvexClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { ConvexError } from "convex/values";

import { startIssuer } from "../http/issuer.mjs";
import { eventually, startSuite, suiteMissing } from "./suite.mjs";

const FUNCTIONS = {
  "schema.ts": `
import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";
export default defineSchema({
  notes: defineTable({ group: v.string(), n: v.number() }).index("by_group", ["group", "n"]),
  counters: defineTable({ name: v.string(), value: v.number() }).index("by_name", ["name"]),
});
`,
  "notes.ts": `
import { paginationOptsValidator } from "bitbend/server";
import { BitBendError, v } from "bitbend/values";
import { action, mutation, query } from "./_generated/server";

const inGroup = (ctx, group) => ctx.db.query("notes").withIndex("by_group", (q) => q.eq("group", group));
export const list = query({ args: { group: v.string() }, handler: async (ctx, { group }) => (await inGroup(ctx, group).collect()).map(({ n }) => n) });
export const sum = query({ args: { group: v.string() }, handler: async (ctx, { group }) => (await inGroup(ctx, group).collect()).reduce((sum, { n }) => sum + n, 0) });
export const add = mutation({ args: { group: v.string(), n: v.number() }, handler: (ctx, note) => ctx.db.insert("notes", note) });
export const remove = mutation({
  args: { group: v.string(), n: v.number() },
  handler: async (ctx, { group, n }) => {
    for (const row of await inGroup(ctx, group).collect()) if (row.n === n) await ctx.db.delete(row._id);
  },
});
export const page = query({
  args: { group: v.string(), paginationOpts: paginationOptsValidator },
  handler: (ctx, { group, paginationOpts }) => inGroup(ctx, group).paginate(paginationOpts),
});
export const count = mutation({
  args: { name: v.string() },
  handler: async (ctx, { name }) => {
    const row = await ctx.db.query("counters").withIndex("by_name", (q) => q.eq("name", name)).unique();
    if (row === null) await ctx.db.insert("counters", { name, value: 1 });
    else await ctx.db.patch(row._id, { value: row.value + 1 });
    return (row?.value ?? 0) + 1;
  },
});
export const nothing = mutation(() => 7n);
export const refuse = mutation(() => {
  throw new BitBendError({ code: "refused", count: 3n });
});
export const crash = query({
  args: { group: v.string() },
  handler: async (ctx, { group }) => {
    if ((await inGroup(ctx, group).collect()).length === 1) throw new Error("exactly one");
    return "fine";
  },
});
export const act = action(() => "never");
export const large = query({ args: { group: v.string() }, handler: async (ctx, { group }) => "ä€😀x".repeat(1_000_000) + (await inGroup(ctx, group).collect()).length });
export const who = query(async (ctx) => (await ctx.auth.getUserIdentity())?.subject ?? null);
`,
};

const skip = suiteMissing();
let suite;
let issuer;

before(async () => {
  if (skip) return;
  issuer = await startIssuer();
  const config = `export default { providers: [{ domain: "${issuer.url}", applicationID: "app" }] };`;
  suite = await startSuite({ mode: "processes", functions: { ...FUNCTIONS, "auth.config.ts": config }, options: { gateway: { "auth-skew": 0 } } });
});
after(async () => {
  await suite?.stop();
  await issuer?.stop();
});

test("a transition of more than 5 MB arrives whole, in pieces", { skip }, async (t) => {
  const client = new ConvexClient(suite.url);
  t.after(() => client.close());
  const seen = [];
  client.onUpdate(api.notes.large, { group: "large" }, (value) => seen.push(value));
  await eventually(() => seen.length === 1);
  await client.mutation(api.notes.add, { group: "large", n: 1 });
  await eventually(() => seen.length === 2);
  assert.deepEqual(seen.map((value) => value === "ä€😀x".repeat(1_000_000) + value.at(-1)), [true, true]);
  assert.deepEqual(seen.map((value) => value.at(-1)), ["0", "1"]);
  const typesFor = async (version) => {
    const socket = new WebSocket(`${suite.url.replace("http", "ws")}/api/${version}/sync`);
    t.after(() => socket.close());
    const types = [];
    socket.onmessage = ({ data }) => types.push(JSON.parse(data).type);
    await new Promise((done) => (socket.onopen = done));
    socket.send(JSON.stringify({ type: "Connect", sessionId: version, connectionCount: 0, lastCloseReason: null, clientTs: 0 }));
    socket.send(JSON.stringify({ type: "ModifyQuerySet", baseVersion: 0, newVersion: 1, modifications: [{ type: "Add", queryId: 1, udfPath: "notes:large", args: [{ group: "large" }] }] }));
    await eventually(() => types.length >= (version === "1.27.0" ? 1 : 3));
    return types;
  };
  assert.deepEqual(await typesFor("1.28.0"), ["TransitionChunk", "TransitionChunk", "TransitionChunk"]);
  assert.deepEqual(await typesFor("1.27.0"), ["Transition"]);
});

test("setAuth: tokens say who calls, are renewed when they expire, and one that is refused is replaced", { skip }, async (t) => {
  const client = new ConvexClient(suite.url);
  t.after(() => client.close());
  const seen = [];
  const heard = [];
  client.onUpdate(api.notes.who, {}, (value) => seen.push(value));
  await eventually(() => seen.length === 1);
  const exp = () => Math.floor(Date.now() / 1000) + 3600;
  client.setAuth(async ({ forceRefreshToken }) => (forceRefreshToken ? issuer.token({ sub: "fresh", exp: exp() }) : issuer.token({ sub: "stale", exp: 1 })), (isAuthenticated) => heard.push(isAuthenticated));
  await eventually(() => seen.at(-1) === "fresh");
  assert.equal(heard.at(-1), true);
  assert.ok(!seen.includes("stale"));
});

const quiet = { log() {}, warn() {}, error() {}, logVerbose() {} };

/** A client whose sockets can be cut; `sockets` are all that it opened. */
function open(t, Client = ConvexClient, more = {}, ...args) {
  const sockets = [];
  class Socket extends WebSocket {
    constructor(...socketArgs) {
      super(...socketArgs);
      this.received = [];
      sockets.push(this);
      this.addEventListener("message", ({ data }) => this.received.push(JSON.parse(data)));
    }
  }
  const client = new Client(suite.url, ...args, { webSocketConstructor: Socket, logger: quiet, unsavedChangesWarning: false, ...more });
  t.after(() => client.close());
  const transitions = () => sockets.flatMap(({ received }) => received.filter(({ type }) => type === "Transition"));
  return { client, sockets, transitions };
}

/** The values that a live query of a ConvexClient brings. */
function listen(client, query, args) {
  const heard = [];
  const stop = client.onUpdate(query, args, (value) => heard.push(value), (error) => heard.push(error));
  const until = (test) => eventually(() => heard.length > 0 && test(heard.at(-1)), { what: `an update (last: ${JSON.stringify(heard.at(-1))})` });
  return { heard, stop, until };
}

const tsOf = (version) => Buffer.from(version.ts, "base64").readBigUInt64LE();

/** What every socket of a client must have seen. */
function checkTransitions(sockets) {
  for (const { received } of sockets) {
    let version = { querySet: 0, identity: 0, ts: "AAAAAAAAAAA=" };
    for (const message of received.filter(({ type }) => type === "Transition")) {
      assert.deepEqual(message.startVersion, version, "a transition starts where the last one ended");
      assert.ok(tsOf(message.endVersion) >= tsOf(version), "time does not go back");
      version = message.endVersion;
    }
  }
}

test("queries are live, mutations are seen by the one who made them, and others", { skip }, async (t) => {
  const [a, b] = [open(t), open(t)];
  const seen = [a, b].map(({ client }) => listen(client, api.notes.list, { group: "live" }));
  for (const { until } of seen) await until((value) => value.length === 0);
  for (let n = 0; n < 10; n++) {
    await a.client.mutation(api.notes.add, { group: "live", n });
    assert.equal(seen[0].heard.at(-1).length, n + 1, "the promise resolves when the view has the write");
  }
  await seen[1].until((value) => value.length === 10);
  assert.deepEqual(seen[1].heard.at(-1), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.equal(await a.client.mutation(api.notes.nothing, {}), 7n, "a mutation that changes nothing resolves too");
  assert.deepEqual(await a.client.query(api.notes.list, { group: "live" }), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  seen[0].stop();
  await b.client.mutation(api.notes.add, { group: "live", n: 10 });
  await seen[1].until((value) => value.length === 11);
  assert.equal(seen[0].heard.at(-1).length, 10, "nothing comes after unsubscribing");
  checkTransitions([...a.sockets, ...b.sockets]);
});

test("all queries of a client are at one moment", { skip }, async (t) => {
  const { client, sockets } = open(t, BaseConvexClient, {}, (changed) => {
    const list = client.localQueryResult("notes:list", { group: "torn" });
    const sum = client.localQueryResult("notes:sum", { group: "torn" });
    if (changed.length > 0 && list && sum !== undefined) views.push([list.reduce((total, n) => total + n, 0), sum]);
  });
  const views = [];
  client.subscribe("notes:list", { group: "torn" });
  client.subscribe("notes:sum", { group: "torn" });
  const writer = suite.client();
  await Promise.all(Array.from({ length: 30 }, (_, n) => writer.mutation("notes:add", { group: "torn", n: n + 1 })));
  await eventually(() => views.at(-1)?.[1] === 465);
  for (const [fromList, sum] of views) assert.equal(fromList, sum);
  checkTransitions(sockets);
});

test("a function that throws: mutations with data, queries that recover, what does not exist", { skip }, async (t) => {
  const { client } = open(t);
  await assert.rejects(client.mutation(api.notes.refuse, {}), (error) => error instanceof ConvexError && error.data.count === 3n);
  await assert.rejects(client.mutation(api.notes.missing, {}), /Could not find/);
  await assert.rejects(client.mutation(api.notes.list, { group: "x" }), /query/);
  await assert.rejects(client.action(api.notes.act, {}), /Actions are not available/);
  const crash = listen(client, api.notes.crash, { group: "crash" });
  await crash.until((value) => value === "fine");
  await client.mutation(api.notes.add, { group: "crash", n: 1 });
  await crash.until((value) => value instanceof Error && /exactly one/.test(value.message));
  await client.mutation(api.notes.add, { group: "crash", n: 2 });
  await crash.until((value) => value === "fine");
  await listen(client, api.notes.absent, {}).until((value) => value instanceof Error && /Could not find/.test(value.message));
  const bad = listen(client, "no path : at all:", {});
  await bad.until((value) => value instanceof Error);
});

test("p1_exactly_once: mutations over cut sockets and a killed gateway take effect once, in order", { skip }, async (t) => {
  const { client, sockets } = open(t);
  const list = listen(client, api.notes.list, { group: "once" });
  await list.until((value) => value.length === 0);
  const results = [];
  const cuts = [() => sockets.at(-1).close(), () => suite.restart("gateway"), () => sockets.at(-1).close(), () => suite.restart("worker")];
  for (const [round, cut] of cuts.entries()) {
    const promises = Array.from({ length: 15 }, (_, i) => client.mutation(api.notes.count, { name: "once" }).then((value) => results.push([round * 15 + i, value])));
    if (round > 1) await promises[0];
    await cut();
    await Promise.all(promises);
  }
  assert.deepEqual(results.sort(([a], [b]) => a - b).map(([, value]) => value), Array.from({ length: 60 }, (_, i) => i + 1));
  await client.mutation(api.notes.add, { group: "once", n: 1 });
  await list.until((value) => value.length === 1);
  assert.ok(sockets.length >= 3, `${sockets.length} sockets`);
  checkTransitions(sockets);
});

test("optimistic updates never flicker: what is shown has the own write until the server has it, once", { skip }, async (t) => {
  const shown = [];
  const { client, sockets } = open(t, BaseConvexClient, {}, () => shown.push(client.localQueryResult("notes:list", { group: "optimistic" }) ?? null));
  client.subscribe("notes:list", { group: "optimistic" });
  await eventually(() => shown.at(-1) !== null && shown.length > 0);
  const add = (n) =>
    client.mutation("notes:add", { group: "optimistic", n }, {
      optimisticUpdate: (store, note) => {
        const before = store.getQuery("notes:list", { group: "optimistic" }) ?? [];
        store.setQuery("notes:list", { group: "optimistic" }, [...before, note.n]);
      },
    });
  const others = suite.client();
  await Promise.all(Array.from({ length: 40 }, async (_, n) => {
    await add(n);
    if (n % 10 === 0) await others.mutation("notes:add", { group: "optimistic", n: 1000 + n });
  }));
  await eventually(() => shown.at(-1).length === 44);
  let before = [];
  for (const view of shown.filter((one) => one !== null)) {
    assert.equal(new Set(view).size, view.length, `doubled: ${view}`);
    for (const n of before) assert.ok(view.includes(n), `${n} was shown and vanished`);
    before = view;
  }
  // The reconnect shows nothing twice either.
  const again = add(500);
  sockets.at(-1).close();
  await again;
  await eventually(() => shown.at(-1).length === 45);
  for (const view of shown.filter((one) => one !== null)) assert.equal(new Set(view).size, view.length, `doubled: ${view}`);
  checkTransitions(sockets);
});

test("pages stay gapless while rows come and go", { skip }, async (t) => {
  for (let n = 0; n < 20; n++) await suite.call("notes:add", { group: "pages", n: n * 10 });
  const { client, sockets } = open(t, BaseConvexClient, {}, () => {});
  const options = (cursor) => ({ group: "pages", paginationOpts: { numItems: 5, cursor, id: 1 } });
  const pages = [];
  for (let cursor = null, i = 0; i < 3; i++) {
    const args = options(cursor);
    client.subscribe("notes:page", args);
    const page = await eventually(() => client.localQueryResult("notes:page", args));
    pages.push(args);
    cursor = page.continueCursor;
  }
  const view = () => pages.flatMap((args) => client.localQueryResult("notes:page", args)?.page ?? []).map(({ n }) => n);
  assert.deepEqual(view(), Array.from({ length: 15 }, (_, n) => n * 10));
  const changes = [["add", 5], ["add", 6], ["remove", 40], ["add", 95], ["remove", 90], ["add", 45]];
  for (const [name, n] of changes) await client.mutation(`notes:${name}`, { group: "pages", n });
  const all = [0, 5, 6, 10, 20, 30, 45, 50, 60, 70, 80, 95, 100, 110, 120, 130, 140];
  await eventually(() => view().length === all.length);
  assert.deepEqual(view(), all);
  sockets.at(-1).close();
  await client.mutation("notes:add", { group: "pages", n: 7 });
  await eventually(() => view().length === all.length + 1);
  assert.deepEqual(view(), [...all, 7].sort((a, b) => a - b), "the journal survives a reconnect");
  checkTransitions(sockets);
});

test("authentication messages are answered", { skip }, async (t) => {
  const { client, sockets, transitions } = open(t, BaseConvexClient, {}, () => {});
  client.setAdminAuth(suite.adminKey);
  client.subscribe("_system:tables", {});
  await eventually(() => client.localQueryResult("_system:tables", {}));
  assert.equal(transitions().at(-1).endVersion.identity, 1);
  client.clearAuth();
  await eventually(() => transitions().at(-1).endVersion.identity === 2);
  const states = [];
  const refused = open(t);
  refused.client.setAuth(async () => "not.a.token", (isAuthenticated) => states.push(isAuthenticated));
  await eventually(() => states.includes(false));
  const errors = refused.sockets.flatMap(({ received }) => received.filter(({ type }) => type === "AuthError"));
  assert.ok(errors.length > 0 && errors.every(({ authUpdateAttempted, baseVersion }) => authUpdateAttempted === true && baseVersion === 0));
  checkTransitions(sockets);
});
