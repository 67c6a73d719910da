import { mutation, query } from "bitbend/server";
import { v } from "bitbend/values";

const name = (key: number) => `counter/${key}`;

/** Adds 1 to one of many counters and gives the new value: one read, one write. */
export const increment = mutation({
  args: { key: v.number() },
  handler: async (ctx, { key }) => {
    const counter = await ctx.db.getByKey("counters", name(key));
    const value = (counter?.value ?? 0) + 1;
    await ctx.db.put("counters", name(key), { key, value });
    return value;
  },
});

/** One point read. */
export const get = query({
  args: { key: v.number() },
  handler: async (ctx, { key }) => (await ctx.db.getByKey("counters", name(key)))?.value ?? null,
});

const account = (key: number) => `account/${key}`;

/** Moves 1 between two accounts: two reads, two writes. */
export const transfer = mutation({
  args: { from: v.number(), to: v.number() },
  handler: async (ctx, { from, to }) => {
    const source = await ctx.db.getByKey("accounts", account(from));
    const target = await ctx.db.getByKey("accounts", account(to));
    await ctx.db.put("accounts", account(from), { key: from, balance: (source?.balance ?? 0) - 1 });
    await ctx.db.put("accounts", account(to), { key: to, balance: (target?.balance ?? 0) + 1 });
    return null;
  },
});

/** Fills the accounts in one transaction per thousand. */
export const seedAccounts = mutation({
  args: { from: v.number(), count: v.number() },
  handler: async (ctx, { from, count }) => {
    for (let key = from; key < from + count; key++) await ctx.db.put("accounts", account(key), { key, balance: 1000 });
    return count;
  },
});

/** Fills the counters; what one put has to read goes to storage with what the others read. */
export const seed = mutation({
  args: { from: v.number(), count: v.number() },
  handler: async (ctx, { from, count }) => {
    await Promise.all(Array.from({ length: count }, (_, i) => ctx.db.put("counters", name(from + i), { key: from + i, value: 0 })));
    return count;
  },
});

/** A scan of one group's 100 documents. */
export const scan = query({
  args: { key: v.number() },
  handler: (ctx, { key }) => ctx.db.query("documents").withIndex("by_group", (q) => q.eq("group", key)).take(100),
});

/** Fills the documents in one transaction per thousand. */
export const seedDocuments = mutation({
  args: { from: v.number(), count: v.number() },
  handler: async (ctx, { from, count }) => {
    for (let i = from; i < from + count; i++) {
      const [group, n] = [Math.floor(i / 100), i % 100];
      await ctx.db.insert("documents", { group, n, title: `document ${n} of group ${group}, with a text of some length so that it is not all key` });
    }
    return count;
  },
});
