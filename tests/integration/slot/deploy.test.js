// _system:deploy and what follows from it: system tables, catalogs, backfills.

import assert from "node:assert/strict";
import { test } from "node:test";

import { STATUS, Slot, makeModules, start } from "./harness.js";

const schemaOf = (tables) => `exports.default = schema(${JSON.stringify(tables)});`;
const FUNCTIONS = `
exports.add = mutation(async (ctx, { count }) => {
  for (let n = 0; n < count; n++) await ctx.db.insert("docs", { n, text: "t" + n });
});
exports.byN = query(async (ctx) => (await ctx.db.query("docs").withIndex("by_n").collect()).map(({ n }) => n));
exports.all = query(async (ctx) => (await ctx.db.query("docs").collect()).length);
`;

const deploy = async (slot, files, options = {}) => {
  const { isDry, ...args } = options;
  const answer = await slot.mutation("_system:deploy", { modules: makeModules(files), ...args }, { isDry });
  if (answer.status === STATUS.OK && answer.hasBody && !isDry) {
    slot.deploy();
  }
  return answer;
};

const withSlot = async (work) => {
  const slot = new Slot();
  await slot.ready;
  try {
    await work(slot);
  } finally {
    await slot.stop();
  }
};

test("the first deploy lists everything as added", () =>
  withSlot(async (slot) => {
    const { value, status, error } = await deploy(slot, {
      "schema.js": schemaOf({ docs: { by_n: ["n"] }, other: {} }),
      "f.js": FUNCTIONS,
      "sub/g.js": `exports.default = action(() => 1); exports.hidden = internalMutation(() => 1); exports.constant = 5;`,
    });
    assert.equal(status, STATUS.OK, error);
    assert.deepEqual(value, {
      version: 1,
      functions: { added: ["f:add", "f:all", "f:byN", "sub/g:default", "sub/g:hidden"], changed: [], removed: [] },
      tables: { added: ["docs", "other"], removed: [] },
      indexes: { added: [{ table: "docs", name: "by_n", state: "ready" }], removed: [] },
      crons: { added: [], changed: [], removed: [] },
      routes: { added: [], changed: [], removed: [] },
      unusedCode: [],
      notes: [],
      sharing: {
        shared: [],
        perCall: ["f.js", "schema.js", "sub/g.js"].map((module) => ({ module, why: "it takes values apart where it declares names" })),
        context: [],
      },
    });
    const rows = await slot.query("_system:functions");
    assert.deepEqual(
      rows.value.map(({ path, kind, visibility }) => `${path} ${visibility} ${kind}`),
      ["f:add public mutation", "f:all public query", "f:byN public query", "sub/g:default public action", "sub/g:hidden internal mutation"],
    );
    const tables = await slot.query("_system:tables");
    assert.deepEqual(tables.value.map(({ name, number }) => [name, number]), [["docs", 10001], ["other", 10002]]);
    const { value: state } = await slot.query("_system:status");
    assert.deepEqual([state.version, state.functions, state.tables, state.indexes, state.modules], [1, 5, 2, 1, 4]);
    assert.deepEqual([state.routes, state.crons], [0, 0]);
    assert.deepEqual(state.scheduler, { isLeased: false, active: null, since: null, beatAgeMs: null, jobs: { pending: 0, due: 0, running: 0 } });
  }));

test("a deploy of other routes says which", () =>
  withSlot(async (slot) => {
    const routes = (list, more = "") => `exports.default = { isRouter: true, getRoutes: () => ${JSON.stringify(list)} };${more}`;
    const deployed = async (files, options) => (await deploy(slot, files, options)).value.routes;
    const two = { "http.js": routes([["/a", "GET"], ["/b/*", "POST"]]) };
    assert.deepEqual(await deployed(two), { added: ["GET /a", "POST /b/*"], changed: [], removed: [] });
    assert.deepEqual(await deployed({ ...two, "f.js": FUNCTIONS }), { added: [], changed: [], removed: [] });
    const other = { "http.js": routes([["/a", "GET"], ["/a", "PUT"]]) };
    assert.deepEqual(await deployed(other, { dryRun: true }), { added: ["PUT /a"], changed: ["GET /a"], removed: ["POST /b/*"] });
    await deployed(other);
    assert.equal((await slot.query("_system:status")).value.routes, 2);
    assert.deepEqual(await deployed({}), { added: [], changed: [], removed: ["GET /a", "PUT /a"] });
  }));

