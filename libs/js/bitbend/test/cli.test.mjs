import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";

import { createBundler } from "../cli/bundle.js";
import { generate } from "../cli/codegen.js";
import { printEntry } from "../cli/logs.js";
import { findSuite } from "../cli/suite.js";
import { watchFiles } from "../cli/watch.js";
import { buildSite } from "../cli/site.js";
import { startServer } from "./server-double.mjs";

const PROGRAM = join(dirname(fileURLToPath(import.meta.url)), "../bin/bitbend.cjs");

/** An application folder with these files; gone after the test. */
function makeApp(t, files) {
  const appDir = mkdtempSync(join(tmpdir(), "bitbend-cli-"));
  t.after(() => rmSync(appDir, { recursive: true }));
  write(appDir, files);
  return appDir;
}

function write(appDir, files) {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(appDir, name)), { recursive: true });
    writeFileSync(join(appDir, name), text);
  }
}

async function bundle(t, appDir) {
  const functionsDir = join(appDir, "bitbend");
  generate(functionsDir);
  const bundler = createBundler({ appDir, functionsDir });
  t.after(() => bundler.dispose());
  return bundler;
}

/** Runs the command line; `{code, stdout, stderr}`. */
function bitbend(args, { cwd, env = {} } = {}) {
  const child = spawn(process.execPath, [PROGRAM, ...args], { cwd, env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env } });
  const result = { stdout: "", stderr: "" };
  child.stdout.on("data", (text) => (result.stdout += text));
  child.stderr.on("data", (text) => (result.stderr += text));
  return new Promise((done) => child.once("close", (code) => done({ code, ...result })));
}

/** Loads a module of a bundle the way a slot does. */
function load(modules, path, realm = {}) {
  const loaded = new Map();
  const require = (from) => (name) => {
    if (name.startsWith("bitbend/")) return get(`_${name}.js`);
    const parts = [...from.split("/").slice(0, -1), ...name.split("/")].reduce((all, part) => (part === "." ? all : part === ".." ? all.slice(0, -1) : [...all, part]), []);
    return get(parts.join("/"));
  };
  function get(name) {
    if (loaded.has(name)) return loaded.get(name).exports;
    const source = modules.find((module) => module.path === name)?.source;
    assert.ok(source !== undefined, `no module ${name}`);
    const module = { exports: {} };
    loaded.set(name, module);
    runInNewContext(`(function (exports, require, module) {${source}\n})`, realm)(module.exports, require(name), module);
    return module.exports;
  }
  return get(path);
}

const FUNCTIONS = {
  "bitbend/schema.ts": 'import { defineSchema, defineTable } from "bitbend/server";\nimport { v } from "bitbend/values";\nexport default defineSchema({ a: defineTable({ n: v.number() }).index("by_n", ["n"]) });\n',
  "bitbend/a.ts": 'import { query } from "./_generated/server";\nimport { v } from "bitbend/values";\nimport { twice } from "../shared/math";\n\nexport const get = query({\n  args: { n: v.number() },\n  handler: (_ctx, { n }: { n: number }): number => twice(n),\n});\n',
  "bitbend/sub/deep.ts": 'import { internalMutation } from "../_generated/server";\nimport { twice } from "../../shared/math";\nexport const put = internalMutation((_ctx, { n }: { n: number }) => twice(n));\nexport default put;\n',
  "shared/math.ts": "interface Unused {\n  a: string;\n}\nexport function twice(n: number): number {\n  if (n > 9) throw new Error(\"too much\");\n  return n * 2;\n}\n",
  "bitbend/_draft.ts": "this is no module",
  "bitbend/a.test.ts": "neither is this",
};

