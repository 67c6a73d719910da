import assert from "node:assert/strict";
import { test } from "node:test";

import * as server from "../server/index.js";
import { v, validate } from "../values/index.js";

const { query, mutation, internalAction, httpAction, httpRouter, cronJobs, defineSchema, defineTable, anyApi } = server;

test("a function object carries kind, visibility and validators", () => {
  const list = query({ args: { channel: v.id("channels") }, returns: v.array(v.string()), handler: () => [] });
  assert.equal(list.isBitBendFunction, true);
  assert.deepEqual([list.kind, list.visibility], ["query", "public"]);
  assert.deepEqual(JSON.parse(list.exportArgs()), {
    type: "object",
    value: { channel: { fieldType: { type: "id", tableName: "channels" }, optional: false } },
  });
  assert.deepEqual(JSON.parse(list.exportReturns()), { type: "array", value: { type: "string" } });
  const plain = internalAction(async () => 1);
  assert.deepEqual([plain.kind, plain.visibility, plain.exportArgs(), plain.exportReturns()], ["action", "internal", null, null]);
});

test("invoke checks arguments, calls the handler, checks the result", async () => {
  const double = mutation({ args: { n: v.number() }, returns: v.number(), handler: (ctx, { n }) => (n > 9 ? "much" : n * ctx.factor) });
  assert.equal(await double.invoke({ factor: 2 }, { n: 4 }), 8);
  await assert.rejects(double.invoke({}, { n: "4" }), { code: "ArgumentValidation", message: 'args.n: expected number, found string "4"' });
  await assert.rejects(double.invoke({}, { n: 4, m: 1 }), { code: "ArgumentValidation" });
  await assert.rejects(double.invoke({ factor: 1 }, { n: 10 }), { code: "ReturnValidation", message: 'result: expected number, found string "much"' });
  const nothing = query({ args: {}, returns: v.null(), handler: () => {} });
  assert.equal(await nothing.invoke({}, {}), undefined);
});

test("invoke asks the database whether an id fits", async () => {
  const db = { normalizeId: (table, id) => (id === "good" ? id : null) };
  const get = query({ args: { id: v.id("t") }, handler: (_, { id }) => id });
  assert.equal(await get.invoke({ db }, { id: "good" }), "good");
  await assert.rejects(get.invoke({ db }, { id: "bad" }), /args\.id: expected an id of table "t", found string "bad"/);
});

test("a handler that is none is refused when it is declared", () => {
  assert.throws(() => query({ args: {} }), /query needs a function/);
  assert.throws(() => server.internalMutation(undefined), /internalMutation needs a function/);
});

test("a schema exports tables, indexes and types", () => {
  const schema = defineSchema({
    messages: defineTable({ channel: v.id("channels"), n: v.optional(v.int64()) }).index("by_channel", ["channel"]).index("by_n", { fields: ["n", "channel"] }),
    shapes: defineTable(v.union(v.object({ r: v.number() }), v.object({ w: v.number() }))),
  });
  const json = JSON.parse(schema.export());
  assert.deepEqual(json.tables[0].indexes, [
    { indexDescriptor: "by_channel", fields: ["channel"] },
    { indexDescriptor: "by_n", fields: ["n", "channel"] },
  ]);
  assert.equal(json.tables[1].documentType.type, "union");
  assert.equal(json.schemaValidation, true);
});

test("an index that cannot be is refused with the reason", () => {
  const table = () => defineTable({ a: v.string() });
  assert.throws(() => table().index("by_id", ["a"]), /every table has this index already/);
  assert.throws(() => table().index("by_a", ["a"]).index("by_a", ["a"]), /two indexes of this name/);
  assert.throws(() => table().index("by_a", []), /at least one field/);
  assert.throws(() => table().index("by_a", ["a", "_creationTime"]), /end every index by themselves/);
  assert.throws(() => defineSchema({ "a-b": table() }), /Table name "a-b"/);
  assert.throws(() => defineSchema({ a: { b: v.string() } }), /needs defineTable/);
});

test("validators of pages take what clients send and .paginate() gives", () => {
  const { paginationOptsValidator, paginationResultValidator } = server;
  validate(paginationOptsValidator, { cursor: null, numItems: 5 });
  validate(paginationOptsValidator, { cursor: "a", numItems: 5, endCursor: null, id: 1 });
  assert.throws(() => validate(paginationOptsValidator, { numItems: 5 }), /value\.cursor: expected string or null/);
  assert.throws(() => validate(paginationOptsValidator, { cursor: null, numItems: 5, page: 1 }), /page/);
  validate(paginationResultValidator(v.string()), { page: ["a"], isDone: true, continueCursor: "c" });
  assert.throws(() => validate(paginationResultValidator(v.string()), { page: [1], isDone: true, continueCursor: "c" }), /value\.page\[0\]/);
});

test("references name their functions", () => {
  assert.equal(server.getFunctionName(anyApi.sub.dir.fn), "sub/dir:fn");
  assert.equal(server.getFunctionName(anyApi.messages.default), "messages");
  assert.equal(anyApi.a.b[Symbol.for("functionName")], "a:b");
  assert.equal(server.getFunctionName(server.makeFunctionReference("x:y")), "x:y");
  assert.equal(server.getFunctionName("x:y"), "x:y");
  assert.throws(() => server.getFunctionName(query(() => 1)), /cannot be called by its object/);
  assert.throws(() => server.getFunctionName(anyApi.messages), /names no function/);
  assert.throws(() => server.getFunctionName(undefined), /no function reference/);
});

test("routes and crons are listed", () => {
  const handler = httpAction(async () => new Response("ok"));
  const http = httpRouter().route({ path: "/a", method: "GET", handler }).route({ pathPrefix: "/b/", method: "POST", handler });
  assert.deepEqual(http.getRoutes().map(([path, method]) => [path, method]), [["/a", "GET"], ["/b/*", "POST"]]);
  assert.throws(() => http.route({ path: "/a", method: "GET", handler }), /Two routes/);

  const crons = cronJobs();
  crons.interval("sweep", { minutes: 2 }, anyApi.sweep.run);
  crons.weekly("mail", { dayOfWeek: "monday", hourUTC: 8, minuteUTC: 30 }, anyApi.mail.send, { n: 1n });
  const json = JSON.parse(crons.export());
  assert.deepEqual(json.sweep, { name: "sweep:run", args: [{}], schedule: { type: "interval", seconds: 120 } });
  assert.deepEqual(json.mail.args, [{ n: { $integer: "AQAAAAAAAAA=" } }]);
  assert.throws(() => crons.daily("x", { hourUTC: 24, minuteUTC: 0 }, anyApi.a.b), /hourUTC is a whole number from 0 to 23/);
});