test("the status says who schedules and since when, and counts jobs up to a thousand", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "f.js": `exports.g = mutation(() => 1); exports.add = mutation(async (ctx, { count }) => {
      for (let n = 0; n < count; n++) await ctx.scheduler.runAfter(3600000, "f:g", {});
    });` });
    const status = async () => (await slot.query("_system:status")).value.scheduler;
    const take = (args) => slot.mutation("_system:takeLease", { name: "scheduler", ...args });
    await take({ holder: "one" });
    const first = await status();
    assert.equal(first.active, "one");
    assert.ok(first.beatAgeMs >= 0);
    assert.ok(Date.parse(first.since) > 0);
    await take({ holder: "one" });
    assert.equal((await status()).since, first.since, "a beat is no other beginning");
    await take({ holder: "one", isLeaving: true });
    assert.deepEqual([(await status()).active, (await status()).since], [null, null]);
    await take({ holder: "two" });
    assert.equal((await status()).active, "two");
    await slot.mutation("f:add", { count: 1000 });
    assert.deepEqual((await status()).jobs, { pending: 1000, due: 0, running: 0 });
    await slot.mutation("f:add", { count: 1 });
    assert.deepEqual((await status()).jobs, { pending: "1000+", due: 0, running: 0 });
  }));

test("t12 the same deploy again is no transaction", () =>
  withSlot(async (slot) => {
    const files = { "schema.js": schemaOf({ docs: { by_n: ["n"] } }), "f.js": FUNCTIONS };
    await deploy(slot, files);
    const again = await deploy(slot, files);
    assert.equal(again.status, STATUS.OK, again.error);
    assert.equal(again.hasBody, false);
    assert.equal(again.value.version, 1);
    assert.deepEqual(again.value.functions, { added: [], changed: [], removed: [] });
  }));

test("a dry run tells and changes nothing", () =>
  withSlot(async (slot) => {
    const answer = await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": FUNCTIONS }, { dryRun: true });
    assert.equal(answer.hasBody, false);
    assert.deepEqual(answer.value.tables.added, ["docs"]);
    assert.equal(answer.value.functions.added.length, 3);
  }));

test("functions that change, come and go are named; those of other modules are not", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "f.js": `exports.a = query(() => 1); exports.b = query(() => 1);`, "g.js": `exports.c = query(() => 1);` });
    const { value } = await deploy(slot, { "f.js": `exports.a = query(() => 2); exports.d = query(() => 1);`, "g.js": `exports.c = query(() => 1);` });
    assert.deepEqual(value.functions, { added: ["f:d"], changed: ["f:a"], removed: ["f:b"] });
    assert.equal(value.version, 2);
    assert.equal((await slot.query("f:a")).value, 2);
    assert.equal((await slot.query("f:b")).status, STATUS.FUNCTION_NOT_FOUND);
    const gone = await deploy(slot, { "f.js": `exports.a = query(() => 2); exports.d = query(() => 1);` });
    assert.deepEqual(gone.value.functions.removed, ["g:c"]);
    assert.equal(slot.store.documents(4).length, 2);
  }));