test("modules are CommonJS bodies that run without Node.js, with shared chunks and relative paths", async (t) => {
  const appDir = makeApp(t, FUNCTIONS);
  const { modules, inputs } = await (await bundle(t, appDir)).build();
  const paths = modules.map(({ path }) => path);
  assert.deepEqual(paths.filter((path) => !/^_(deps|bitbend)\//.test(path)), ["a.js", "schema.js", "sub/deep.js"]);
  assert.ok(paths.includes("_bitbend/server.js") && paths.includes("_bitbend/values.js"), "the package's own modules come along");
  assert.ok(paths.some((path) => /^_deps\/[A-Z0-9]+\.js$/.test(path)));
  const { get } = load(modules, "a.js");
  assert.equal(get.isBitBendFunction, true);
  assert.equal(await get.invoke({}, { n: 4 }), 8);
  const deep = load(modules, "sub/deep.js");
  assert.equal(deep.default, deep.put);
  assert.deepEqual([deep.put.kind, deep.put.visibility], ["mutation", "internal"]);
  assert.equal(JSON.parse(load(modules, "schema.js").default.export()).tables[0].tableName, "a");
  assert.ok(inputs.includes(join(appDir, "shared/math.ts")));
});

test("packages for browsers and Node.js come as they are for browsers: without its modules, and by their own build", async (t) => {
  const appDir = makeApp(t, {
    "bitbend/a.ts": `import { random } from "leaves-out"; import { kind } from "two-builds"; export const list = () => [random(), kind];`,
    "node_modules/leaves-out/package.json": `{"name": "leaves-out", "main": "main.js", "browser": {"crypto": false, "fs": false}}`,
    "node_modules/leaves-out/main.js": `const crypto = require("crypto"); require("fs"); exports.random = () => (crypto.randomBytes ? "Node.js" : "left out");`,
    "node_modules/two-builds/package.json": `{"name": "two-builds", "main": "node.js", "browser": "dist/all.js"}`,
    "node_modules/two-builds/node.js": `require("net"); exports.kind = "for Node.js";`,
    "node_modules/two-builds/dist/all.js": `exports.kind = "for browsers";`,
  });
  const { modules } = await (await bundle(t, appDir)).build();
  assert.deepEqual([...load(modules, "a.js").list()], ["left out", "for browsers"]);
});

test("modules are strict code, and a dynamic import is a require", async (t) => {
  const appDir = makeApp(t, {
    ...FUNCTIONS,
    "bitbend/a.ts": 'export const lazy = async () => (await import("./sub/lazy")).x;\nexport const receiver = function (this: unknown) {\n  return this;\n};\n',
    "bitbend/sub/lazy.ts": "export const x = 7;\n",
  });
  const { modules } = await (await bundle(t, appDir)).build();
  for (const { path, source } of modules) assert.match(source, /^"use strict";/, path);
  const { lazy, receiver } = load(modules, "a.js");
  assert.equal(await lazy(), 7);
  assert.equal((0, receiver)(), undefined);
});

test("source maps lead from every output to the TypeScript line", async (t) => {
  const appDir = makeApp(t, FUNCTIONS);
  const { modules } = await (await bundle(t, appDir)).build();
  const module = modules.find(({ source }) => source.includes("too much"));
  const lines = module.source.split("\n");
  const line = lines.findIndex((text) => text.includes("too much"));
  const entry = new SourceMap(JSON.parse(module.sourceMap)).findEntry(line, lines[line].indexOf("throw"));
  assert.equal(entry.originalSource, "shared/math.ts");
  assert.equal(entry.originalLine + 1, 5);
});

test("the folder of the application may have any name", async (t) => {
  const appDir = join(makeApp(t, {}), "My Apps (\u00fc) 100%?*", "it's #1 [x]");
  write(appDir, FUNCTIONS);
  const { modules } = await (await bundle(t, appDir)).build();
  const own = modules.filter(({ path }) => !path.startsWith("_"));
  assert.deepEqual(own.map(({ path }) => path), ["a.js", "schema.js", "sub/deep.js"]);
  assert.deepEqual(JSON.parse(own[0].sourceMap).sources, ["bitbend/a.ts"]);
});

test("the same sources give the same bytes, and a new file joins", async (t) => {
  const appDir = makeApp(t, FUNCTIONS);
  const bundler = await bundle(t, appDir);
  const first = await bundler.build();
  assert.deepEqual((await bundler.build()).modules, first.modules);
  write(appDir, { "bitbend/b.ts": 'export { get } from "./a";\n' });
  assert.ok((await bundler.build()).modules.some(({ path }) => path === "b.js"));
});

test("mistakes in the sources name file, line and column", async (t) => {
  const appDir = makeApp(t, { ...FUNCTIONS, "bitbend/bad.ts": "export const a = 1;\nexport const = 2;\n" });
  const bundler = await bundle(t, appDir);
  await assert.rejects(bundler.build(), (error) => /^bitbend\/bad\.ts:2:14: Expected identifier/.test(error.message));
  write(appDir, { "bitbend/bad.ts": 'import "./nowhere";\n' });
  await assert.rejects(bundler.build(), /bitbend\/bad\.ts:1:8: Could not resolve "\.\/nowhere"/);
  write(appDir, { "bitbend/bad.ts": 'import { readFileSync } from "node:fs";\nexport const a = readFileSync;\n' });
  await assert.rejects(bundler.build(), /bitbend\/bad\.ts:1:30: "node:fs" is a part of Node\.js/);
  write(appDir, { "bitbend/bad.ts": "export const a = 1;\n" });
  await bundler.build();
  write(appDir, { "bitbend/bad.js": "export const a = 1;\n" });
  await assert.rejects(bundler.build(), /bad\.(ts|js) and bad\.(ts|js) would both be the module bad\.js/);
});

test("codegen writes only what differs", (t) => {
  const appDir = makeApp(t, FUNCTIONS);
  const functionsDir = join(appDir, "bitbend");
  assert.equal(generate(functionsDir).length, 5);
  assert.deepEqual(generate(functionsDir), []);
  assert.match(readFileSync(join(functionsDir, "_generated/api.d.ts"), "utf8"), /"sub\/deep": typeof module1/);
  write(appDir, { "bitbend/c.ts": "export const c = 1;\n" });
  assert.deepEqual(generate(functionsDir), ["api.d.ts"]);
});

test("the page is bundled and copied, and what is gone disappears", async (t) => {
  const appDir = makeApp(t, { "web/index.html": "<p>", "web/app.ts": 'import { Client } from "bitbend/client";\nconsole.log(Client as unknown);\n', "web/img/a.svg": "<svg/>", "web/old.txt": "x" });
  const site = { appDir, siteDir: join(appDir, "web"), outDir: join(appDir, ".bitbend/static") };
  const inputs = await buildSite(site);
  assert.ok(inputs.includes(join(appDir, "web/app.ts")));
  assert.match(readFileSync(join(site.outDir, "app.js"), "utf8"), /class|Client/);
  assert.equal(readFileSync(join(site.outDir, "img/a.svg"), "utf8"), "<svg/>");
  rmSync(join(appDir, "web/old.txt"));
  await buildSite(site);
  assert.throws(() => statSync(join(site.outDir, "old.txt")));
});

test("the watcher calls once for changes that come together, and not for _generated", async (t) => {
  const appDir = makeApp(t, FUNCTIONS);
  let calls = 0;
  const watcher = watchFiles([join(appDir, "bitbend")], () => calls++);
  t.after(() => watcher.close());
  watcher.setFiles([join(appDir, "shared/math.ts")]);
  /** As many calls have come, and no more come. */
  const settle = async (count = 0) => {
    for (let left = 1000; left > 0 && calls < count; left--) await new Promise((done) => setTimeout(done, 10));
    await new Promise((done) => setTimeout(done, 300));
  };
  await settle();
  calls = 0;
  write(appDir, { "bitbend/a.ts": "export {};\n", "bitbend/sub/deep.ts": "export {};\n" });
  await settle(1);
  assert.equal(calls, 1);
  write(appDir, { "shared/math.ts": "export {};\n", "shared/other.ts": "" });
  await settle(2);
  assert.equal(calls, 2);
  generate(join(appDir, "bitbend"));
  await settle();
  assert.equal(calls, 2);
});

test("the watcher sees every save: by writing, by renaming over, in folders that come and go", async (t) => {
  const appDir = makeApp(t, FUNCTIONS);
  let calls = 0;
  const watcher = watchFiles([join(appDir, "bitbend")], () => calls++);
  t.after(() => watcher.close());
  const file = (name) => join(appDir, "bitbend", name);
  const renameOver = (name) => {
    write(appDir, { [`bitbend/${name}~`]: "export {};\n" });
    renameSync(file(`${name}~`), file(name));
  };
  const steps = {
    renameOver: () => renameOver("a.ts"),
    renameOverAgain: () => renameOver("a.ts"),
    writeAfterRename: () => write(appDir, { "bitbend/a.ts": "export {};\n" }),
    renameOverBelow: () => renameOver("sub/deep.ts"),
    writeBelow: () => write(appDir, { "bitbend/sub/deep.ts": "export {};\n" }),
    remove: () => rmSync(file("a.ts")),
    create: () => write(appDir, { "bitbend/a.ts": "export {};\n" }),
    newFolder: () => write(appDir, { "bitbend/x/y/z.ts": "export {};\n" }),
    writeInNewFolder: () => write(appDir, { "bitbend/x/y/z.ts": "" }),
    removeFolder: () => rmSync(file("x"), { recursive: true }),
    newFolderAgain: () => write(appDir, { "bitbend/x/y/z.ts": "export {};\n" }),
    writeInItAgain: () => write(appDir, { "bitbend/x/y/z.ts": "" }),
  };
  for (const [name, step] of Object.entries(steps)) {
    calls = 0;
    step();
    for (let left = 1000; left > 0 && calls === 0; left--) await new Promise((done) => setTimeout(done, 10));
    assert.ok(calls > 0, name);
    await new Promise((done) => setTimeout(done, 100)); // what else comes of this step
  }
});

test("the suite is looked for in BITBEND_HOME, then in the checkout, then in PATH", (t) => {
  const appDir = makeApp(t, {});
  const programs = ["home/bin", "path"].map((folder) => {
    mkdirSync(join(appDir, folder), { recursive: true });
    writeFileSync(join(appDir, folder, "bb-solo"), "#!/bin/sh\n", { mode: 0o755 });
    return join(appDir, folder, "bb-solo");
  });
  assert.equal(findSuite(appDir, { BITBEND_HOME: join(appDir, "home"), PATH: join(appDir, "path") }), programs[0]);
  const checkout = join(dirname(PROGRAM), "../../../../build/release/bin/bb-solo");
  const expected = existsSync(checkout) ? checkout : programs[1];
  assert.equal(findSuite(appDir, { PATH: join(appDir, "path") }), expected);
  if (expected !== checkout) assert.throws(() => findSuite(appDir, { PATH: "" }), /The program bb-solo is not there: build it/);
});

test("deploy sends the modules with the key and shows what changed", async (t) => {
  const appDir = makeApp(t, FUNCTIONS);
  let polls = 0;
  const server = await startServer(({ path, body }, answer) => {
    if (path === "/api/deploy") {
      const result = { version: 1, functions: { added: ["a:get"], changed: ["b:x"], removed: ["c:y"] }, tables: { added: ["a"], removed: ["old"] }, indexes: { added: [{ table: "a", name: "by_n", state: "backfilling" }], removed: [] }, notes: ["Table old keeps its documents."] };
      return answer.json({ status: "success", value: result });
    }
    assert.equal(body.path, "_system:indexes");
    const state = ++polls < 3 ? "backfilling" : "ready";
    answer.json({ status: "success", value: [{ table: "a", name: "by_n", state, done: { $integer: "AQAAAAAAAAA=" }, total: { $integer: "AwAAAAAAAAA=" } }] });
  });
  t.after(() => server.stop());
  const { code, stdout, stderr } = await bitbend(["deploy", "--url", server.url, "--admin-key", "k|1"], { cwd: appDir });
  assert.equal(code, 0, stderr);
  assert.equal(server.requests[0].headers.authorization, "BitBend k|1");
  assert.ok(server.requests[0].body.modules.every(({ path, source, sourceMap }) => path && typeof source === "string" && typeof sourceMap === "string"));
  assert.equal(polls, 3);
  const lines = ["+ table a", "- table old", "+ index a.by_n", "+ function a:get", "~ function b:x", "- function c:y", "! Table old keeps its documents.", "index a.by_n: 3 of 3", `Deployed to ${server.url}.`];
  for (const line of lines) assert.ok(stdout.includes(line), `${line} in:\n${stdout}`);
  assert.ok(!stdout.includes("\u001b"), "no colours in a pipe");
  const json = await bitbend(["deploy", "--json", "--dry-run"], { cwd: appDir, env: { BITBEND_URL: server.url, BITBEND_ADMIN_KEY: "k|1" } });
  assert.equal(JSON.parse(json.stdout).functions.added[0], "a:get");
  assert.equal(server.requests.at(-1).body.dryRun, true);
});

test("deploy names routes and crons that changed, also when nothing else did", async (t) => {
  const appDir = makeApp(t, FUNCTIONS);
  const results = [{ routes: { added: ["GET /a"], changed: ["POST /b/*"], removed: [] } }, { crons: { added: [], changed: [], removed: ["nightly"] } }];
  const server = await startServer((_, answer) => answer.json({ status: "success", value: results.shift() }));
  t.after(() => server.stop());
  const run = async () => {
    const { stdout, stderr } = await bitbend(["deploy"], { cwd: appDir, env: { BITBEND_URL: server.url, BITBEND_ADMIN_KEY: "k" } });
    return stdout + stderr;
  };
  const routes = await run();
  assert.match(routes, /\+ route GET \/a\n +~ route POST \/b\/\*/);
  assert.match(routes, /^Deployed to /m);
  const crons = await run();
  assert.match(crons, /- cron nightly/);
  assert.match(crons, /^Deployed to /m);
});

test("deploy says why an index could not be filled, and ends with 1; one that is gone is not waited for", async (t) => {
  const appDir = makeApp(t, FUNCTIONS);
  const error = "Index a.by_n cannot be filled: the key of document k1 in it has 9031 bytes.";
  const added = ["by_n", "by_gone"].map((name) => ({ table: "a", name, state: "backfilling" }));
  const server = await startServer(({ path }, answer) => {
    if (path === "/api/deploy") {
      return answer.json({ status: "success", value: { version: 2, functions: {}, tables: {}, indexes: { added, removed: [] }, notes: [] } });
    }
    const rows = [{ name: "by_n", state: "failed", error }, { name: "by_gone", state: "removing", error: null }];
    answer.json({ status: "success", value: rows.map((row) => ({ table: "a", done: 0, total: 5, ...row })) });
  });
  t.after(() => server.stop());
  const env = { BITBEND_URL: server.url, BITBEND_ADMIN_KEY: "k|1" };
  const { code, stdout, stderr } = await bitbend(["deploy"], { cwd: appDir, env });
  assert.equal(code, 1);
  assert.ok(stderr.includes(error), stderr);
  assert.ok(stdout.includes(`Deployed to ${server.url}; not usable: index a.by_n.`), stdout);
  const json = await bitbend(["deploy", "--json"], { cwd: appDir, env });
  assert.deepEqual([json.code, JSON.parse(json.stdout).failedIndexes], [1, ["a.by_n"]]);
});

test("run prints the value, the logs and the failure, with exit codes", async (t) => {
  const appDir = makeApp(t, {});
  const server = await startServer(({ body }, answer) => {
    if (body.path === "m:none") return answer.json({ code: "FunctionNotFound", message: "Could not find function m:none" }, 404);
    if (body.path === "m:bad") return answer.json({ status: "error", code: "UserError", errorMessage: "[Request ID: 00ff] Server Error\nUncaught BitBendError\n    at bad (bitbend/m.ts:3:9)", errorData: { a: 1 }, logLines: [] });
    answer.json({ status: "success", value: { n: { $integer: "AQAAAAAAAAA=" }, args: body.args }, tx: 5, logLines: ["[log] hello"] });
  });
  t.after(() => server.stop());
  const env = { BITBEND_URL: server.url, BITBEND_ADMIN_KEY: "k" };
  const good = await bitbend(["run", "m:f", '{"a": {"$integer": "AQAAAAAAAAA="}}'], { cwd: appDir, env });
  assert.deepEqual([good.code, JSON.parse(good.stdout).args, good.stderr], [0, { a: { $integer: "AQAAAAAAAAA=" } }, "[log] hello\n"]);
  const json = await bitbend(["run", "m:f", "--json"], { cwd: appDir, env });
  assert.equal(JSON.parse(json.stdout).tx, 5);
  const bad = await bitbend(["run", "m:bad"], { cwd: appDir, env });
  assert.deepEqual([bad.code, bad.stdout], [1, ""]);
  assert.match(bad.stderr, /m:bad failed: BitBendError\n {4}at bad \(bitbend\/m\.ts:3:9\)\n {2}data: \{"a":1\}/);
  const none = await bitbend(["run", "m:none", "--json"], { cwd: appDir, env });
  assert.equal(none.code, 1);
  assert.equal(JSON.parse(none.stdout).code, "FunctionNotFound");
  const wrong = await bitbend(["run", "m:f", "{a: 1}"], { cwd: appDir, env });
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /The arguments are not JSON .* Write them like this/);
});

test("log lines have the colour of their level, whoever wrote them", () => {
  const lines = [];
  const output = { isJson: false, paint: (colour, text) => `<${colour}>${text}`, line: (text) => lines.push(text) };
  const entry = { time: 0, path: "m:f", lines: [{ level: "ERROR", text: "a" }, { level: "warn", text: "b" }, { level: "LOG", text: "c" }], error: "d" };
  printEntry(output, entry);
  assert.deepEqual(lines.map((line) => line.replace(/^.*m:f /, "")), ["<red>[ERROR] a", "<yellow>[WARN] b", "<gray>[LOG] c", "<red>failed: d"]);
});

test("data, status and logs are plain lines in a pipe and JSON for programs", async (t) => {
  const appDir = makeApp(t, {});
  const server = await startServer(({ path, body }, answer) => {
    if (path === "/api/admin/status") return answer.json({ version: "0.1.0", worker: { slots: 3 } });
    if (path === "/api/admin/logs") return answer.json({ cursor: 2, entries: [{ time: 1700000000000, path: "m:f", kind: "query", lines: [{ level: "warn", text: "careful" }], status: "Ok" }] });
    if (body.path === "_system:tables") return answer.json({ status: "success", value: [{ name: "a", number: 10001, state: "declared", indexes: ["by_n (n)", "by_m (m)"] }] });
    if (body.path === "_system:status") return answer.json({ status: "success", value: { version: 3, functions: 2 } });
    answer.json({ status: "success", value: { page: [{ _id: "x", _creationTime: 1, text: "a b" }, { _id: "y", _creationTime: 2, n: { $integer: "AQAAAAAAAAA=" } }], isDone: true, continueCursor: "" } });
  });
  t.after(() => server.stop());
  const env = { BITBEND_URL: server.url, BITBEND_ADMIN_KEY: "k" };
  const run = async (...args) => (await bitbend(args, { cwd: appDir, env })).stdout;
  assert.equal(await run("data"), "table\tstate\tindexes\na\tdeclared\tby_n (n), by_m (m)\n");
  assert.equal(await run("data", "a"), '_id\ttext\tn\t_creationTime\nx\t"a b"\t\t1\ny\t\t1n\t2\n');
  assert.deepEqual((await run("data", "a", "--json")).trim().split("\n").map((line) => JSON.parse(line)._id), ["x", "y"]);
  assert.match(await run("status"), /version +0\.1\.0\nworker\n {2}slots {2}3\ndeployment\n {2}version +3\n {2}functions {2}2\n/);
  assert.match(await run("logs"), /^\d\d:\d\d:\d\d m:f \[WARN\] careful\n$/);
  assert.equal(JSON.parse(await run("logs", "--json")).path, "m:f");
});

test("data shows the first columns of a wide table and says how many it left out", async (t) => {
  const appDir = makeApp(t, {});
  const wide = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`f${n}`, n]));
  const server = await startServer((_, answer) => {
    answer.json({ status: "success", value: { page: [{ _creationTime: 1, ...wide, _id: "x" }], isDone: true, continueCursor: "" } });
  });
  t.after(() => server.stop());
  const env = { BITBEND_URL: server.url, BITBEND_ADMIN_KEY: "k" };
  const run = async (...args) => (await bitbend(args, { cwd: appDir, env })).stdout;
  const [head, row, note] = (await run("data", "a")).split("\n");
  assert.deepEqual(head.split("\t"), ["_id", ...Object.keys(wide).slice(0, 11)]);
  assert.deepEqual(row.split("\t"), ["x", ..."0 1 2 3 4 5 6 7 8 9 10".split(" ")]);
  assert.equal(note, "(10 more columns are not shown; --json has all)");
  assert.deepEqual(JSON.parse(await run("data", "a", "--json")), { _creationTime: 1, ...wide, _id: "x" });
});

