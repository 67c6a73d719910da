import type { Id } from "./_generated/dataModel";
import { mutation, query } from "./functions";

export const found = mutation((ctx, { name }: { name: string }) => ctx.db.insert("teams", { name }));
export const dissolve = mutation((ctx, { team }: { team: Id<"teams"> }) => ctx.db.delete(team));
export const join = mutation((ctx, member: { team: Id<"teams">; email: string }) => ctx.db.insert("members", member));
export const move = mutation((ctx, { member, email }: { member: Id<"members">; email: string }) => ctx.db.patch(member, { email }));
/** All members, and how many of them name a team that is not there. */
export const members = query(async (ctx, _args: {}) => {
  const all = await ctx.db.query("members").collect();
  const teams = await Promise.all(all.map(({ team }) => ctx.db.get(team)));
  return { emails: all.map(({ email }) => email).sort(), dangling: teams.filter((team) => team === null).length };
});
