import { v } from "bitbend/values";

import { internal } from "./_generated/api";
import { internalAction, internalMutation, internalQuery, mutation, query } from "./_generated/server";

const BATCH = 50;

/** Starts the import as a job, with the write that asks for it; returns the job's id, which a page can watch. */
export const start = mutation({
  args: { csv: v.string() },
  handler: (ctx, { csv }): Promise<string> => ctx.scheduler.runAfter(0, internal.imports.run, { csv }),
});

/** How far a job is: jobs are rows, so this is live as any query. */
export const state = query({
  args: { job: v.id("_jobs") },
  handler: async (ctx, { job }) => {
    const row = await ctx.db.get(job);
    return row === null ? null : { state: row.state, progress: row.progress, error: row.error };
  },
});

export const count = query({ args: {}, handler: (ctx) => ctx.db.query("addresses").count() });

/** Long work in small transactions. It may take hours; `ctx.progress` tells how far it is. */
export const run = internalAction({
  args: { csv: v.string() },
  handler: async (ctx, { csv }) => {
    const rows = csv.split("\n").map((line) => line.split(",")).filter((cells) => cells.length === 2);
    for (let at = 0; at < rows.length; at += BATCH) {
      const batch = rows.slice(at, at + BATCH).map(([name, street]) => ({ name: name!.trim(), street: street!.trim() }));
      await ctx.runMutation(internal.imports.addBatch, { batch });
      ctx.progress({ done: Math.min(at + BATCH, rows.length), total: rows.length });
      await new Promise((done) => setTimeout(done, 20)); // so that there is something to see
    }
    return rows.length;
  },
});

export const addBatch = internalMutation({
  args: { batch: v.array(v.object({ name: v.string(), street: v.string() })) },
  handler: async (ctx, { batch }) => {
    for (const address of batch) await ctx.db.insert("addresses", address);
  },
});

export const page = internalQuery({
  args: { cursor: v.union(v.string(), v.null()) },
  handler: (ctx, { cursor }) => ctx.db.query("addresses").paginate({ cursor, numItems: 500 }),
});
