// ctx.db as functions see it, in the real slot program.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { STATUS, start } from "./harness.js";

const SOURCE = `
exports.run = mutation((ctx, { code, ...args }) => TASKS[code](ctx, args));
exports.ask = query((ctx, { code, ...args }) => TASKS[code](ctx, args));
const TASKS = {
  insert: (ctx, { table, doc }) => ctx.db.insert(table, doc),
  insertMany: async (ctx, { count }) => {
    for (let n = 0; n < count; n++) await ctx.db.insert("numbers", { n, parity: n % 2 });
  },
  get: (ctx, { id, table }) => (table === undefined ? ctx.db.get(id) : ctx.db.get(table, id)),
  getTwice: async (ctx, { id }) => Promise.all([ctx.db.get(id), ctx.db.get(id)]),
  getAll: (ctx, { ids }) => Promise.all(ids.map((id) => ctx.db.get(id))),
  writeAll: async (ctx, { id }) => {
    await ctx.db.patch(id, { a: 2, b: undefined });
    const patched = await ctx.db.get("docs", id);
    await ctx.db.replace("docs", id, { c: [1, { d: null }] });
    const replaced = await ctx.db.get(id);
    await ctx.db.delete(id);
    return [patched, replaced, await ctx.db.get(id)];
  },
  put: async (ctx, { key, doc, missingKeys }) => {
    const id = await ctx.db.put("docs", key, doc, { missingKeys });
    return [id, await ctx.db.getByKey("docs", key)];
  },
  retract: (ctx, args) => ctx.db.retract(args.ids ?? args),
  forgotten: (ctx, { id }) => void ctx.db.patch(id, { forgotten: true }),
  collect: (ctx) => ctx.db.query("numbers").collect(),
  range: (ctx, { low, high }) =>
    ctx.db.query("numbers").withIndex("by_n", (q) => q.gte("n", low).lt("n", high)).order("desc").collect(),
  takeFiltered: (ctx, { count }) =>
    ctx.db.query("numbers").filter((q) => q.eq(q.field("parity"), 1)).take(count),
  first: (ctx) => ctx.db.query("numbers").withIndex("by_n", (q) => q.eq("n", 3)).first(),
  unique: (ctx, { parity }) => ctx.db.query("numbers").withIndex("by_parity", (q) => q.eq("parity", parity)).unique(),
  count: (ctx) => ctx.db.query("numbers").count(),
  countFiltered: (ctx) => ctx.db.query("numbers").filter((q) => q.gt(q.field("n"), 5)).count(),
  loop: async (ctx, { stop }) => {
    const seen = [];
    for await (const { n } of ctx.db.query("numbers").withIndex("by_n")) {
      seen.push(n);
      if (n === stop) break;
    }
    return seen;
  },
  loopAndDelete: async (ctx) => {
    const seen = [];
    for await (const doc of ctx.db.query("numbers").withIndex("by_n")) {
      seen.push(doc.n);
      const next = await ctx.db.query("numbers").withIndex("by_n", (q) => q.eq("n", doc.n + 1)).first();
      if (next !== null) await ctx.db.delete(next._id);
    }
    return seen;
  },
  pages: async (ctx, { numItems, filtered }) => {
    const pages = [];
    for (let cursor = null, isDone = false; !isDone; ) {
      let query = ctx.db.query("numbers").withIndex("by_n").order("desc");
      if (filtered) query = query.filter((q) => q.lt(q.field("n"), 5));
      const page = await query.paginate({ cursor, numItems });
      pages.push(page.page.map(({ n }) => n));
      ({ isDone, continueCursor: cursor } = page);
    }
    return pages;
  },
  onePage: (ctx, { index, cursor }) => ctx.db.query("numbers").withIndex(index).paginate({ cursor, numItems: 3 }),
  filter: (ctx, { text }) => ctx.db.query("numbers").filter(FILTERS[text]).collect(),
  badIndex: (ctx) => ctx.db.query("numbers").withIndex("by_nothing").collect(),
  badTable: (ctx) => ctx.db.query("nothing").collect(),
  badField: (ctx) => ctx.db.query("numbers").withIndex("by_n", (q) => q.eq("m", 1)).collect(),
  normalize: (ctx, { id }) => [ctx.db.normalizeId("docs", id), ctx.db.normalizeId("numbers", id), ctx.db.normalizeId("docs", "x")],
  system: (ctx) => ctx.db.system.query("_tables").collect(),
  noSystem: (ctx) => ctx.db.query("_tables").collect(),
  secrets: (ctx) => ctx.db.system.query("_modules").collect(),
  methods: (ctx) => [typeof ctx.db.insert, typeof ctx.runMutation, typeof ctx.scheduler, typeof ctx.db.constructor.prototype.get],
};
const FILTERS = {
  arithmetic: (q) => q.eq(q.mod(q.add(q.field("n"), 1), 3), 0),
  logic: (q) => q.and(q.or(q.lt(q.field("n"), 2), q.gte(q.field("n"), 8)), q.not(q.eq(q.field("parity"), 0))),
  missing: (q) => q.eq(q.field("nothing.there"), undefined),
  types: (q) => q.lt(q.field("n"), "text"),
  wrong: (q) => q.eq(q.add(q.field("n"), "x"), 1),
  plain: () => "yes",
};
`;

