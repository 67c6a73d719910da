/**
 * What tests/integration/faults/oracle.test.mjs calls. Each mutation returns what it read, as the same
 * questions and answers as the queries below, so that a model can tell what it must have seen.
 */
import { mutation, query } from "bitbend/server";
import { BitBendError, v } from "bitbend/values";

const group = v.string();
const inGroup = (ctx: any, name: string) => ctx.db.query("items").withIndex("by_group_n", (q: any) => q.eq("group", name));
const registerOf = (ctx: any, key: string) => ctx.db.query("registers").withIndex("by_register", (q: any) => q.eq("key", key)).unique();

const questions: Record<string, (ctx: any, args: any) => Promise<any>> = {
  list: (ctx, { group }) => inGroup(ctx, group).collect(),
  count: (ctx, { group }) => ctx.db.query("items").withIndex("by_group", (q: any) => q.eq("group", group)).count(),
  sum: async (ctx, { group }) => (await inGroup(ctx, group).collect()).reduce((sum: number, item: any) => sum + item.n, 0),
  first: (ctx, { group, order }) => inGroup(ctx, group).order(order).first(),
  above: async (ctx, { group, n, take }) =>
    await ctx.db.query("items").withIndex("by_group_n", (q: any) => q.eq("group", group).gt("n", n)).take(take),
  get: (ctx, { id }) => ctx.db.get(id),
  register: async (ctx, { key }) => (await registerOf(ctx, key))?.list ?? [],
  balance: async (ctx, { name }) => (await ctx.db.getByKey("accounts", name))?.balance ?? 0,
  total: async (ctx) => (await ctx.db.query("accounts").collect()).reduce((sum: number, account: any) => sum + account.balance, 0),
};

/** What a mutation tells: its reads, the documents it inserted, and those it wrote as they are then. */
function report() {
  const told = { reads: [] as any[], inserted: [] as any[], after: [] as any[] };
  return {
    told,
    async ask(ctx: any, question: string, args: any) {
      const value = await questions[question](ctx, args);
      told.reads.push({ question, args, value });
      return value;
    },
    async insert(ctx: any, fields: any) {
      const id = await ctx.db.insert("items", fields);
      told.inserted.push(await ctx.db.get(id));
    },
    async wrote(ctx: any, id: any) {
      told.after.push({ id, doc: await ctx.db.get(id) });
    },
  };
}

export const list = query({ args: { group }, handler: questions.list });
export const count = query({ args: { group }, handler: questions.count });
export const sum = query({ args: { group }, handler: questions.sum });
export const first = query({ args: { group, order: v.string() }, handler: questions.first });
export const above = query({ args: { group, n: v.number(), take: v.number() }, handler: questions.above });
export const get = query({ args: { id: v.id("items") }, handler: questions.get });
export const register = query({ args: { key: v.string() }, handler: questions.register });
export const balance = query({ args: { name: v.string() }, handler: questions.balance });
export const total = query({ args: {}, handler: questions.total });

export const insert = mutation({
  args: { group, n: v.number() },
  handler: async (ctx, { group, n }) => {
    const { told, insert } = report();
    await insert(ctx, { group, n });
    return told;
  },
});
/** Reads one group as a whole and writes to another one: write skew when two of these are not serial. */
export const copySum = mutation({
  args: { from: group, to: group },
  handler: async (ctx, { from, to }) => {
    const { told, ask, insert } = report();
    const n = (await ask(ctx, "sum", { group: from })) % 50;
    await insert(ctx, { group: to, n });
    return told;
  },
});
/** Raises the first by index, so that its place in the index changes. */
export const bump = mutation({
  args: { group, by: v.number() },
  handler: async (ctx, { group, by }) => {
    const { told, ask, wrote } = report();
    const item = await ask(ctx, "first", { group, order: "asc" });
    if (item !== null) {
      await ctx.db.patch(item._id, { n: (item.n + by) % 50 });
      await wrote(ctx, item._id);
    }
    return told;
  },
});
/** Changes what no index holds. */
export const edit = mutation({
  args: { id: v.id("items"), body: v.number() },
  handler: async (ctx, { id, body }) => {
    const { told, ask, wrote } = report();
    if ((await ask(ctx, "get", { id })) !== null) {
      await ctx.db.patch(id, { body });
      await wrote(ctx, id);
    }
    return told;
  },
});
export const replace = mutation({
  args: { id: v.id("items"), group, n: v.number() },
  handler: async (ctx, { id, group, n }) => {
    const { told, ask, wrote } = report();
    if ((await ask(ctx, "get", { id })) !== null) {
      await ctx.db.replace(id, { group, n });
      await wrote(ctx, id);
    }
    return told;
  },
});
export const move = mutation({
  args: { from: group, to: group },
  handler: async (ctx, { from, to }) => {
    const { told, ask, wrote } = report();
    const item = await ask(ctx, "first", { group: from, order: "desc" });
    const count = await ask(ctx, "count", { group: to });
    if (item !== null) {
      await ctx.db.patch(item._id, { group: to, n: count });
      await wrote(ctx, item._id);
    }
    return told;
  },
});
export const remove = mutation({
  args: { group, order: v.string() },
  handler: async (ctx, { group, order }) => {
    const { told, ask, wrote } = report();
    const item = await ask(ctx, "first", { group, order });
    if (item !== null) {
      await ctx.db.delete(item._id);
      await wrote(ctx, item._id);
    }
    return told;
  },
});
/** Deletes all above `n`. */
export const trim = mutation({
  args: { group, n: v.number() },
  handler: async (ctx, { group, n }) => {
    const { told, ask, wrote } = report();
    for (const item of await ask(ctx, "above", { group, n, take: 50 })) {
      await ctx.db.delete(item._id);
      await wrote(ctx, item._id);
    }
    return told;
  },
});
export const append = mutation({
  args: { keys: v.array(v.string()), value: v.number() },
  handler: async (ctx, { keys, value }) => {
    const { told, ask } = report();
    for (const key of keys) {
      const list = await ask(ctx, "register", { key });
      const row = await registerOf(ctx, key);
      if (row === null) await ctx.db.insert("registers", { key, list: [value] });
      else await ctx.db.patch(row._id, { list: [...list, value] });
    }
    return told;
  },
});
export const transfer = mutation({
  args: { from: v.string(), to: v.string(), amount: v.number() },
  handler: async (ctx, { from, to, amount }) => {
    const { told, ask } = report();
    const left = (await ask(ctx, "balance", { name: from })) - amount;
    const right = (await ask(ctx, "balance", { name: to })) + amount;
    await ctx.db.put("accounts", from, { name: from, balance: left });
    await ctx.db.put("accounts", to, { name: to, balance: right });
    return told;
  },
});
/** Only looks. */
export const look = mutation({
  args: { group, keys: v.array(v.string()) },
  handler: async (ctx, { group, keys }) => {
    const { told, ask } = report();
    await ask(ctx, "list", { group });
    for (const key of keys) await ask(ctx, "register", { key });
    return told;
  },
});
/** Writes, then fails: nothing of it stays, and what it tells was so. */
export const fail = mutation({
  args: { group, keys: v.array(v.string()) },
  handler: async (ctx, { group, keys }) => {
    const { told, ask } = report();
    await ask(ctx, "list", { group });
    for (const key of keys) await ask(ctx, "register", { key });
    await ctx.db.insert("items", { group, n: 1 });
    throw new BitBendError({ reads: told.reads });
  },
});
