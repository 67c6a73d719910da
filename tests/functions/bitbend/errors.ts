// What is thrown deep inside, and what is told about it.
import { BitBendError, v } from "bitbend/values";

import { api } from "./_generated/api";
import { mutation, query } from "./_generated/server";

async function deep(n: number): Promise<never> {
  await null;
  if (n > 0) return await deep(n - 1);
  throw new RangeError("deep inside");
}
export const throwsDeep = query(async () => await deep(2));
export const inner = mutation({
  args: { what: v.string() },
  handler: async (ctx, { what }) => {
    await ctx.db.insert("things", { group: "errors", rank: 1, text: what });
    if (what === "data") throw new BitBendError({ code: "full", at: [1n, new Uint8Array([1, 2]).buffer] });
    await deep(0);
  },
});
export const outer = mutation({
  args: { what: v.string() },
  handler: async (ctx, { what }): Promise<null> => {
    await ctx.runMutation((api as any).errors.inner, { what });
    return null;
  },
});
export const catches = mutation(async (ctx) => {
  try {
    await ctx.runMutation((api as any).errors.inner, { what: "data" });
  } catch (e) {
    console.error("caught", (e as BitBendError<any>).data.code);
    return [(e as Error).constructor.name, (e as BitBendError<any>).data.code];
  }
  return [];
});
export const fromTheHost = query(async (ctx) => {
  await null;
  return await ctx.db.query("things").withIndex("by_nothing" as any, (q: any) => q.eq("x", 1)).collect();
});
export const checked = query({
  args: { list: v.array(v.object({ id: v.id("things"), n: v.union(v.number(), v.null()) })), more: v.optional(v.record(v.string(), v.int64())) },
  returns: v.object({ ok: v.array(v.boolean()) }),
  handler: () => ({ ok: [true, 1 as any] }),
});

// ---- what is told about things that were thrown ----
class Mine extends Error { constructor(message: string) { super(message); this.name = "Mine"; } }
const dispose = () => { using it = { [Symbol.dispose]() { throw new Error("at the end"); } }; void it; throw new Error("in between"); };
const thrown: Record<string, () => never | unknown> = {
  ownClass: () => { throw new Mine("of a class of its own"); },
  cause: () => { throw new Error("outer", { cause: new RangeError("inner", { cause: { code: 7 } }) }); },
  several: () => Promise.any([Promise.reject(new Error("one")), Promise.reject(new Error("two"))]),
  disposed: dispose,
  circle: () => { const e: any = new Error("round"); e.cause = new Error("again", { cause: e }); throw e; },
  symbol: () => { throw Symbol("mark"); },
  frozen: () => { throw Object.freeze(new BitBendError({ code: "frozen" })); },
  longText: () => { throw "\u00e9".repeat(3 << 20); },
  longError: () => { throw new Error("\u00e9".repeat(3 << 20)); },
  linesInMessage: () => { throw new Error("text\n    at forged (bitbend/errors.ts:1:1)"); },
  dataGetter: () => { throw new BitBendError({ get a(): any { throw new Error("not to be had"); } }); },
  dataTooLarge: () => { throw new BitBendError("x".repeat(2 << 20)); },
  resultGetter: () => ({ get a() { throw new Error("in the result"); } }),
  intl: () => new Intl.NumberFormat("de").format(1),
};
export const throws = query({ args: { what: v.string() }, handler: (_ctx, { what }) => thrown[what]() as any });
export const writes = query((ctx) => (ctx.db as any).insert("things", {}));
export const schedules = query((ctx) => (ctx as any).scheduler.runAfter(0, "x:y", {}));
export const fromContext = query({ args: { name: v.string() }, handler: async (ctx, { name }): Promise<unknown> => await ctx.runQuery(`inContext:${name}` as any, {}) });
export const caughtFromContext = query(async (ctx) => {
  try { return await ctx.runQuery("inContext:fails" as any, {}); } catch (e: any) { return [e instanceof RangeError, e.cause instanceof TypeError, e.cause.message]; }
});
