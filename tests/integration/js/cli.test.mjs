/** The command line with a real suite: dev, deploy with backfill, run --watch, what goes wrong at the start. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";

import { eventually, freePorts, ROOT, startSuite, suiteMissing } from "./suite.mjs";

const PROGRAM = join(ROOT, "libs/js/bitbend/bin/bitbend.cjs");
const skip = suiteMissing();

const APP = {
  "bitbend/schema.ts": 'import { defineSchema, defineTable } from "bitbend/server";\nimport { v } from "bitbend/values";\nexport default defineSchema({ notes: defineTable({ n: v.number() }) });\n',
  "bitbend/notes.ts": 'import { mutation, query } from "./_generated/server";\nimport { v } from "bitbend/values";\n\nexport const add = mutation({\n  args: { n: v.number(), count: v.number() },\n  handler: async (ctx, { n, count }) => {\n    for (let i = 0; i < count; i++) await ctx.db.insert("notes", { n: n + i });\n    console.log("added", count);\n  },\n});\nexport const count = query({ args: {}, handler: (ctx) => ctx.db.query("notes").count() });\nexport const crash = query(() => {\n  throw new TypeError("no way");\n});\n',
};

function makeApp(t, files = APP) {
  const dir = mkdtempSync(join(tmpdir(), "bitbend-cli-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  write(dir, files);
  return dir;
}

function write(dir, files) {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
}

/** A running command: `out()`, `code` (a promise), `stop()`. */
function bitbend(t, cwd, ...args) {
  const child = spawn(process.execPath, [PROGRAM, ...args], { cwd });
  let out = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (out += text));
  const code = new Promise((done) => child.once("close", (exitCode) => done(exitCode)));
  const stop = (signal = "SIGINT") => {
    child.kill(signal);
    return code;
  };
  t.after(() => stop("SIGTERM"));
  return { out: () => out, code, stop, says: (pattern) => eventually(() => pattern.exec(out), { what: `${pattern} in:\n${out}` }) };
}

async function run(t, cwd, ...args) {
  const command = bitbend(t, cwd, ...args);
  const code = await command.code;
  return { code, out: command.out() };
}

test("dev starts the suite, deploys, follows saves, shows logs and errors, and ends with Ctrl-C", { skip }, async (t) => {
  const app = makeApp(t);
  const [port] = await freePorts(1);
  const dev = bitbend(t, app, "dev", "--port", String(port));
  await dev.says(new RegExp(`BitBend is ready: http://127\\.0\\.0\\.1:${port}`));
  assert.match(dev.out(), /\+ table notes\n(.*\n)*.*\+ function notes:add/);
  assert.equal(statSync(join(app, ".bitbend/dev.json")).mode & 0o777, 0o600);
  const { url, adminKey, pid } = JSON.parse(readFileSync(join(app, ".bitbend/dev.json"), "utf8"));
  assert.deepEqual([url, typeof adminKey, typeof pid], [`http://127.0.0.1:${port}`, "string", "number"]);

  assert.equal((await run(t, app, "run", "notes:add", '{"n": 1, "count": 3}')).code, 0);
  await dev.says(/notes:add \[log\] .*added/i);
  assert.deepEqual(await run(t, app, "run", "notes:count"), { code: 0, out: "3\n" });
  const crash = await run(t, app, "run", "notes:crash");
  assert.equal(crash.code, 1);
  assert.match(crash.out, /notes:crash failed: TypeError: no way\n.*notes\.ts:13:9/);
  await dev.says(/notes:crash.*failed: .*no way/);
  assert.match((await run(t, app, "data")).out, /^table\tstate\tindexes\nnotes\t/);
  assert.equal((await run(t, app, "data", "notes", "--json", "--limit", "2")).out.trim().split("\n").length, 2);
  assert.match((await run(t, app, "status")).out, /isUp +true/);
  assert.match((await run(t, app, "logs")).out, /notes:add/);

  const watching = bitbend(t, app, "run", "notes:count", "--watch");
  await watching.says(/^3$/m);
  await run(t, app, "run", "notes:add", '{"n": 9, "count": 1}');
  await watching.says(/^4$/m);
  assert.equal(await watching.stop(), 0);

  write(app, { "bitbend/more.ts": 'import { query } from "./_generated/server";\nexport const two = query(() => 2);\n' });
  await dev.says(/\+ function more:two/);
  assert.match(readFileSync(join(app, "bitbend/_generated/api.d.ts"), "utf8"), /"more"/);
  write(app, { "bitbend/more.ts": "export const two = query(() => 2);\n" });
  await dev.says(/query is not defined[^]*more\.ts:1/);
  assert.deepEqual(await run(t, app, "run", "more:two"), { code: 0, out: "2\n" }, "the functions before go on answering");
  rmSync(join(app, "bitbend/more.ts"));
  await dev.says(/- function more:two/);

  // A mistake in a file outside of the folder, which no build has read yet: it is watched all the same.
  write(app, { "lib/three.ts": "export const three = ;\n", "bitbend/outside.ts": 'import { three } from "../lib/three";\nimport { query } from "./_generated/server";\nexport const get = query(() => three);\n' });
  await dev.says(/lib\/three\.ts:1:22: /);
  write(app, { "lib/three.ts": "export const three = 3;\n" });
  await dev.says(/\+ function outside:get/);

  // npx passes on what the terminal has sent to both.
  dev.stop();
  await new Promise((done) => setTimeout(done, 20));
  assert.equal(await dev.stop(), 0);
  assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
  assert.ok(!existsSync(join(app, ".bitbend/dev.json")));
});

