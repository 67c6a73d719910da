// Functions that are traced and profiled.
import { v } from "bitbend/values";

import { mutation, query } from "./_generated/server";

function burn(rounds: number) {
  let sum = 0;
  for (let i = 0; i < rounds; i++) sum = (sum + Math.sqrt(i) * 31) % 1e9;
  return sum;
}
export function allocates(count: number) {
  return Array.from({ length: count }, (_, i) => ({ name: `item ${i}`, list: [i, i + 1] }));
}

export const busy = query({ args: { rounds: v.number() }, handler: (_ctx, { rounds }) => burn(rounds) });
export const hungry = query(() => allocates(50000).length);
export const reader = query({
  args: { group: v.string() },
  handler: async (ctx, { group }) => {
    const rows = await ctx.db.query("things").withIndex("by_group", (q) => q.eq("group", group).gte("rank", 1)).order("desc").take(2);
    const all = await ctx.db.query("things").withIndex("by_group", (q) => q.eq("group", group)).count();
    return [rows.length, all, (await ctx.db.get(rows[0]._id))?.rank];
  },
});
export const writer = mutation({ args: { group: v.string() }, handler: (ctx, { group }) => ctx.db.insert("things", { group, rank: 9, text: "" }) });
export const fails = query(() => { console.warn("before"); burn(1000); throw new Error("on purpose"); });
