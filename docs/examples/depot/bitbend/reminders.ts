import { v } from "bitbend/values";

import { internal } from "./_generated/api";
import { internalMutation, mutation, query } from "./_generated/server";

export const all = query({ args: {}, handler: (ctx) => ctx.db.query("reminders").collect() });

/** The reminder and the job that makes it due are written together: there is never one without the other. */
export const add = mutation({
  args: { text: v.string(), inMs: v.number() },
  handler: async (ctx, { text, inMs }) => {
    const id = await ctx.db.insert("reminders", { text, isDue: false });
    await ctx.scheduler.runAfter(inMs, internal.reminders.becomeDue, { id });
  },
});

export const becomeDue = internalMutation({
  args: { id: v.id("reminders") },
  handler: async (ctx, { id }) => {
    if ((await ctx.db.get(id)) !== null) await ctx.db.patch(id, { isDue: true });
  },
});

/** Run by the cron: what is due has been seen and goes. */
export const sweep = internalMutation({
  args: {},
  handler: async (ctx) => {
    const due = await ctx.db.query("reminders").withIndex("by_due", (q) => q.eq("isDue", true)).collect();
    for (const { _id } of due) await ctx.db.delete(_id);
  },
});