test("dev --once deploys and ends; what it stored is there the next time; --memory keeps nothing", { skip }, async (t) => {
  const app = makeApp(t);
  assert.match((await run(t, app, "dev", "--once")).out, /\+ function notes:count/);
  const again = await run(t, app, "dev", "--once");
  assert.equal(again.code, 0);
  assert.match(again.out, /no function, table or index is new/);
  const memory = await run(t, app, "dev", "--once", "--memory", "--data", ".memory");
  assert.match(memory.out, /\+ function notes:count/);
  assert.match((await run(t, app, "dev", "--once", "--memory", "--data", ".memory")).out, /\+ function notes:count/);
  write(app, { "bitbend/bad.ts": "export const = 1;\n" });
  const bad = await run(t, app, "dev", "--once");
  assert.equal(bad.code, 1);
  assert.match(bad.out, /bitbend\/bad\.ts:1:14: /);
});

test("a taken port is one sentence with --port, and the next one without", { skip }, async (t) => {
  const app = makeApp(t);
  const [port] = await freePorts(1);
  const server = createServer();
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  t.after(() => server.close());
  const taken = await run(t, app, "dev", "--port", String(port));
  assert.equal(taken.code, 1);
  assert.match(taken.out, new RegExp(`127\\.0\\.0\\.1:${port} is in use.*without --port`));
  assert.equal(taken.out.trim().split("\n").length, 1);
});

test("a second dev in the same folder uses the suite of the first", { skip }, async (t) => {
  const app = makeApp(t);
  const [port] = await freePorts(1);
  const first = bitbend(t, app, "dev", "--port", String(port));
  await first.says(/BitBend is ready/);
  const second = bitbend(t, app, "dev");
  await second.says(new RegExp(`BitBend is ready: http://127\\.0\\.0\\.1:${port} \\(it was running already\\)`));
  assert.equal(await second.stop(), 0);
  assert.equal((await run(t, app, "run", "notes:count")).out, "0\n");
  const other = await run(t, app, "dev", "--port", String(port + 1));
  assert.equal(other.code, 1);
  assert.match(other.out, /runs already at/);
});

test("deploy shows what changes, and follows a new index on a full table until it is ready", { skip }, async (t) => {
  const suite = await startSuite();
  t.after(() => suite.stop());
  const app = makeApp(t);
  const remote = ["--url", suite.url, "--admin-key", suite.adminKey];
  const dry = await run(t, app, "deploy", "--dry-run", ...remote);
  assert.match(dry.out, /\+ function notes:add[^]*nothing was deployed/);
  assert.match((await run(t, app, "deploy", ...remote)).out, /\+ table notes[^]*Deployed to/);
  assert.match((await run(t, app, "deploy", ...remote)).out, /had all of this already/);

  for (let i = 0; i < 5; i++) await suite.call("notes:add", { n: i * 1000, count: 1000 });
  const schema = APP["bitbend/schema.ts"];
  write(app, { "bitbend/schema.ts": schema.replace("({ n: v.number() })", '({ n: v.number() }).index("by_n", ["n"])') });
  const indexed = await run(t, app, "deploy", ...remote);
  assert.equal(indexed.code, 0, indexed.out);
  assert.match(indexed.out, /\+ index notes\.by_n[^]*index notes\.by_n: 5000 of 5000[^]*Deployed to/);
  write(app, { "bitbend/notes.ts": APP["bitbend/notes.ts"].replace('query("notes").count()', 'query("notes").withIndex("by_n", (q) => q.gte("n", 2500)).count()') });
  assert.match((await run(t, app, "deploy", ...remote)).out, /~ function notes:count|Deployed to/);
  assert.equal((await run(t, app, "run", "notes:count", ...remote)).out, "2500\n");

  write(app, { "bitbend/schema.ts": schema, "bitbend/notes.ts": APP["bitbend/notes.ts"] });
  const removed = await run(t, app, "deploy", ...remote);
  assert.match(removed.out, /- index notes\.by_n/);
  assert.match(removed.out, /! .*by_n/, "a note says what becomes of it");
  write(app, { "bitbend/schema.ts": schema.replace("{ notes: defineTable({ n: v.number() }) }", "{}") });
  const table = await run(t, app, "deploy", ...remote);
  assert.match(table.out, /- table notes[^]*! .*notes/);
});

