// Modules that change built-in objects: each call that begins in one, or comes to one, has a context of its own.

import assert from "node:assert/strict";
import { test } from "node:test";

import { STATUS, Slot, makeModules, start } from "./harness.js";

const PATCH = `
"use strict";
Object.defineProperty(Array.prototype, "last", { value() { return this[this.length - 1]; }, configurable: true, writable: true });
String.prototype.shout = function () { return this.toUpperCase() + "!"; };
answerOfAll = globalThis.answerOfAll ?? 42;
`.replace("answerOfAll = ", "globalThis.answerOfAll = ");

const FILES = {
  "patch.js": PATCH,
  "user.js": `
    require("./patch.js");
    let calls = 0;
    exports.last = query((ctx, { list }) => list.last());
    exports.bare = query(() => answerOfAll);
    exports.count = query(() => { Array.prototype.calls = (Array.prototype.calls ?? 0) + 1; return [++calls, [].calls]; });
    exports.rows = query(async (ctx) => (await ctx.db.query("docs").collect()).last()?.n ?? null);
    exports.add = mutation(async (ctx, { n }) => { await ctx.db.insert("docs", { n: n.toString().shout().length }); return [n, n].last(); });
    exports.boom = query(() => { throw new RangeError("no " + "way".shout()); });
    exports.refuse = query(() => { const e = new Error("told"); e[Symbol.for("bitbend.error")] = true; e.data = { why: ["a", 1n] }; throw e; });
    exports.viaPlain = query((ctx) => ctx.runQuery("plain:double", { n: 4 }));
    exports.later = mutation((ctx) => ctx.scheduler.runAfter(5, "user:add", { n: 1 }));
    exports.cancel = mutation(async (ctx, { id }) => { await ctx.scheduler.cancel(id); });`,
  "plain.js": `
    exports.double = query((ctx, { n }) => 2 * n);
    exports.isPatched = query(() => "last" in Array.prototype);
    exports.through = query((ctx, { list }) => ctx.runQuery("user:last", { list }));
    exports.addThrough = mutation(async (ctx, { n }) => {
      const got = await ctx.runMutation("user:add", { n });
      try { await ctx.runMutation("user:addThenThrow", { n }); } catch (e) { return [got, e.message]; }
    });
    exports.errors = query(async (ctx) => {
      const seen = [];
      for (const name of ["boom", "refuse"]) {
        try { await ctx.runQuery("user:" + name); } catch (e) {
          seen.push([e instanceof Error, e.constructor.name, e.name, e.message, e.data ?? null, e[Symbol.for("bitbend.error")] ?? false]);
        }
      }
      return seen;
    });`,
  "schema.js": `exports.default = schema({ docs: { by_n: ["n"] } });`,
};
FILES["user.js"] += `
    exports.addThenThrow = mutation(async (ctx, { n }) => { await ctx.db.insert("docs", { n }); throw new Error("undone"); });`;

const withSlot = async (t, files = FILES) => {
  const slot = await start(files);
  t.after(() => slot.stop());
  return slot;
};

const valueOf = ({ status, error, value, stack }) => {
  assert.equal(status, STATUS.OK, `${error}\n${stack}`);
  return value;
};

test("the deploy says which modules need a context, where they change what, and which do not", async (t) => {
  const slot = new Slot();
  t.after(() => slot.stop());
  await slot.ready;
  const { sharing } = valueOf(await slot.mutation("_system:deploy", { modules: makeModules(FILES) }));
  assert.deepEqual(sharing.context.map(({ module }) => module), ["patch.js", "user.js"]);
  assert.match(sharing.context[1].why, /frozen.*Cannot define property last.*patch\.js:\d+:\d+/);
  assert.ok(sharing.perCall.every(({ module }) => module === "plain.js" || module === "schema.js"));
});

test("what such a module changed is there in its calls, and in no others", async (t) => {
  const slot = await withSlot(t);
  assert.equal(valueOf(await slot.query("user:last", { list: [1, 2, 3] })), 3);
  assert.equal(valueOf(await slot.query("user:bare")), 42);
  assert.equal(valueOf(await slot.query("plain:isPatched")), false);
  for (let i = 0; i < 3; i++) {
    assert.deepEqual(valueOf(await slot.query("user:count")), [1, 1]);
  }
});

test("documents are objects of that context, reads and writes are those of any call", async (t) => {
  const slot = await withSlot(t);
  assert.equal(valueOf(await slot.mutation("user:add", { n: 12345 })), 12345);
  assert.equal(valueOf(await slot.query("user:rows")), 6);
  assert.equal(valueOf(await slot.query("user:viaPlain")), 8);
});

