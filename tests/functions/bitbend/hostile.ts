// Functions that try to get out. Each answers with what it has reached: nothing, for all of them.
import { BitBendError, v } from "bitbend/values";

import { api } from "./_generated/api";
import { internalQuery, mutation, query } from "./_generated/server";

const quietly = async (f: () => unknown) => { try { return await f(); } catch (e) { return `${(e as Error)?.name ?? typeof e}`; } };
const anyGlobal = globalThis as any;

export const secret = internalQuery(() => "secret");

export const globals = query(() =>
  ["require", "module", "exports", "global", "Buffer", "host", "internals", "gc", "Deno", "Bun", "SharedArrayBuffer", "Atomics", "Intl", "importScripts", "__dirname", "primordials", "internalBinding"].filter((name) => name in anyGlobal));
export const process_ = query(() => [Object.keys(process), Object.getOwnPropertyNames(process), Object.keys(process.env).length, (process as any).versions === undefined]);

/** Code from strings, in every way. */
export const code = query(async () => [
  await quietly(() => (0, eval)("1")), await quietly(() => new Function("return 1")()), await quietly(() => (async () => {}).constructor("return 1")()),
  await quietly(() => (function* () {}).constructor("yield 1")().next()), await quietly(() => (query as any).constructor.constructor("return this")()),
  await quietly(() => ({}).constructor.constructor("return process")()), await quietly(() => anyGlobal.setTimeout("1", 0)),
  await quietly(() => import(/* @vite-ignore */ ["node", "fs"].join(":"))),
]);

/** Functions below this one, by way of stack frames and callers. */
export const frames = query(() => {
  const seen: unknown[] = [];
  try { (Error as any).prepareStackTrace = (_: unknown, sites: any[]) => { seen.push(...sites.map((s) => s.getThis?.() ?? s.getFunction?.())); return ""; }; } catch (e) { seen.push((e as Error).name); }
  const target: any = {};
  Error.captureStackTrace(target);
  seen.push(typeof target.stack, /bitbend:|runtime\d|node:/.test(target.stack));
  seen.push((() => { try { return (frames as any).caller ?? "none"; } catch (e) { return (e as Error).name; } })());
  return seen.map(String);
});

/** What the database's objects lead to. */
export const objects = mutation(async (ctx) => {
  const db = ctx.db as any;
  const found: string[] = [];
  const ends = [Object, Function, async function () {}.constructor as any].map((F) => F.prototype);
  for (const object of [ctx, db, db.query("things"), ctx.auth, ctx.storage, ctx.scheduler, db.insert, db.query, ctx.runQuery]) {
    for (let at = object; at !== null && at !== undefined; at = Object.getPrototypeOf(at)) {
      if (ends.includes(at)) break;
      for (const key of Reflect.ownKeys(at)) if (/host|frame|internal|access|constructor|bundle|kind/i.test(String(key)) && !["runMutation", "constructor"].includes(String(key))) found.push(String(key));
      if (typeof at !== "function" && Object.hasOwn(at, "constructor")) found.push("a constructor");
      if (!Object.isFrozen(at) && at !== object) found.push(`not frozen: ${Reflect.ownKeys(at).map(String).join(" ")}`);
    }
  }
  return found;
});