test("an index on a full table is filled in steps, is an error until then, and then holds all", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": FUNCTIONS });
    for (let i = 0; i < 3; i++) {
      assert.equal((await slot.mutation("f:add", { count: 800 })).status, STATUS.OK);
    }
    const { value } = await deploy(slot, { "schema.js": schemaOf({ docs: { by_n: ["n"] } }), "f.js": FUNCTIONS });
    assert.deepEqual(value.indexes.added, [{ table: "docs", name: "by_n", state: "backfilling" }]);
    const early = await slot.query("f:byN");
    assert.equal(early.status, STATUS.INDEX_NOT_READY);
    assert.match(early.error, /docs\.by_n.*0 of 2400/s);
    // Written by all from the deploy on, also before the backfill comes to it.
    assert.equal((await slot.mutation("f:add", { count: 1 })).status, STATUS.OK);
    const steps = [];
    for (let state = "backfilling"; state === "backfilling"; ) {
      const step = await slot.mutation("_system:backfill", { table: "docs", index: "by_n" });
      assert.equal(step.status, STATUS.OK, step.error);
      assert.ok(step.body.writes.filter(({ isIndexOnly }) => isIndexOnly).length <= 1000);
      ({ state } = step.value);
      steps.push(step.value.done);
      slot.deploy();
    }
    assert.deepEqual(steps, [1000, 2000, 2401]);
    const done = await slot.query("f:byN");
    assert.equal(done.status, STATUS.OK, done.error);
    assert.equal(done.value.length, 2401);
    assert.deepEqual((await slot.query("_system:indexes")).value[0].state, "ready");
    const after = await slot.mutation("_system:backfill", { table: "docs", index: "by_n" });
    assert.deepEqual([after.value.state, after.hasBody], ["ready", false]);
    const none = await slot.mutation("_system:backfill", { table: "docs", index: "gone" });
    assert.equal(none.value.state, "removed");
  }));

test("a function that was told to wait depends on the table's row, which the last step writes", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": FUNCTIONS });
    await slot.mutation("f:add", { count: 1 });
    await deploy(slot, { "schema.js": schemaOf({ docs: { by_n: ["n"] } }), "f.js": FUNCTIONS });
    const { reads } = await slot.query("f:byN");
    const last = await slot.mutation("_system:backfill", { table: "docs", index: "by_n" });
    const keys = last.body.writes.map(({ docKey }) => Buffer.from(docKey).toString("hex"));
    assert.ok(keys.some((key) => reads.some(([low, high]) => key >= low && key < high)));
  }));

/** The row of an index as the system table has it. */
const indexRow = (slot, key) => slot.store.documents(2).find((row) => row._key === key);
const removingRows = (slot) => slot.store.documents(2).filter(({ state }) => state === "removing");

/** Steps of `_system:backfill` until the index is not being filled any more. */
const fillIndex = async (slot, table, index) => {
  for (;;) {
    slot.deploy();
    const { value, status, error } = await slot.mutation("_system:backfill", { table, index });
    assert.equal(status, STATUS.OK, error);
    if (value.state !== "backfilling") {
      slot.deploy();
      return value.state;
    }
  }
};

/** Steps of `_system:clean` for every index that was removed; how many entries each deleted. */
const cleanIndexes = async (slot) => {
  const steps = [];
  for (let [row] = removingRows(slot); row !== undefined; [row] = removingRows(slot)) {
    const step = await slot.mutation("_system:clean", { table: row.table, index: row.name, id: row.id });
    assert.equal(step.status, STATUS.OK, step.error);
    steps.push(step.body.writes.filter(({ isIndexOnly }) => isIndexOnly).length);
    slot.deploy();
  }
  return steps;
};

