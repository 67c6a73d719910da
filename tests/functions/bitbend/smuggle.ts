// Pairs of functions: `put` tries to leave something behind for a later call, `look` tries to find it.
import { defineSchema, defineTable, httpRouter } from "bitbend/server";

import { httpAction, query } from "./_generated/server";

let variable = 0;
const cache = new Map<string, number>();
class Holder { static #hidden = 0; static next() { return ++Holder.#hidden; } }
const template = (strings: TemplateStringsArray) => strings;
const marked = new WeakSet<object>();
const anyGlobal = globalThis as any;
const quietly = (f: () => unknown) => { try { return f(); } catch { return undefined; } };
const INTRINSICS: any[] = [
  Object, Function, Array, String, Number, Boolean, Symbol, BigInt, Date, Promise, RegExp, Error, TypeError, Map, Set, WeakMap, WeakSet, WeakRef,
  Proxy, Reflect, JSON, Math, ArrayBuffer, DataView, Uint8Array, Float64Array, Iterator, URL, URLSearchParams, TextEncoder, TextDecoder, AbortController,
  AbortSignal, Event, EventTarget, DOMException, CryptoKey, Headers, Blob, crypto, crypto.subtle, console, performance, process, process.env,
  FinalizationRegistry, typeof WebAssembly === "undefined" ? null : WebAssembly, fetch, setTimeout, structuredClone, atob, queueMicrotask, eval, parseInt,
];
const reachable = () => {
  const seen = new Set<any>();
  const captured = {};
  Error.captureStackTrace(captured);
  const queue = [...INTRINSICS, ...Object.values(Object.getOwnPropertyDescriptors(captured)).flatMap(({ get, set }) => [get, set]), async function () {}, function* () {}, async function* () {}, [][Symbol.iterator](), new Map().keys(), "".matchAll(/a/g), (function* () {})(), (async function* () {})(), [].values().map((x) => x)].filter((x) => x !== null && x !== undefined).map((x) => [x, Object.getPrototypeOf(x), x.prototype]).flat();
  while (queue.length > 0) {
    const x = queue.pop();
    if (x === null || (typeof x !== "object" && typeof x !== "function") || seen.has(x)) continue;
    seen.add(x);
    queue.push(Object.getPrototypeOf(x));
    for (const key of Reflect.ownKeys(x)) {
      const d = Reflect.getOwnPropertyDescriptor(x, key)!;
      queue.push(d.value, d.get, d.set, d.get && quietly(() => x[key]));
    }
  }
  return [...seen];
};

// The regular expressions that built-in functions are at work with while `act` runs.
const testedWith = (act: () => unknown) => {
  const { exec, test } = RegExp.prototype;
  const found: any[] = [];
  RegExp.prototype.exec = function (text) { found.push(this); return Reflect.apply(exec, this, [text]); };
  RegExp.prototype.test = function (text) { found.push(this); return Reflect.apply(test, this, [text]); };
  try { act(); } finally { RegExp.prototype.exec = exec; RegExp.prototype.test = test; }
  return found;
};
const tests = () => testedWith(() => { console.log({ a: 1 }, "%s", 1); defineSchema({ rows: defineTable({}).index("by_a", ["a"] as any) }); quietly(() => httpRouter().route({ path: "/a/{b}", method: "GET", handler: quietly(() => httpAction(async () => new Response())) as any })); void new URL("http://a.b/c?d=e").searchParams; });

type Channel = { put: (ctx?: any) => unknown; look: (ctx?: any) => unknown };
const channels: Record<string, Channel> = {
  moduleVariable: { put: () => ++variable, look: () => variable },
  moduleMap: { put: () => cache.set("k", 1).size, look: () => cache.size },
  privateStatic: { put: () => Holder.next() && Holder.next(), look: () => Holder.next() - 1 },
  globalProperty: { put: () => { anyGlobal.leak = 1; self.name = "x"; }, look: () => anyGlobal.leak ?? quietly(() => (0, eval)("leak")) ?? 0 },
  everyIntrinsic: {
    // Without RegExp.prototype, which is not frozen: a call that changes it has its realm thrown away, with all that it left elsewhere.
    put: () => { for (const x of reachable()) if (x !== RegExp.prototype) { quietly(() => { x.leak = 1; }); quietly(() => Reflect.defineProperty(x, "leak", { value: 1 })); quietly(() => Object.setPrototypeOf(x, { leak: 1 })); } },
    look: () => reachable().filter((x) => quietly(() => Reflect.has(x, "leak"))).length,
  },
  everyMethod: {
    put: () => { for (const x of reachable()) for (const key of Reflect.ownKeys(x)) { if (x !== RegExp.prototype) { quietly(() => { x[key] = 1; }); quietly(() => Reflect.defineProperty(x, key, { value: 1 })); quietly(() => Reflect.deleteProperty(x, key)); } } },
    look: () => (Object.keys({ a: 1 }).length === 1 && [1].map((x) => x + 1)[0] === 2 && JSON.stringify({}) === "{}" && typeof Math.random() === "number" ? 0 : 1),
  },
  regexpPrototype: { put: () => { (RegExp.prototype as any).leak = 1; }, look: () => ((RegExp.prototype as any).leak === undefined ? 0 : 1) },
  regexpFrozen: { put: () => { Object.freeze(RegExp.prototype); }, look: () => (Object.isFrozen(RegExp.prototype) ? 1 : 0) },
  regexpFlag: { put: () => { Object.defineProperty(RegExp.prototype, "test", { enumerable: true }); }, look: () => (Object.keys(RegExp.prototype).length) },
  regexpStatics: { put: () => /(se)cret/.exec("secret")?.[1].length, look: () => [(RegExp as any).$1, (RegExp as any).lastMatch, (RegExp as any).input, (RegExp as any)["$_"]].filter((x) => x !== undefined).length },
  regexpLiteral: { put: () => { const r = /a/g; r.lastIndex = 5; (r as any).leak = 1; return r.lastIndex; }, look: () => { const r = /a/g; return r.lastIndex + ((r as any).leak ?? 0); } },
  symbolRegistry: { put: () => { quietly(() => { (Symbol.for("smuggle") as any).leak = 1; }); quietly(() => marked.add(Symbol.for("x") as any)); }, look: () => ((Symbol.for("smuggle") as any).leak === undefined ? 0 : 1) },
  templateObject: { put: () => { const t = template`one`; quietly(() => { (t as any).leak = 1; }); quietly(() => { (t.raw as any)[0] = "x"; }); marked.add(t); return Object.isFrozen(t); }, look: () => { const t = template`one`; return ((t as any).leak ?? 0) + (t.raw[0] === "one" ? 0 : 1) + (marked.has(t) ? 1 : 0); } },
  errorHooks: {
    put: () => { quietly(() => { (Error as any).prepareStackTrace = () => "mine"; }); quietly(() => { Error.stackTraceLimit = 0; }); quietly(() => { (Error as any).captureStackTrace = () => {}; }); },
    look: () => (new Error("x").stack === "mine" || !new Error("x").stack!.includes("smuggle") ? 1 : 0),
  },
  stackTraceLimit: { put: () => { Error.stackTraceLimit = 0; return new Error("x").stack; }, look: () => (Error.stackTraceLimit === 40 && new Error("x").stack!.includes("smuggle") ? 0 : 1) },
  stackTraceLimitFrozen: { put: () => { Object.freeze(Error); }, look: () => (Object.getOwnPropertyDescriptor(Error, "stackTraceLimit")!.writable ? 0 : 1) },
  consoleState: { put: () => { console.group(); console.count("c"); console.time("t"); quietly(() => { (console as any).log = null; }); }, look: () => (typeof console.log === "function" ? 0 : 1) },
  environment: { put: () => { quietly(() => { process.env.LEAK = "1"; }); }, look: () => (process.env.LEAK === undefined ? 0 : 1) },
  privateFieldsStampedOnIntrinsics: {
    put: () => { class Stamp extends (function (o: any) { return o; } as any) { #x = 1; static has(o: any) { return #x in o; } } quietly(() => new (Stamp as any)(Object.prototype)); anyGlobal.Stamp = Stamp; },
    look: () => (anyGlobal.Stamp === undefined ? 0 : 1),
  },
  contextOfTheCall: { put: (ctx) => { quietly(() => { ctx.db.leak = 1; ctx.db.get.leak = 1; ctx.db.system.leak = 1; }); quietly(() => { Object.getPrototypeOf(ctx.db).leak = 1; }); quietly(() => { ctx.auth.getUserIdentity.leak = 1; }); quietly(() => { ctx.db.query("things").__proto__.leak = 1; }); }, look: (ctx) => (ctx.db.leak ?? ctx.db.get.leak ?? ctx.db.system.leak ?? ctx.auth.getUserIdentity.leak ?? (ctx.db.query("things") as any).leak ?? 0) },
  promiseLeftRunning: { put: () => { void Promise.resolve().then(async () => { for (let i = 0; i < 5; i++) await null; variable = 7; anyGlobal.late = 1; }); }, look: () => (anyGlobal.late ?? 0) + variable },
  regexpsOfTheRuntime: {
    put: () => { for (const regexp of tests()) { regexp.leak = 1; quietly(() => regexp.compile("(?!)")); } },
    look: () => { const found = tests(); return found.length === 0 ? 1 : found.filter((regexp) => regexp.leak !== undefined).length; },
  },
  webassemblyMemory: { put: () => { if (typeof WebAssembly === "undefined") return; const m = new WebAssembly.Memory({ initial: 1 }); new Uint8Array(m.buffer)[0] = 7; anyGlobal.memory = m; return m.buffer.byteLength; }, look: () => (typeof WebAssembly === "undefined" ? 0 : anyGlobal.memory === undefined ? new Uint8Array(new WebAssembly.Memory({ initial: 1 }).buffer)[0] : 1) },
};

export const names = query(() => Object.keys(channels));
export const put = query((ctx, { name }: { name: string }) => { channels[name].put(ctx); return null; });
export const look = query((ctx, { name }: { name: string }) => channels[name].look(ctx) as number);
