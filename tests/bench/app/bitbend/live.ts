import { mutation, query } from "bitbend/server";
import { v } from "bitbend/values";

/** The last 50 messages of a channel, newest first. */
export const last = query({
  args: { key: v.number() },
  handler: (ctx, { key }) => ctx.db.query("messages").withIndex("by_channel", (q) => q.eq("channel", key)).order("desc").take(50),
});
export const post = mutation({
  args: { key: v.number(), text: v.string() },
  handler: async (ctx, { key, text }) => {
    await ctx.db.insert("messages", { channel: key, text });
    return null;
  },
});
