import { BitBendError, v } from "bitbend/values";

import { mutation, query, type QueryCtx } from "./_generated/server";
import seriesModule from "./series.wasm";

interface Exports {
  memory: WebAssembly.Memory;
  numbers(): number;
  room(): number;
  deviation(count: number): number;
  checksum(count: number): number;
}

/** Each call has an instance of its own: its memory begins empty and is gone afterwards. */
async function measure(ctx: QueryCtx, series: string) {
  const samples = await ctx.db.query("samples").withIndex("by_series", (q) => q.eq("series", series)).collect();
  const wasm = new WebAssembly.Instance(seriesModule).exports as unknown as Exports;
  if (samples.length === 0 || samples.length > wasm.room()) throw new BitBendError({ code: "size", count: samples.length });
  new Float64Array(wasm.memory.buffer, wasm.numbers(), samples.length).set(samples.map(({ value }) => value));
  return { series, count: samples.length, deviation: wasm.deviation(samples.length), checksum: wasm.checksum(samples.length) >>> 0 };
}

export const add = mutation({
  args: { series: v.string(), values: v.array(v.number()) },
  handler: async (ctx, { series, values }) => {
    for (const value of values) await ctx.db.insert("samples", { series, value });
    return null;
  },
});

/** Live, as every query: a new sample gives a new deviation. */
export const deviation = query({
  args: { series: v.string() },
  handler: async (ctx, { series }) => (await measure(ctx, series)).deviation,
});

export const report = mutation({
  args: { series: v.string() },
  handler: async (ctx, { series }) => {
    const report = await measure(ctx, series);
    await ctx.db.insert("reports", report);
    return report;
  },
});
