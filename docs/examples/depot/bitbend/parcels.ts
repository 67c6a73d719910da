import { v } from "bitbend/values";

import { internalMutation, query } from "./_generated/server";

export const all = query({ args: {}, handler: (ctx) => ctx.db.query("parcels").order("desc").take(20) });

/** Under the parcel's own code: a carrier that sends its news twice changes nothing the second time. */
export const moved = internalMutation({
  args: { code: v.string(), place: v.string() },
  handler: async (ctx, { code, place }) => {
    const known = await ctx.db.getByKey("parcels", code);
    if (known?.place === place) return;
    await ctx.db.put("parcels", code, { code, place, events: (known?.events ?? 0) + 1 });
  },
});
