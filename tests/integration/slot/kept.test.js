// What a slot keeps of documents from call to call: never stale, and of no influence on what a function sees.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { STATUS, start } from "./harness.js";

const SOURCE = `
exports.put = mutation(async (ctx, { key, value }) => { await ctx.db.put("docs", key, { value }); });
exports.read = query(async (ctx, { keys }) => {
  const found = [];
  for (const key of keys) found.push((await ctx.db.getByKey("docs", key))?.value ?? null);
  return found;
});
exports.add = mutation(async (ctx, { key }) => {
  const doc = await ctx.db.getByKey("docs", key);
  await ctx.db.put("docs", key, { value: (doc?.value ?? 0) + 1 });
});
exports.order = query(async (ctx, { keys }) => {
  const order = [];
  await Promise.all(keys.map(async (key) => {
    await ctx.db.getByKey("docs", key);
    order.push(key);
    console.log(key);
  }));
  return order;
});
exports.default = schema({ docs: {} });
`;

let slot;
before(async () => {
  slot = await start({ "schema.js": "exports.default = schema({ docs: {} });", "kept.js": SOURCE });
  for (const key of ["a", "b", "c"]) await slot.mutation("kept:put", { key, value: key });
});
after(() => slot.stop());

const read = async (keys, options) => {
  const before = slot.hops;
  const { value, status, error, recalled } = await slot.query("kept:read", { keys }, options);
  assert.equal(status, STATUS.OK, error);
  return { value, recalled, hops: slot.hops - before };
};

test("documents that were read are not asked for again", async () => {
  await read(["a", "b", "c", "none"]);
  assert.deepEqual(await read(["a", "b", "c", "none"]), { value: ["a", "b", "c", null], recalled: 4, hops: 0 });
});

test("what was written since is asked for, and nothing else", async () => {
  await read(["a", "b", "none"]);
  await slot.mutation("kept:put", { key: "b", value: "new" });
  assert.deepEqual(await read(["a", "b"]), { value: ["a", "new"], recalled: 1, hops: 1 });
  await slot.mutation("kept:put", { key: "none", value: "now there is one" });
  assert.deepEqual((await read(["none"])).value, ["now there is one"]);
});

test("a counter that only this slot writes loses no update", async () => {
  for (let n = 1; n <= 20; n++) {
    await slot.mutation("kept:add", { key: "counter" });
    assert.deepEqual((await read(["counter"])).value, [n]);
  }
});

test("a slot that is told to forget asks again", async () => {
  await read(["a"]);
  assert.equal((await read(["a"])).hops, 0);
  assert.equal((await read(["a"], { forgets: true })).hops, 1);
});

test("nothing is used at a moment that the supervisor does not vouch for", async () => {
  await read(["a"]);
  assert.equal((await read(["a"], { coherent: "0" })).hops, 1);
});

test("what a function sees of the order of its reads does not depend on what is kept", async () => {
  const keys = ["a", "b", "c", "x", "y"];
  const seen = [];
  for (const warm of [[], ["b"], ["y", "a"], keys]) {
    await slot.query("kept:read", { keys: warm }, { forgets: true });
    const { value, logs, reads } = await slot.query("kept:order", { keys });
    seen.push({ value, logs, reads });
  }
  assert.deepEqual(seen[0].value, keys);
  for (const other of seen.slice(1)) assert.deepEqual(other, seen[0]);
});
