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

const cli = join(dirname(fileURLToPath(import.meta.url)), "../../../libs/js/bitbend/bin/bitbend.cjs");

function run(suite, dir, ...args) {
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, ...args, "--url", suite.url, "--admin-key", suite.adminKey], { cwd: dir, timeout: 60000 }, (error, stdout, stderr) =>
      resolve({ code: error ? error.code : 0, output: stdout + stderr }),
    );
  });
}

inEachMode("deploy", (suite) => {
  let dir;
  const file = (name) => join(dir, "bitbend", name);
  const edit = (name, from, to) => {
    const text = readFileSync(file(name), "utf8");
    assert.ok(text.includes(from), `${name} has ${from}`);
    writeFileSync(file(name), text.replace(from, to));
  };
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
    assert.match(output, /by_n/);
    const answer = await post(suite.url, "/api/query", { path: "byN:at", args: { n: 1 } });
    assert.equal(answer.body.code, "IndexNotFound", answer.text);
    edit("schema.ts", 'by_register", ["key"]', 'by_key_field", ["key"]');
    assert.match(await deploy(), /by_key_field/);
    assert.equal((await post(suite.url, "/api/query", { path: "accounts:register", args: { key: "x" } })).body.code, "IndexNotFound");
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
