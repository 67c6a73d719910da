/** Rules around `ctx.db`. Each check is a read of the transaction, so it holds when the transaction commits. */

import { BitBendError } from "bitbend/values";

export interface TableRules {
  /** No two documents have the same values of these fields, which are those of the index. */
  unique?: { index: string; fields: string[] }[];
  /** What these fields name exists. */
  references?: string[];
  /** A document is not deleted while one of these, found by an index on its field, names it. */
  namedBy?: { table: string; index: string; field: string }[];
  /** Who sees a document, and who may write it (as it was, and as it becomes). */
  read?: (ctx: any, document: any) => boolean | Promise<boolean>;
  write?: (ctx: any, document: any) => boolean | Promise<boolean>;
}
export type Rules = Record<string, TableRules>;

/** The same `ctx`, with a `db` that keeps the rules. */
export function withRules<Ctx extends { db: any }>(ctx: Ctx, rules: Rules): Ctx {
  const { db } = ctx;
  const tableOf = (id: string) => Object.keys(rules).find((table) => db.normalizeId(table, id) !== null);
  const sees = async (table: string | undefined, document: any) => document !== null && (await (rules[table!]?.read ?? yes)(ctx, document));
  const refuse = (code: string, more: object): never => {
    throw new BitBendError({ code, ...more });
  };

  async function mayWrite(table: string | undefined, document: any) {
    if (!(await (rules[table!]?.write ?? yes)(ctx, document))) refuse("forbidden", { table });
  }
  async function holds(table: string, id: string | null, document: any) {
    await mayWrite(table, document);
    for (const { index, fields } of rules[table]?.unique ?? []) {
      const same = await db.query(table).withIndex(index, (q: any) => fields.reduce((range, field) => range.eq(field, document[field]), q)).take(2);
      if (same.some((other: any) => other._id !== id)) refuse("taken", { table, fields });
    }
    for (const field of rules[table]?.references ?? []) {
      if (document[field] !== undefined && (await db.get(document[field])) === null) refuse("dangling", { table, field });
    }
  }
  /** The document before a change: one that is not seen is not there. */
  async function old(id: string) {
    const document = await db.get(id);
    const table = tableOf(id);
    if (!(await sees(table, document))) refuse("notFound", { id });
    await mayWrite(table, document);
    return { table, document };
  }
  function seen(table: string, query: any): any {
    const take = async (n: number) => {
      const found = [];
      for await (const document of query) {
        if (await sees(table, document)) found.push(document);
        if (found.length === n) break;
      }
      return found;
    };
    return {
      withIndex: (...args: unknown[]) => seen(table, query.withIndex(...args)),
      order: (...args: unknown[]) => seen(table, query.order(...args)),
      filter: (...args: unknown[]) => seen(table, query.filter(...args)),
      take,
      collect: () => take(Infinity),
      first: async () => (await take(1))[0] ?? null,
    };
  }

  const checked = {
    normalizeId: (table: string, id: string) => db.normalizeId(table, id),
    async get(id: string) {
      const document = await db.get(id);
      return (await sees(tableOf(id), document)) ? document : null;
    },
    query: (table: string) => seen(table, db.query(table)),
    async insert(table: string, document: any) {
      await holds(table, null, document);
      return await db.insert(table, document);
    },
    async patch(id: string, fields: any) {
      const { table, document } = await old(id);
      if (table !== undefined) await holds(table, id, { ...document, ...fields });
      await db.patch(id, fields);
    },
    async replace(id: string, document: any) {
      const { table } = await old(id);
      if (table !== undefined) await holds(table, id, document);
      await db.replace(id, document);
    },
    async delete(id: string) {
      const { table } = await old(id);
      for (const by of rules[table!]?.namedBy ?? []) {
        if ((await db.query(by.table).withIndex(by.index, (q: any) => q.eq(by.field, id)).first()) !== null) refuse("named", { by: by.table });
      }
      await db.delete(id);
    },
  };
  return { ...ctx, db: checked };
}

const yes = () => true;
