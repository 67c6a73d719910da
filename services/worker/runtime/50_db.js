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

const isScheduledFunction = (db, table, id) =>
  table === SCHEDULED || (table === null && typeof id === "string" && db.normalizeId(SCHEDULED, id) !== null);

// Methods are made when they are looked at: `const { get, insert } = ctx.db` works as well, and a call pays for no more
// than it uses.
class Reader {
  #frame;
  #access;
  #system;
  constructor(frame, access) {
    this.#frame = frame;
    this.#access = access;
  }
  static frame(db) {
    return db.#frame;
  }
  static access(db) {
    return db.#access;
  }
  get get() {
    return async (...args) => {
      const [table, id] = withTable("get", args, 1);
      if (this.#access === bb.SYSTEM && isScheduledFunction(this, table, id)) {
        const job = await bb.call(this.#frame, op.GET, bb.SYSTEM, "_jobs", id);
        return job === null ? null : bb.asScheduledFunction(job);
      }
      return await bb.call(this.#frame, op.GET, this.#access, table, id);
    };
  }
  get getByKey() {
    return async (table, key) =>
      await bb.call(this.#frame, op.GET_BY_KEY, this.#access, tableArgument("getByKey", table), key);
  }
  get query() {
    return (table) => bb.makeQuery(this.#frame, this.#access, table);
  }
  get normalizeId() {
    return (table, id) => {
      tableArgument("normalizeId", table);
      const asked = table === SCHEDULED ? "_jobs" : table;
      return typeof id === "string" && host(op.NORMALIZE_ID, this.#access, asked, id) ? id : null;
    };
  }
  // System tables, for reading.
  get system() {
    if (this.#access !== bb.USER) {
      return this;
    }
    return (this.#system ??= Object.freeze(new Reader(this.#frame, bb.SYSTEM)));
  }
}
const { frame: frameOf, access: accessOf } = Reader;

class Writer extends Reader {
  get insert() {
    return async (table, document) =>
      await bb.call(frameOf(this), op.INSERT, accessOf(this), tableArgument("insert", table), document);
  }
  get patch() {
    return async (...args) => {
      const [table, id, changes] = withTable("patch", args, 2);
      await bb.call(frameOf(this), op.PATCH, accessOf(this), table, id, changes);
    };
  }
  get replace() {
    return async (...args) => {
      const [table, id, document] = withTable("replace", args, 2);
      await bb.call(frameOf(this), op.REPLACE, accessOf(this), table, id, document);
    };
  }
  get delete() {
    return async (...args) => {
      const [table, id] = withTable("delete", args, 1);
      await bb.call(frameOf(this), op.DELETE, accessOf(this), table, id);
    };
  }
  get put() {
    return async (table, key, document, options = {}) => {
      const missing = options?.missingKeys ?? "keep";
      if (missing !== "keep" && missing !== "retract") {
        bb.fail("BadQuery", `ctx.db.put: missingKeys must be "keep" or "retract", it is ${String(missing)}.`);
      }
      return await bb.call(
        frameOf(this), op.PUT, accessOf(this), tableArgument("put", table), key, document, missing === "retract",
      );
    };
  }
  get retract() {
    return async (what) => {
      const byKey = typeof what === "object" && what !== null && !Array.isArray(what);
      const names = byKey ? what.keys : typeof what === "string" ? [what] : what;
      if (!Array.isArray(names)) {
        bb.fail("BadQuery", "ctx.db.retract takes a list of ids or { table, keys: [..] }.");
      }
      const table = byKey ? tableArgument("retract({table, keys})", what.table) : null;
      return await bb.call(frameOf(this), op.RETRACT, accessOf(this), table, byKey, names);
    };
  }
}
bb.seal(Writer);
bb.seal(Reader);

bb.makeReader = (frame, access) => Object.freeze(new Reader(frame, access));
bb.makeWriter = (frame, access) => Object.freeze(new Writer(frame, access));