test("an index with other fields gets another id and is built anew", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "schema.js": schemaOf({ docs: { by_n: ["n"] } }), "f.js": FUNCTIONS });
    const { id: before } = indexRow(slot, "docs.by_n");
    await slot.mutation("f:add", { count: 3 });
    const { value } = await deploy(slot, { "schema.js": schemaOf({ docs: { by_n: ["text", "n"] } }), "f.js": FUNCTIONS });
    assert.deepEqual(value.indexes, { added: [{ table: "docs", name: "by_n", state: "backfilling" }], removed: ["docs.by_n"] });
    const { id: after, fields } = indexRow(slot, "docs.by_n");
    assert.deepEqual(fields, ["text", "n"]);
    assert.ok(after > before);
    const removed = await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": FUNCTIONS });
    assert.deepEqual(removed.value.indexes, { added: [], removed: ["docs.by_n"] });
    assert.equal((await slot.query("f:byN")).status, STATUS.INDEX_NOT_FOUND);
    // And an id is never given twice.
    await deploy(slot, { "schema.js": schemaOf({ docs: { by_n: ["n"] } }), "f.js": FUNCTIONS });
    assert.ok(indexRow(slot, "docs.by_n").id > after);
  }));

test("the entries of a removed index are deleted in steps, nobody else's are touched, and then its row goes", () =>
  withSlot(async (slot) => {
    const without = { "schema.js": schemaOf({ docs: { by_text: ["text"] } }), "f.js": FUNCTIONS };
    await deploy(slot, { "schema.js": schemaOf({ docs: { by_n: ["n"], by_text: ["text"] } }), "f.js": FUNCTIONS });
    for (let i = 0; i < 3; i++) {
      await slot.mutation("f:add", { count: 800 });
    }
    const id = Number(indexRow(slot, "docs.by_n").id);
    const other = Number(indexRow(slot, "docs.by_text").id);
    const { value } = await deploy(slot, without);
    assert.deepEqual(value.indexes, { added: [], removed: ["docs.by_n"] });
    assert.deepEqual(value.notes, ["index docs.by_n: its entries are deleted in the background."]);
    assert.equal((await slot.query("f:byN")).status, STATUS.INDEX_NOT_FOUND);
    assert.deepEqual((await slot.query("_system:indexes")).value.map(({ name, state }) => `${name} ${state}`).sort(), ["by_n removing", "by_text ready"]);
    const { value: state } = await slot.query("_system:status");
    assert.deepEqual([state.indexes, state.removing, state.backfilling, state.failed], [1, ["docs.by_n"], [], []]);
    assert.deepEqual((await slot.query("_system:tables")).value[0].indexes, ["by_text (text)"]);
    // Written by nobody: the entries of documents that come now are not there.
    await slot.mutation("f:add", { count: 5 });
    assert.equal(slot.store.indexKeys(id).length, 2400);
    // The same deploy again changes nothing, also while it is being cleaned.
    assert.equal((await deploy(slot, without)).hasBody, false);
    assert.deepEqual(await cleanIndexes(slot), [1000, 1000, 400]);
    assert.equal(slot.store.indexKeys(id).length, 0);
    assert.equal(slot.store.indexKeys(other).length, 2405);
    assert.equal((await slot.query("f:all")).value, 2405);
    assert.deepEqual(slot.store.documents(2).map(({ _key }) => _key), ["docs.by_text"]);
    const after = await slot.mutation("_system:clean", { table: "docs", index: "by_n", id });
    assert.deepEqual([after.value.state, after.hasBody], ["removed", false]);
    const ready = await slot.mutation("_system:clean", { table: "docs", index: "by_text", id: other });
    assert.deepEqual([ready.value.state, ready.hasBody], ["removed", false], "an index that is in use is not cleaned");
  }));

