// ctx.db: documents by id and by key, and queries; in mutations also writes.
"use strict";

const { bb } = internals;
const { op } = bb;

// get(id) and get(table, id), and so on for patch, replace and delete: [table or null, id, value].
const withTable = (name, args, count) => {
  if (args.length === count + 1) {
    if (typeof args[0] !== "string") {
      bb.fail("BadQuery", `ctx.db.${name}(table, ..): the table must be a string.`);
    }
    return args;
  }
  if (args.length !== count) {
    bb.fail("BadQuery", `ctx.db.${name} takes ${count === 1 ? "an id" : "an id and a document"}, and may have the table before.`);
  }
  return [null, ...args];
};

const tableArgument = (name, table) => {
  if (typeof table !== "string" || table === "") {
    bb.fail("BadQuery", `ctx.db.${name} takes the name of a table first.`);
  }
  return table;
};

// Jobs in the other spelling: the same ids, other fields.
const SCHEDULED = "_scheduled_functions";

const normalizeId = (access, table, id) => {
  const asked = table === SCHEDULED ? "_jobs" : table;
  return typeof id === "string" && host(op.NORMALIZE_ID, access, asked, id) ? id : null;
};

const isScheduledFunction = (access, table, id) =>
  table === SCHEDULED || (table === null && normalizeId(access, SCHEDULED, id) !== null);

// Methods are functions of their own and the object's own fields: `const { get, insert } = ctx.db` works, and so does
// `{ ...ctx.db, insert: mine }`.
const makeRows = (frame, access) => ({
  get: async (...args) => {
    const [table, id] = withTable("get", args, 1);
    if (access === bb.SYSTEM && isScheduledFunction(access, table, id)) {
      const job = await bb.call(frame, op.GET, bb.SYSTEM, "_jobs", id);
      return job === null ? null : bb.asScheduledFunction(job);
    }
    return await bb.call(frame, op.GET, access, table, id);
  },
  getByKey: async (table, key) => await bb.call(frame, op.GET_BY_KEY, access, tableArgument("getByKey", table), key),
  query: (table) => bb.makeQuery(frame, access, table),
  normalizeId: (table, id) => normalizeId(access, tableArgument("normalizeId", table), id),
  system: undefined,
});

// `system`: the system tables, for reading.
bb.makeReader = (frame, access) => {
  const db = makeRows(frame, access);
  db.system = access === bb.USER ? bb.makeReader(frame, bb.SYSTEM) : db;
  return db;
};

bb.makeWriter = (frame, access) => {
  const { get, getByKey, query, normalizeId, system } = bb.makeReader(frame, access);
  return {
    get, getByKey, query, normalizeId, system,
    insert: async (table, document) => await bb.call(frame, op.INSERT, access, tableArgument("insert", table), document),
    patch: async (...args) => {
      const [table, id, changes] = withTable("patch", args, 2);
      await bb.call(frame, op.PATCH, access, table, id, changes);
    },
    replace: async (...args) => {
      const [table, id, document] = withTable("replace", args, 2);
      await bb.call(frame, op.REPLACE, access, table, id, document);
    },
    delete: async (...args) => {
      const [table, id] = withTable("delete", args, 1);
      await bb.call(frame, op.DELETE, access, table, id);
    },
    put: async (table, key, document, options = {}) => {
      const missing = options?.missingKeys ?? "keep";
      if (missing !== "keep" && missing !== "retract") {
        bb.fail("BadQuery", `ctx.db.put: missingKeys must be "keep" or "retract", it is ${String(missing)}.`);
      }
      return await bb.call(frame, op.PUT, access, tableArgument("put", table), key, document, missing === "retract");
    },
    retract: async (what) => {
      const byKey = typeof what === "object" && what !== null && !Array.isArray(what);
      const names = byKey ? what.keys : typeof what === "string" ? [what] : what;
      if (!Array.isArray(names)) {
        bb.fail("BadQuery", "ctx.db.retract takes a list of ids or { table, keys: [..] }.");
      }
      const table = byKey ? tableArgument("retract({table, keys})", what.table) : null;
      return await bb.call(frame, op.RETRACT, access, table, byKey, names);
    },
  };
};
