import { v } from "bitbend/values";

import { mutation, query } from "./_generated/server";

export const list = query({
  args: {},
  handler: (ctx) => ctx.db.query("channels").withIndex("by_name").collect(),
});

/** The id of the channel of this name, which is made if there is none. */
export const open = mutation({
  args: { name: v.string() },
  handler: async (ctx, { name }) => {
    const known = await ctx.db
      .query("channels")
      .withIndex("by_name", (q) => q.eq("name", name))
      .first();
    return known?._id ?? (await ctx.db.insert("channels", { name }));
  },
});