test("an index that is declared again while the old one is removed works at once and is not touched", () =>
  withSlot(async (slot) => {
    const full = { "schema.js": schemaOf({ docs: { by_n: ["n"] } }), "f.js": FUNCTIONS };
    await deploy(slot, full);
    await slot.mutation("f:add", { count: 1500 });
    const old = Number(indexRow(slot, "docs.by_n").id);
    await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": FUNCTIONS });
    const [row] = removingRows(slot);
    await slot.mutation("_system:clean", { table: "docs", index: "by_n", id: row.id });
    const { value } = await deploy(slot, full);
    assert.deepEqual(value.indexes, { added: [{ table: "docs", name: "by_n", state: "backfilling" }], removed: [] });
    assert.equal(await fillIndex(slot, "docs", "by_n"), "ready");
    assert.equal((await slot.query("f:byN")).value.length, 1500);
    // And once more, twice under the same name.
    await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": FUNCTIONS });
    assert.equal(removingRows(slot).length, 2);
    await deploy(slot, full);
    assert.equal(await fillIndex(slot, "docs", "by_n"), "ready");
    const steps = await cleanIndexes(slot);
    assert.equal(steps.reduce((sum, step) => sum + step, 0), 500 + 1500);
    assert.equal(slot.store.indexKeys(old).length, 0);
    assert.equal((await slot.query("f:byN")).value.length, 1500);
    assert.equal(slot.store.documents(2).length, 1);
  }));

test("two that clean the same index at once lose against each other, a document's writer does not", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "schema.js": schemaOf({ docs: { by_n: ["n"] } }), "f.js": FUNCTIONS });
    await slot.mutation("f:add", { count: 10 });
    await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": FUNCTIONS });
    const [row] = removingRows(slot);
    const writer = await slot.mutation("f:add", { count: 1 }, { isDry: true });
    const args = { table: "docs", index: "by_n", id: row.id };
    const first = await slot.mutation("_system:clean", args, { isDry: true });
    const second = await slot.mutation("_system:clean", args, { isDry: true });
    const keysOf = ({ body }) =>
      body.writes.flatMap(({ docKey, keys }) => [docKey, ...keys.map(({ key }) => key)]).map((key) => Buffer.from(key).toString("hex"));
    const hits = (written, { reads }) => keysOf(written).some((key) => reads.some(([low, high]) => key >= low && key < high));
    assert.ok(hits(first, second));
    assert.ok(!hits(first, writer) && !hits(writer, first));
  }));

test("an index that is removed while it is filled is cleaned, and its last fill step writes nothing", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": FUNCTIONS });
    await slot.mutation("f:add", { count: 1200 });
    await deploy(slot, { "schema.js": schemaOf({ docs: { by_n: ["n"], by_text: ["text"] } }), "f.js": FUNCTIONS });
    await slot.mutation("_system:backfill", { table: "docs", index: "by_n" });
    const id = Number(indexRow(slot, "docs.by_n").id);
    assert.equal(slot.store.indexKeys(id).length, 1000);
    // A deploy while both are being filled: the other one goes on where it was.
    await slot.mutation("_system:backfill", { table: "docs", index: "by_text" });
    await deploy(slot, { "schema.js": schemaOf({ docs: { by_text: ["text"] } }), "f.js": FUNCTIONS });
    assert.equal(indexRow(slot, "docs.by_text").done, 1000n);
    const late = await slot.mutation("_system:backfill", { table: "docs", index: "by_n" });
    assert.deepEqual([late.value.state, late.hasBody], ["removed", false]);
    assert.equal(await fillIndex(slot, "docs", "by_text"), "ready");
    assert.deepEqual(await cleanIndexes(slot), [1000, 0]);
    assert.equal(slot.store.indexKeys(id).length, 0);
    assert.equal(slot.store.indexKeys(Number(indexRow(slot, "docs.by_text").id)).length, 1200);
  }));

const LONG = `
${FUNCTIONS}
exports.long = mutation((ctx, { size }) => ctx.db.insert("docs", { n: -1, text: "x".repeat(size) }));
exports.shorten = mutation((ctx, { id, text }) => ctx.db.patch(id, { text }));
exports.byText = query(async (ctx) => (await ctx.db.query("docs").withIndex("by_text").collect()).length);
`;

