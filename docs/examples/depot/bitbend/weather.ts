import { BitBendError, v } from "bitbend/values";

import { internal } from "./_generated/api";
import { action, internalMutation, query } from "./_generated/server";

export const all = query({ args: {}, handler: (ctx) => ctx.db.query("weather").order("desc").take(10) });

/** Asks an outside service, whose address and key are the deployment's, and keeps the answer. */
export const ask = action({
  args: { town: v.string() },
  handler: async (ctx, { town }) => {
    const url = process.env.WEATHER_URL;
    if (url === undefined) throw new BitBendError({ code: "unset", text: "npx bitbend env set WEATHER_URL https://.." });
    const answer = await fetch(`${url}?town=${encodeURIComponent(town)}`, { headers: { "X-Key": process.env.WEATHER_KEY ?? "" }, signal: AbortSignal.timeout(10_000) });
    if (!answer.ok) throw new BitBendError({ code: "refused", text: `the weather service says ${answer.status}` });
    const { text } = (await answer.json()) as { text: string };
    await ctx.runMutation(internal.weather.keep, { town, text });
    return text;
  },
});

export const keep = internalMutation({
  args: { town: v.string(), text: v.string() },
  handler: (ctx, { town, text }) => ctx.db.put("weather", town, { town, text, at: Date.now() }),
});
