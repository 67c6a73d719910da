// Actions on real processes: a gateway, nats-server, a runner.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { actionsMissing, startStand } from "./stand.mjs";

const FILES = {
  "schema.ts": `
    import { defineSchema, defineTable } from "bitbend/server";
    import { v } from "bitbend/values";
    export default defineSchema({ notes: defineTable({ text: v.string() }) });
  `,
  "notes.ts": `
    import { query, mutation, action, internalMutation, internalAction } from "bitbend/server";
    import { v, BitBendError } from "bitbend/values";
    import { api, internal } from "./_generated/api";
    import { readFileSync } from "node:fs";
    import { createHash } from "node:crypto";

    export const list = query(async ({ db }) => (await db.query("notes").collect()).map(({ text }) => text));
    export const add = mutation({ args: { text: v.string() }, handler: async ({ db }, { text }) => { await db.insert("notes", { text }); return text.length; } });
    export const hidden = internalMutation(async ({ db }, { text }) => { await db.insert("notes", { text }); });
    export const usesNode = query(async () => createHash("sha256").update("x").digest("hex"));

    export const node = action(async () => ({ version: process.version, hash: createHash("sha256").update("x").digest("hex"), has: readFileSync("/proc/self/stat").length > 0 }));
    export const write = action({ args: { text: v.string() }, handler: async (ctx, { text }) => {
      const size = await ctx.runMutation(api.notes.add, { text });
      await ctx.runMutation(internal.notes.hidden, { text: "hidden " + text });
      return { size, all: await ctx.runQuery(api.notes.list, {}) };
    } });
    export const database = action(async (ctx) => ctx.db.query("notes").collect());
    export const inner = internalAction(async (_, { n }) => n + 1);
    export const outer = action(async (ctx, { n }) => ctx.runAction(internal.notes.inner, { n: await ctx.runAction(internal.notes.inner, { n }) }));
    export const refuse = action(async () => { throw new BitBendError({ why: "no", n: 7n }); });
    export const broken = action(async () => { console.log("before"); (undefined as any).x; });
    export const failing = action(async (ctx) => { await ctx.runMutation(api.notes.add, { text: "kept" }); throw new Error("after"); });
    export const long = action(async (_, { ms }) => { await new Promise((done) => setTimeout(done, ms)); return ms; });
    export const fetches = action(async (_, { url }) => (await fetch(url)).text());
    export const who = action(async (ctx) => ctx.auth.getUserIdentity());
  `,
};

describe("actions", { skip: actionsMissing() }, () => {
  let stand;
  before(async () => {
    stand = await startStand({ functions: FILES });
  });
  after(() => stand?.stop());

  const call = async (path, args = {}, headers) => (await stand.http("/api/action", { body: { path, args }, headers })).json;
  const value = async (path, args) => {
    const answer = await call(path, args);
    assert.equal(answer.status, "success", JSON.stringify(answer));
    return answer.value;
  };

  test("b3_an action runs in Node.js", async () => {
    const { version, hash, has } = await value("notes:node");
    assert.match(version, /^v24\./);
    assert.equal(hash, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
    assert.equal(has, true);
  });

  test("b3_it fetches, and runs longer than a transaction may", async () => {
    const long = value("notes:long", { ms: 5500 });
    assert.equal(await value("notes:fetches", { url: `${stand.url}/api/ping` }), "pong");
    assert.equal(await long, 5500);
  });

  test("b6_queries, mutations and actions of one file are deployed at once, and know each other", async () => {
    assert.deepEqual(await value("notes:write", { text: "one" }), { size: 3, all: ["one", "hidden one"] });
    assert.equal(await value("notes:outer", { n: 5 }), 7);
  });

  test("b4_an action has no database", async () => {
    const { code, errorMessage } = await call("notes:database");
    assert.equal(code, "NotAvailableHere");
    assert.match(errorMessage, /An action has no ctx\.db: it reads with ctx\.runQuery/);
  });

  test("b4_an action that fails undoes nothing", async () => {
    assert.match((await call("notes:failing")).errorMessage, /Uncaught Error: after\n {4}at .*\(bitbend\/notes\.ts:\d+:/);
    assert.ok((await stand.call("notes:list")).includes("kept"));
  });

  test("b5_an action cannot be subscribed to", async () => {
    const client = stand.client();
    const error = await new Promise((done) => client.onUpdate("notes:node", {}, assert.fail, done));
    assert.equal(error.code, "WrongKind");
    assert.match(error.message, /"notes:node" is an action; queries and mutations run here/);
  });

  test("what is thrown arrives: data, the place in TypeScript", async () => {
    const refused = await stand.http("/api/action", { body: { path: "notes:refuse", args: {}, format: "convex_encoded_json" } });
    assert.equal(refused.json.code, "UserError");
    assert.deepEqual(refused.json.errorData, { why: "no", n: { $integer: "BwAAAAAAAAA=" } });
    const { code, errorMessage, logLines } = await call("notes:broken");
    assert.equal(code, "ServerError");
    assert.match(errorMessage, /Uncaught TypeError: Cannot read properties of undefined \(reading 'x'\)\n {4}at .*bitbend\/notes\.ts:23:/);
    assert.deepEqual(logLines, ["[LOG] before"]);
  });

  test("arguments are checked", async () => {
    const { code, errorMessage } = await call("notes:write", { text: 7 });
    assert.equal(code, "ArgumentValidation");
    assert.match(errorMessage, /text/);
  });

  test("an internal action, a query, and nothing at all are no public actions", async () => {
    assert.equal((await call("notes:inner", { n: 1 })).code, "FunctionNotFound");
    assert.equal((await call("notes:list")).code, "WrongKind");
    assert.equal((await call("notes:nothing")).code, "FunctionNotFound");
  });

  test("what only Node.js has throws in a query", async () => {
    const answer = await stand.http("/api/query", { body: { path: "notes:usesNode", args: {} } });
    assert.match(answer.json.errorMessage, /node:crypto\.createHash is available in actions only/);
  });

  test("who calls is known in the action", async () => {
    const identity = Buffer.from(JSON.stringify({ subject: "ada" })).toString("base64");
    const { value: found } = await call("notes:who", {}, { Authorization: `BitBend ${stand.adminKey}:${identity}` });
    assert.equal(found.subject, "ada");
    assert.equal(await value("notes:who"), null);
  });
});
