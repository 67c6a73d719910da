import { action, mutation, query } from "bitbend/server";
import { BitBendError, v } from "bitbend/values";

import { thrower } from "./nested/helper";

export const throws = query({ args: {}, handler: () => thrower("on purpose") });
export const throwsData = query({
  args: {},
  handler: () => {
    throw new BitBendError({ code: "full", left: 0n, at: [1, null] });
  },
});
export const writesThenThrows = mutation({
  args: { group: v.string() },
  handler: async (ctx, { group }) => {
    await ctx.db.insert("items", { group, n: 1 });
    throw new BitBendError("no");
  },
});
export const loop = mutation({
  args: { group: v.string() },
  handler: async (ctx, { group }) => {
    await ctx.db.insert("items", { group, n: 1 });
    for (;;);
  },
});
/** Some ten milliseconds of work, and a row that says it ran. */
export const slow = mutation({
  args: { group: v.string(), n: v.number() },
  handler: async (ctx, { group, n }) => {
    let sum = 0;
    for (let i = 0; i < 60_000_000; i++) sum = (sum + i) | 0;
    await ctx.db.insert("items", { group, n, body: String(sum) });
  },
});
export const microtasks = query({
  args: {},
  handler: async () => {
    for (;;) await null;
  },
});
export const neverSettles = query({ args: {}, handler: () => new Promise(() => {}) });
export const heap = query({
  args: {},
  handler: () => {
    const all: unknown[] = [];
    for (;;) all.push(new Array(100_000).fill(all.length)); // large ones are not copied by the collector: soon full
  },
});
export const recursion = query({
  args: {},
  handler: () => {
    const deeper = (n: number): number => deeper(n + 1) + 1;
    return deeper(0);
  },
});
export const returnsFunction = query({ args: {}, handler: () => ({ list: [1, { when: () => 1 }] }) as any });
export const returnsDate = query({ args: {}, handler: () => ({ when: new Date(0) }) as any });
export const returnsCircle = query({
  args: {},
  handler: () => {
    const circle: any = {};
    circle.self = circle;
    return circle;
  },
});
export const returnsTooMuch = query({ args: {}, handler: () => "x".repeat(17 * 1024 * 1024) });
export const tooLargeDocument = mutation({
  args: { group: v.string() },
  handler: (ctx, { group }) => ctx.db.insert("items", { group, n: 1, body: "x".repeat(1024 * 1024) }),
});
export const retractsTooMuch = mutation({
  args: {},
  handler: (ctx) => ctx.db.retract({ table: "items", keys: Array.from({ length: 300000 }, (_, i) => `k${i}`) }),
});
export const undeclaredIndex = query({
  args: {},
  handler: (ctx) => (ctx.db.query("items") as any).withIndex("by_colour", (q: any) => q.eq("colour", "red")).collect(),
});
export const undeclaredTable = query({ args: {}, handler: (ctx) => (ctx.db as any).query("nonsense").collect() });
export const badReturn = query({ args: {}, returns: v.string(), handler: () => 7 as any });
export const usesFetch = query({ args: {}, handler: () => (globalThis as any).fetch("http://127.0.0.1/") });
export const usesTimer = query({ args: {}, handler: () => (globalThis as any).setTimeout(() => {}, 1) as any });
export const usesEval = query({ args: {}, handler: () => (0, eval)("1 + 1") });
export const writesInQuery = query({ args: {}, handler: (ctx) => (ctx.db as any).insert("items", { group: "q", n: 1 }) });
export const inner = mutation({
  args: { group: v.string() },
  handler: async (ctx, { group }) => {
    await ctx.db.insert("items", { group, n: 2 });
    throw new BitBendError("inner");
  },
});
export const anAction = action({ args: {}, handler: () => 1 });
