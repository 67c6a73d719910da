// What a function may do, what it may not, and what its caller is told.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { STATUS, Slot, makeModules, start } from "./harness.js";

const SCHEMA = `exports.default = schema({ docs: { by_n: ["n"] } });`;
const FUNCTIONS = `
let state = 0;
class BitBendError extends Error {
  constructor(data) { super("application"); this.data = data; this[Symbol.for("bitbend.error")] = true; }
}
exports.echo = query((ctx, args) => args);
exports.nothing = query(() => {});
exports.state = query(() => ++state);
exports.random = query(() => [Math.random(), crypto.randomUUID(), Date.now(), new Date().toISOString()]);
exports.boom = mutation(async (ctx) => {
  await ctx.db.insert("docs", { n: 1 });
  console.log("about to fail", { a: [1, 2n] });
  throw new Error("broken");
});
exports.application = query(() => { throw new BitBendError({ code: "full", left: 0n }); });
exports.textThrown = query(() => { throw "just text"; });
exports.notEncodable = query((ctx, { what }) => ({ inner: [{ f: { function: () => 1, symbol: Symbol("x"), map: new Map(), date: new Date(0) }[what] }] }));
exports.never = query(() => new Promise(() => {}));
exports.rejectedLater = query(async (ctx) => { Promise.reject(new Error("nobody looked")); return 1; });
exports.identity = query((ctx) => ctx.auth.getUserIdentity());
exports.maybeIdentity = query(async (ctx, { look }) => {
  if (look) try { return (await ctx.auth.getUserIdentity())?.name ?? null; } catch { return "hidden"; }
  return "same";
});
exports.log = query(() => { for (let i = 0; i < 300; i++) console.log("line", i); console.error("x".repeat(5000)); });
exports.format = query(() => {
  console.log("%s is %d", "x", 5, [1, "a"], { k: new Map([[1, 2]]) }, null, undefined, -0, 5n);
  console.warn(new Uint8Array([1]).buffer);
  const a = {}; a.a = a; console.info(a);
  console.log(new Uint8Array([1, 2, 3]), { bytes: new Float64Array([0.5, -0]) }, new Uint8Array());
  console.log(new Uint8Array(1000), new BigInt64Array([5n]), new DataView(new ArrayBuffer(2)));
  console.log(new ArrayBuffer(1000));
});
exports.storage = mutation((ctx) => ctx.storage.generateUploadUrl());
exports.scheduler = mutation((ctx) => ctx.scheduler.runAfter(0, "x", {}));
exports.big = query((ctx, { size }) => "x".repeat(size));
exports.bigDocument = mutation((ctx, { size }) => ctx.db.insert("docs", { text: "x".repeat(size) }));
exports.manyWrites = mutation(async (ctx, { count }) => {
  for (let n = 0; n < count; n++) await ctx.db.insert("docs", { n });
});
exports.catchLimit = mutation(async (ctx) => {
  try { for (let n = 0; ; n++) await ctx.db.insert("docs", { n }); } catch { return "went on"; }
});
exports.readAll = query(async (ctx) => (await ctx.db.query("docs").collect()).length);
exports.destructured = mutation(async ({ db }) => {
  const { insert, patch, get, query, put, getByKey, replace, normalizeId, retract, delete: remove, system } = db;
  const id = await insert("docs", { n: 1 });
  await patch(id, { n: 2 });
  const patched = (await get(id)).n;
  await replace(id, { n: 3 });
  await put("docs", "k", { n: 4 });
  const all = (await query("docs").collect()).map(({ n }) => n);
  const { get: again } = system;
  const found = [patched, all, (await getByKey("docs", "k")).n, normalizeId("docs", id) === id, typeof again];
  await remove(id);
  return [...found, await retract({ table: "docs", keys: ["k"] }), (await query("docs").collect()).length];
});
exports.copied = mutation(async (ctx) => {
  const { db } = { ...ctx };
  const copy = { ...db, insert: (table, document) => db.insert(table, { ...document, by: "copy" }) };
  const id = await copy.insert("docs", { n: 1 });
  const { by, n } = await copy.get(id);
  const tables = await copy.system.query("_tables").collect();
  await copy.delete(id);
  return [by, n, tables.length > 0, await copy.get(id), Object.keys(db).sort().join(" "), Object.keys(db.system).sort().join(" ")];
});
exports.lost = query(async (ctx, { name }) => {
  const found = ctx.db.query("docs");
  const method = found[name];
  return await method(name === "take" ? 1 : name === "order" ? "asc" : "by_n");
});
exports.lostInRange = query((ctx) => ctx.db.query("docs").withIndex("by_n", ({ eq }) => eq("n", 1)).collect());
exports.snapshot = query((ctx) => ctx.meta.getSnapshotTs());
exports.internal = internalMutation(() => 1);
exports.escape = query((ctx) => {
  const tries = [];
  for (const attempt of [
    () => ctx.db.constructor, () => Object.getPrototypeOf(ctx.db).constructor,
    () => Object.getPrototypeOf(Object.getPrototypeOf(ctx.db) ?? {})?.constructor,
    () => ctx.db.query("docs").constructor, () => Object.getPrototypeOf(ctx.db.query("docs")).constructor,
  ]) tries.push(attempt() === Object || attempt() === undefined);
  let frozen = 0;
  for (const object of [Object.getPrototypeOf(ctx.db), Object.getPrototypeOf(ctx.db.query("docs")), ctx.auth]) {
    frozen += Object.isFrozen(object) ? 1 : 0;
  }
  for (const look of [() => ctx.db.query("docs").collect, () => console.log]) {
    try { look().leak = 1; } catch {}
    if (look().leak !== undefined) frozen -= 100;
  }
  return [tries, frozen, typeof host, typeof internals, typeof require === "function"];
});
`;

