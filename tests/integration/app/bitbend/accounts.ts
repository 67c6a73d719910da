import { mutation, query } from "bitbend/server";
import { v } from "bitbend/values";

export const open = mutation({
  args: { name: v.string(), balance: v.number() },
  handler: async (ctx, { name, balance }) => {
    await ctx.db.put("accounts", name, { name, balance });
    return null;
  },
});
export const transfer = mutation({
  args: { from: v.string(), to: v.string(), amount: v.number() },
  handler: async (ctx, { from, to, amount }) => {
    const a = await ctx.db.getByKey("accounts", from);
    const b = await ctx.db.getByKey("accounts", to);
    if (a === null || b === null || from === to) throw new Error("no such accounts");
    await ctx.db.patch(a._id, { balance: a.balance - amount });
    await ctx.db.patch(b._id, { balance: b.balance + amount });
    return null;
  },
});
export const total = query({
  args: {},
  handler: async (ctx) => (await ctx.db.query("accounts").collect()).reduce((sum, account) => sum + account.balance, 0),
});
export const balances = query({
  args: {},
  handler: async (ctx) =>
    Object.fromEntries((await ctx.db.query("accounts").collect()).map((account) => [account.name, account.balance])),
});
/** Adds one; the counter is made when it is missing. */
export const increment = mutation({
  args: { name: v.string() },
  handler: async (ctx, { name }) => {
    const account = await ctx.db.getByKey("accounts", name);
    const balance = (account?.balance ?? 0) + 1;
    await ctx.db.put("accounts", name, { name, balance });
    return balance;
  },
});
/** Write skew: takes from one account as long as both together stay above zero. */
export const withdrawIfTogether = mutation({
  args: { one: v.string(), other: v.string(), amount: v.number() },
  handler: async (ctx, { one, other, amount }) => {
    const a = await ctx.db.getByKey("accounts", one);
    const b = await ctx.db.getByKey("accounts", other);
    if (a!.balance + b!.balance < amount) return false;
    await ctx.db.patch(a!._id, { balance: a!.balance - amount });
    return true;
  },
});
/** Phantom: claims a name that nobody has. */
export const claim = mutation({
  args: { name: v.string(), by: v.number() },
  handler: async (ctx, { name, by }) => {
    const taken = await ctx.db.query("accounts").withIndex("by_name", (q) => q.eq("name", name)).first();
    if (taken !== null) return false;
    await ctx.db.insert("accounts", { name, balance: by });
    return true;
  },
});
export const append = mutation({
  args: { key: v.string(), value: v.number() },
  handler: async (ctx, { key, value }) => {
    const before = await ctx.db.query("registers").withIndex("by_register", (q) => q.eq("key", key)).unique();
    if (before === null) await ctx.db.insert("registers", { key, list: [value] });
    else await ctx.db.patch(before._id, { list: [...before.list, value] });
    return before?.list ?? [];
  },
});
export const register = query({
  args: { key: v.string() },
  handler: async (ctx, { key }) =>
    (await ctx.db.query("registers").withIndex("by_register", (q) => q.eq("key", key)).unique())?.list ?? [],
});
