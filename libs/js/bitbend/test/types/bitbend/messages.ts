import { paginationOptsValidator, paginationResultValidator } from "bitbend/server";
import { BitBendError, v } from "bitbend/values";

import type { Doc, Id } from "./_generated/dataModel";
import { internalMutation, mutation, query, type MutationCtx, type QueryCtx } from "./_generated/server";
import { api, internal } from "./_generated/api";

export const list = query({
  args: { channel: v.id("channels"), limit: v.optional(v.number()) },
  handler: (ctx, { channel, limit }) =>
    ctx.db
      .query("messages")
      .withIndex("by_channel", (q) => q.eq("channel", channel).gt("author", "a").lt("author", "z"))
      .order("desc")
      .take(limit ?? 50),
});

export const send = mutation({
  args: { channel: v.id("channels"), author: v.string(), body: v.string() },
  returns: v.id("messages"),
  handler: async (ctx, message) => {
    if (message.body === "") throw new BitBendError({ code: "empty" });
    return await ctx.db.insert("messages", { ...message, place: { city: "Ulm", zip: 1 } });
  },
});

export const plain = query(async (ctx, { n }: { n: number }) => [n, (await ctx.db.query("channels").first())?.name] as const);
export const none = query({ args: {}, handler: () => "x" });
export const nothing = mutation(async () => {});
export const hidden = internalMutation({ args: { id: v.id("messages") }, handler: (ctx, { id }) => ctx.db.delete(id) });

export const many = mutation({
  args: { id: v.id("messages"), channel: v.id("channels"), shape: v.id("shapes") },
  handler: async (ctx, { id, channel, shape }) => {
    const message = await ctx.db.get(id);
    if (message === null) return null;
    const likes: bigint | undefined = message.likes;
    const city: string = message.place.city;
    const created: number = message._creationTime;
    const other: Doc<"channels"> | null = await ctx.db.get(message.channel);
    const tabled: Doc<"messages"> | null = await ctx.db.get("messages", id);

    await ctx.db.patch(id, { likes: undefined, body: "b" });
    await ctx.db.replace(channel, { name: "n" });
    await ctx.db.patch("messages", id, { author: "x" });
    const put: Id<"channels"> = await ctx.db.put("channels", "key", { name: "n" }, { missingKeys: "retract" });
    await ctx.db.put("channels", "key", {});
    const gone: number = await ctx.db.retract({ table: "messages", keys: ["a", "b"] });
    const byKey: Doc<"channels"> | null = await ctx.db.getByKey("channels", "key");
    await ctx.db.insert("shapes", { kind: "circle", r: 1 });
    await ctx.db.insert("shapes", { kind: "square", side: 1 });
    const drawn = await ctx.db.get(shape);
    if (drawn?.kind === "circle") drawn.r.toFixed();

    const cities = await ctx.db
      .query("messages")
      .withIndex("by_city", (q) => q.eq("place.city", "Ulm").gte("_creationTime", 5))
      .filter((q) => q.and(q.eq(q.field("author"), "Ada"), q.gt(q.field("place.zip"), 3)))
      .collect();
    const page = await ctx.db.query("messages").paginate({ cursor: null, numItems: 10 });
    for await (const item of ctx.db.query("messages").withIndex("by_creation_time", (q) => q.gt("_creationTime", 1)).order("asc")) item.author.trim();
    const count: number = await ctx.db.query("messages").count();
    const normal: Id<"messages"> | null = ctx.db.normalizeId("messages", "text");
    await ctx.runMutation(internal.messages.hidden, { id });
    const rows: Doc<"messages">[] = await ctx.runQuery(api.messages.list, { channel });

    // @ts-expect-error There is no such table.
    ctx.db.query("mesages");
    // @ts-expect-error There is no such index.
    ctx.db.query("messages").withIndex("by_author");
    // @ts-expect-error Fields come in the order of the index.
    ctx.db.query("messages").withIndex("by_channel", (q) => q.eq("author", "x"));
    // @ts-expect-error The value has the type of the field.
    ctx.db.query("messages").withIndex("by_channel", (q) => q.eq("channel", channel).eq("author", 1));
    // @ts-expect-error No equality after a bound.
    ctx.db.query("messages").withIndex("by_channel", (q) => q.gt("channel", channel).eq("author", "x"));
    // @ts-expect-error One lower bound only.
    ctx.db.query("messages").withIndex("by_channel", (q) => q.eq("channel", channel).gt("author", "x").gte("author", "y"));
    // @ts-expect-error An id of another table is no channel.
    ctx.db.query("messages").withIndex("by_channel", (q) => q.eq("channel", id));
    // @ts-expect-error A text is no id.
    ctx.db.get("abc");
    // @ts-expect-error An id of another table.
    ctx.db.get("channels", id);
    // @ts-expect-error A field is missing.
    ctx.db.insert("messages", { channel, author: "a", body: "b" });
    // @ts-expect-error A field has the wrong type.
    ctx.db.insert("channels", { name: 1 });
    // @ts-expect-error There is no such field.
    ctx.db.patch(id, { bdy: "x" });
    // @ts-expect-error System fields are the system's.
    ctx.db.insert("channels", { name: "x", _id: channel });
    // @ts-expect-error There is no such field.
    message.text;
    // @ts-expect-error An internal mutation is no query.
    ctx.runQuery(internal.messages.hidden, { id });
    // @ts-expect-error Filters compare like with like.
    ctx.db.query("messages").filter((q) => q.eq(q.field("author"), 1));
    return { likes, city, created, other, tabled, put, gone, byKey, cities, page, count, normal, rows };
  },
});

export const reading = query({
  args: {},
  handler: async (ctx) => {
    // @ts-expect-error Queries do not write.
    await ctx.db.insert("channels", { name: "x" });
    return await helper(ctx);
  },
});

async function helper(ctx: QueryCtx): Promise<number> {
  return await ctx.db.query("channels").count();
}
export async function writing(ctx: MutationCtx): Promise<number> {
  return await helper(ctx);
}

export const wrongResult = query({
  args: {},
  returns: v.number(),
  // @ts-expect-error The handler returns what `returns` says.
  handler: () => "x",
});

export const page = query({
  args: { channel: v.id("channels"), paginationOpts: paginationOptsValidator },
  handler: (ctx, { paginationOpts }) => ctx.db.query("messages").paginate(paginationOpts),
});
export const names = query({
  args: { paginationOpts: paginationOptsValidator },
  returns: paginationResultValidator(v.string()),
  handler: async (ctx, { paginationOpts }) => {
    const found = await ctx.db.query("channels").paginate(paginationOpts);
    return { ...found, page: found.page.map(({ name }) => name) };
  },
});
export const greeting = query({ args: {}, handler: (): string | null => process.env.GREETING ?? null });
