import assert from "node:assert/strict";
import { test } from "node:test";
import { callEach, run } from "./engine.mjs";

test("vm: nothing that a call does reaches the next", async () => {
  const { byName } = await callEach({
    count1: "() => ++counter",
    count2: "() => ++counter",
    cache1: "() => { cache.set('k', 1); return cache.size; }",
    cache2: "() => cache.size",
    global1: "() => { globalThis.leak = 1; return [self.leak, globalThis.self.leak, globalThis.globalThis === globalThis, typeof leak]; }",
    global2: "() => [typeof leak, 'leak' in globalThis]",
    global3: "() => { try { globalThis.Map = 1; } catch {} return typeof new globalThis.Map(); }",
    sloppy1: "() => { (0, exports.sloppyWrite)(); return typeof leaked; }",
    sloppyWrite: "() => { try { leaked = 1; } catch {} }",
    sloppy2: "() => typeof leaked",
    proto1: "() => { const out = []; for (const p of [Object, Array, Function, Promise, Map, Error, String, Date, URL, EventTarget, TextEncoder]) { try { p.prototype.evil = 1; out.push(p.name); } catch {} } return out; }",
    proto2: "() => [({}).evil, [].evil, (() => {}).evil, new Map().evil].map(v => v === undefined)",
    patch1: "() => { const out = []; for (const [o, k] of [[Array.prototype, 'map'], [JSON, 'parse'], [Math, 'random'], [Object, 'keys'], [Promise.prototype, 'then'], [crypto, 'randomUUID'], [process.env, 'X'], [console1, 'log']]) { try { o[k] = 1; if (o[k] === 1) out.push(k); } catch {} } return out; }",
    regexpStatics1: "() => { /(se)cret/.exec('secret'); return RegExp.$1 ?? null; }",
    regexpStatics2: "() => [RegExp.$1 ?? null, RegExp.lastMatch ?? null, RegExp['$_'] ?? null]",
    limit1: "() => { Error.stackTraceLimit = 0; return new Error('x').stack.includes('limit1'); }",
    limit2: "() => [Error.stackTraceLimit, new Error('x').stack.includes('limit2')]",
    generator1: "() => { try { Object.getPrototypeOf(function* () {}).prototype.next = 1; } catch (e) { return e.name; } }",
    iterator1: "() => { try { Object.getPrototypeOf([][Symbol.iterator]()).next = 1; } catch (e) { return e.name; } }",
    freshClosure: "() => counter",
  }, { prelude: "let counter = 0; const cache = new Map(); const console1 = {log: Object.freeze};".replace("console1 = {log: Object.freeze}", "console1 = Object.freeze({log: 1})") });
  assert.equal(byName.count1.value, 1);
  assert.equal(byName.count2.value, 1);
  assert.equal(byName.cache2.value, 0);
  assert.deepEqual(byName.global1.value, [1, 1, true, "undefined"]);
  assert.deepEqual(byName.global2.value, ["undefined", false]);
  assert.equal(byName.global3.value, "object");
  assert.equal(byName.sloppy2.value, "undefined");
  assert.deepEqual(byName.proto1.value, []);
  assert.deepEqual(byName.proto2.value, [true, true, true, true]);
  assert.deepEqual(byName.patch1.value, []);
  assert.equal(byName.regexpStatics1.value, null);
  assert.deepEqual(byName.regexpStatics2.value, [null, null, null]);
  assert.equal(byName.limit1.value, false);
  assert.deepEqual(byName.limit2.value, [40, true]);
  assert.equal(byName.generator1.value, "TypeError");
  assert.equal(byName.iterator1.value, "TypeError");
  assert.equal(byName.freshClosure.value, 0);
});

test("vm: a patched RegExp.prototype ends the slot after the answer", async () => {
  for (const text of ["RegExp.prototype.exec = () => null", "RegExp.prototype.leak = 1", "Object.defineProperty(RegExp.prototype, 'flags', { get: () => 'g' })", "delete RegExp.prototype.test", "RegExp.prototype[Symbol.replace] = () => 'evil'"]) {
    const { byName } = await callEach({ patch: `() => { ${text}; return 1; }`, next: "() => 'a'.replace(/a/, 'b')" });
    assert.equal(byName.patch.value, 1);
    assert.equal(byName.patch.mustRecycle, 1, text);
    assert.equal(byName.next, undefined);
  }
});