test("functions of both kinds call each other, and a sub-transaction that fails is undone", async (t) => {
  const slot = await withSlot(t);
  assert.equal(valueOf(await slot.query("plain:through", { list: ["x", "y"] })), "y");
  assert.deepEqual(valueOf(await slot.mutation("plain:addThrough", { n: 7 })), [7, "undone"]);
  assert.equal(slot.store.documents(10001).length, 1);
});

test("errors cross with their kind, text, data and marks", async (t) => {
  const slot = await withSlot(t);
  assert.deepEqual(valueOf(await slot.query("plain:errors")), [
    [true, "RangeError", "RangeError", "no WAY!", null, false],
    [true, "Error", "Error", "told", { why: ["a", 1n] }, true],
  ]);
  const direct = await slot.query("user:refuse");
  assert.equal(direct.status, STATUS.USER_ERROR);
  assert.deepEqual(direct.errorData, { why: ["a", 1n] });
  const boom = await slot.query("user:boom");
  assert.match(boom.error, /RangeError: no WAY!/);
  const lines = makeModules(FILES).find(({ path }) => path === "user.js").source.split("\n");
  const line = lines.findIndex((text) => text.includes("exports.boom"));
  assert.equal(boom.stack.split("\n")[0], `at exports.boom.kind (user.js:${line + 1}:${lines[line].indexOf("new RangeError") + 1})`.replace("exports.boom.kind ", "").replace(/[()]/g, ""));
});

test("functions of a context schedule, cancel, and run as jobs", async (t) => {
  const slot = await withSlot(t);
  const id = valueOf(await slot.mutation("user:later"));
  assert.equal(valueOf(await slot.mutation("_system:runJob", { id })).state, "done");
  assert.equal(slot.store.documents(10001).length, 1);
  const other = valueOf(await slot.mutation("user:later"));
  valueOf(await slot.mutation("user:cancel", { id: other }));
  assert.equal(valueOf(await slot.mutation("_system:runJob", { id: other })).state, "cancelled");
});

test("a trace says what a call shared", async (t) => {
  const slot = await withSlot(t);
  const isolation = async (path, args) => JSON.parse((await slot.query(path, args, { wantsTrace: true })).trace).isolation;
  assert.equal(await isolation("user:bare"), "context");
  assert.equal(await isolation("plain:through", { list: [1] }), "context");
  assert.equal(await isolation("plain:isPatched"), "perCall");
});

test("a module that fails in a context, too, is refused with what it says there", async (t) => {
  const slot = new Slot();
  t.after(() => slot.stop());
  await slot.ready;
  const files = { "bad.js": `Array.prototype.last = 1; throw new Error("not today");` };
  const { status, error } = await slot.mutation("_system:deploy", { modules: makeModules(files) });
  assert.equal(status, STATUS.BAD_REQUEST);
  assert.match(error, /bad\.js could not be loaded.*not today/s);
});

const HOSTILE = {
  "hostile.js": `
    "use strict";
    const grabbed = [];
    const { apply, construct } = Reflect;
    Reflect.construct = (target, args, of) => { grabbed.push(target); return construct(target, args, of ?? target); };
    Reflect.apply = (target, self, args) => { grabbed.push(target); return apply(target, self, args); };
    const iterator = Array.prototype[Symbol.iterator];
    let raises = false;
    Array.prototype[Symbol.iterator] = function () {
      if (raises && typeof this[1] === "number") this[1] = 2;
      grabbed.push(this);
      return apply(iterator, this, []);
    };
    Object.prototype.shared = true;
    Object.prototype.maximum = 2;
    const get = WeakMap.prototype.get;
    WeakMap.prototype.get = function (key) { grabbed.push(this); return apply(get, this, [key]); };
    exports.clock = query(() => {
      new Date(); Date(); class X extends Date {} new X();
      return grabbed.filter((x) => typeof x === "function" && x !== Date && x.prototype === Date.prototype).length;
    });
    exports.memory = query(() => {
      const buffer = new WebAssembly.Memory({ initial: 1 }).buffer;
      return [Object.prototype.toString.call(buffer), grabbed.includes(WebAssembly.Memory)];
    });
    exports.module = query(() => {
      const bytes = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
      new WebAssembly.Module(bytes);
      return grabbed.filter((x) => typeof x === "function" && x !== WebAssembly.Module && x.prototype === WebAssembly.Module.prototype).length;
    });
    exports.system = query(async (ctx) => {
      raises = true;
      try { return (await ctx.db.query("_environment").collect()).length; } catch (e) { return e.code ?? String(e); } finally { raises = false; }
    });
    exports.write = mutation(async (ctx) => {
      raises = true;
      try { await ctx.db.put("_environment", "x", { name: "x", value: "y" }); return "written"; } catch (e) { return e.code ?? String(e); } finally { raises = false; }
    });
    exports.random = query(() => [Math.random() < 2, typeof Intl, typeof SharedArrayBuffer, typeof Atomics]);`,
};