test("an index that cannot hold a document fails with its id and size, hinders nobody, and is tried again by the next deploy", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": LONG });
    const { value: id } = await slot.mutation("f:long", { size: 9000 });
    await slot.mutation("f:add", { count: 5 });
    const full = { "schema.js": schemaOf({ docs: { by_text: ["text"] } }), "f.js": LONG };
    await deploy(slot, full);
    const waiting = await slot.query("f:byText");
    assert.equal(waiting.status, STATUS.INDEX_NOT_READY);
    const step = await slot.mutation("_system:backfill", { table: "docs", index: "by_text" });
    assert.deepEqual([step.status, step.value.state], [STATUS.OK, "failed"], step.error);
    // Who was told to wait is told why.
    const keys = step.body.writes.map(({ docKey }) => Buffer.from(docKey).toString("hex"));
    assert.ok(keys.some((key) => waiting.reads.some(([low, high]) => key >= low && key < high)));
    slot.deploy();
    const [{ state, error }] = (await slot.query("_system:indexes")).value;
    assert.equal(state, "failed");
    assert.match(error, new RegExp(`docs\\.by_text.*document ${id} .*9031 bytes.*8192.*deploy again`));
    const told = await slot.query("f:byText");
    assert.deepEqual([told.status, told.error.includes(error)], [STATUS.INDEX_NOT_READY, true], told.error);
    assert.deepEqual((await slot.query("_system:status")).value.failed, ["docs.by_text"]);
    assert.equal((await slot.mutation("_system:backfill", { table: "docs", index: "by_text" })).hasBody, false);
    // It is written by nobody, so long texts are no error.
    assert.equal((await slot.mutation("f:long", { size: 9500 })).status, STATUS.OK);
    const again = await deploy(slot, full);
    assert.deepEqual(again.value.indexes, { added: [{ table: "docs", name: "by_text", state: "backfilling" }], removed: [] });
    assert.equal(await fillIndex(slot, "docs", "by_text"), "failed");
    for (const row of slot.store.documents(10001).filter(({ text }) => text.length > 8000)) {
      assert.equal((await slot.mutation("f:shorten", { id: row._id, text: "short" })).status, STATUS.OK);
    }
    await deploy(slot, full);
    assert.equal(await fillIndex(slot, "docs", "by_text"), "ready");
    assert.equal((await slot.query("f:byText")).value, 7);
    await cleanIndexes(slot);
    assert.equal(slot.store.documents(2).length, 1);
    assert.deepEqual(new Set(slot.store.indexKeys(Number(indexRow(slot, "docs.by_text").id))).size, 7);
  }));

test("large documents make the steps of a backfill smaller, not an error", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": LONG });
    for (let i = 0; i < 24; i++) {
      assert.equal((await slot.mutation("f:long", { size: 900000 })).status, STATUS.OK);
    }
    await deploy(slot, { "schema.js": schemaOf({ docs: { by_n: ["n"] } }), "f.js": LONG });
    assert.equal(await fillIndex(slot, "docs", "by_n"), "ready");
    assert.equal(slot.store.indexKeys(Number(indexRow(slot, "docs.by_n").id)).length, 24);
  }));

test("a table that is declared again has its documents, and its indexes are filled with all of them", () =>
  withSlot(async (slot) => {
    const full = { "schema.js": schemaOf({ docs: { by_n: ["n"] } }), "f.js": FUNCTIONS };
    await deploy(slot, full);
    await slot.mutation("f:add", { count: 3 });
    const gone = await deploy(slot, { "f.js": FUNCTIONS });
    assert.deepEqual([gone.value.tables.removed, gone.value.indexes.removed], [["docs"], ["docs.by_n"]]);
    // Written while it is not declared: without the index.
    assert.equal((await slot.mutation("f:add", { count: 2 })).status, STATUS.OK);
    const back = await deploy(slot, full);
    assert.deepEqual(back.value.indexes.added, [{ table: "docs", name: "by_n", state: "backfilling" }]);
    assert.equal(await fillIndex(slot, "docs", "by_n"), "ready");
    assert.deepEqual((await slot.query("f:byN")).value, [0, 0, 1, 1, 2]);
    assert.deepEqual(await cleanIndexes(slot), [3]);
    assert.deepEqual((await slot.query("f:byN")).value, [0, 0, 1, 1, 2]);
  }));