/** Operations with arguments that nobody would write; the part of them whose first argument is one from `from` to `to`. */
export const malformed = mutation(async (ctx, { from, to }: { from: number; to: number }) => {
  const db = ctx.db as any;
  const evil: any[] = [
    undefined, null, 0, -1, NaN, 2 ** 53, 1n << 70n, "", "\0", "x".repeat(70000), "\ud800", "_modules", "__proto__", [], {}, [[[]]], Symbol("s"), () => 1, new Date(NaN),
    new Proxy({}, { get: (_, k) => { throw new Error(`trap ${String(k)}`); }, ownKeys: () => { throw new Error("trap"); } }), Object.create(null), new Map(), new Uint8Array(3), /x/,
    { get group() { void db.insert("things", { group: "reentered", rank: 1, text: "" }); return 1; } }, JSON.parse('{"__proto__": {"x": 1}}'), new Float64Array(2).buffer, { $field: 1 }, { _id: "x" }, { toString() { throw 1; } },
  ];
  let calls = 0;
  const codes = new Set<string>();
  const attempt = async (f: () => unknown) => {
    calls++;
    try { await f(); } catch (e) { codes.add(String((e as any)?.code ?? (e as Error)?.name ?? typeof e)); }
  };
  for (const a of evil.slice(from, to)) {
    for (const b of evil) {
      await attempt(() => db.get(a, b));
      await attempt(() => db.insert(a, b));
      await attempt(() => db.insert("things", { group: b, rank: a, text: "" }));
      await attempt(() => db.patch(a, b));
      await attempt(() => db.put("things", a, b));
      await attempt(() => db.put(a, "k", b));
      await attempt(() => db.retract({ table: a, keys: [b] }));
      await attempt(() => db.query("things").withIndex("by_group", (q: any) => q.eq("group", a).gt("rank", b)).first());
      await attempt(() => db.query("things").withIndex(a, (q: any) => q.lt(b, a)).take(2));
      await attempt(() => db.query("things").filter((q: any) => q.eq(q.field(a), b)).first());
      await attempt(() => db.query("things").paginate({ cursor: a, numItems: b }));
      await attempt(() => db.normalizeId(a, b));
      await attempt(() => ctx.runQuery(a, b));
      await attempt(() => Reflect.apply(db.get, a, [b]));
    }
    await attempt(() => db.query(a).take(a));
    await attempt(() => db.retract(a));
    await attempt(() => console.log(a, [a], { a }));
    await attempt(() => structuredClone(a));
    await attempt(() => new TextDecoder().decode(a));
    await attempt(() => crypto.getRandomValues(a));
    await attempt(() => crypto.subtle.digest("SHA-256", a));
    await attempt(() => new URL(a, a));
    await attempt(() => btoa(a));
  }
  const names = [...codes].sort();
  throw new BitBendError({ calls, names, isLast: to >= evil.length });
});

/** System tables and functions, and internal ones by their names. */
export const system = mutation(async (ctx) => {
  const db = ctx.db as any;
  return [
    await quietly(() => db.insert("_modules", { path: "x.js", source: new ArrayBuffer(0) })), await quietly(() => db.put("_deployment", "current", {})), await quietly(() => db.query("_modules").collect()),
    await quietly(() => db.system.insert?.("_tables", {}) ?? "no insert"), await quietly(async () => { const row = await db.system.query("_deployment").first(); await db.patch(row._id, { version: 0n }); return "patched"; }),
    await quietly(async () => { const row = await db.system.query("_deployment").first(); await db.delete(row._id); return "deleted"; }),
    await quietly(() => ctx.runMutation("_system:deploy" as any, {})), await quietly(() => ctx.runQuery("_system:tables" as any, {})),
    await quietly(() => ctx.runQuery({ isBitBendFunction: true, kind: "query", invoke: (c: any) => Object.keys(c) } as any, {})),
    await quietly(() => ctx.runQuery(api.hostile.nothing as any, {})),
  ];
});

/** Errors that pretend to be the suite's own. */
export const forgedError = query({ args: { code: v.string() }, handler: (_ctx, { code: name }) => { throw Object.assign(new Error("forged"), { code: name, status: 500, [Symbol.for("bitbend.code")]: name }); } });
/** A result whose getters, prototypes and `then` do things. */
export const strangeResult = query(() => ({ a: { get b() { return [1, { get c() { return "d"; } }]; } }, list: Object.assign([1, 2], { extra: 3 }), "__proto__x": 1 }));
export const pollutedResult = query(() => JSON.parse('{"__proto__": {"isAdmin": true}, "constructor": 1}'));
/** Work that begins while the answer is encoded. */
const begin = (ctx: any) => { void (async () => { await null; await null; console.log("late"); await ctx.db.query("things").collect(); })(); return "begun"; };
export const lateOfResult = query((ctx) => ({ get a() { return begin(ctx); } }));
export const lateOfError = query((ctx) => { throw Object.defineProperty(new Error("x"), "message", { get: () => begin(ctx) }); });
export const lateForEver = query(() => ({ get a() { const again = () => queueMicrotask(again); again(); return 1; } }));
/** Work that goes on after the answer. */
export const afterTheEnd = mutation(async (ctx) => {
  const later = async () => { for (let i = 0; i < 50; i++) await null; await ctx.db.insert("things", { group: "late", rank: 1, text: "" }); };
  anyGlobal.kept = ctx.db;
  void later().catch(() => {});
  return "answered";
});