test("who replaces built-in objects gets neither the clock, nor shared memory, nor raw WebAssembly, nor the suite's tables", async (t) => {
  const slot = await withSlot(t, HOSTILE);
  assert.equal(valueOf(await slot.query("hostile:clock")), 0);
  assert.deepEqual(valueOf(await slot.query("hostile:memory")), ["[object ArrayBuffer]", false]);
  assert.equal(valueOf(await slot.query("hostile:module")), 0);
  assert.equal(valueOf(await slot.query("hostile:system")), "TableNotFound");
  assert.notEqual(valueOf(await slot.mutation("hostile:write")), "written");
  assert.deepEqual(valueOf(await slot.query("hostile:random")), [true, "undefined", "undefined", "undefined"]);
});

test("the same seed gives the same bytes there, another seed others", async (t) => {
  const slot = await withSlot(t, { "dice.js": `${PATCH}
    exports.roll = query(() => [Math.random(), Date.now(), new Date().toISOString(), crypto.randomUUID(), (1e6).toLocaleString()]);` });
  const roll = async (byte) => valueOf(await slot.query("dice:roll", {}, { seed: Buffer.alloc(16, byte) }));
  const first = await roll(1);
  assert.deepEqual(await roll(1), first);
  assert.notDeepEqual(await roll(2), first);
  assert.deepEqual(first.slice(1, 3), [1790000000000, new Date(1790000000000).toISOString()]);
});

const LIMITS = {
  "limits.js": `${PATCH}
    exports.loop = query(() => { for (;;) [].last(); });
    exports.microtasks = query(async () => { const again = () => Promise.resolve().then(again); await again(); });
    exports.never = query(() => new Promise(() => {}));
    exports.grow = query(() => { const all = []; for (;;) all.push({ n: all.length }); });
    exports.fetch = query(() => fetch("http://127.0.0.1/"));
    exports.evaluate = query(() => (0, eval)("1"));
    exports.timer = query(() => setTimeout(() => 0, 1));
    exports.url = query(() => new URL("/a?b=1", "http://host").searchParams.get("b"));
    exports.wasm = query(() => { const m = []; for (;;) m.push(new WebAssembly.Memory({ initial: 1 })); });`,
};

test("limits and what is not there are those of any call", async (t) => {
  const slot = await withSlot(t, LIMITS);
  const told = async (name) => {
    const { status, error } = await slot.query(`limits:${name}`);
    return [status, error];
  };
  assert.equal((await told("never"))[0], STATUS.NEVER_RESOLVED);
  assert.match((await told("fetch"))[1], /fetch is not available.*use an action/);
  assert.match((await told("evaluate"))[1], /EvalError: eval and new Function/);
  assert.match((await told("timer"))[1], /setTimeout is not available.*scheduler/);
  assert.match((await told("wasm"))[1], /a call has at most 4 memories/);
  assert.equal(valueOf(await slot.query("limits:url")), "1");
});

for (const [name, status] of [["loop", STATUS.FUNCTION_TIMEOUT], ["microtasks", STATUS.FUNCTION_TIMEOUT], ["grow", STATUS.OUT_OF_MEMORY]]) {
  test(`a call that does not end by itself is stopped there, too: ${name}`, async (t) => {
    const slot = await withSlot(t, LIMITS);
    const answer = await slot.query(`limits:${name}`, {}, { timeoutMs: name === "grow" ? 60000 : 400 });
    assert.equal(answer.status, status, answer.error);
    assert.equal(answer.mustRecycle, true);
    assert.equal(await slot.exited, 0);
  });
}

test("contexts are freed: memory stays where it is", async (t) => {
  const slot = await withSlot(t);
  for (let i = 0; i < 400; i++) {
    const { mustRecycle, value } = await slot.query("user:last", { list: [i] });
    assert.equal(value, i);
    assert.equal(mustRecycle, false);
  }
});
