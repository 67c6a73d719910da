import { v } from "bitbend/values";

import { mutation, query } from "./_generated/server";

export const all = query({ args: {}, handler: (ctx) => ctx.db.query("todos").collect() });

/** Under a key of the page's choice, so that it can be ticked before the server has heard of it. */
export const add = mutation({
  args: { key: v.string(), text: v.string() },
  handler: (ctx, { key, text }) => ctx.db.put("todos", key, { text, isDone: false }),
});

export const tick = mutation({
  args: { key: v.string(), isDone: v.boolean() },
  handler: async (ctx, { key, isDone }) => {
    const todo = await ctx.db.getByKey("todos", key);
    if (todo !== null) await ctx.db.patch(todo._id, { isDone });
  },
});
