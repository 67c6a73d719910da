/** The builders of this application: what is written through them keeps the rules and is written down. */

import { withAudit } from "audit";
import { withRules } from "rules";

import { mutation as anyMutation, query as anyQuery, type MutationCtx, type QueryCtx } from "./_generated/server";
import { rules } from "./rules";

export function query<Args extends Record<string, any>, Result>(handler: (ctx: QueryCtx, args: Args) => Result) {
  return anyQuery((ctx, args: Args) => handler(withRules(ctx, rules), args));
}

export function mutation<Args extends Record<string, any>, Result>(handler: (ctx: MutationCtx, args: Args) => Result) {
  return anyMutation((ctx, args: Args) => handler(withRules(withAudit(ctx), rules), args));
}