let slot;
before(async () => {
  slot = await start({
    "schema.js": `exports.default = schema({ docs: {}, numbers: { by_n: ["n"], by_parity: ["parity"] } });`,
    "tasks.js": SOURCE,
  });
  const filled = await run("insertMany", { count: 10 });
  assert.equal(filled.status, STATUS.OK, filled.error);
});
after(() => slot.stop());

const run = (code, args = {}, options) => slot.mutation("tasks:run", { code, ...args }, options);
const ask = (code, args = {}, options) => slot.query("tasks:ask", { code, ...args }, options);
const numbersOf = (answer) => {
  assert.equal(answer.status, STATUS.OK, answer.error);
  return answer.value.map(({ n }) => n);
};

test("a document goes in and comes out with id and creation time", async () => {
  const doc = { text: "ä\u0000z", big: 2n ** 62n, list: [1, null, { deep: true }], bytes: new Uint8Array([1, 2, 255]).buffer };
  const inserted = await run("insert", { table: "docs", doc });
  assert.equal(inserted.status, STATUS.OK, inserted.error);
  const { value } = await ask("get", { id: inserted.value });
  const { _id, _creationTime, ...rest } = value;
  assert.deepEqual(rest, doc);
  assert.equal(_id, inserted.value);
  assert.equal(_creationTime, 1790000000000);
  assert.deepEqual((await ask("get", { table: "docs", id: _id })).value, value);
  assert.equal((await ask("get", { table: "numbers", id: _id })).status, STATUS.BAD_ID);
});

test("a write is seen by the reads after it", async () => {
  const { value: id } = await run("insert", { table: "docs", doc: { a: 1, b: 1 } });
  const { value, status, error } = await run("writeAll", { id });
  assert.equal(status, STATUS.OK, error);
  const [patched, replaced, gone] = value;
  assert.equal(patched.a, 2);
  assert.equal("b" in patched, false);
  assert.deepEqual(replaced.c, [1, { d: null }]);
  assert.equal(gone, null);
});

test("a write that nobody awaited still happens", async () => {
  const { value: id } = await run("insert", { table: "docs", doc: {} });
  const { status, tx } = await run("forgotten", { id });
  assert.equal(status, STATUS.OK);
  assert.ok(tx > 0);
  assert.equal((await ask("get", { id })).value.forgotten, true);
});

test("reads that are awaited together go out together", async () => {
  const ids = [];
  for (let i = 0; i < 5; i++) {
    ids.push((await run("insert", { table: "docs", doc: { i } })).value);
  }
  const before = slot.hops;
  const { value } = await ask("getAll", { ids });
  assert.deepEqual(value.map(({ i }) => i), [0, 1, 2, 3, 4]);
  assert.equal(slot.hops - before, 1);
});

test("t10 t12 t15 put inserts, merges, replaces, and changes nothing when nothing changes", async () => {
  const first = await run("put", { key: "user/1", doc: { a: 1 } });
  assert.equal(first.status, STATUS.OK, first.error);
  const [id, doc] = first.value;
  assert.equal(doc._key, "user/1");
  assert.deepEqual((await run("put", { key: "user/1", doc: { b: 2 } })).value[1], { ...doc, b: 2 });
  assert.equal((await run("put", { key: "user/1", doc: { b: 2 } })).hasBody, false);
  const whole = await run("put", { key: "user/1", doc: { c: 3 }, missingKeys: "retract" });
  assert.equal(whole.value[0], id);
  assert.equal("a" in whole.value[1], false);
  assert.equal((await run("put", { key: "", doc: {} })).status, STATUS.BAD_ID);
  assert.equal((await run("retract", { table: "docs", keys: ["user/1", "user/2"] })).value, 1);
  const again = await run("retract", { table: "docs", keys: ["user/1"] });
  assert.deepEqual([again.value, again.hasBody], [0, false]);
});

