/** The unmodified npm package convex, its ConvexHttpClient, against a BitBend deployment. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { ConvexError } from "convex/values";

import { startSuite, suiteMissing } from "./suite.mjs";

const FUNCTIONS = {
  "schema.ts": `
import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";
export default defineSchema({ notes: defineTable({ key: v.string(), value: v.any() }).index("by_key_name", ["key"]) });
`,
  "notes.ts": `
import { BitBendError, v } from "bitbend/values";
import { internalQuery, mutation, query } from "./_generated/server";

export const put = mutation({
  args: { key: v.string(), value: v.any() },
  handler: (ctx, note) => ctx.db.insert("notes", note),
});
export const get = query({
  args: { key: v.string() },
  handler: async (ctx, { key }) => (await ctx.db.query("notes").withIndex("by_key_name", (q) => q.eq("key", key)).order("desc").first())?.value ?? null,
});
export const echo = query({ args: { value: v.any() }, handler: (_ctx, { value }) => value });
export const describe = query({ args: { value: v.any() }, handler: (_ctx, { value }) => Object.is(value, -0) ? "-0" : typeof value + ":" + String(value) });
export const refuse = mutation({
  args: { key: v.string() },
  handler: async (ctx, { key }) => {
    await ctx.db.insert("notes", { key, value: "never" });
    throw new BitBendError({ code: "refused", count: 3n, nested: [1.5, null] });
  },
});
export const crash = query(() => {
  throw new Error("crashed here");
});
export const wordy = query(() => {
  console.log("hello", { a: 1 });
  console.warn("careful");
  return "done";
});
export const secret = internalQuery(() => "secret");
export const nothing = mutation(() => {});
`,
};

let suite;
let client;
const skip = suiteMissing();

before(async () => {
  if (skip) return;
  suite = await startSuite({ functions: FUNCTIONS });
  client = new ConvexHttpClient(suite.url, { skipConvexDeploymentUrlCheck: true, logger: false });
});
after(() => suite?.stop());

test("a mutation writes what a query then reads", { skip }, async () => {
  const id = await client.mutation(api.notes.put, { key: "first", value: { text: "Grüße 👋", list: [1, 2, 3] } });
  assert.match(id, /^[0-9a-z]{31,37}$/);
  assert.deepEqual(await client.query(api.notes.get, { key: "first" }), { text: "Grüße 👋", list: [1, 2, 3] });
  assert.equal(await client.query(api.notes.get, { key: "none" }), null);
});

const SPECIAL = {
  int64: 5n, int64Min: -(2n ** 63n), int64Max: 2n ** 63n - 1n, NaN: NaN, infinity: Infinity, minusInfinity: -Infinity, minusZero: -0, tiny: 5e-324, large: 1e308,
  bytes: new Uint8Array([0, 1, 255]).buffer, empty: new ArrayBuffer(0), nul: "a\u0000b", emoji: "👨‍👩‍👧", nothing: null,
  nested: { list: [1n, NaN, [new Uint8Array([7]).buffer, { deep: -0 }]], object: {} },
};

test("special values go there and back unchanged, through a function and through the store", { skip }, async () => {
  assert.deepEqual(await client.query(api.notes.echo, { value: SPECIAL }), SPECIAL);
  await client.mutation(api.notes.put, { key: "special", value: SPECIAL });
  const stored = await client.query(api.notes.get, { key: "special" });
  assert.deepEqual(stored, SPECIAL);
  assert.ok(Object.is(stored.minusZero, -0) && Object.is(stored.nested.list[2][1].deep, -0));
});

test("special values have their JavaScript types inside functions", { skip }, async () => {
  const cases = [[5n, "bigint:5"], [NaN, "number:NaN"], [-Infinity, "number:-Infinity"], [-0, "-0"], ["x", "string:x"], [true, "boolean:true"], [new ArrayBuffer(2), "object:[object ArrayBuffer]"]];
  for (const [value, text] of cases) assert.equal(await client.query(api.notes.describe, { value }), text);
});

test("an error with data arrives as ConvexError with that data, and nothing was written", { skip }, async () => {
  await assert.rejects(client.mutation(api.notes.refuse, { key: "refused" }), (error) => {
    assert.ok(error instanceof ConvexError, String(error));
    assert.deepEqual(error.data, { code: "refused", count: 3n, nested: [1.5, null] });
    return true;
  });
  assert.equal(await client.query(api.notes.get, { key: "refused" }), null);
});

test("any other error arrives with its message and TypeScript line", { skip }, async () => {
  await assert.rejects(client.query(api.notes.crash, {}), (error) => {
    assert.ok(!(error instanceof ConvexError));
    assert.match(error.message, /crashed here/);
    assert.match(error.message, /notes\.ts:\d+/);
    return true;
  });
});

test("functions that are not there, internal, or of another kind are refused", { skip }, async () => {
  await assert.rejects(client.query(api.notes.missing, {}), /Could not find/);
  await assert.rejects(client.query(api.notes.secret, {}), /Could not find|internal|not public/i);
  await assert.rejects(client.mutation(api.notes.get, { key: "x" }));
  await assert.rejects(client.query(api.notes.get, { key: 1 }), /args\.key: expected string, found number 1/);
});

test("mutations that are called together run in order", { skip }, async () => {
  const values = Array.from({ length: 10 }, (_, index) => index);
  await Promise.all(values.map((value) => client.mutation(api.notes.put, { key: "order", value })));
  assert.equal(await client.query(api.notes.get, { key: "order" }), 9);
});

test("a consistent query reads at one moment", { skip }, async () => {
  assert.deepEqual(await client.consistentQuery(api.notes.get, { key: "first" }), { text: "Grüße 👋", list: [1, 2, 3] });
});

test("a mutation that changes nothing and returns nothing gives null", { skip }, async () => {
  assert.equal(await client.mutation(api.notes.nothing, {}), null);
});

test("log lines come with the answer", { skip }, async () => {
  const lines = [];
  const logger = { logVerbose() {}, log: (...parts) => lines.push(parts.join(" ")), warn: (...parts) => lines.push(parts.join(" ")), error() {} };
  const wordy = new ConvexHttpClient(suite.url, { skipConvexDeploymentUrlCheck: true, logger });
  assert.equal(await wordy.query(api.notes.wordy, {}), "done");
  assert.ok(lines.some((line) => line.includes("hello")) && lines.some((line) => line.includes("careful")), lines.join("\n"));
});
