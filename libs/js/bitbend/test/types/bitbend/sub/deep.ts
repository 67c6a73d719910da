import { action } from "../_generated/server";
import { api } from "../_generated/api";

export const act = action({
  handler: async (ctx, { channel }: { channel: string }): Promise<string> => {
    const text: string = await ctx.runQuery(api.messages.none);
    // @ts-expect-error An action has no database.
    ctx.db;
    return text + channel;
  },
});
export default action(async () => 1n);
