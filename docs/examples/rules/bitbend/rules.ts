import type { Rules } from "rules";

const isOwner = async (ctx: any, { owner }: { owner: string }) => (await ctx.auth.getUserIdentity())?.subject === owner;

export const rules: Rules = {
  teams: { namedBy: [{ table: "members", index: "by_team", field: "team" }] },
  members: { unique: [{ index: "by_email", fields: ["email"] }], references: ["team"] },
  notes: { read: isOwner, write: isOwner },
};
