// Deploys: indexes on full tables, removed ones, changed functions, bad code; each through the command line.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { eventually, mutation, post, query, subscribe } from "./api.mjs";
import { app, inEachMode } from "./modes.mjs";

const INDEX_BY_N = '\n    .index("by_n", ["n"])';
const INDEX_BY_BODY = '\n    .index("by_body", ["body"])';
const AFTER = '.index("by_group", ["group"])';
const COUNT_BY_BODY = `import { query } from "bitbend/server";
export const count = query((ctx) => ctx.db.query("items").withIndex("by_body").count());
`;

const cli = join(dirname(fileURLToPath(import.meta.url)), "../../../libs/js/bitbend/bin/bitbend.cjs");

function run(suite, dir, ...args) {
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, ...args, "--url", suite.url, "--admin-key", suite.adminKey], { cwd: dir, timeout: 150_000 }, (error, stdout, stderr) =>
      resolve({ code: error ? error.code : 0, output: stdout + stderr }),
    );
  });
}

inEachMode("deploy", (suite, mode) => {
  let dir;
  const file = (name) => join(dir, "bitbend", name);
  const edit = (name, from, to) => {
    const text = readFileSync(file(name), "utf8");
    assert.ok(text.includes(from), `${name} has ${from}`);
    writeFileSync(file(name), text.replace(from, to));
  };
  const indexes = async () => {
    const answer = await post(suite.url, "/api/function", { path: "_system:indexes", args: {}, format: "json" }, suite.admin);
    assert.equal(answer.body.status, "success", answer.text);
    return answer.body.value;
  };
  const isCleaned = async () => (await indexes()).every(({ state }) => state !== "removing");
  /** A deploy that does not wait until indexes are filled. */
  const deployOnly = () => suite.suite.deployApp(dir);
  const deploy = async () => {
    const done = await run(suite, dir, "deploy");
    assert.equal(done.code, 0, done.output);
    return done.output;
  };

  test("the same application again changes nothing", async () => {
    dir = mkdtempSync(join(tmpdir(), "bitbend-deploy-"));
    cpSync(app, dir, { recursive: true });
    const before = await post(suite.url, "/api/function", { path: "_system:functions", args: {} }, suite.admin);
    assert.equal(before.body.status, "success", before.text);
    await deploy();
    const after = await post(suite.url, "/api/function", { path: "_system:functions", args: {} }, suite.admin);
    assert.deepEqual(after.body.value, before.body.value);
  });

  test("b6_atomic: a changed function is in force at once, for watchers too", async () => {
    const stream = await subscribe(suite.url, "items:count", { group: "deploy" });
    await stream.next((event) => event.data.value === 0);
    edit("items.ts", 'q.eq("group", group)).count()', 'q.eq("group", group)).count().then((n) => n + 1000)');
    await deploy();
    assert.equal(await query(suite.url, "items:count", { group: "deploy" }), 1000);
    await stream.next((event) => event.data.value === 1000);
    stream.close();
  });

  test("a new index on a full table is filled in the background and usable when ready", async () => {
    for (let from = 0; from < 6000; from += 1000) await mutation(suite.url, "items:addMany", { group: "filled", from, count: 1000 });
    edit("schema.ts", '.index("by_group", ["group"])', '.index("by_group", ["group"])\n    .index("by_n", ["n"])');
    writeFileSync(
      file("byN.ts"),
      `import { query } from "bitbend/server";
       import { v } from "bitbend/values";
       export const at = query({ args: { n: v.number() }, handler: async (ctx, { n }) =>
         (await ctx.db.query("items").withIndex("by_n", (q) => q.eq("n", n)).collect()).map((row) => row.group) });`,
    );
    // Writes go on while the index is filled.
    let isOver = false;
    const writing = (async () => {
      for (let n = 10000; !isOver; n++) await mutation(suite.url, "items:add", { group: "meanwhile", n });
    })();
    const output = await deploy();
    assert.match(output, /by_n/);
    await eventually(async () => {
      const answer = await post(suite.url, "/api/query", { path: "byN:at", args: { n: 4321 } });
      if (answer.body.code === "IndexNotReady") assert.match(answer.body.errorMessage, /by_n/);
      return answer.body.status === "success" && answer.body.value.includes("filled");
    }, 60000);
    isOver = true;
    await writing;
    for (const n of [0, 999, 1000, 5999]) assert.deepEqual(await query(suite.url, "byN:at", { n }), ["filled"]);
    const meanwhile = await query(suite.url, "items:numbers", { group: "meanwhile" });
    for (const n of meanwhile) assert.deepEqual(await query(suite.url, "byN:at", { n }), ["meanwhile"]);
  });

  test("removing an index or a table says what it does, and reading it is an error", async () => {
    edit("schema.ts", '\n    .index("by_n", ["n"])', "");
    const output = await deploy();
    assert.match(output, /index items\.by_n: its entries are deleted in the background/);
    const answer = await post(suite.url, "/api/query", { path: "byN:at", args: { n: 1 } });
    assert.equal(answer.body.code, "IndexNotFound", answer.text);
    edit("schema.ts", 'by_register", ["key"]', 'by_key_field", ["key"]');
    assert.match(await deploy(), /by_key_field/);
    assert.equal((await post(suite.url, "/api/query", { path: "accounts:register", args: { key: "x" } })).body.code, "IndexNotFound");
  });

  test("an index that is declared again while its old entries are deleted works at once, and the old ones go", async () => {
    const all = (await query(suite.url, "items:numbers", { group: "filled" })).length;
    assert.equal(all, 6000);
    edit("schema.ts", AFTER, AFTER + INDEX_BY_N);
    await deploy();
    edit("schema.ts", INDEX_BY_N, "");
    await deployOnly();
    assert.equal((await post(suite.url, "/api/query", { path: "byN:at", args: { n: 1 } })).body.code, "IndexNotFound");
    edit("schema.ts", AFTER, AFTER + INDEX_BY_N);
    await deploy();
    for (const n of [0, 1, 999, 5999]) assert.deepEqual(await query(suite.url, "byN:at", { n }), ["filled"]);
    await eventually(isCleaned, 60000);
    for (const n of [0, 1, 999, 5999]) assert.deepEqual(await query(suite.url, "byN:at", { n }), ["filled"]);
    const rows = (await indexes()).filter(({ name }) => name === "by_n");
    assert.deepEqual(rows.map(({ table, state }) => [table, state]), [["items", "ready"]]);
  });

  test("filling and cleaning go on after a kill in the middle", async () => {
    const part = mode === "solo" ? "solo" : "worker";
    edit("schema.ts", INDEX_BY_N, "");
    await deployOnly();
    await suite.suite.restart(part);
    if (mode === "solo") suite.adminKey = suite.suite.adminKey;
    suite.admin = { authorization: `BitBend ${suite.adminKey}` };
    await eventually(isCleaned, 60000);
    edit("schema.ts", AFTER, AFTER + INDEX_BY_N);
    await eventually(deployOnly, 60000);
    await suite.suite.restart(part);
    await eventually(async () => (await indexes()).some(({ name, state }) => name === "by_n" && state === "ready"), 60000);
    for (const n of [0, 999, 1000, 5999]) assert.deepEqual(await query(suite.url, "byN:at", { n }), ["filled"]);
  });

  test("a deploy while an index is filled, and the removal of one that is filled, disturb no other", async () => {
    edit("schema.ts", INDEX_BY_N, "");
    await deployOnly();
    edit("schema.ts", AFTER, AFTER + INDEX_BY_N + INDEX_BY_BODY);
    writeFileSync(file("byBody.ts"), COUNT_BY_BODY);
    await deployOnly();
    edit("schema.ts", INDEX_BY_BODY, "");
    await deployOnly();
    assert.equal((await post(suite.url, "/api/query", { path: "byBody:count", args: {} })).body.code, "IndexNotFound");
    // Who watches is told to wait, or not even that, and gets the result when the index is ready.
    const stream = await subscribe(suite.url, "byN:at", { n: 5999 });
    await stream.next(({ event, data }) => event !== "failed" && data.value?.[0] === "filled", 60000);
    const waited = stream.events.filter(({ event }) => event === "failed");
    assert.ok(waited.every(({ data }) => data.code === "IndexNotReady"), JSON.stringify(waited));
    stream.close();
    await eventually(isCleaned, 60000);
    for (const n of [0, 999, 1000, 5999]) assert.deepEqual(await query(suite.url, "byN:at", { n }), ["filled"]);
  });

  test("an index that cannot hold a document fails with its id, hinders nobody, and is filled by a deploy after the repair", async () => {
    const id = await mutation(suite.url, "items:add", { group: "long", n: 1, body: "x".repeat(9000) });
    edit("schema.ts", AFTER, AFTER + INDEX_BY_BODY);
    const failed = await run(suite, dir, "deploy");
    assert.equal(failed.code, 1, failed.output);
    const why = new RegExp(`items\\.by_body cannot be filled: the key of document ${id} in it has 9031 bytes, the limit is 8192.*deploy again`);
    assert.match(failed.output, why);
    const answer = await post(suite.url, "/api/query", { path: "byBody:count", args: {} });
    assert.equal(answer.body.code, "IndexNotReady", answer.text);
    assert.match(answer.body.errorMessage, why);
    const row = (await indexes()).find(({ name }) => name === "by_body");
    assert.equal(row.state, "failed");
    assert.match(row.error, why);
    const stream = await subscribe(suite.url, "byBody:count", {});
    await stream.next(({ event, data }) => event === "failed" && data.code === "IndexNotReady");
    await mutation(suite.url, "items:patch", { id, fields: { body: "short" } });
    await deploy();
    // The live query that was told to wait runs again by itself.
    await stream.next(({ event, data }) => event !== "failed" && data.value > 6000, 60000);
    stream.close();
    await eventually(isCleaned, 60000);
    assert.equal((await post(suite.url, "/api/query", { path: "byBody:count", args: {} })).body.status, "success");
  });

  test("a table that leaves the schema and comes back has its documents in all its indexes", async () => {
    const before = await query(suite.url, "items:count", { group: "filled" });
    const schema = readFileSync(file("schema.ts"), "utf8");
    writeFileSync(file("schema.ts"), 'import { defineSchema } from "bitbend/server";\nexport default defineSchema({});\n');
    assert.match(await deploy(), /Table items is not in the schema any more\. It has documents: they stay/);
    assert.equal((await post(suite.url, "/api/query", { path: "items:count", args: { group: "filled" } })).body.code, "IndexNotFound");
    const id = await mutation(suite.url, "items:add", { group: "undeclared", n: 70000 });
    writeFileSync(file("schema.ts"), schema);
    await deploy();
    assert.equal(await query(suite.url, "items:count", { group: "filled" }), before);
    assert.deepEqual(await query(suite.url, "byN:at", { n: 70000 }), ["undeclared"]);
    assert.equal((await query(suite.url, "items:get", { id })).group, "undeclared");
    await eventually(isCleaned, 60000);
    assert.equal(await query(suite.url, "items:count", { group: "filled" }), before);
  });

  test("code that does not compile, or fails when it is loaded, changes nothing and names file and line", async () => {
    const good = readFileSync(file("byN.ts"), "utf8");
    writeFileSync(file("byN.ts"), "export const broken = (;\n");
    const syntax = await run(suite, dir, "deploy");
    assert.notEqual(syntax.code, 0);
    assert.match(syntax.output, /byN\.ts:1/);
    writeFileSync(file("byN.ts"), 'const a = 1;\nthrow new Error("at load");\nexport const b = a;\n');
    const load = await run(suite, dir, "deploy");
    assert.notEqual(load.code, 0);
    assert.match(load.output, /at load/);
    assert.match(load.output, /byN\.ts:2/);
    writeFileSync(file("byN.ts"), good);
    edit("schema.ts", '.index("by_group", ["group"])', '.index("by_group", ["group"]).index("by_group", ["n"])');
    const schema = await run(suite, dir, "deploy");
    assert.notEqual(schema.code, 0);
    assert.match(schema.output, /by_group/);
    assert.equal(await query(suite.url, "items:count", { group: "deploy" }), 1000);
  });

  test("a dry run shows and changes nothing", async () => {
    cpSync(app, dir, { recursive: true });
    const functions = await post(suite.url, "/api/function", { path: "_system:functions", args: {} }, suite.admin);
    const bad = await run(suite, dir, "deploy", "nowhere");
    assert.notEqual(bad.code, 0);
    const after = await post(suite.url, "/api/function", { path: "_system:functions", args: {} }, suite.admin);
    assert.deepEqual(after.body.value, functions.body.value);
    rmSync(dir, { recursive: true, force: true });
  });
});
