import assert from "node:assert/strict";
import { test } from "node:test";
import { callEach, run } from "./engine.mjs";

test("vm: what a function throws becomes a status, a text and data", async () => {
  const { byName } = await callEach({
    host: "({db}) => db.fail('NotUnique', 'two of them')",
    hostCaught: "({db}) => { try { db.fail('NotUnique', 'x'); } catch (e) { return [e.code, e.message, e instanceof Error]; } }",
    rejected: "async ({db}) => { await db.later('reject'); }",
    rejectedCaught: "async ({db}) => { try { await db.later('reject'); } catch (e) { return e.code; } }",
    forged: "() => { throw Object.assign(new Error('x'), { code: 'NotUnique' }); }",
    application: "() => { throw Object.assign(new Error('full'), { [Symbol.for('bitbend.error')]: true, data: { code: 'full', n: 1n } }); }",
    convex: "() => { throw Object.assign(new Error('full'), { [Symbol.for('ConvexError')]: true, data: 'text' }); }",
    validator: "() => { throw Object.assign(new Error('args.x: expected string'), { [Symbol.for('bitbend.code')]: 'ArgumentValidation' }); }",
    outsideCode: "() => { throw Object.assign(new Error('no'), { [Symbol.for('bitbend.code')]: 'Unauthorized' }); }",
    text: "() => { throw 'just text'; }",
    nothing: "() => { throw undefined; }",
    object: "() => { throw { a: 1 }; }",
    objectText: "() => { throw { toString() { return 'speaks for itself'; } }; }",
    objectLarge: "() => { const big = { list: Array(500).fill('x'.repeat(500)), more: {}, n: 5n }; big.self = big; throw big; }",
    objectHostile: "() => { throw { get a() { throw 1; } }; }",
    array: "() => { throw [1, { b: [null, undefined] }]; }",
    custom: "() => { class MyError extends Error { name = 'MyError' } throw new MyError('mine'); }",
    hostileGetter: "() => { const e = new Error('x'); Object.defineProperty(e, 'message', { get() { throw 1; } }); throw e; }",
    badData: "() => { throw Object.assign(new Error('d'), { [Symbol.for('bitbend.error')]: true, data: { f() {} } }); }",
    overflow: "() => { const f = () => f() + 1; return f(); }",
    overflowCaught: "() => { const f = () => f() + 1; try { f(); } catch (e) { return e instanceof RangeError; } }",
    unhandled: "() => { Promise.reject(new Error('nobody looks')); return 1; }",
    handledLater: "async () => { const p = Promise.reject(new Error('x')); await null; p.catch(() => {}); return 1; }",
    never: "() => new Promise(() => {})",
    neverHost: "async ({db}) => { await Promise.race([db.later(1), new Promise(() => {})]); return 'raced'; }",
    dropped: "({db}) => { db.never(); return 'ended'; }",
    usable: "() => 'still fine'",
  });
  assert.deepEqual([byName.host.code, byName.host.message], ["NotUnique", "two of them"]);
  assert.deepEqual(byName.hostCaught.value, ["NotUnique", "x", true]);
  assert.deepEqual([byName.rejected.code, byName.rejected.message], ["IndexNotFound", "no index"]);
  assert.equal(byName.rejectedCaught.value, "IndexNotFound");
  assert.deepEqual([byName.forged.code, byName.forged.message], ["ServerError", "Error: x"]);
  assert.deepEqual([byName.application.code, byName.application.message, byName.application.data], ["UserError", "full", { code: "full", n: { $integer: "AQAAAAAAAAA=" } }]);
  assert.deepEqual([byName.convex.code, byName.convex.data], ["UserError", "text"]);
  assert.deepEqual([byName.validator.code, byName.validator.message], ["ArgumentValidation", "args.x: expected string"]);
  assert.equal(byName.outsideCode.code, "ServerError");
  assert.equal(byName.text.message, "just text");
  assert.equal(byName.nothing.message, "undefined");
  assert.equal(byName.object.message, '{"a": 1}');
  assert.equal(byName.objectText.message, "speaks for itself");
  assert.match(byName.objectLarge.message, /^\{"list": \["xxx/);
  assert.ok(byName.objectLarge.message.length <= 1003, "what a thrown object shows is bounded");
  assert.equal(byName.objectHostile.message, "an object that cannot be shown");
  assert.equal(byName.array.message, '[1, {"b": [null, undefined]}]');
  assert.equal(byName.custom.message, "MyError: mine");
  assert.equal(byName.hostileGetter.code, "ServerError");
  assert.match(byName.badData.message, /^d \(its data cannot be sent: data\.f: a function/);
  assert.deepEqual([byName.overflow.code, byName.overflow.message], ["ServerError", "RangeError: Maximum call stack size exceeded"]);
  assert.equal(byName.overflowCaught.value, true);
  assert.equal(byName.unhandled.message, "Error: nobody looks");
  assert.equal(byName.handledLater.value, 1);
  assert.equal(byName.never.code, "NeverResolved");
  assert.equal(byName.neverHost.value, "raced");
  assert.equal(byName.dropped.value, "ended");
  assert.equal(byName.usable.value, "still fine");
});

// A hand-made map: line 2 of the generated text is line 10 of messages.ts, column by column.
const MAP = JSON.stringify({ version: 3, sources: ["../../bitbend/messages.ts"], names: [], mappings: ";AASA,WACE;AAAA" });

test("vm: stacks name the lines that were written and hide ours", async () => {
  const { results } = await run({
    modules: [
      { path: "messages.js", source: "exports.list = function list({db}) {\nthrow new Error('here'); };", map: MAP },
      { path: "plain.js", source: "async function deep({db}) { await db.later(1); throw new Error('late'); }\nexports.go = async function go(c) { await deep(c); };", map: "" },
      { path: "broken.js", source: "exports.x = 1;\nlet = = 2;", map: "" },
      { path: "own.js", source: "exports.s = () => new Error('mine').stack; exports.mapped = () => [1].map(function inner() { return new Error('in map').stack; })[0];", map: "" },
    ],
    calls: ["messages:list", "plain:go", "broken:x", "own:s", "own:mapped"].map((path) => ({ path, args: {}, nowMs: 1 })),
  });
  assert.equal(results[0].stack, "at list (bitbend/messages.ts:10:1)");
  assert.equal(results[1].stack, "at deep (plain.js:1:54)\nat async go (plain.js:2:37)");
  assert.match(results[2].message, /^SyntaxError: /);
  assert.equal(results[2].stack, "at broken.js:2:7");
  assert.match(results[3].value, /^Error: mine\n {4}at exports\.s \(own\.js:1:\d+\)$/);
  assert.match(results[4].value, /^Error: in map\n {4}at inner \(own\.js:1:\d+\)\n {4}at exports\.mapped/);
});

test("vm: modules find each other, and what is missing is named", async () => {
  const modules = [
    { path: "a.js", source: "const b = require('./sub/b.js'); exports.name = 'a'; exports.both = () => b.fromB();", map: "" },
    { path: "sub/b.js", source: "const a = require('../a.js'); exports.fromB = () => 'b sees ' + a.name + ' ' + require('../_deps/C').c;", map: "" },
    { path: "_deps/C.js", source: "module.exports = { c: 'chunk' };", map: "" },
    { path: "fs.js", source: "const fs = require('node:fs'); exports.x = () => 1;", map: "" },
    { path: "gone.js", source: "require('./nowhere.js'); exports.x = () => 1;", map: "" },
    { path: "out.js", source: "require('../../etc/x.js');", map: "" },
    { path: "throws.js", source: "throw new Error('while loading');", map: "" },
  ];
  const calls = ["a:both", "fs:x", "gone:x", "out:x", "throws:x"].map((path) => ({ path, args: {}, nowMs: 1 }));
  const { results } = await run({ modules, calls });
  assert.equal(results[0].value, "b sees a chunk");
  assert.match(results[1].message, /Cannot find module "node:fs" that "fs\.js" requires: .* use an action/);
  assert.match(results[2].message, /Cannot find module "\.\/nowhere\.js" that "gone\.js" requires: it is not part of what was deployed/);
  assert.match(results[3].message, /Cannot find module "\.\.\/\.\.\/etc\/x\.js"/);
  assert.deepEqual([results[4].message, results[4].stack], ["Error: while loading", "at throws.js:1:7"]);
});