test("the index of a table that is gone is cleaned too", () =>
  withSlot(async (slot) => {
    const source = `${FUNCTIONS}\nexports.clear = mutation(async (ctx) => { for (const { _id } of await ctx.db.query("docs").collect()) await ctx.db.delete(_id); });`;
    await deploy(slot, { "schema.js": schemaOf({ docs: { by_n: ["n"] } }), "f.js": source });
    await slot.mutation("f:add", { count: 4 });
    const id = Number(indexRow(slot, "docs.by_n").id);
    await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": source });
    await slot.mutation("f:clear");
    await deploy(slot, { "f.js": source });
    assert.equal(slot.store.documents(1).length, 0);
    assert.equal(slot.store.indexKeys(id).length, 4);
    assert.deepEqual(await cleanIndexes(slot), [4]);
    assert.equal(slot.store.indexKeys(id).length, 0);
    assert.equal(slot.store.documents(2).length, 0);
  }));

test("a table that leaves the schema keeps its documents; an empty one goes", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "schema.js": schemaOf({ docs: {}, empty: {} }), "f.js": FUNCTIONS });
    await slot.mutation("f:add", { count: 2 });
    const { value } = await deploy(slot, { "f.js": FUNCTIONS });
    assert.deepEqual(value.tables.removed.sort(), ["docs", "empty"]);
    assert.equal(value.notes.length, 1);
    assert.match(value.notes[0], /docs/);
    assert.equal((await slot.query("f:all")).value, 2);
    const again = await deploy(slot, { "f.js": FUNCTIONS });
    assert.deepEqual([again.hasBody, again.value.tables.removed], [false, []]);
    const back = await deploy(slot, { "schema.js": schemaOf({ docs: {}, empty: {} }), "f.js": FUNCTIONS });
    assert.deepEqual(back.value.tables.added, ["docs", "empty"]);
    const numbers = (await slot.query("_system:tables")).value.map(({ number }) => number);
    assert.deepEqual(numbers, [10001, 10003], "a number is never given twice");
  }));

test("bad schemas are refused with a text that says what to do", () =>
  withSlot(async (slot) => {
    const many = (count, make) => Object.fromEntries(Array.from({ length: count }, (_, i) => make(i)));
    const cases = [
      [schemaOf({ docs: { by_id: ["n"] } }), /by_id, by_creation_time and by_key/],
      [schemaOf({ _docs: {} }), /begin with "_"/],
      [schemaOf({ docs: { _x: ["n"] } }), /begin with "_"/],
      [schemaOf({ "my-docs": {} }), /"my-docs".*letters, digits/s],
      [schemaOf({ docs: { x: [] } }), /docs\.x has no fields/],
      [schemaOf({ docs: { x: ["a", "a"] } }), /"a" twice/],
      [schemaOf({ docs: { x: ["_creationTime"] } }), /_creationTime is the last field/],
      [schemaOf({ docs: { x: ["_id"] } }), /belongs to the system/],
      [schemaOf({ docs: { x: [""] } }), /docs\.x/],
      [schemaOf({ docs: { x: Array.from({ length: 17 }, (_, i) => `f${i}`) } }), /17 fields, the limit is 16/],
      [schemaOf({ docs: many(33, (i) => [`i${i}`, ["n"]]) }), /33 indexes, the limit is 32/],
      [
        `exports.default = { export: () => JSON.stringify({ tables: [{ tableName: "docs", indexes: [
          { indexDescriptor: "x", fields: ["a"] }, { indexDescriptor: "x", fields: ["b"] }] }] }) };`,
        /docs\.x is declared twice/,
      ],
      [`exports.default = { export: () => JSON.stringify({ tables: [{ tableName: "d" }, { tableName: "d" }] }) };`, /"d" is declared twice/],
      [`exports.default = { tables: {} };`, /must be defineSchema/],
      [`throw new Error("cannot load");`, /schema\.js could not be loaded.*cannot load/s],
      [`const a = 1;\nconst b = ;\n`, /schema\.js could not be loaded\.\nSyntaxError: Unexpected token ';'\n    at schema\.js:3:11/],
    ];
    for (const [source, expected] of cases) {
      const answer = await deploy(slot, { "schema.js": source });
      assert.equal(answer.status, STATUS.BAD_REQUEST, source);
      assert.match(answer.error, expected);
      assert.equal(answer.hasBody, false);
    }
    for (const modules of [null, [{ path: "../x.js", source: "" }], [{ path: "x.js" }], [{ path: "x.js", source: "" }, { path: "x.js", source: "" }]]) {
      assert.equal((await slot.mutation("_system:deploy", { modules })).status, STATUS.BAD_REQUEST);
    }
    assert.equal(slot.store.tx, 0);
  }));

