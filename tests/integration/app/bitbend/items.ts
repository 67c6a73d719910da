import { internalMutation, internalQuery, mutation, query } from "bitbend/server";
import { v } from "bitbend/values";

export const add = mutation({
  args: { group: v.string(), n: v.number(), body: v.optional(v.any()) },
  handler: (ctx, item) => ctx.db.insert("items", item),
});
/** Says `size` characters; nothing when that is 0. */
export const addAndSay = mutation({
  args: { group: v.string(), size: v.number() },
  handler: async (ctx, { group, size }) => {
    await ctx.db.insert("items", { group, n: size });
    return size > 0 ? "x".repeat(size) : undefined;
  },
});
export const addMany = mutation({
  args: { group: v.string(), from: v.number(), count: v.number(), body: v.optional(v.any()) },
  handler: async (ctx, { group, from, count, body }) => {
    for (let n = from; n < from + count; n++) await ctx.db.insert("items", { group, n, body });
    return count;
  },
});
export const get = query({ args: { id: v.id("items") }, handler: (ctx, { id }) => ctx.db.get(id) });
export const patch = mutation({
  args: { id: v.id("items"), fields: v.any() },
  handler: (ctx, { id, fields }) => ctx.db.patch(id, fields),
});
export const replace = mutation({
  args: { id: v.id("items"), doc: v.any() },
  handler: (ctx, { id, doc }) => ctx.db.replace(id, doc),
});
export const remove = mutation({ args: { id: v.id("items") }, handler: (ctx, { id }) => ctx.db.delete(id) });
export const list = query({
  args: { group: v.string() },
  handler: (ctx, { group }) => ctx.db.query("items").withIndex("by_group_n", (q) => q.eq("group", group)).collect(),
});
export const numbers = query({
  args: { group: v.string(), above: v.optional(v.number()), order: v.optional(v.string()), take: v.optional(v.number()) },
  handler: async (ctx, { group, above, order, take }) => {
    const scan = ctx.db
      .query("items")
      .withIndex("by_group_n", (q) => (above === undefined ? q.eq("group", group) : q.eq("group", group).gt("n", above)))
      .order(order === "desc" ? "desc" : "asc");
    const rows = take === undefined ? await scan.collect() : await scan.take(take);
    return rows.map((row) => row.n);
  },
});
export const count = query({
  args: { group: v.string() },
  handler: (ctx, { group }) => ctx.db.query("items").withIndex("by_group", (q) => q.eq("group", group)).count(),
});
export const page = query({
  args: { group: v.string(), cursor: v.union(v.string(), v.null()), numItems: v.number() },
  handler: (ctx, { group, cursor, numItems }) =>
    ctx.db.query("items").withIndex("by_group_n", (q) => q.eq("group", group)).paginate({ cursor, numItems }),
});
export const iterate = query({
  args: { group: v.string(), until: v.number() },
  handler: async (ctx, { group, until }) => {
    const seen: number[] = [];
    for await (const row of ctx.db.query("items").withIndex("by_group_n", (q) => q.eq("group", group))) {
      if (row.n >= until) break;
      seen.push(row.n);
    }
    return seen;
  },
});
export const filtered = query({
  args: { group: v.string(), least: v.number() },
  handler: async (ctx, { group, least }) => {
    const rows = await ctx.db
      .query("items")
      .withIndex("by_group_n", (q) => q.eq("group", group))
      .filter((q) => q.gte(q.field("n"), least))
      .take(3);
    return rows.map((row) => row.n);
  },
});
export const firstAndUnique = query({
  args: { group: v.string() },
  handler: async (ctx, { group }) => ({
    first: (await ctx.db.query("items").withIndex("by_group_n", (q) => q.eq("group", group)).first())?.n ?? null,
    unique: (await ctx.db.query("items").withIndex("by_group_n", (q) => q.eq("group", group)).unique())?.n ?? null,
  }),
});
export const secret = internalQuery({ args: {}, handler: () => "internal" });
export const secretWrite = internalMutation({ args: {}, handler: (ctx) => ctx.db.insert("items", { group: "secret", n: 1 }) });
export const whoami = query({ args: {}, handler: async (ctx) => (await ctx.auth.getUserIdentity())?.subject ?? null });
