// WebAssembly in queries and mutations: the example, and what a module may not do.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { startSuite } from "../integration/js/suite.mjs";
import { makeApp } from "./app.mjs";

const EXAMPLE = join(dirname(fileURLToPath(import.meta.url)), "../../docs/examples/wasm");

describe("b29_wasm: the example", () => {
  let suite;
  before(async () => {
    suite = await startSuite({ memory: true, appDir: EXAMPLE, options: { solo: { "results-bytes": 0 } } });
  });
  after(() => suite?.stop());

  test("b29_wasm: a query and a mutation compute what plain Node.js computes", async () => {
    const values = [2, 4, 4, 4, 5, 5, 7, 9, 0.1, -3.75, 1e6];
    await suite.call("series:add", { series: "a", values });
    const { memory, numbers, deviation, checksum } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(join(EXAMPLE, "bitbend/series.wasm")))).exports;
    new Float64Array(memory.buffer, numbers(), values.length).set(values);
    assert.equal(await suite.call("series:deviation", { series: "a" }), deviation(values.length));
    assert.deepEqual(await suite.call("series:report", { series: "a" }), {
      series: "a", count: values.length, deviation: deviation(values.length), checksum: checksum(values.length) >>> 0,
    });
  });

  test("b29_wasm: each call has a memory of its own", async () => {
    for (let i = 0; i < 5; i++) {
      await suite.call("series:add", { series: `s${i}`, values: [i, i + 2] });
      assert.equal(await suite.call("series:deviation", { series: `s${i}` }), 1);
    }
  });
});

describe("b29_wasm: modules put together by hand", () => {
  let app, suite;
  const call = (name, args) => suite.call(`wasm:${name}`, args);
  before(async () => {
    app = await makeApp();
    suite = await startSuite({ memory: true, appDir: app.dir, options: { solo: { "results-bytes": 0 } } });
  });
  after(async () => {
    await suite?.stop();
    app?.remove();
  });

  test("b29_wasm: a NaN has the same bits wherever it comes from", async () => {
    const { ordinary, single, negated, ...f64 } = await call("nans");
    for (const [name, bits] of Object.entries(f64)) assert.equal(bits, "7ff8000000000000", name);
    assert.equal(single, 0x7fc00000);
    assert.equal(negated, "fff8000000000000");
    assert.deepEqual(ordinary, [0.25, Infinity]);
  });

  test("b29_wasm: threads, SIMD, exceptions and more memories are refused by name", async () => {
    const { validate, left, sharedByGetter, ...refused } = await call("refused");
    const wanted = {
      notWasm: /^CompileError: .*no WebAssembly module/, cutOff: /^CompileError: .*too early \(at byte/, invalid: /^CompileError: /,
      sharedMemory: /^CompileError: .*without threads/, memory64: /^CompileError: .*64-bit/, atomics: /^CompileError: .*threads/,
      simd: /^CompileError: .*SIMD/, exceptions: /^CompileError: .*exceptions/, structs: /^CompileError: .*garbage collection/,
      sharedByHand: /shared memory is not available/, manyMemories: /^RangeError: .*at most 4 memories/, withoutNew: /^TypeError: .*'new'/,
    };
    assert.deepEqual(Object.keys(refused).sort(), Object.keys(wanted).sort());
    for (const [name, text] of Object.entries(wanted)) assert.match(refused[name], text, name);
    assert.equal(sharedByGetter, "nothing thrown");
    assert.deepEqual(validate, [true, false, false]);
    assert.deepEqual(left, ["CompileError", "Global", "Instance", "LinkError", "Memory", "Module", "RuntimeError", "Table", "compile", "instantiate", "validate"]);
  });

  test("b29_wasm: traps are errors that a function can catch", async () => {
    const traps = await call("traps");
    assert.match(traps.unreachable, /^RuntimeError: /);
    assert.match(traps.outOfBounds, /^RuntimeError: .*out of bounds/);
    assert.match(traps.divideByZero, /^RuntimeError: .*zero/);
    assert.match(traps.recursion, /^RangeError: /);
  });

  test("b29_wasm: the promises are there, too", async () => assert.deepEqual(await call("asynchronous"), [42, true, 43, true, "CompileError"]));
  test("b29_wasm: a memory has at most 64 MB", async () => assert.equal(await call("grows"), 1024));

  test("b29_wasm: an endless loop is stopped and leaves nothing", async () => {
    const [a, b] = await Promise.all(["/api/query loop", "/api/mutation loopInMutation"].map((what) => {
      const [route, name] = what.split(" ");
      return suite.http(route, { body: { path: `wasm:${name}`, args: {} } });
    }));
    assert.equal(a.json.code, "FunctionTimeout");
    assert.equal(b.json.code, "FunctionTimeout");
    assert.equal((await call("traps")).unreachable, "RuntimeError: unreachable");
    assert.equal(await suite.call("limits:count", { group: "wasm" }), 0);
  });
});
