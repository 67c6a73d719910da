// The functions whose paths begin with "_system:": for the command line and for the suite itself. Who may
// call them is decided by the supervisor.
"use strict";

const { bb } = internals;
const { op } = bb;

const BACKFILL_MAX = 1000;
const PAGE_MAX = 1000;

const stringArgument = (path, args, name) => {
  if (typeof args[name] !== "string" || args[name] === "") {
    bb.fail("ArgumentValidation", `${path}: the argument "${name}" must be a string.`);
  }
  return args[name];
};

const rowsOf = (db, table) => db.query(table).withIndex("by_key").collect();

const withoutSystemFields = ({ _id, _key, _creationTime, ...rest }) => rest;

// At most 1,000 documents of one index that is being filled; the last step makes it ready.
const backfill = async (frame, db, args) => {
  const table = stringArgument("_system:backfill", args, "table");
  const name = stringArgument("_system:backfill", args, "index");
  const row = await db.getByKey("_indexes", `${table}.${name}`);
  if (row === null || row.state === "ready") {
    return { state: row === null ? "removed" : "ready", done: Number(row?.done ?? 0), total: Number(row?.total ?? 0) };
  }
  const scan = await bb.call(frame, op.SCAN_OPEN, bb.PRIVILEGED, table, "by_id", [], false, "", [row.cursor, null]);
  let rows = 0;
  let isEnd = false;
  while (!isEnd && rows < BACKFILL_MAX) {
    const [more, end] = await bb.call(frame, op.BACKFILL, scan, name, BACKFILL_MAX - rows);
    rows += more;
    isEnd = end;
    if (more === 0) {
      break;
    }
  }
  const [cursor] = await bb.call(frame, op.SCAN_CURSOR, scan);
  const done = row.done + BigInt(rows);
  await db.patch(row._id, {
    done, cursor: isEnd ? null : cursor, state: isEnd ? "ready" : "backfilling",
    total: isEnd || done > row.total ? done : row.total,
  });
  if (isEnd) {
    // Who was told that the index is not ready depends on this row, and runs again.
    const owner = await db.getByKey("_tables", table);
    if (owner !== null) {
      await db.patch(owner._id, { version: (owner.version ?? 0n) + 1n });
    }
  }
  return { state: isEnd ? "ready" : "backfilling", done: Number(done), total: Number(row.total) };
};

const tables = async (frame, db) => {
  const [all, indexes] = await Promise.all([rowsOf(db, "_tables"), rowsOf(db, "_indexes")]);
  return all.map(({ name, number, state }) => ({
    name, number: Number(number), state,
    indexes: indexes
      .filter((index) => index.table === name)
      .map((index) => `${index.name} (${index.fields.join(", ")})${index.state === "ready" ? "" : " filling"}`),
  }));
};

const tableData = async (frame, db, args) => {
  const table = stringArgument("_system:tableData", args, "table");
  const limit = Number(args.limit ?? 100);
  return db
    .query(table)
    .order(args.order === "asc" ? "asc" : "desc")
    .paginate({ cursor: args.cursor ?? null, numItems: Math.max(1, Math.min(limit, PAGE_MAX)) });
};

const functions = async (frame, db) => (await rowsOf(db, "_functions")).map(withoutSystemFields);

const indexes = async (frame, db) =>
  (await rowsOf(db, "_indexes")).map(({ table, name, fields, state, done, total }) => ({
    table, name, fields, state, done: Number(done), total: Number(total),
  }));

const status = async (frame, db) => {
  const current = await db.getByKey("_deployment", "current");
  const [tableRows, indexRows, functionRows] = await Promise.all([
    rowsOf(db, "_tables"), rowsOf(db, "_indexes"), rowsOf(db, "_functions"),
  ]);
  return {
    version: Number(current?.version ?? 0),
    hash: current?.hash ?? null,
    deployedAt: current === null ? null : new Date(current.time).toISOString(),
    modules: current?.modules.length ?? 0,
    functions: functionRows.length,
    tables: tableRows.length,
    indexes: indexRows.length,
    backfilling: indexRows.filter((row) => row.state !== "ready").map((row) => row._key),
  };
};

const SYSTEM = new Map([
  ["_system:deploy", { kind: "mutation", run: (frame, db, args) => bb.deploy(frame, args) }],
  ["_system:backfill", { kind: "mutation", run: backfill }],
  ["_system:tables", { kind: "query", run: tables }],
  ["_system:tableData", { kind: "query", run: tableData }],
  ["_system:functions", { kind: "query", run: functions }],
  ["_system:indexes", { kind: "query", run: indexes }],
  ["_system:status", { kind: "query", run: status }],
]);

bb.runSystemFunction = async (path, args, info) => {
  const found = SYSTEM.get(path);
  if (found === undefined) {
    bb.fail("FunctionNotFound", `Could not find function ${path}: there are ${[...SYSTEM.keys()].join(", ")}.`);
  }
  if (found.kind !== info.kind) {
    bb.fail("WrongKind", `Function ${path} is of kind ${found.kind}, it was called as ${info.kind}.`);
  }
  const frame = new bb.Frame(info.kind, path, null, info, 0);
  const make = info.kind === "mutation" ? bb.makeWriter : bb.makeReader;
  return found.run(frame, make(frame, bb.PRIVILEGED), args);
};