test("vm: ordinary habits still work in the hardened realm", async () => {
  const { byName } = await callEach({
    ownToString: "() => { const o = {}; o.toString = () => 'mine'; o.constructor = 1; o.hasOwnProperty = 2; return String(o) + Object.keys(o).length; }",
    fnToString: "() => { function F() {} F.prototype.toString = function () { return 'F'; }; return String(new F()); }",
    errorSubclass: "() => { class E extends Error { constructor(m) { super(m); this.name = 'E'; this.message = m + '!'; } } const e = new E('x'); return [String(e), e instanceof E, e.stack.split('\\n')[0]]; }",
    oldStyle: "() => { function Old(m) { this.message = m; this.name = 'Old'; } Old.prototype = Object.create(Error.prototype); Old.prototype.constructor = Old; return String(new Old('x')); }",
    arrays: "() => { class List extends Array { sum() { return this.reduce((a, b) => a + b, 0); } } const l = List.from([1, 2, 3]); l.concat = 5; return [l.map(x => x * 2).sum(), [3, 1, 2].sort().join(), [...new Set([1, 1])].length, [[1], [2]].flat().length]; }",
    regexps: "() => { const r = /a/g; r.lastIndex = 1; return ['banana'.replace(/a/g, 'o'), 'a,b'.split(/,/).length, r.exec('aa').index, [...'a1b2'.matchAll(/[0-9]/g)].length]; }",
    promises: "async () => { class P extends Promise {} const p = await P.all([1, P.resolve(2)]); const s = await Promise.allSettled([Promise.reject(1)]); return [p[1], s[0].status, await Promise.any([Promise.resolve(3)]), await Promise.race([4])]; }",
    generators: "async () => { function* g() { yield* [1, 2]; } async function* a() { yield 3; } const out = [...g()]; for await (const x of a()) out.push(x); return out; }",
    classes: "() => { class A { #x = 1; static s = 2; get x() { return this.#x; } static { this.t = 3; } } return [new A().x, A.s, A.t]; }",
    json: "() => JSON.stringify({ a: [1, { b: undefined }], d: new Date(0) })",
    spread: "() => ({ ...{ a: 1 }, ...[2] })",
    groupBy: "() => Object.groupBy([1, 2, 3], n => n % 2 ? 'odd' : 'even')",
    evalOff: "() => { try { return eval('1'); } catch (e) { return e.name; } }",
    functionOff: "() => { try { return new Function('return 1')(); } catch (e) { return e.name; } }",
    importOff: "async () => { try { await import('fs'); return 'imported'; } catch (e) { return 'refused'; } }",
    thisIs: "() => typeof this",
  });
  assert.equal(byName.ownToString.value, "mine3");
  assert.equal(byName.fnToString.value, "F");
  assert.deepEqual(byName.errorSubclass.value, ["E: x!", true, "E: x!"]);
  assert.equal(byName.oldStyle.value, "Old: x");
  assert.deepEqual(byName.arrays.value, [12, "1,2,3", 1, 2]);
  assert.deepEqual(byName.regexps.value, ["bonono", 2, 1, 2]);
  assert.deepEqual(byName.promises.value, [2, "rejected", 3, 4]);
  assert.deepEqual(byName.generators.value, [1, 2, 3]);
  assert.deepEqual(byName.classes.value, [1, 2, 3]);
  assert.equal(byName.json.value, '{"a":[1,{}],"d":"1970-01-01T00:00:00.000Z"}');
  assert.deepEqual(byName.spread.value, { 0: 2, a: 1 });
  assert.deepEqual(byName.groupBy.value, { odd: [1, 3], even: [2] });
  assert.equal(byName.evalOff.value, "EvalError");
  assert.equal(byName.functionOff.value, "EvalError");
  assert.equal(byName.importOff.value, "refused");
});

test("vm: the same seed and time give the same bytes, another seed others", async () => {
  const source = `exports.f = () => [Date.now(), new Date().toISOString(), Date(), Math.random(), Math.random(), crypto.randomUUID(),
    [...crypto.getRandomValues(new Uint8Array(8))], new Date(2020, 0, 1).getTimezoneOffset(), [10, 9, 1].sort(), 'ä'.localeCompare('z'), (1234.5).toLocaleString(), performance.now()];`;
  const call = (seed, nowMs) => ({ path: "m:f", args: {}, seed, nowMs });
  const { results } = await run({
    modules: [{ path: "m.js", source, map: "" }],
    calls: [call("aaaaaaaaaaaaaaaa", 1700000000123), call("aaaaaaaaaaaaaaaa", 1700000000123), call("baaaaaaaaaaaaaaa", 1700000000123)],
  });
  assert.deepEqual(results[0].value, results[1].value);
  assert.notDeepEqual(results[0].value[3], results[2].value[3]);
  const [now, iso, text, random, , uuid, , offset, , , number, performanceNow] = results[0].value;
  assert.deepEqual([now, iso, text.slice(0, 24), offset, number, performanceNow], [1700000000123, "2023-11-14T22:13:20.123Z", "Tue Nov 14 2023 22:13:20", 0, "1234.5", 0]);
  assert.ok(random >= 0 && random < 1);
  assert.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual([results[0].sawRandom, results[0].sawTime], [1, 1]);
});

