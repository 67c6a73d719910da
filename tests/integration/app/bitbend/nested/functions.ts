import { mutation, query } from "bitbend/server";
import { v } from "bitbend/values";

export const echo = query({ args: { value: v.any() }, handler: (_ctx, { value }) => value });
export const store = mutation({
  args: { value: v.any() },
  handler: async (ctx, { value }) => {
    const id = await ctx.db.insert("items", { group: "values", n: 0, body: value });
    return (await ctx.db.get(id))!.body;
  },
});
export default query({ args: {}, handler: () => "default" });

let calls = 0;
/** What a call could see of calls before it. */
export const memory = query({
  args: {},
  handler: () => {
    calls++;
    return { calls, random: Math.random(), now: Date.now(), day: new Date().toISOString() };
  },
});
export const probe = query({
  args: {},
  handler: () => ({
    require: typeof (globalThis as any).require,
    versions: typeof (globalThis as any).process?.versions,
    stack: typeof (Error as any).captureStackTrace,
    environment: Object.keys((globalThis as any).process),
  }),
});
export const logs = query({
  args: {},
  handler: () => {
    console.log("hello", { a: 1 });
    console.warn("careful");
    return null;
  },
});
/** Stores what has no representation, in a field of a field. */
export const odd = mutation({
  args: { kind: v.string() },
  handler: (ctx, { kind }) => {
    const odd: Record<string, unknown> = { bigint: 2n ** 63n, date: new Date(0), map: new Map(), function: () => 1, name: { $odd: 1 } };
    return ctx.db.insert("items", { group: "odd", n: 0, body: { odd: { deep: odd[kind] } } });
  },
});
