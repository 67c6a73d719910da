import type { Id } from "./_generated/dataModel";
import { mutation, query } from "./functions";

export const add = mutation((ctx, note: { owner: string; text: string }) => ctx.db.insert("notes", note));
export const list = query(async (ctx, _args: {}) => (await ctx.db.query("notes").collect()).map(({ text }) => text));
export const get = query(async (ctx, { id }: { id: Id<"notes"> }) => (await ctx.db.get(id))?.text ?? null);
export const edit = mutation((ctx, { id, text }: { id: Id<"notes">; text: string }) => ctx.db.patch(id, { text }));