test("vm: what would tell the machine or the moment is gone, and says what to use", async () => {
  const { byName } = await callEach({
    gone: "() => ['Intl', 'SharedArrayBuffer', 'Atomics', 'require', 'module', 'global', 'Buffer', 'host', 'internals', 'gc'].filter(n => n in globalThis)",
    types: "() => [typeof setTimeout, typeof fetch, typeof WeakRef, typeof FinalizationRegistry]",
    timer: "() => setTimeout(() => {}, 1)",
    fetch: "() => fetch('http://a')",
    weak: "() => { const o = {}; new FinalizationRegistry(() => {}).register(o); return new WeakRef(o).deref() === o; }",
    dateLeak: "() => [new Date(5).constructor === Date, Object.getPrototypeOf(Date) === Function.prototype, (class D extends Date {}).name, new (class D extends Date { x() { return this.getTime(); } })(7).x(), Date.length, new Date(2020, 1).getMonth()]",
    noTime: "() => 1",
    env: "() => [process.env.HOME ?? null, Object.keys(process.env).length]",
    callers: "() => { try { return arguments.callee.caller; } catch (e) { return e.name; } }",
  });
  assert.deepEqual(byName.gone.value, []);
  assert.deepEqual(byName.types.value, ["function", "function", "function", "function"]);
  assert.deepEqual([byName.timer.code, byName.fetch.code], ["NotAvailableHere", "NotAvailableHere"]);
  assert.match(byName.timer.message, /^setTimeout is not available in queries and mutations: .*ctx\.scheduler\.runAfter/);
  assert.match(byName.fetch.message, /use an action/);
  assert.equal(byName.weak.value, true);
  assert.deepEqual(byName.dateLeak.value, [true, true, "D", 7, 7, 1]);
  assert.deepEqual([byName.noTime.sawTime, byName.noTime.sawRandom], [0, 0]);
  assert.deepEqual(byName.env.value, [null, 0]);
});

