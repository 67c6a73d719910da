// Functions that go beyond a limit, each in its own way.
import { v } from "bitbend/values";

import { api } from "./_generated/api";
import { mutation, query } from "./_generated/server";

export const ok = query(() => "ok");
export const count = query({ args: { group: v.string() }, handler: (ctx, { group }) => ctx.db.query("things").withIndex("by_group", (q) => q.eq("group", group)).count() });
export const fill = mutation({
  args: { group: v.string(), from: v.number(), count: v.number(), size: v.number() },
  handler: async (ctx, { group, from, count, size }) => {
    for (let i = 0; i < count; i++) await ctx.db.insert("things", { group, rank: from + i, text: "x".repeat(size) });
    return null;
  },
});

// ---- time ----
export const loop = mutation(async (ctx) => { await ctx.db.insert("things", { group: "time", rank: 0, text: "" }); for (;;); });
export const stubbornLoop = query(() => { for (;;) { try { for (;;); } finally { continue; } } });
export const microtasks = query(async () => { for (;;) await null; });
export const reads = query(async (ctx) => { for (;;) await ctx.auth.getUserIdentity(); });
export const regexp = query(() => /^(a+)+$/.test(`${"a".repeat(40)}b`));
export const getter = query(() => ({ get x() { for (;;); } }));
export const thrownGetter = query(() => { throw { get message() { for (;;); } }; });
export const parses = query(() => { for (;;) JSON.parse(`[${"1,".repeat(500000)}1]`); });
export const bigInts = query(() => { let n = 3n; for (;;) n = (n * n) % 10n ** 20000n; });
export const sorts = query(() => { for (;;) Array.from({ length: 1e5 }, (_, i) => (i * 7919) % 1e5).sort((a, b) => a - b); });

// ---- memory ----
export const heap = query(() => { const list: unknown[] = []; for (;;) list.push(new Array(10000).fill(list.length)); });
export const mapGrows = query(() => { const map = new Map(); for (let i = 0; ; i++) map.set(i, new Array(5000).fill(i)); });
// Held while it waits: what nobody holds any more when the function ends may be collected before it is counted.
export const oneAllocation = query(async (ctx) => { const all = new Array(1.2e7).fill(1); await ctx.db.query("things").first(); return all.length; });
export const heapInMutation = mutation(async (ctx) => { await ctx.db.insert("things", { group: "memory", rank: 0, text: "" }); const list: unknown[] = []; for (;;) list.push(new Array(10000).fill(list.length)); });
export const jsonTooLong = query(() => JSON.parse(`[${"1,".repeat(5e6)}1]`).length);
export const buffers = query(() => { const list: ArrayBuffer[] = []; for (;;) list.push(new ArrayBuffer(16 << 20)); });
export const oneBuffer = query(() => new ArrayBuffer(2 ** 33).byteLength);
export const stringDoubles = query(() => { let s = "x"; for (;;) s += s; });
export const recursion = query(() => { const f = (): number => 1 + f(); return f(); });
export const mutualRecursion = query(() => { const a = (n: number): number => b(n) + 1; const b = (n: number): number => a(n) + 1; return a(1); });

// ---- the database ----
export const documentTooLarge = mutation((ctx) => ctx.db.insert("things", { group: "large", rank: 0, text: "x".repeat(1 << 20) }));
export const tooManyFields = mutation((ctx) => ctx.db.insert("things", Object.fromEntries([["group", "large"], ["rank", 0], ["text", ""], ...Array.from({ length: 1100 }, (_, i) => [`f${i}`, i])]) as any));
export const tooDeep = mutation((ctx) => { let deep: any = 1; for (let i = 0; i < 40; i++) deep = [deep]; return ctx.db.insert("things", { group: "large", rank: 0, text: "", deep } as any); });
export const tooManyReads = query(async (ctx) => { for (let i = 0; i < 5000; i++) await ctx.db.query("things").withIndex("by_group", (q) => q.eq("group", `g${i}`)).collect(); });
export const tooManyBytesRead = query(async (ctx) => (await ctx.db.query("things").withIndex("by_group", (q) => q.eq("group", "bulk")).collect()).length);
export const tooManyWrites = mutation(async (ctx) => { for (let i = 0; ; i++) await ctx.db.insert("things", { group: "writes", rank: i, text: "" }); });
export const tooManyBytesWritten = mutation(async (ctx) => { for (let i = 0; ; i++) await ctx.db.insert("things", { group: "writes", rank: i, text: "x".repeat(500000) }); });
export const caughtLimit = mutation(async (ctx) => { try { for (let i = 0; ; i++) await ctx.db.insert("things", { group: "writes", rank: i, text: "x".repeat(500000) }); } catch { return "went on"; } });

// ---- the rest ----
export const resultTooLarge = query(() => Array.from({ length: 20 }, () => "x".repeat(1 << 20)));
export const logs = query(() => { for (let i = 0; i < 400; i++) console.log("line", i); console.error("x".repeat(9000)); return "logged"; });
export const neverSettles = query(() => new Promise(() => {}));
export const nested: any = query({ args: { depth: v.number() }, handler: async (ctx, { depth }): Promise<number> => (depth === 0 ? 0 : 1 + (await ctx.runQuery((api as any).limits.nested, { depth: depth - 1 }))) });
