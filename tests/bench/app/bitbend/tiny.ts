import { query } from "bitbend/server";

/** Nothing but the call itself: what isolation costs. */
export const nothing = query(() => null);

/** The tiny transaction: three reads of documents that the slot may know already. */
export const threeReads = query(async (ctx) => {
  const read = (n: number) => ctx.db.getByKey("counters", `counter/${n}`);
  const [a, b, c] = [await read(1), await read(2), await read(3)];
  return (a?.value ?? 0) + (b?.value ?? 0) + (c?.value ?? 0);
});

/** All documents of a thousand, as objects. */
export const scanThousand = query(async (ctx) => (await ctx.db.query("counters").withIndex("by_number").take(1000)).length);