test("vm: the web's globals do what the web says", async () => {
  const { byName } = await callEach({
    text: "() => [new TextDecoder().decode(new TextEncoder().encode('aü😀\\ud800')), [...new TextEncoder().encode('é')], new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 65, 0xff]))]",
    stream: "() => { const d = new TextDecoder(); const b = new TextEncoder().encode('a😀b'); return d.decode(b.slice(0, 3), { stream: true }) + d.decode(b.slice(3), { stream: true }) + d.decode(); }",
    fatal: "() => { try { new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([255])); } catch (e) { return e.name; } }",
    base64: "() => [btoa('hello'), atob('aGVsbG8='), atob(' aGVs bG8 '), btoa(''), btoa('a'), btoa('ab')]",
    base64Bad: "() => { const out = []; for (const f of [() => atob('a'), () => atob('*'), () => btoa('ü€')]) { try { f(); } catch (e) { out.push(e.name, e instanceof DOMException); } } return out; }",
    clone: "() => { const o = { a: [1, new Map([[1, { d: new Date(5) }]])], r: /x/g, b: new Uint8Array([1]) }; o.self = o; const c = structuredClone(o); return [c !== o, c.self === c, c.a[1].get(1).d.getTime(), c.r.flags, c.b[0]]; }",
    cloneBad: "() => { try { structuredClone(() => 1); } catch (e) { return [e.name, e instanceof DOMException, e.code]; } }",
    microtask: "() => new Promise(r => { const out = [1]; queueMicrotask(() => { out.push(3); r(out); }); out.push(2); })",
    microtaskThrows: "() => { queueMicrotask(() => { throw new Error('in microtask'); }); return 1; }",
    url: "() => { const u = new URL('../b?x=1#y', 'https://u:p@ex.com:443/a/c/d'); u.searchParams.append('z', 'ä b'); return [u.href, u.origin, String(new URLSearchParams({ a: 1 })), URL.canParse('nope')]; }",
    urlBad: "() => { try { new URL('x'); } catch (e) { return [e.name, e.message, e.code]; } }",
    abort: "() => { const c = new AbortController(); const out = []; c.signal.addEventListener('abort', e => out.push(e.type, e.target === c.signal)); c.abort(); c.abort(); try { c.signal.throwIfAborted(); } catch (e) { out.push(e.name); } return [...out, c.signal.aborted, AbortSignal.abort(1).reason]; }",
    events: "() => { const t = new EventTarget(); const out = []; t.addEventListener('x', { handleEvent(e) { out.push('object'); e.preventDefault(); } }); t.addEventListener('x', () => out.push('once'), { once: true }); const r = t.dispatchEvent(new Event('x', { cancelable: true })); t.dispatchEvent(new CustomEvent('x', { detail: 1 })); return [r, ...out]; }",
    digest: "async () => [...new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode('abc')))].map(b => b.toString(16).padStart(2, '0')).join('')",
    digestOther: "() => crypto.subtle.digest('MD5', new Uint8Array(1))",
  });
  assert.deepEqual(byName.text.value, ["aü😀\ufffd", [0xc3, 0xa9], "A\ufffd"]);
  assert.equal(byName.stream.value, "a😀b");
  assert.equal(byName.fatal.value, "TypeError");
  assert.deepEqual(byName.base64.value, ["aGVsbG8=", "hello", "hello", "", "YQ==", "YWI="]);
  assert.deepEqual(byName.base64Bad.value, ["InvalidCharacterError", true, "InvalidCharacterError", true, "InvalidCharacterError", true]);
  assert.deepEqual(byName.clone.value, [true, true, 5, "g", 1]);
  assert.deepEqual(byName.cloneBad.value, ["DataCloneError", true, 25]);
  assert.deepEqual(byName.microtask.value, [1, 2, 3]);
  assert.equal(byName.microtaskThrows.message, "Error: in microtask");
  assert.deepEqual(byName.url.value, ["https://u:p@ex.com/a/b?x=1&z=%C3%A4+b#y", "https://ex.com", "a=1", false]);
  assert.deepEqual(byName.urlBad.value, ["TypeError", "Invalid URL", "ERR_INVALID_URL"]);
  assert.deepEqual(byName.abort.value, ["abort", true, "AbortError", true, 1]);
  assert.deepEqual(byName.events.value, [false, "object", "once", "object"]);
  assert.equal(byName.digest.value, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.match(byName.digestOther.message, /SHA-512, not MD5/);
});

test("vm: a call that is abandoned while it waits never goes on", async () => {
  const source = "let n = 0; exports.wait = async ({db}) => { n++; await db.later(1); RegExp.prototype.leak = 1; }; exports.patch = async ({db}) => { RegExp.prototype.leak = 1; await db.later(1); }; exports.n = () => [n, RegExp.prototype.leak === undefined];";
  const call = (name, rest) => ({ path: `m:${name}`, args: {}, nowMs: 1, ...rest });
  const { results } = await run({
    modules: [{ path: "m.js", source, map: "" }],
    calls: [call("wait", { abandon: true }), call("n"), call("patch", { abandon: true }), call("n")],
  });
  assert.deepEqual(results.map((result) => result.value ?? result.end), ["ABANDONED", [0, true], "ABANDONED"]);
});

test("vm: sources that come as arguments are evaluated like a bundle and then forgotten", async () => {
  const modules = [
    { path: "a.js", source: "exports.f = () => require('./b.js').x + 1;", sourceMap: null },
    { path: "b.js", source: "exports.x = 41;" },
    { path: "bad.js", source: "exports.x = ;" },
  ];
  const call = (wanted) => ({ path: "_sources", args: { modules, wanted }, nowMs: 1 });
  const { results } = await run({ modules: [], calls: [call("a.js"), call("none.js"), call("bad.js"), call("a.js")] });
  assert.deepEqual(results[0].value, [["f"], true, 42]);
  assert.equal(results[1].value, null);
  assert.match(results[2].message, /^SyntaxError: /);
  assert.equal(results[2].stack, "at bad.js:1:13");
  assert.deepEqual(results[3].value, [["f"], true, 42]);
});

test("vm: a call that changes RegExp.prototype for a moment does not decide what is shared", async () => {
  const blind = "const { exec } = RegExp.prototype; RegExp.prototype.exec = function (text) { return this.sticky ? [text.slice(this.lastIndex)] : Reflect.apply(exec, this, [text]); }; try { require('./later.js'); } finally { RegExp.prototype.exec = exec; }";
  const { results } = await run({
    modules: [
      { path: "m.js", source: `"use strict";\nexports.put = () => { ${blind} return 1; };\nexports.look = () => require("./later.js").next();`, map: "" },
      { path: "later.js", source: '"use strict";\nlet count = 0;\nexports.next = () => ++count;\n', map: "" },
    ],
    calls: ["put", "look", "look"].map((name) => ({ path: `m:${name}`, args: {}, nowMs: 1700000000000 })),
  });
  assert.deepEqual(results.map(({ value }) => value), [1, 1, 1]);
});
