import assert from "node:assert/strict";
import { test } from "node:test";
import { callEach } from "./engine.mjs";

// Each in a process of its own: what it leaves behind must not matter to the next.
const TIMED = {
  loop: "() => { for (;;); }",
  stubborn: "() => { for (;;) { try { for (;;); } finally { continue; } } }",
  microtasks: "() => { const next = () => Promise.resolve().then(next); return next(); }",
  asyncLoop: "async () => { for (;;) await null; }",
  regexp: "() => /^(a+)+$/.test('a'.repeat(40) + 'b')",
  hostLoop: "async ({db}) => { for (;;) await db.later(1); }",
  getterLoop: "() => ({ get x() { for (;;); } })",
  errorLoops: "() => { throw { get message() { for (;;); }, get stack() { for (;;); }, get a() { for (;;); } }; }",
  errorLoop: "() => { throw { get message() { for (;;); } }; }",
  waiting: "({db}) => db.never()",
};
for (const [name, text] of Object.entries(TIMED)) {
  test(`vm: a function that runs for ever (${name}) is stopped at its deadline`, async () => {
    // Late it may be when the machine stood still, not each time.
    let lateMs = Infinity;
    for (let left = 5; left > 0 && lateMs >= 500; left--) {
      const { byName, code } = await callEach({ [name]: text }, { calls: { [name]: { timeoutMs: 150 } } });
      assert.equal(byName[name]?.code, "FunctionTimeout");
      assert.equal(byName[name].mustRecycle, 1);
      assert.equal(code, 0);
      ({ lateMs } = byName[name]);
    }
    assert.ok(lateMs < 500, `late by ${lateMs} ms`);
  });
}

const MEMORY = {
  objects: "() => { const list = []; for (;;) list.push({ a: list.length, b: [1, 2, 3] }); }",
  map: "() => { const map = new Map(); for (let i = 0; ; i++) map.set(i, 'x' + i); }",
  strings: "() => { const list = []; for (let i = 0; ; i++) list.push('x'.repeat(1000) + i, String(Math.sqrt(i)).repeat(500).split('').join('')); }",
  results: "() => Array.from({ length: 3e6 }, (_, i) => ({ i }))",
};
for (const [name, text] of Object.entries(MEMORY)) {
  test(`vm: a function that eats memory (${name}) fails as memory limit`, async () => {
    const { byName, code } = await callEach({ [name]: text }, { heapMb: 32, calls: { [name]: { timeoutMs: 20000 } } });
    assert.ok(byName[name]?.code === "OutOfMemory" || code === 78, `${JSON.stringify(byName[name])} exit ${code}`);
    assert.ok(byName[name] === undefined || byName[name].mustRecycle === 1);
  });
}

test("vm: one huge allocation ends the process with the code for memory, or throws", async () => {
  for (const text of ["() => new Array(2e8).fill(1).length", "() => new Array(3e7).fill(1).length", "() => { let s = [1]; for (;;) s = s.concat(s); }"]) {
    const { byName, code, signal } = await callEach({ huge: text }, { heapMb: 32, calls: { huge: { timeoutMs: 20000 } } });
    assert.equal(signal, null);
    assert.ok(code === 78 || byName.huge?.code === "OutOfMemory" || byName.huge?.code === "ServerError", `${code} ${JSON.stringify(byName.huge)}`);
  }
});

test("vm: what is refused with an error leaves the isolate usable", async () => {
  const { byName } = await callEach({
    buffer: "() => new ArrayBuffer(2 ** 31)",
    buffers: "() => { const list = []; for (let i = 0; i < 40; i++) list.push(new ArrayBuffer(64 << 20)); }",
    string: "() => { let s = 'x'; for (;;) s += s; }",
    parse: "() => JSON.parse('[' + '1,'.repeat(5e6) + '1]').length",
    parseSmall: "() => JSON.parse('[1,2]', (k, v) => v).length",
    fine: "() => 1",
  });
  for (const name of ["buffer", "buffers", "string", "parse"]) {
    assert.match(byName[name].message, /^RangeError: /, name);
  }
  assert.match(byName.parse.message, /JSON\.parse: 10000003 characters are more than/);
  assert.equal(byName.parseSmall.value, 2);
  assert.equal(byName.fine.value, 1);
});

test("vm: a sealed process opens, connects, executes and forks nothing, and still runs", async () => {
  const { byName, code } = await callEach({
    kernel: "({db}) => db.kernel()",
    hot: "async ({db}) => { let sum = 0; for (let i = 0; i < 3e6; i++) sum += i % 7; for (let i = 0; i < 300; i++) sum += await db.later(1); return sum; }",
    garbage: "() => { let n = 0; for (let i = 0; i < 2e5; i++) n += [i, { i }, 'x' + i].length; return n; }",
    again: "({db}) => db.kernel()",
  }, { seal: true });
  for (const name of ["kernel", "again"]) {
    const allowed = Object.entries(byName[name].value).filter(([, isRefused]) => !isRefused).map(([what]) => what);
    assert.deepEqual(allowed, [], name);
    assert.ok(Object.keys(byName[name].value).length > 20);
  }
  assert.equal(byName.garbage.value, 600000);
  assert.equal(byName.hot.end, "VALUE");
  assert.equal(code, 0);
});