let slot;
before(async () => {
  slot = await start({ "schema.js": SCHEMA, "f.js": FUNCTIONS, "sub/dir.js": `exports.default = query(() => "default");` });
});
after(() => slot.stop());

test("arguments and results cross unchanged", async () => {
  const args = { a: 1.5, b: -0, c: NaN, d: [null, true, "x"], e: 5n, f: { g: {} }, h: new Uint8Array([0, 255]).buffer };
  const { value } = await slot.query("f:echo", args);
  assert.deepEqual(value, args);
  assert.ok(Object.is(value.b, -0));
  assert.equal((await slot.query("f:nothing")).value, null);
  assert.equal((await slot.query("sub/dir")).value, "default");
  assert.equal((await slot.query("sub/dir.js:default")).value, "default");
});

test("b15 the same seed and time give the same bytes; nothing is left from call to call", async () => {
  const seed = Buffer.alloc(16, 7);
  const first = await slot.query("f:random", {}, { seed });
  const second = await slot.query("f:random", {}, { seed });
  assert.deepEqual(first.value, second.value);
  assert.deepEqual([first.sawRandom, first.sawTime], [true, true]);
  assert.equal(first.value[2], 1790000000000);
  assert.notDeepEqual((await slot.query("f:random", {})).value[0], first.value[0]);
  assert.equal((await slot.query("f:state")).value, 1);
  assert.equal((await slot.query("f:state")).value, 1);
});

test("b15 a mutation run again with the same seed writes the same bytes", async () => {
  const options = { seed: Buffer.alloc(16, 3), requestId: Buffer.alloc(16, 4), isDry: true };
  const first = await slot.mutation("f:manyWrites", { count: 5 }, options);
  const second = await slot.mutation("f:manyWrites", { count: 5 }, options);
  assert.ok(first.bodyBytes.length > 0);
  assert.deepEqual(first.bodyBytes, second.bodyBytes);
});

test("b17 a function that throws leaves nothing but its message, its lines and its read set", async () => {
  const before = slot.store.tx;
  const failed = await slot.mutation("f:boom");
  assert.equal(failed.status, STATUS.SERVER_ERROR);
  assert.match(failed.error, /broken/);
  assert.match(failed.stack, /f\.js/);
  assert.deepEqual(failed.logs, ["LOG about to fail { a: [ 1, 2n ] }"]);
  assert.equal(failed.hasBody, false);
  assert.ok(failed.reads.length > 0);
  assert.equal(slot.store.tx, before);
});

test("b12 methods of ctx.db work by themselves", async () => {
  const { value, error } = await slot.mutation("f:destructured");
  assert.deepEqual(value, [2, [3, 4], 4, true, "function", 1, 0], error);
});

test("b12 a copy of ctx.db has its methods, and others in place of them", async () => {
  const { value, error } = await slot.mutation("f:copied");
  assert.deepEqual(value, [
    "copy", 1, true, null, "delete get getByKey insert normalizeId patch put query replace retract system", "get getByKey normalizeId query system",
  ], error);
});

