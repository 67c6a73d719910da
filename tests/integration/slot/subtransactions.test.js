// runQuery and runMutation inside a transaction.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { STATUS, start } from "./harness.js";

const FUNCTIONS = `
const NAME = Symbol.for("functionName");
const ref = (name) => ({ [NAME]: name });
const values = async (ctx) => (await ctx.db.query("docs").collect()).map(({ v }) => v);
exports.all = query((ctx) => values(ctx));
exports.add = mutation(async (ctx, { v, fails }) => {
  await ctx.db.insert("docs", { v });
  if (fails) throw new Error("inner failed");
  return { v };
});
exports.nested = mutation(async (ctx, { v }) => {
  await ctx.runMutation("f:add", { v: v + ".1" });
  try { await ctx.runMutation("f:add", { v: v + ".2", fails: true }); } catch {}
  throw new Error("outer failed");
});
exports.rollsBack = mutation(async (ctx) => {
  await ctx.runMutation(ref("f:add"), { v: "kept" });
  let message;
  try { await ctx.runMutation(ref("f:nested"), { v: "gone" }); } catch (error) { message = error.message; }
  await ctx.db.insert("docs", { v: "after" });
  return [message, await ctx.runQuery("f:all", {})];
});
exports.parallel = mutation(async (ctx) => {
  const answers = await Promise.allSettled([
    ctx.runMutation("f:add", { v: "a" }),
    ctx.runMutation("f:add", { v: "b", fails: true }),
    ctx.db.insert("docs", { v: "own" }),
    ctx.runMutation("f:add", { v: "c" }),
  ]);
  return [answers.map(({ status }) => status), await values(ctx)];
});
exports.throughout = mutation(async (ctx) => { await ctx.runMutation("f:add", { v: "x", fails: true }); });
exports.deep = mutation((ctx, { n }) => ctx.runMutation("f:deep", { n: n + 1 }));
exports.wrongKind = mutation((ctx) => ctx.runQuery("f:add", { v: 1 }));
exports.queryWrites = query((ctx) => ctx.runQuery("f:add", { v: 1 }));
exports.queryAsks = query((ctx) => Promise.all([ctx.runQuery("f:all", {}), ctx.runQuery("f:all")]));
exports.withFunction = mutation((ctx) => ctx.runQuery(exports.all, {}));
exports.unknown = mutation((ctx) => ctx.runQuery("f:nowhere", {}));
exports.system = mutation((ctx) => ctx.runMutation("_system:deploy", { modules: [] }));
exports.mutates = mutation(async (ctx) => {
  const args = { list: [1], bytes: new Uint8Array([1]).buffer };
  await ctx.runQuery("f:changes", args);
  return args.list;
});
exports.changes = query((ctx, args) => { args.list.push(2); return args; });
exports.badArgs = mutation((ctx) => ctx.runQuery("f:changes", { list: [() => 1] }));
exports.lastingCtx = mutation(async (ctx) => { await ctx.runMutation("f:leak", {}); return 1; });
exports.leak = mutation(async (ctx) => {
  void Promise.resolve().then(() => ctx.db.insert("docs", { v: "late" }));
});
`;

let slot;
before(async () => {
  slot = await start({ "schema.js": `exports.default = schema({ docs: {} });`, "f.js": FUNCTIONS });
});
after(() => slot.stop());

test("an inner failure undoes the inner part only", async () => {
  const { value, status, error } = await slot.mutation("f:rollsBack", {}, { isDry: true });
  assert.equal(status, STATUS.OK, error);
  assert.deepEqual(value, ["outer failed", ["kept", "after"]]);
});

test("sub-transactions that run at once do not undo each other, nor what the caller wrote meanwhile", async () => {
  const { value } = await slot.mutation("f:parallel", {}, { isDry: true });
  assert.deepEqual(value[0], ["fulfilled", "rejected", "fulfilled", "fulfilled"]);
  assert.deepEqual([...value[1]].sort(), ["a", "c", "own"]);
});

test("an error that nobody catches ends the whole call", async () => {
  const failed = await slot.mutation("f:throughout");
  assert.equal(failed.status, STATUS.SERVER_ERROR);
  assert.match(failed.error, /inner failed/);
  assert.equal(failed.hasBody, false);
});

test("a chain of calls has an end", async () => {
  const failed = await slot.mutation("f:deep", { n: 0 });
  assert.equal(failed.status, STATUS.NOT_AVAILABLE_HERE);
  assert.match(failed.error, /8 levels/);
});

test("kinds are kept apart", async () => {
  const wrong = await slot.mutation("f:wrongKind");
  assert.equal(wrong.status, STATUS.NOT_AVAILABLE_HERE);
  assert.match(wrong.error, /f:add is of kind mutation/);
  assert.equal((await slot.query("f:queryWrites")).status, STATUS.READ_ONLY);
  assert.deepEqual((await slot.query("f:queryAsks")).value, [[], []]);
});

test("only references to deployed functions can be called", async () => {
  const object = await slot.mutation("f:withFunction");
  assert.equal(object.status, STATUS.NOT_AVAILABLE_HERE);
  assert.match(object.error, /not the function itself/);
  assert.match((await slot.mutation("f:unknown")).error, /Could not find function f:nowhere/);
  assert.equal((await slot.mutation("f:system")).status, STATUS.NOT_AVAILABLE_HERE);
});

test("arguments are copied, and must be values", async () => {
  assert.deepEqual((await slot.mutation("f:mutates")).value, [1]);
  const bad = await slot.mutation("f:badArgs");
  assert.equal(bad.status, STATUS.NOT_ENCODABLE);
  assert.match(bad.error, /args\.list\[0\]/);
});

test("a ctx ends with its function", async () => {
  const answer = await slot.mutation("f:lastingCtx", {}, { isDry: true });
  assert.ok([STATUS.OK, STATUS.NOT_AVAILABLE_HERE].includes(answer.status), answer.error);
});
