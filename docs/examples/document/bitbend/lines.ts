import { v } from "bitbend/values";

import { mutation, query } from "./_generated/server";

export const all = query({
  args: { document: v.string() },
  handler: (ctx, { document }) =>
    ctx.db
      .query("lines")
      .withIndex("by_place", (q) => q.eq("document", document))
      .collect(),
});

/** A new line between the one at `after` and the next; at the beginning when `after` is null. */
export const insert = mutation({
  args: { document: v.string(), after: v.union(v.number(), v.null()) },
  handler: async (ctx, { document, after }) => {
    const next = await ctx.db
      .query("lines")
      .withIndex("by_place", (q) => (after === null ? q.eq("document", document) : q.eq("document", document).gt("place", after)))
      .first();
    const low = after ?? (next === null ? 0 : next.place - 2);
    const place = next === null ? low + 1 : (low + next.place) / 2;
    return await ctx.db.insert("lines", { document, place, text: "" });
  },
});

export const write = mutation({
  args: { line: v.id("lines"), text: v.string() },
  handler: async (ctx, { line, text }) => {
    if ((await ctx.db.get(line)) !== null) await ctx.db.patch(line, { text });
  },
});

export const remove = mutation({
  args: { line: v.id("lines") },
  handler: async (ctx, { line }) => {
    if ((await ctx.db.get(line)) !== null) await ctx.db.delete(line);
  },
});