test("a wrong key and a wrong address are one sentence each", { skip }, async (t) => {
  const suite = await startSuite();
  t.after(() => suite.stop());
  const app = makeApp(t);
  const wrong = await run(t, app, "run", "a:b", "--url", suite.url, "--admin-key", "wrong|00");
  assert.deepEqual([wrong.code, /refused the admin key/.test(wrong.out)], [1, true], wrong.out);
  const nobody = await run(t, app, "deploy", "--url", "http://127.0.0.1:9", "--admin-key", "k");
  assert.deepEqual([nobody.code, /does not answer/.test(nobody.out)], [1, true], nobody.out);
});

test("dev starts a suite that died again and keeps its log, and sees that a missing package has come", { skip }, async (t) => {
  const app = makeApp(t);
  const [port] = await freePorts(1);
  const dev = bitbend(t, app, "dev", "--port", String(port));
  await dev.says(/BitBend is ready/);
  process.kill(JSON.parse(readFileSync(join(app, ".bitbend/dev.json"), "utf8")).pid, "SIGKILL");
  await dev.says(/The suite ended \(SIGKILL\); starting it again\.\n +Its log: .*suite\.log\.old\n/);
  await dev.says(/The suite runs again at/);
  assert.match(readFileSync(join(app, ".bitbend/suite.log.old"), "utf8"), /solo\.ready/);

  write(app, { "bitbend/late.ts": 'import { query } from "./_generated/server";\nimport { n } from "late-package";\nexport const get = query(() => n);\n' });
  await dev.says(/Could not resolve "late-package"/);
  write(app, { "node_modules/late-package/package.json": '{"name":"late-package","main":"index.js"}', "node_modules/late-package/index.js": "exports.n = (globalThis.late ??= { n: 9 }).n;\n" });
  write(app, { "package-lock.json": "{}" });
  await dev.says(/\+ function late:get/);
  assert.deepEqual(await run(t, app, "run", "late:get"), { code: 0, out: "9\n" });
  assert.doesNotMatch(dev.out(), /_system:deploy/);
  assert.equal(await dev.stop(), 0);
});

test("consumers lists, moves and removes the durable consumers of the feed", { skip }, async (t) => {
  const suite = await startSuite({ functions: { "notes.ts": APP["bitbend/notes.ts"].replace("./_generated/server", "bitbend/server") } });
  t.after(() => suite.stop());
  const cwd = mkdtempSync(join(tmpdir(), "bitbend-cli-"));
  t.after(() => rmSync(cwd, { recursive: true, force: true }));
  const run = async (...args) => {
    const command = bitbend(t, cwd, "consumers", ...args, "--url", suite.url, "--admin-key", suite.adminKey);
    return { code: await command.code, out: command.out() };
  };
  assert.match((await run()).out, /^No consumers/);
  const client = suite.client({ adminKey: suite.adminKey });
  const consumer = client.consumer("mailer", { from: "earliest" });
  const { value: record } = await consumer.next();
  await record.ack();
  await consumer.return();
  const [row] = (await run("--json")).out.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual([row.name, row.tx], ["mailer", record.tx]);
  assert.match((await run()).out, new RegExp(`mailer\\s+${record.tx}`));
  assert.match((await run("move", "mailer", "5")).out, /mailer is at 5/);
  assert.equal((await run("move", "mailer", "x")).code, 2);
  assert.equal((await run("rename", "mailer")).code, 2);
  assert.match((await run("remove", "mailer")).out, /mailer removed/);
  const missing = await run("remove", "mailer");
  assert.equal(missing.code, 1);
  assert.match(missing.out, /no consumer/);
});
