// The slot as a process: deadlines, memory, ends and exit codes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { STATUS, Slot, makeModules, start } from "./harness.js";

const FUNCTIONS = `
exports.ok = query(() => "ok");
exports.loop = mutation(async (ctx) => { await ctx.db.insert("docs", {}); for (;;); });
exports.asyncLoop = query(async () => { for (;;) await null; });
exports.regexp = query(() => /^(a+)+$/.test("a".repeat(40) + "b"));
exports.memory = query(() => { const list = []; for (;;) list.push(new Array(10000).fill(list.length)); });
exports.slow = query((ctx) => ctx.db.query("docs").collect());
const TAMPERS = {
  value: (r) => { r.test = () => true; },
  symbol: (r) => { r[Symbol.split] = () => []; },
  hidden: (r) => { Object.defineProperty(r, "extra", { value: 1 }); },
  unnamed: (r) => { r[Symbol("extra")] = 1; },
  number: (r) => { r[7] = 1; },
  removed: (r) => { delete r.exec; },
  getter: (r) => { Object.defineProperty(r, "flags", { get: () => "" }); },
  accessor: (r) => { const { exec } = r; Object.defineProperty(r, "exec", { get: () => exec }); },
  enumerable: (r) => { Object.defineProperty(r, "test", { enumerable: true }); },
  parent: (r) => { Object.setPrototypeOf(r, {}); },
  closed: (r) => { Object.preventExtensions(r); },
};
exports.tampers = query((_, { how }) => { TAMPERS[how](RegExp.prototype); return 1; });
exports.restores = query(() => {
  const { prototype } = RegExp;
  const was = Object.getOwnPropertyDescriptor(prototype, "flags");
  Object.defineProperty(prototype, "flags", { ...was, enumerable: true });
  Object.defineProperty(prototype, "flags", was);
  const { test } = prototype;
  prototype.test = null;
  prototype.test = test;
  return "a,b".split(/,/).length;
});
// Leaves more garbage than half of the heap may be: its end collects all of it.
exports.collects = query(() => new Array(4500000).fill(7).length);
exports.uses = query(() => "a1b2".replace(/\d/g, (digit) => digit * 2).split(/b/).concat([..."x".matchAll(/x/g)].length));
`;
const FILES = { "schema.js": `exports.default = schema({ docs: {} });`, "f.js": FUNCTIONS };

test("b16 an endless loop ends at its deadline, without effect", { timeout: 30000 }, async () => {
  for (const [kind, name] of [["mutation", "loop"], ["query", "asyncLoop"], ["query", "regexp"]]) {
    const slot = await start(FILES);
    const tx = slot.store.tx;
    const started = performance.now();
    const answer = await slot.call(kind, `f:${name}`, {}, { timeoutMs: 200 });
    const took = performance.now() - started;
    assert.equal(answer.status, STATUS.FUNCTION_TIMEOUT, name);
    assert.match(answer.error, new RegExp(`f:${name}.*200 ms`, "s"));
    assert.ok(took >= 190, `${name} took ${took} ms`);
    assert.equal(answer.hasBody, false);
    assert.equal(slot.store.tx, tx);
    assert.equal(answer.mustRecycle, true);
    assert.equal(await slot.exited, 0);
  }
});

test("a call whose reads do not come ends at its deadline and the slot goes on", async () => {
  const slot = await start(FILES);
  const answer = await slot.query("f:slow", {}, { timeoutMs: 100, onReads: () => null });
  assert.equal(answer.status, STATUS.FUNCTION_TIMEOUT);
  assert.equal((await slot.query("f:ok")).value, "ok");
  assert.equal(await slot.stop(), 0);
});

test("too much memory is the call's error", { timeout: 30000 }, async () => {
  const slot = await start(FILES, { hello: { heapMb: 64 } });
  const answer = await slot.query("f:memory");
  assert.equal(answer.status, STATUS.OUT_OF_MEMORY);
  assert.match(answer.error, /64 MB/);
  assert.equal(await slot.exited, 0);
});

test("a realm that was tampered with is thrown away", { timeout: 90000 }, async () => {
  const ways = ["value", "symbol", "hidden", "unnamed", "number", "removed", "getter", "accessor", "enumerable", "parent", "closed"];
  const cases = [...ways.map((how) => [how]), ["hidden", "restores"], ["getter", "collects"], ["hidden", "restores", "collects"]];
  for (const [how, ...before] of cases) {
    const slot = await start(FILES);
    for (const name of ["uses", ...before, "uses"]) {
      const { error, mustRecycle } = await slot.query(`f:${name}`);
      assert.deepEqual([error, mustRecycle], ["", false], `${name} before ${how}`);
    }
    const answer = await slot.query("f:tampers", { how });
    assert.deepEqual([answer.error, answer.mustRecycle], ["", true], `${how} after ${before}`);
    assert.equal(await slot.exited, 0);
  }
});

test("the slot ends when its supervisor is gone, also while a script loops", { timeout: 30000 }, async () => {
  const idle = await start(FILES);
  assert.equal(await idle.hangUp(), 0);
  const busy = await start(FILES);
  busy.mutation("f:loop").catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(await busy.hangUp(), 0);
});

test("what cannot be understood ends the slot with a line and a code of its own", async () => {
  const slot = new Slot();
  await slot.ready;
  slot.send({ hello: {} });
  assert.equal(await slot.exited, 70);
});

test("the first frame of the slot says what it is made of", async () => {
  const slot = new Slot();
  const { v8Version, sandbox } = await slot.ready;
  assert.match(v8Version, /^\d+\.\d+/);
  assert.match(sandbox, /no-new-privs|seccomp/);
  assert.equal(await slot.stop(), 0);
});

test("modules that cannot be compiled are found when they are reached", async () => {
  const slot = new Slot();
  await slot.ready;
  slot.send({
    deployment: { deployment: 1, modules: makeModules(FILES).map(({ path, source }) => ({ path, source: Buffer.from(source) })), catalog: Buffer.alloc(0) },
  });
  slot.deployment = 1;
  assert.equal((await slot.query("f:ok")).value, "ok");
  assert.equal(await slot.stop(), 0);
});
