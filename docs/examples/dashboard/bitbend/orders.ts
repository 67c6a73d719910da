import { v } from "bitbend/values";

import { mutation, query } from "./_generated/server";

export const place = mutation({
  args: { product: v.string(), amount: v.number() },
  handler: (ctx, order) => ctx.db.insert("orders", order),
});

/** What was ordered since `since` (milliseconds), by product. */
export const totals = query({
  args: { since: v.number() },
  handler: async (ctx, { since }) => {
    const totals = new Map<string, { product: string; count: number; amount: number }>();
    for await (const { product, amount } of ctx.db.query("orders").withIndex("by_creation_time", (q) => q.gte("_creationTime", since))) {
      const total = totals.get(product) ?? { product, count: 0, amount: 0 };
      totals.set(product, { product, count: total.count + 1, amount: total.amount + amount });
    }
    return [...totals.values()].sort((a, b) => b.amount - a.amount);
  },
});

/** The sum of all products: always that of `totals` at the same moment. */
export const sum = query({
  args: { since: v.number() },
  handler: async (ctx, { since }) => {
    let amount = 0;
    for await (const order of ctx.db.query("orders").withIndex("by_creation_time", (q) => q.gte("_creationTime", since))) amount += order.amount;
    return amount;
  },
});
