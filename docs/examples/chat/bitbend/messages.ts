import { BitBendError, v } from "bitbend/values";

import { mutation, query } from "./_generated/server";

const LENGTH_MAX = 2000;

/** The newest messages of a channel, the newest first. */
export const list = query({
  args: { channel: v.id("channels") },
  handler: (ctx, { channel }) =>
    ctx.db
      .query("messages")
      .withIndex("by_channel", (q) => q.eq("channel", channel))
      .order("desc")
      .take(50),
});

export const send = mutation({
  args: { channel: v.id("channels"), author: v.string(), body: v.string() },
  handler: async (ctx, { channel, author, body }) => {
    const text = body.trim();
    if (text === "") throw new BitBendError({ code: "empty" });
    if (text.length > LENGTH_MAX) throw new BitBendError({ code: "tooLong", max: LENGTH_MAX });
    return await ctx.db.insert("messages", { channel, author, body: text });
  },
});
