/** Who changed what: a table, a query, and a `ctx.db` that writes one row for each change. */

import { defineTable, query } from "bitbend/server";
import { v } from "bitbend/values";

/** For the schema: `defineSchema({ ...auditTables, .. })`. */
export const auditTables = {
  audit: defineTable({ document: v.string(), op: v.string(), by: v.union(v.string(), v.null()), at: v.number() }).index("by_document", ["document"]),
};

/** The changes of one document, oldest first. */
export const history = query({
  args: { document: v.string() },
  handler: async (ctx: any, { document }: { document: string }) => {
    const rows = await ctx.db.query("audit").withIndex("by_document", (q: any) => q.eq("document", document)).collect();
    return rows.map(({ op, by }: any) => ({ op, by }));
  },
});

/** The same `ctx`; what its `db` writes is written down. */
export function withAudit<Ctx extends { db: any; auth: any }>(ctx: Ctx): Ctx {
  const { db } = ctx;
  const note = async (document: string, op: string) => {
    const by = (await ctx.auth.getUserIdentity())?.subject ?? null;
    await db.insert("audit", { document, op, by, at: Date.now() });
  };
  const changing = (op: "patch" | "replace" | "delete") => async (id: string, ...rest: unknown[]) => {
    await db[op](id, ...rest);
    await note(id, op);
  };
  const audited = {
    get: (id: string) => db.get(id),
    query: (table: string) => db.query(table),
    normalizeId: (table: string, id: string) => db.normalizeId(table, id),
    async insert(table: string, document: unknown) {
      const id = await db.insert(table, document);
      await note(id, "insert");
      return id;
    },
    patch: changing("patch"),
    replace: changing("replace"),
    delete: changing("delete"),
  };
  return { ...ctx, db: audited };
}
