// Functions of a module that needs a context of its own, and fail.
import "./patches";
import { query } from "./_generated/server";

async function inner(): Promise<never> {
  await null;
  throw new RangeError("in a context of its own", { cause: new TypeError("the reason") });
}
export const fails = query(async () => await inner());
export const asksWrongly = query(async (ctx) => { await null; return await ctx.db.query("nothing" as any).collect(); });