test("a method that was taken out of a query says where it belongs", async () => {
  for (const name of ["withIndex", "fullTableScan", "order", "filter", "collect", "take", "first", "unique", "paginate", "count"]) {
    const { status, error } = await slot.query("f:lost", { name });
    assert.equal(status, STATUS.BAD_QUERY, error);
    assert.match(error, new RegExp(`^${name} does not know what it belongs to: call it on the query, as in ctx\\.db\\.query\\("table"\\)\\.${name}\\(`));
  }
  assert.match((await slot.query("f:lostInRange")).error, /^eq does not know what it belongs to: call it on q, as in withIndex/);
});

test("errors of the application carry their data", async () => {
  const failed = await slot.query("f:application");
  assert.equal(failed.status, STATUS.USER_ERROR);
  assert.deepEqual(failed.errorData, { code: "full", left: 0n });
  assert.match((await slot.query("f:textThrown")).error, /just text/);
});

test("a result that cannot be encoded says where", async () => {
  for (const what of ["function", "symbol", "map", "date"]) {
    const failed = await slot.query("f:notEncodable", { what });
    assert.equal(failed.status, STATUS.NOT_ENCODABLE, what);
    assert.match(failed.error, /inner\[0\]\.f/);
  }
});

test("a promise that nothing resolves is an error at once", async () => {
  assert.equal((await slot.query("f:never")).status, STATUS.NEVER_RESOLVED);
  assert.equal((await slot.query("f:rejectedLater")).status, STATUS.SERVER_ERROR);
});

test("unknown functions and wrong kinds", async () => {
  const unknown = await slot.query("f:nope");
  assert.equal(unknown.status, STATUS.FUNCTION_NOT_FOUND);
  assert.match(unknown.error, /Could not find function f:nope/);
  assert.equal((await slot.query("g:nope")).status, STATUS.FUNCTION_NOT_FOUND);
  assert.equal((await slot.query("f:toString")).status, STATUS.FUNCTION_NOT_FOUND);
  assert.equal((await slot.mutation("f:echo")).status, STATUS.WRONG_KIND);
  assert.equal((await slot.query("f:boom")).status, STATUS.WRONG_KIND);
  assert.equal((await slot.query("_system:nope")).status, STATUS.FUNCTION_NOT_FOUND);
});

test("looking at the identity shows, and aborts a shared run even when it is caught", async () => {
  const identity = Buffer.from(JSON.stringify({ name: "Ann" }));
  const own = await slot.query("f:identity", {}, { identity });
  assert.deepEqual([own.value, own.sawIdentity], [{ name: "Ann" }, true]);
  assert.equal((await slot.query("f:identity")).value, null);
  assert.equal((await slot.query("f:identity", {}, { isShared: true })).status, STATUS.NEEDS_IDENTITY);
  assert.equal((await slot.query("f:maybeIdentity", { look: true }, { isShared: true })).status, STATUS.NEEDS_IDENTITY);
  const shared = await slot.query("f:maybeIdentity", { look: false }, { isShared: true });
  assert.deepEqual([shared.value, shared.sawIdentity], ["same", false]);
});

test("the log is bounded", async () => {
  const { logs } = await slot.query("f:log");
  assert.equal(logs.length, 257);
  assert.equal(logs[255], "LOG line 255");
  assert.match(logs[256], /limit/);
  const formatted = (await slot.query("f:format")).logs;
  assert.equal(formatted[0], 'LOG x is 5 [ 1, "a" ] { k: Map(1) { 1 => 2 } } null undefined -0 5n');
  assert.match(formatted[1], /WARN ArrayBuffer \{ \[Uint8Contents\]: <01>, byteLength: 1 \}/);
  assert.match(formatted[2], /\[Circular\]/);
  assert.equal(formatted[3], "LOG Uint8Array(3) [ 1, 2, 3 ] { bytes: Float64Array(2) [ 0.5, -0 ] } Uint8Array(0) []");
  assert.equal(
    formatted[4],
    `LOG Uint8Array(1000) [ ${Array(100).fill(0).join(", ")}, ... 900 more items ] BigInt64Array(1) [ 5n ] DataView { byteOffset: 0, byteLength: 2 }`,
  );
  assert.match(formatted[5], /^LOG ArrayBuffer \{ \[Uint8Contents\]: <00( 00){49} \.\.\. 950 more bytes>, byteLength: 1000 \}$/);
});