test("a large module with its map is kept and runs", () =>
  withSlot(async (slot) => {
    const big = `exports.f = query(() => 1);\n// ${"x".repeat(3 << 20)}`;
    const answer = await deploy(slot, { "f.js": big });
    assert.equal(answer.status, STATUS.OK, answer.error);
    assert.equal((await slot.query("f:f")).value, 1);
  }));

test("tableData pages through a table, newest first", () =>
  withSlot(async (slot) => {
    await deploy(slot, { "schema.js": schemaOf({ docs: {} }), "f.js": FUNCTIONS });
    await slot.mutation("f:add", { count: 5 });
    const first = await slot.query("_system:tableData", { table: "docs", limit: 3, cursor: null });
    assert.deepEqual(first.value.page.map(({ n }) => n), [4, 3, 2]);
    const second = await slot.query("_system:tableData", { table: "docs", limit: 3, cursor: first.value.continueCursor });
    assert.deepEqual([second.value.page.map(({ n }) => n), second.value.isDone], [[1, 0], true]);
    assert.equal((await slot.query("_system:tableData", { table: "nope" })).status, STATUS.TABLE_NOT_FOUND);
  }));

test("every run depends on the deployment and on the tables that it used", async () => {
  const slot = await start({ "schema.js": schemaOf({ docs: {} }), "f.js": FUNCTIONS });
  const { reads } = await slot.query("f:all");
  const next = await deploy(slot, { "schema.js": schemaOf({ docs: {}, more: {} }), "f.js": FUNCTIONS }, { isDry: true });
  const keys = next.body.writes.map(({ docKey }) => Buffer.from(docKey).toString("hex"));
  assert.ok(keys.some((key) => reads.some(([low, high]) => key >= low && key < high)));
  await slot.stop();
});

test("a module that does not end at load is named", { timeout: 60000 }, async () => {
  let told;
  const load = (timeoutMs) => withSlot(async (slot) => {
    const files = {
      "schema.js": schemaOf({ docs: {} }),
      "fine.js": `exports.a = query(() => 1);`,
      "sub/slow.js": `const never = () => { for (;;); }; try { never(); } catch {} exports.b = query(() => 1);`,
      "uses.js": `const slow = require("./sub/slow.js"); exports.c = query(() => slow);`,
    };
    told = await slot.mutation("_system:deploy", { modules: makeModules(files) }, { timeoutMs });
  });
  // A slow machine may not have come to that module in time: then it gets more.
  for (let timeoutMs = 300; timeoutMs < 20_000 && !told?.error.includes("sub/slow.js"); timeoutMs *= 4) await load(timeoutMs);
  assert.equal(told.status, STATUS.FUNCTION_TIMEOUT);
  assert.match(told.error, /^Function _system:deploy did not end within .* module sub\/slow\.js was still being loaded: .*loop/);
});