test("every mistake on the command line is one sentence with exit code 2 or 1", async (t) => {
  const appDir = makeApp(t, {});
  const cases = [
    [["nonsense"], 2, /There is no command "nonsense"/],
    [["dev", "--what"], 2, /Unknown option '--what'\. bitbend dev --help/],
    [["run"], 2, /An argument is missing\. Usage: bitbend run/],
    [["deploy", "a", "b"], 2, /"b" is one argument too many/],
    [["dev"], 1, /There is no folder bitbend in /],
    [["deploy"], 1, /There is no folder bitbend in /],
    [["run", "m:f"], 1, /No suite is running for .*: start one with "npx bitbend dev"/],
    [["run", "m:f", "--url", "http://127.0.0.1:9"], 1, /The admin key of .* is missing/],
    [["run", "m:f", "--url", "http://127.0.0.1:9", "--admin-key", "k"], 1, /does not answer/],
    [["run", "m:f", "--url", "localhost"], 2, /does not start with http/],
  ];
  for (const [args, code, pattern] of cases) {
    const result = await bitbend(args, { cwd: appDir });
    assert.equal(result.code, code, args.join(" ") + result.stderr);
    assert.match(result.stderr, pattern);
    assert.equal(result.stderr.trim().split("\n").length, 1, result.stderr);
  }
  mkdirSync(join(appDir, "bitbend"));
  const empty = await bitbend(["dev", "--port", "0"], { cwd: appDir });
  assert.match(empty.stderr, /--port 0: give a whole number from 1 to 65535/);
});

test("help names every command", async () => {
  const { code, stdout } = await bitbend(["--help"]);
  assert.equal(code, 0);
  for (const name of ["dev", "deploy", "run", "codegen", "logs", "data", "status"]) assert.ok(stdout.includes(`\n  ${name}`));
  assert.match((await bitbend(["dev", "--help"])).stdout, /--memory/);
  assert.match((await bitbend(["--version"])).stdout, /^\d+\.\d+\.\d+\n$/);
});
