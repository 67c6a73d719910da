// What a call did: traces, and profiles that Chrome DevTools opens. For who has the admin key only.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { untilTold } from "../integration/http/api.mjs";
import { ROOT, startSuite } from "../integration/js/suite.mjs";
import { makeApp } from "./app.mjs";

describe("b12_trace: what a call did", () => {
  let app, suite;
  const ask = (name, args = {}, debug = undefined, key = suite.adminKey) =>
    untilTold(() => suite.http("/api/function", { body: { path: `debug:${name}`, args }, headers: { ...(key ? { Authorization: `BitBend ${key}` } : {}), ...(debug ? { "BitBend-Debug": debug } : {}) } }));
  const cli = (...words) =>
    new Promise((done) => {
      const child = spawn(process.execPath, [join(ROOT, "libs/js/bitbend/bin/bitbend.cjs"), ...words, "--url", suite.url, "--admin-key", suite.adminKey], { cwd: app.dir });
      const out = { stdout: "", stderr: "" };
      for (const name of ["stdout", "stderr"]) child[name].on("data", (chunk) => (out[name] += chunk));
      child.on("close", (code) => done({ code, ...out }));
    });
  before(async () => {
    app = await makeApp();
    suite = await startSuite({ memory: true, appDir: app.dir });
    await suite.call("limits:fill", { group: "t", from: 0, count: 5, size: 10 });
  });
  after(async () => {
    await suite?.stop();
    app?.remove();
  });

  test("b12_trace: a trace has the exact ranges, rows, bytes and times", async () => {
    const { trace, value } = (await ask("reader", { group: "t" }, "trace")).json;
    assert.deepEqual(value, [2, 5, 4]);
    const [scan, count] = trace.scans;
    assert.deepEqual([scan.table, scan.index, scan.range, scan.order, scan.rows, scan.keysOnly], ["things", "by_group", [["eq", "group", "t"], ["gte", "rank", 1]], "desc", 2, false]);
    assert.deepEqual([count.range, count.keysOnly, count.rows], [[["eq", "group", "t"]], true, 5]);
    assert.ok(scan.bytes > 100 && scan.low < scan.high && trace.bytes >= scan.bytes);
    assert.deepEqual(trace.documents.map(({ table, read, written }) => [table, read, written]), [["things", true, false]]);
    assert.equal(trace.runs, 1);
    assert.ok(trace.ms > 0 && trace.jsMs > 0 && trace.rows >= 2, JSON.stringify(trace));
    const written = (await ask("writer", { group: "w" }, "trace")).json.trace;
    assert.deepEqual([written.written, written.documents[0].written], [1, true]);
  });

  test("b12_trace: without the admin key, and for what is not known, it is refused", async () => {
    assert.equal((await ask("reader", { group: "t" }, "trace", null)).status, 403);
    assert.equal((await ask("reader", { group: "t" }, "cpu-profile", null)).status, 403);
    const unknown = await ask("reader", { group: "t" }, "x-ray");
    assert.deepEqual([unknown.status, unknown.json.code], [400, "BadRequest"]);
    assert.equal((await ask("reader", { group: "t" })).json.trace, undefined);
  });

  test("b12_profile: a CPU profile names functions, files and lines as they were written", async () => {
    const { profile, value } = (await ask("busy", { rounds: 2e7 }, "cpu-profile")).json;
    assert.equal(typeof value, "number");
    const { nodes, samples, timeDeltas, startTime, endTime } = profile;
    const burn = nodes.find(({ callFrame }) => callFrame.functionName === "burn");
    assert.deepEqual([burn.callFrame.url, burn.callFrame.lineNumber], ["bitbend/debug.ts", 5]);
    const ids = new Set(nodes.map(({ id }) => id));
    assert.ok(samples.length > 5 && samples.length === timeDeltas.length && samples.every((id) => ids.has(id)));
    assert.ok(nodes.flatMap(({ children }) => children).every((id) => ids.has(id)) && endTime > startTime);
  });

  test("b12_profile: a heap profile names who allocated, a snapshot what is there", async () => {
    const { profile } = (await ask("hungry", {}, "heap-profile")).json;
    const all = [];
    const walk = (node) => { all.push(node); node.children.forEach(walk); };
    walk(profile.head);
    const mine = all.filter(({ callFrame }) => callFrame.url === "bitbend/debug.ts");
    assert.ok(mine.reduce((sum, { selfSize }) => sum + selfSize, 0) > 1e6, JSON.stringify(mine).slice(0, 500));
    assert.ok(profile.samples.length > 10);
    const { snapshot, strings, nodes } = (await ask("busy", { rounds: 1 }, "heap-snapshot")).json.profile;
    assert.equal(snapshot.node_count * snapshot.meta.node_fields.length, nodes.length);
    assert.ok(strings.includes("burn (bitbend/debug.ts:6)"), strings.filter((text) => text.startsWith("burn")).join());
  });

  test("b12_profile: a call that fails, and one that is stopped, have theirs, too", async () => {
    const failed = (await ask("fails", {}, "trace,cpu-profile")).json;
    assert.match(failed.errorMessage, /on purpose/);
    assert.ok(failed.trace.ms > 0 && failed.profile.nodes.length > 1);
    const stopped = (await ask("busy", { rounds: 1e12 }, "cpu-profile")).json;
    assert.equal(stopped.code, "FunctionTimeout");
    assert.ok(stopped.profile.nodes.some(({ callFrame }) => callFrame.functionName === "burn"));
  });

  test("b12_profile: the command line shows traces and writes profiles", async () => {
    const traced = await cli("run", "debug:reader", '{"group":"t"}', "--trace");
    assert.equal(traced.code, 0, traced.stderr);
    assert.match(traced.stderr, /scan {2}things\.by_group group = "t", rank >= 1, from the end: 2 rows, \d+ bytes/);
    assert.match(traced.stderr, /documents written; [\d.]+ ms/);
    assert.deepEqual(JSON.parse(traced.stdout), [2, 5, 4]);
    for (const [option, file, field] of [["--cpu-profile", "x.cpuprofile", "nodes"], ["--heap-profile", "x.heapprofile", "head"], ["--heap-snapshot", "x.heapsnapshot", "snapshot"]]) {
      const { code, stderr } = await cli("run", "debug:busy", '{"rounds":1000}', option, file);
      assert.equal(code, 0, stderr);
      assert.ok(field in JSON.parse(readFileSync(join(app.dir, file), "utf8")), option);
      assert.match(stderr, /DevTools/);
    }
    assert.equal((await cli("run", "debug:busy", "{}", "--trace", "--watch")).code, 2);
  });
});