test("b10 scans, ranges, order, first, unique, count", async () => {
  assert.deepEqual(numbersOf(await ask("collect")), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(numbersOf(await ask("range", { low: 3, high: 6 })), [5, 4, 3]);
  assert.deepEqual(numbersOf(await ask("takeFiltered", { count: 3 })), [1, 3, 5]);
  assert.equal((await ask("first")).value.n, 3);
  assert.equal((await ask("count")).value, 10);
  assert.equal((await ask("countFiltered")).value, 4);
  const twice = await ask("unique", { parity: 1 });
  assert.equal(twice.status, STATUS.NOT_UNIQUE);
  assert.match(twice.error, /numbers\.by_parity/);
  assert.equal((await ask("unique", { parity: 7 })).value, null);
});

test("a loop that stops early reads no more than it looked at", async () => {
  assert.deepEqual((await ask("loop", { stop: 99 })).value, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const { value, reads, rows } = await ask("loop", { stop: 2 });
  assert.deepEqual(value, [0, 1, 2]);
  assert.equal(rows, 3);
  const index = slot.store.documents(2).find(({ name }) => name === "by_n").id;
  const inside = slot.store
    .indexKeys(Number(index))
    .filter((key) => reads.some(([low, high]) => key >= low && key < high));
  assert.equal(inside.length, 3);
});

test("a loop meets its own writes", async () => {
  const { value } = await run("loopAndDelete", {}, { isDry: true });
  assert.deepEqual(value, [0, 2, 4, 6, 8]);
});

test("pages follow each other without gap", async () => {
  assert.deepEqual((await ask("pages", { numItems: 4 })).value, [[9, 8, 7, 6], [5, 4, 3, 2], [1, 0]]);
  assert.deepEqual((await ask("pages", { numItems: 3, filtered: true })).value, [[4, 3, 2], [1, 0]]);
  const { value } = await ask("onePage", { index: "by_n", cursor: null });
  assert.equal(value.isDone, false);
  assert.equal((await ask("onePage", { index: "by_n", cursor: value.continueCursor })).value.page[0].n, 3);
  const other = await ask("onePage", { index: "by_parity", cursor: value.continueCursor });
  assert.equal(other.status, STATUS.BAD_QUERY);
  assert.match(other.error, /cursor/);
});

test("filters compute as the order of values says", async () => {
  assert.deepEqual(numbersOf(await ask("filter", { text: "arithmetic" })), [2, 5, 8]);
  assert.deepEqual(numbersOf(await ask("filter", { text: "logic" })), [1, 9]);
  assert.equal(numbersOf(await ask("filter", { text: "missing" })).length, 10);
  assert.equal(numbersOf(await ask("filter", { text: "types" })).length, 10);
  assert.equal((await ask("filter", { text: "wrong" })).status, STATUS.BAD_QUERY);
  assert.equal((await ask("filter", { text: "plain" })).status, STATUS.BAD_QUERY);
});

test("b11 mistakes name table, index and field", async () => {
  const index = await ask("badIndex");
  assert.equal(index.status, STATUS.INDEX_NOT_FOUND);
  assert.match(index.error, /numbers\.by_nothing.*by_parity/s);
  const table = await ask("badTable");
  assert.equal(table.status, STATUS.TABLE_NOT_FOUND);
  assert.match(table.error, /"nothing".*schema\.ts/s);
  const field = await ask("badField");
  assert.equal(field.status, STATUS.BAD_QUERY);
  assert.match(field.error, /numbers\.by_n.*"m"/s);
  assert.equal((await run("insert", { table: "nothing", doc: {} })).status, STATUS.TABLE_NOT_FOUND);
});

test("normalizeId tells ids of a table from others", async () => {
  const { value: id } = await run("insert", { table: "docs", doc: {} });
  assert.deepEqual((await ask("normalize", { id })).value, [id, null, null]);
});

test("system tables are read through ctx.db.system only, and not all of them", async () => {
  const { value } = await ask("system");
  assert.deepEqual(value.map(({ name }) => name).sort(), ["docs", "numbers"]);
  assert.equal((await ask("noSystem")).status, STATUS.TABLE_NOT_FOUND);
  assert.equal((await ask("secrets")).status, STATUS.TABLE_NOT_FOUND);
  const [{ _id: id }] = value;
  assert.equal((await run("retract", { ids: [id] })).status, STATUS.TABLE_NOT_FOUND);
});

test("a query has no way to write", async () => {
  assert.deepEqual((await ask("methods")).value, ["undefined", "undefined", "undefined", "undefined"]);
});
