// The functions of the job tests, as text files of an application.
export const functions = {
  "schema.ts": `
import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";
export default defineSchema({
  counted: defineTable({ n: v.number() }),
  runs: defineTable({ key: v.string(), job: v.any(), n: v.any() }).index("by_run_key", ["key"]),
});
`,
  "work.ts": `
import { internalMutation, mutation, query } from "./_generated/server";
import { api, internal } from "./_generated/api";
import { v } from "bitbend/values";

// What a job leaves behind: one row a run.
export const mark = internalMutation({
  args: { key: v.string(), n: v.optional(v.number()) },
  handler: async (ctx, { key, n }) => {
    await ctx.db.insert("runs", { key, job: null, n: n ?? null });
    return { key };
  },
});
export const fail = internalMutation({
  args: { key: v.string() },
  handler: async (ctx, { key }) => {
    await ctx.db.insert("runs", { key, job: null, n: null });
    throw new Error("no way: " + key);
  },
});
export const leak = internalMutation(() => {
  throw new Error("refused with " + process.env.JOB_KEY);
});
export const leakLate = internalMutation(() => {
  throw new Error("x".repeat(8180) + process.env.JOB_KEY);
});
export const leakThrown = internalMutation(() => {
  throw { text: "x".repeat(975) + process.env.JOB_KEY };
});
export const loop = internalMutation(() => {
  for (;;);
});
export const slow = internalMutation(() => {
  for (let i = 0; i < 1e12; i++);
});
export const chain = internalMutation({
  args: { key: v.string(), left: v.number() },
  handler: async (ctx, { key, left }) => {
    await ctx.db.insert("runs", { key, job: null, n: left });
    if (left > 0) await ctx.scheduler.runAfter(0, internal.work.chain, { key, left: left - 1 });
  },
});
export const schedule = mutation({
  args: { path: v.string(), args: v.any(), delay: v.optional(v.number()), count: v.optional(v.number()) },
  handler: async (ctx, { path, args, delay, count }) => {
    const ids = [];
    for (let i = 0; i < (count ?? 1); i++) {
      ids.push(await ctx.scheduler.runAfter(delay ?? 0, path as any, count === undefined ? args : { ...args, n: i }));
    }
    return ids;
  },
});
export const scheduleAt = mutation({
  args: { due: v.number(), count: v.number(), n: v.number() },
  handler: async (ctx, { due, count, n }) => {
    for (let i = 0; i < count; i++) await ctx.scheduler.runAt(due, internal.work.count, { n: n * count + i });
  },
});
export const count = internalMutation({ args: { n: v.number() }, handler: async (ctx, { n }) => void (await ctx.db.insert("counted", { n })) });
export const countRuns = query({ args: {}, handler: (ctx) => ctx.db.query("counted").count() });
export const nextPending = query({
  args: {},
  handler: (ctx) => ctx.db.query("_jobs").withIndex("by_state_due", (q) => q.eq("state", "pending")).first(),
});
export const scheduleActions = internalMutation({
  args: { count: v.number() },
  handler: async (ctx, { count }) => {
    for (let i = 0; i < count; i++) await ctx.scheduler.runAfter(0, api.acts.once, { key: "many" });
  },
});
export const actionsOf = query({
  args: { key: v.string() },
  handler: async (ctx, { key }) =>
    (await (ctx.db as any).query("_jobs").collect()).filter((job: any) => job.path === "acts:once" && job.args.key === key).map((job: any) => job._id),
});
export const scheduleAndThrow = mutation({
  args: { key: v.string() },
  handler: async (ctx, { key }) => {
    await ctx.scheduler.runAfter(0, internal.work.mark, { key });
    throw new Error("undone");
  },
});
export const innerThrows = mutation({
  args: { key: v.string() },
  handler: async (ctx, { key }) => {
    await ctx.scheduler.runAfter(0, internal.work.mark, { key });
    throw new Error("only this");
  },
});
export const inner = mutation({
  args: { key: v.string() },
  handler: async (ctx, { key }) => {
    await ctx.scheduler.runAfter(0, internal.work.mark, { key, n: 1 });
    await ctx.runMutation(api.work.innerThrows, { key: key + " undone" }).catch(() => {});
  },
});
export const cancel = mutation({ args: { id: v.string() }, handler: (ctx, { id }) => ctx.scheduler.cancel(id) });
export const job = query({ args: { id: v.string() }, handler: (ctx, { id }) => ctx.db.get("_jobs" as any, id as any) });
export const scheduled = query({ args: { id: v.string() }, handler: (ctx, { id }) => ctx.db.system.get(id as any) });
export const allScheduled = query({ args: {}, handler: (ctx) => ctx.db.system.query("_scheduled_functions").collect() });
export const inState = query({
  args: { state: v.string() },
  handler: async (ctx, { state }) =>
    (await (ctx.db as any).query("_jobs").withIndex("by_state_due", (q: any) => q.eq("state", state)).collect()).length,
});
export const allJobs = query({ args: {}, handler: (ctx) => (ctx.db as any).query("_jobs").collect() });
export const allRuns = query({ args: {}, handler: (ctx) => ctx.db.query("runs").collect() });
export const runs = query({
  args: { key: v.string() },
  handler: async (ctx, { key }) =>
    (await ctx.db.query("runs").withIndex("by_run_key", (q) => q.eq("key", key)).collect()).map(({ n }) => n),
});
export const write = mutation({ args: { id: v.string() }, handler: (ctx, { id }) => (ctx.db as any).patch(id, { state: "done" }) });
export const insert = mutation({ args: {}, handler: (ctx) => (ctx.db as any).insert("_jobs", { state: "done" }) });
`,
  "acts.ts": `
import { action, internalAction } from "bitbend/server";
import { v } from "bitbend/values";
export const once = action({ args: { key: v.string() }, handler: async (ctx, { key }) => "did " + key });
export const again = internalAction({
  args: { key: v.string() },
  retry: { attempts: 3, backoff: 50 },
  handler: async () => {
    throw new Error("not now");
  },
});
`,
};
