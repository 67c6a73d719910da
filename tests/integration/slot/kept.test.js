// What a slot keeps of documents and ranges from call to call: never stale, and of no influence on what a function sees.

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
const rows = (ctx, group) => ctx.db.query("rows").withIndex("by_group", (q) => q.eq("group", group));
exports.insert = mutation(async (ctx, { group, n }) => ctx.db.insert("rows", { group, n }));
exports.change = mutation(async (ctx, { id, changes }) => { await ctx.db.patch(id, changes); });
exports.drop = mutation(async (ctx, { id }) => { await ctx.db.delete(id); });
exports.list = query(async (ctx, { group, order, take }) => {
  const asked = rows(ctx, group).order(order ?? "asc");
  return (await (take === undefined ? asked.collect() : asked.take(take))).map(({ n, v }) => v ?? n);
});
exports.sums = query(async (ctx, { group }) => {
  const count = await rows(ctx, group).count();
  const first = (await rows(ctx, group).first())?.n ?? null;
  const odd = (await rows(ctx, group).filter((q) => q.neq(q.field("n"), 2)).collect()).map(({ n }) => n);
  const pages = [];
  for (let cursor = null, isDone = false; !isDone; ) {
    const page = await rows(ctx, group).paginate({ cursor, numItems: 2 });
    pages.push(page.page.map(({ n }) => n));
    [cursor, isDone] = [page.continueCursor, page.isDone];
  }
  return { count, first, odd, pages };
});
exports.shift = mutation(async (ctx, { group }) => {
  const found = await rows(ctx, group).collect();
  for (const row of found) await ctx.db.patch(row._id, { n: row.n + 1 });
  await ctx.db.delete(found[0]._id);
  await ctx.db.insert("rows", { group, n: 100 });
  const seen = (await rows(ctx, group).collect()).map(({ n }) => n);
  const same = await ctx.db.get(found[1]._id);
  return [...seen, same.n];
});
exports.scanOrder = query(async (ctx, { groups }) => {
  const order = [];
  await Promise.all(groups.map(async (group) => {
    const [row] = await rows(ctx, group).collect();
    order.push(group);
    await ctx.db.get(row._id); // which the scan has given
    order.push(group);
  }));
  return order;
});
exports.default = schema({ docs: {}, rows: { by_group: ["group", "n"] } });
`;

let slot;
before(async () => {
  slot = await start({ "schema.js": 'exports.default = schema({ docs: {}, rows: { by_group: ["group", "n"] } });', "kept.js": SOURCE });
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

test("documents that come along with a call are not asked for, unless they have ended", async () => {
  const { reads } = await slot.query("kept:read", { keys: ["c"] });
  const [low] = reads.at(-1); // the others are of the catalog
  await slot.mutation("kept:put", { key: "other", value: 1 });
  const key = Buffer.from(low, "hex");
  const { entries: [{ value }] } = slot.store.read({ low: key, high: [], limit: 0, docIndex: 0 });
  const hints = [{ key, value, since: String(slot.store.since(key)) }];
  assert.deepEqual(await read(["c"], { forgets: true, hints }), { value: ["c"], recalled: 1, hops: 0 });
  assert.deepEqual(await read(["c"]), { value: ["c"], recalled: 1, hops: 0 }, "they are kept");
  const ended = { endedKeys: [key], endedAt: [String(slot.store.tx)] };
  assert.deepEqual(await read(["c"], { forgets: true, hints, ...ended }), { value: ["c"], recalled: 0, hops: 1 });
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

const fill = async (group, count) => {
  const ids = [];
  for (let n = 1; n <= count; n++) ids.push((await slot.mutation("kept:insert", { group, n })).value);
  return ids;
};

const list = async (args, options) => {
  const before = slot.hops;
  const { value, status, error } = await slot.query("kept:list", args, options);
  assert.equal(status, STATUS.OK, error);
  return { value, hops: slot.hops - before };
};

test("a range that was read is not asked for again, nor the beginning of it", async () => {
  await fill("again", 5);
  assert.deepEqual(await list({ group: "again", take: 4 }), { value: [1, 2, 3, 4], hops: 1 });
  assert.deepEqual(await list({ group: "again", take: 4 }), { value: [1, 2, 3, 4], hops: 0 });
  assert.deepEqual(await list({ group: "again", take: 2 }), { value: [1, 2], hops: 0 });
  assert.deepEqual(await list({ group: "again" }), { value: [1, 2, 3, 4, 5], hops: 1 });
  assert.deepEqual(await list({ group: "again", take: 100 }), { value: [1, 2, 3, 4, 5], hops: 0 });
  assert.deepEqual(await list({ group: "again", order: "desc" }), { value: [5, 4, 3, 2, 1], hops: 1 });
  assert.deepEqual(await list({ group: "again", order: "desc", take: 2 }), { value: [5, 4], hops: 0 });
});

test("b13 a range ends with each insert, change, move and removal in it", async () => {
  const ids = await fill("ends", 3);
  const check = async (expected, hops) => assert.deepEqual(await list({ group: "ends" }), { value: expected, hops });
  await check([1, 2, 3], 1);
  await slot.mutation("kept:insert", { group: "other", n: 9 });
  await check([1, 2, 3], 0);
  await slot.mutation("kept:insert", { group: "ends", n: 4 });
  await check([1, 2, 3, 4], 1);
  await slot.mutation("kept:change", { id: ids[1], changes: { v: 20 } });
  await check([1, 20, 3, 4], 1);
  await slot.mutation("kept:change", { id: ids[0], changes: { group: "other" } });
  await check([20, 3, 4], 1);
  await slot.mutation("kept:change", { id: ids[0], changes: { group: "ends" } });
  await check([1, 20, 3, 4], 1);
  await slot.mutation("kept:drop", { id: ids[2] });
  await check([1, 20, 4], 1);
  await check([1, 20, 4], 0);
});

test("all ways to read a range give the same from what is kept", async () => {
  await fill("ways", 5);
  const cold = await slot.query("kept:sums", { group: "ways" }, { forgets: true });
  assert.deepEqual(cold.value, { count: 5, first: 1, odd: [1, 3, 4, 5], pages: [[1, 2], [3, 4], [5]] });
  const before = slot.hops;
  const warm = await slot.query("kept:sums", { group: "ways" });
  assert.equal(slot.hops, before);
  assert.deepEqual({ value: warm.value, reads: warm.reads, rows: warm.rows }, { value: cold.value, reads: cold.reads, rows: cold.rows });
});

test("own writes are seen in what is kept, and what is kept is not changed by them", async () => {
  await fill("own", 3);
  await list({ group: "own" });
  const { value, error } = await slot.mutation("kept:shift", { group: "own" }, { isDry: true });
  assert.deepEqual(value, [3, 4, 100, 3], error);
  assert.deepEqual(await list({ group: "own" }), { value: [1, 2, 3], hops: 0 });
});

test("an older moment does not see a range that came later", async () => {
  await fill("moments", 2);
  const snapshot = String(slot.store.tx);
  await slot.mutation("kept:insert", { group: "moments", n: 3 });
  assert.deepEqual((await list({ group: "moments" })).value, [1, 2, 3]);
  assert.equal((await list({ group: "moments" }, { snapshot })).hops, 1);
});

test("what a function sees of the order of its scans does not depend on what is kept", async () => {
  const groups = ["g1", "g2", "g3"];
  for (const group of groups) await fill(group, 2);
  const seen = [];
  for (const warm of [[], ["g2"], groups]) {
    await slot.query("kept:list", { group: "g1", take: 1 }, { forgets: true });
    for (const group of warm) await list({ group });
    const { value, reads } = await slot.query("kept:scanOrder", { groups });
    seen.push({ value, reads });
  }
  assert.equal(seen[0].value.length, 6);
  for (const other of seen.slice(1)) assert.deepEqual(other, seen[0]);
});