test("what is not there yet says so", async () => {
  for (const name of ["storage", "scheduler"]) {
    const failed = await slot.mutation(`f:${name}`);
    assert.equal(failed.status, STATUS.NOT_AVAILABLE_HERE);
    assert.match(failed.error, new RegExp(`ctx\\.${name}`));
  }
  const snapshot = await slot.query("f:snapshot", {}, { snapshot: "123" });
  assert.equal(snapshot.value, 123000n);
  assert.equal(snapshot.sawTime, true, "it says when the call runs, as the clock does");
});

test("nothing leads from ctx to what is behind it", async () => {
  const { value } = await slot.query("f:escape");
  assert.deepEqual(value, [[true, true, true, true, true], 3, "undefined", "undefined", true]);
});

test("each limit is an error of its own that names it", async () => {
  const small = new Slot({
    store: slot.store,
    hello: { resultBytes: 1000, documentBytes: 500, writeDocuments: 10, readDocuments: 5, logLines: 3 },
  });
  await small.ready;
  const result = await small.query("f:big", { size: 2000 });
  assert.equal(result.status, STATUS.RESULT_TOO_LARGE);
  assert.match(result.error, /limit is 1000/);
  const document = await small.mutation("f:bigDocument", { size: 1000 });
  assert.equal(document.status, STATUS.DOCUMENT_TOO_LARGE);
  assert.match(document.error, /"docs".*limit is 500/s);
  const writes = await small.mutation("f:manyWrites", { count: 11 });
  assert.equal(writes.status, STATUS.WRITE_LIMIT);
  assert.match(writes.error, /10 documents/);
  assert.equal(writes.hasBody, false);
  assert.equal((await small.mutation("f:catchLimit")).status, STATUS.WRITE_LIMIT, "catching it does not help");
  assert.equal((await small.mutation("f:manyWrites", { count: 8 })).status, STATUS.OK);
  const reads = await small.query("f:readAll");
  assert.equal(reads.status, STATUS.READ_LIMIT);
  assert.match(reads.error, /5 documents/);
  assert.equal((await small.query("f:log")).logs.length, 4);
  assert.equal(await small.stop(), 0);
});

test("what storage cannot answer fails the call and not the slot", async () => {
  const failed = await slot.query("f:readAll", {}, {
    onReads: ({ call, batch }) => ({ call, batch, status: STATUS.TOO_OLD, error: "that moment is gone" }),
  });
  assert.equal(failed.status, STATUS.TOO_OLD);
  const odd = await slot.query("f:readAll", {}, {
    onReads: ({ call, batch }) => ({ call, batch, results: [] }),
  });
  assert.equal(odd.status, STATUS.INTERNAL);
  assert.equal((await slot.query("f:readAll")).status, STATUS.OK);
});

test("a call of an unknown deployment is refused, its module list shared by another is not copied", async () => {
  assert.equal((await slot.query("f:echo", {}, { deployment: 999 })).status, STATUS.INTERNAL);
  slot.send({ deployment: { deployment: 500, sameCodeAs: slot.deployment, catalog: Buffer.alloc(0) } });
  assert.equal((await slot.query("f:echo", { a: 1 }, { deployment: 500 })).status, STATUS.OK);
  slot.send({ retire: { deployment: 500 } });
  assert.equal((await slot.query("f:echo", {}, { deployment: 500 })).status, STATUS.INTERNAL);
  assert.equal((await slot.query("f:echo")).status, STATUS.OK);
});

test("calls that come while one runs wait for it", async () => {
  const answers = await Promise.all([1, 2, 3].map((n) => slot.query("f:echo", { n })));
  assert.deepEqual(answers.map(({ value }) => value.n), [1, 2, 3]);
});

test("a trace lists the ranges that were scanned", async () => {
  const { trace } = await slot.query("f:readAll", {}, { wantsTrace: true });
  const { scans } = JSON.parse(trace);
  assert.deepEqual([scans[0].table, scans[0].index], ["docs", "by_creation_time"]);
});

test("a syntax error of a module shows when it is deployed, with its place", async () => {
  const failed = await slot.mutation("_system:deploy", { modules: makeModules({ "bad.js": "const = 1;" }) }, { isDry: true });
  assert.equal(failed.status, STATUS.BAD_REQUEST);
  assert.match(failed.error, /bad\.js/);
});
