/** Environment variables: the command line, process.env as a tracked read in queries and mutations, what logs show. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { eventually, ROOT, startSuite, suiteMissing } from "./suite.mjs";

const PROGRAM = join(ROOT, "libs/js/bitbend/bin/bitbend.cjs");
const SECRET = "sk-1234567890abcdef";

const FUNCTIONS = {
  "env.ts": `
import { mutation, query } from "./_generated/server";
const ATTOP = process.env.GREETING ?? "none";
export const get = query({ args: {}, handler: () => process.env.GREETING ?? null });
export const atTop = query({ args: {}, handler: () => ATTOP });
export const all = query({ args: {}, handler: () => ({ all: { ...process.env }, has: "GREETING" in process.env, hasnt: "OTHER" in process.env }) });
export const names = query({ args: {}, handler: () => Object.keys(process.env) });
export const write = mutation({ args: {}, handler: () => process.env.GREETING ?? null });
export const assign = query({ args: {}, handler: () => { process.env.GREETING = "no"; } });
export const remove = query({ args: {}, handler: () => { delete process.env.GREETING; } });
export const freeze = query({ args: {}, handler: () => Object.freeze(process.env) });
export const log = query({ args: {}, handler: () => { console.log("the key is", process.env.SECRET_KEY); return process.env.SECRET_KEY.length; } });
export const fail = query({ args: {}, handler: () => { throw new Error("not valid: " + process.env.SECRET_KEY); } });
export const nodeEnv = query({ args: {}, handler: () => process.env.NODE_ENV });
`,
};

describe("environment variables", { skip: suiteMissing() }, () => {
  let suite;
  let dir;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), "bitbend-env-"));
    suite = await startSuite({ functions: FUNCTIONS });
  });
  after(async () => {
    await suite?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  function env(args, input = "") {
    const child = spawn(process.execPath, [PROGRAM, "env", ...args, "--url", suite.url, "--admin-key", suite.adminKey], { cwd: dir });
    let out = "";
    let error = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (error += text));
    child.stdin.on("error", () => {}).end(input);
    return new Promise((done) => child.once("close", (code) => done({ code, out, error })));
  }

  test("set, get, list and remove", async () => {
    assert.deepEqual(await env(["set", "GREETING", "hello"]), { code: 0, out: "GREETING is set.\n", error: "" });
    assert.equal((await env(["set", "GREETING=hello"])).out, "GREETING has this value already.\n");
    assert.equal((await env(["get", "GREETING"])).out, "hello\n");
    assert.equal((await env(["set", "SECRET_KEY"], `${SECRET}\n`)).code, 0, "the value comes from standard input");
    assert.equal((await env(["get", "SECRET_KEY", "--json"])).out, `{"name":"SECRET_KEY","value":"${SECRET}"}\n`);
    const list = await env(["list"]);
    assert.match(list.out, /GREETING\t\d{4}-.*\nSECRET_KEY\t/);
    assert.doesNotMatch(list.out, new RegExp(`hello|${SECRET}`), "values are shown only when asked for");
    assert.equal((await env(["list", "--values"])).out, `GREETING=hello\nSECRET_KEY=${SECRET}\n`);

    writeFileSync(join(dir, ".env"), 'A=1\nB="two words"\n# a remark\nC=\n');
    assert.equal((await env(["set", "--file", ".env"])).out, "A is set.\nB is set.\nC is set.\n");
    assert.equal((await env(["get", "B"])).out, "two words\n");
    assert.deepEqual(await suite.call("env:names"), ["A", "B", "C", "GREETING", "SECRET_KEY"]);
    assert.deepEqual(await env(["remove", "A", "B", "C", "NONE"]), { code: 1, out: "A is removed.\nB is removed.\nC is removed.\nNONE was not there.\n", error: "" });
    assert.equal((await env(["get", "A"])).code, 1);
  });

  test("names, sizes and numbers are bounded, and a refused set changes nothing", async () => {
    for (const [args, why] of [[["set", "1A", "x"], /is not the name of a variable/], [["set", "A-B", "x"], /is not the name/], [["set", "BIG", "x".repeat(9000)], /9000 bytes, the limit is 8192/], [["frobnicate"], /set, get, list and remove/], [["get"], /takes one name/], [["set", "A", "b", "c"], /takes one variable/]]) {
      const { code, error } = await env(args);
      assert.notEqual(code, 0);
      assert.match(error, why);
    }
    const many = Array.from({ length: 1001 }, (_, n) => ({ name: `V${n}`, value: "x" }));
    await assert.rejects(suite.call("_system:changeEnvironment", { changes: many }), /at most 1000/);
    assert.deepEqual((await suite.call("_system:environmentNames")).map(({ name }) => name), ["GREETING", "SECRET_KEY"]);
    const anybody = await suite.http("/api/query", { body: { path: "_system:environment", args: {} } });
    assert.notEqual(anybody.status, 200, "nobody reads them without the admin key");
    assert.doesNotMatch(anybody.text, /hello/);
  });

  test("queries and mutations read them, and cannot change them", async () => {
    assert.equal(await suite.call("env:get"), "hello");
    assert.equal(await suite.call("env:write"), "hello");
    assert.equal(await suite.call("env:atTop"), "hello");
    assert.deepEqual(await suite.call("env:all"), { all: { GREETING: "hello", SECRET_KEY: SECRET }, has: true, hasnt: false });
    assert.equal(await suite.call("env:nodeEnv"), "production");
    for (const name of ["assign", "remove", "freeze"]) {
      await assert.rejects(suite.call(`env:${name}`), /process\.env cannot be changed by functions/);
    }
    assert.equal(await suite.call("env:get"), "hello");
  });

  test("a change runs live queries again that read it, at the top of a module too", async () => {
    const client = suite.client();
    const seen = { get: [], atTop: [], names: [] };
    for (const name of Object.keys(seen)) client.onUpdate(`env:${name}`, {}, (value) => seen[name].push(value));
    await eventually(() => Object.values(seen).every((values) => values.length === 1));
    await env(["set", "GREETING", "good morning"]);
    await eventually(() => seen.get.length === 2 && seen.atTop.length === 2, { what: "the new value" });
    await env(["remove", "GREETING"]);
    await eventually(() => seen.get.length === 3 && seen.atTop.length === 3 && seen.names.length === 2, { what: "its end" });
    await env(["set", "GREETING", "back"]);
    await eventually(() => seen.get.length === 4 && seen.atTop.length === 4, { what: "its return" });
    assert.deepEqual(seen.get, ["hello", "good morning", null, "back"]);
    assert.deepEqual(seen.atTop, ["hello", "good morning", "none", "back"]);
    assert.deepEqual(seen.names[1], ["SECRET_KEY"]);
  });

  test("a value that a call has read is replaced by its name in log lines and errors", async () => {
    assert.equal(await suite.call("env:log"), SECRET.length);
    const failed = await suite.http("/api/query", { body: { path: "env:fail", args: {} } });
    assert.match(failed.json.errorMessage, /not valid: \[SECRET_KEY\]/);
    const { entries } = await suite.admin.logs({ cursor: "0" });
    const text = JSON.stringify(entries);
    assert.match(text, /the key is.*\[SECRET_KEY\]/);
    assert.doesNotMatch(text + suite.logs() + JSON.stringify(await suite.admin.status()), new RegExp(SECRET));
    const { page } = await suite.call("_system:tableData", { table: "_environment" });
    assert.deepEqual(Object.keys(page[0]).sort(), ["_creationTime", "_id", "_key", "name", "time"]);
  });

  test("variables outlive a restart", async () => {
    await suite.restart();
    assert.equal(await suite.call("env:get"), "back");
    assert.doesNotMatch(readFileSync(join(suite.dir, "solo.log"), "utf8"), new RegExp(SECRET));
  });
});
