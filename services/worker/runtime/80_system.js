// The functions whose paths begin with "_system:": for the command line and for the suite itself. Who may
// call them is decided by the supervisor.
"use strict";

if (internals.isOwn) {
  return; // of the shared realm only
}

const { bb } = internals;
const { op } = bb;

const STEP_MAX = 1000;
const PAGE_MAX = 1000;
const FORGET_MAX = 128;

const stringArgument = (path, args, name) => {
  if (typeof args[name] !== "string" || args[name] === "") {
    bb.fail("ArgumentValidation", `${path}: the argument "${name}" must be a string.`);
  }
  return args[name];
};

const rowsOf = (db, table) => db.query(table).withIndex("by_key").collect();

const withoutSystemFields = ({ _id, _key, _creationTime, ...rest }) => rest;

// Who was told that an index is not ready depends on its table's row, and runs again.
const wakeReaders = async (db, table) => {
  const owner = await db.getByKey("_tables", table);
  if (owner !== null) {
    await db.patch(owner._id, { version: (owner.version ?? 0n) + 1n });
  }
};

// At most 1,000 documents (fewer when they are large) of one index that is being filled; the last step makes it ready.
const backfill = async (frame, db, args) => {
  const table = stringArgument("_system:backfill", args, "table");
  const name = stringArgument("_system:backfill", args, "index");
  const row = await db.getByKey("_indexes", `${table}.${name}`);
  if (row?.state !== "backfilling") {
    return { state: row?.state ?? "removed", done: Number(row?.done ?? 0), total: Number(row?.total ?? 0) };
  }
  const scan = await bb.call(frame, op.SCAN_OPEN, bb.PRIVILEGED, table, "by_id", [], false, "", [row.cursor, null]);
  let rows, isEnd;
  try {
    [rows, isEnd] = await bb.call(frame, op.BACKFILL, scan, name, STEP_MAX);
  } catch (error) {
    if (error?.code !== "IndexKeyTooLarge") {
      throw error;
    }
    // It would fail for ever: the next deploy tries it anew.
    await db.patch(row._id, { state: "failed", error: error.message, cursor: null });
    await wakeReaders(db, table);
    return { state: "failed", done: Number(row.done), total: Number(row.total) };
  }
  const [cursor] = await bb.call(frame, op.SCAN_CURSOR, scan);
  const done = row.done + BigInt(rows);
  await db.patch(row._id, {
    done, cursor: isEnd ? null : cursor, state: isEnd ? "ready" : "backfilling",
    total: isEnd || done > row.total ? done : row.total,
  });
  if (isEnd) {
    await wakeReaders(db, table);
  }
  return { state: isEnd ? "ready" : "backfilling", done: Number(done), total: Number(row.total) };
};

// At most 1,000 entries of one index that was removed; the last step deletes its row.
const clean = async (frame, db, args) => {
  const table = stringArgument("_system:clean", args, "table");
  const name = stringArgument("_system:clean", args, "index");
  const key = `${table}.${name}#${args.id}`;
  const row = await db.getByKey("_indexes", key);
  if (row?.state !== "removing") {
    return { state: "removed", done: 0 };
  }
  const [rows, cursor, isEnd] = await bb.call(
    frame, op.CLEAN, Number(row.number), Number(row.id), row.cursor, STEP_MAX,
  );
  const done = row.done + BigInt(rows);
  if (isEnd) {
    await db.retract({ table: "_indexes", keys: [key] });
  } else {
    await db.patch(row._id, { done, cursor });
  }
  return { state: isEnd ? "removed" : "removing", done: Number(done) };
};

// The oldest outcomes of client keys, of before `before` (ms): at most FORGET_MAX, each up to 64 KB.
const forget = async (frame, db, args) => {
  const before = Number(args.before);
  const old = await db.query("_requests").withIndex("by_creation_time", (q) => q.lt("_creationTime", before)).take(FORGET_MAX);
  for (const { _id } of old) {
    await db.delete(_id);
  }
  return { removed: old.length, isEnd: old.length < FORGET_MAX };
};

const STATE_SHOWN = { backfilling: " filling", failed: " failed" };

const tables = async (frame, db) => {
  const [all, indexes] = await Promise.all([rowsOf(db, "_tables"), rowsOf(db, "_indexes")]);
  return all.map(({ name, number, state }) => ({
    name, number: Number(number), state,
    indexes: indexes
      .filter((index) => index.table === name && index.state !== "removing")
      .map((index) => `${index.name} (${index.fields.join(", ")})${STATE_SHOWN[index.state] ?? ""}`),
  }));
};

const tableData = async (frame, db, args) => {
  const table = stringArgument("_system:tableData", args, "table");
  const limit = Number(args.limit ?? 100);
  const answer = await db
    .query(table)
    .order(args.order === "asc" ? "asc" : "desc")
    .paginate({ cursor: args.cursor ?? null, numItems: Math.max(1, Math.min(limit, PAGE_MAX)) });
  if (table === "_environment") {
    answer.page = answer.page.map(({ value, ...row }) => row);
  }
  return answer;
};

const functions = async (frame, db) => (await rowsOf(db, "_functions")).map(withoutSystemFields);

const indexes = async (frame, db) =>
  (await rowsOf(db, "_indexes")).map(({ table, name, fields, state, done, total, error = null }) => ({
    table, name, fields, state, done: Number(done), total: Number(total), error,
  }));

const status = async (frame, db) => {
  const current = await db.getByKey("_deployment", "current");
  const [tableRows, indexRows, functionRows, crons, scheduler] = await Promise.all([
    rowsOf(db, "_tables"), rowsOf(db, "_indexes"), rowsOf(db, "_functions"), rowsOf(db, "_crons"),
    bb.schedulerStatus(frame, db),
  ]);
  const inState = (state) => indexRows.filter((row) => row.state === state).map(({ table, name }) => `${table}.${name}`);
  const removing = inState("removing");
  return {
    version: Number(current?.version ?? 0),
    hash: current?.hash ?? null,
    deployedAt: current === null ? null : new Date(current.time).toISOString(),
    modules: current?.modules.length ?? 0,
    functions: functionRows.length,
    routes: current?.routes?.length ?? 0,
    crons: crons.length,
    tables: tableRows.length,
    indexes: indexRows.length - removing.length,
    backfilling: inState("backfilling"),
    failed: inState("failed"),
    removing,
    scheduler,
  };
};

// Durable consumers of the transaction feed: a row holds the position up to which one has acknowledged.

const CONSUMERS_MAX = 1000;

const shownConsumer = ({ name, tx, time }) => ({ name, tx: Number(tx), time });

const consumers = async (frame, db) => (await rowsOf(db, "_consumers")).map(shownConsumer);

// The position of a consumer, which begins at `tx` when it is new.
const openConsumer = async (frame, db, args) => {
  const name = stringArgument("_system:openConsumer", args, "name");
  const found = await db.getByKey("_consumers", name);
  if (found !== null) {
    return { state: "open", ...shownConsumer(found) };
  }
  if ((await rowsOf(db, "_consumers")).length >= CONSUMERS_MAX) {
    return { state: "full", max: CONSUMERS_MAX };
  }
  const row = { name, tx: BigInt(args.tx), time: Date.now() };
  await db.put("_consumers", name, row);
  return { state: "new", ...shownConsumer(row) };
};

// A position only moves forward, so that a late acknowledgement takes nothing back; `isReset` moves it anywhere.
const ackConsumer = async (frame, db, args) => {
  const name = stringArgument("_system:ackConsumer", args, "name");
  const found = await db.getByKey("_consumers", name);
  if (found === null) {
    return { state: "missing" };
  }
  const tx = BigInt(args.tx);
  if (tx > found.tx || (args.isReset === true && tx !== found.tx)) {
    await db.patch(found._id, { tx, time: Date.now() });
    return { state: "moved", name, tx: Number(tx) };
  }
  return { state: "kept", name, tx: Number(found.tx) };
};

const removeConsumer = async (frame, db, args) => {
  const name = stringArgument("_system:removeConsumer", args, "name");
  return { state: (await db.retract({ table: "_consumers", keys: [name] })) > 0 ? "removed" : "missing" };
};

// Environment variables. Values leave through these functions only, whose results nobody keeps.

const VARIABLES_MAX = 1000;
const isVariableName = (text) => /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(text);
const VARIABLE_BYTES_MAX = 8192;

const checkVariable = ({ name, value }) => {
  if (typeof name !== "string" || !isVariableName(name)) {
    bb.fail("BadRequest", `"${String(name).slice(0, 140)}" is not the name of a variable: letters, digits and "_", at most 128, the first one no digit.`);
  }
  if (value !== null && typeof value !== "string") {
    bb.fail("BadRequest", `The value of ${name} must be a string, or null to remove it.`);
  }
  const bytes = value === null ? 0 : new TextEncoder().encode(value).length;
  if (bytes > VARIABLE_BYTES_MAX) {
    bb.fail("BadRequest", `The value of ${name} has ${bytes} bytes, the limit is ${VARIABLE_BYTES_MAX}.`);
  }
};

// All of the changes or none. Says what became of each: "set", "same", "removed", "missing".
const changeEnvironment = async (frame, db, { changes }) => {
  if (!Array.isArray(changes) || changes.length > 2 * VARIABLES_MAX) {
    bb.fail("ArgumentValidation", "_system:changeEnvironment takes changes: [{name, value}, ..].");
  }
  const states = {};
  for (const change of changes) {
    checkVariable(change ?? {});
    const { name, value } = change;
    const row = await db.getByKey("_environment", name);
    states[name] = value === null ? (row === null ? "missing" : "removed") : row?.value === value ? "same" : "set";
    if (states[name] === "removed") {
      await db.retract({ table: "_environment", keys: [name] });
    } else if (states[name] === "set") {
      await db.put("_environment", name, { name, value, time: Date.now() });
    }
  }
  if ((await rowsOf(db, "_environment")).length > VARIABLES_MAX) {
    bb.fail("BadRequest", `A deployment has at most ${VARIABLES_MAX} environment variables.`);
  }
  return states;
};

const environment = async (frame, db) =>
  Object.fromEntries((await rowsOf(db, "_environment")).map(({ name, value }) => [name, value]));

const environmentNames = async (frame, db) =>
  (await rowsOf(db, "_environment")).map(({ name, time }) => ({ name, time }));

const environmentValue = async (frame, db, args) =>
  (await db.getByKey("_environment", stringArgument("_system:environmentValue", args, "name")))?.value ?? null;

// For the gateways: whose tokens are accepted.
const authConfig = async (frame, db) => {
  const text = (await db.getByKey("_deployment", "current"))?.auth ?? null;
  return text === null ? null : JSON.parse(text);
};

const SYSTEM = new Map([
  ["_system:deploy", { kind: "mutation", run: (frame, db, args) => bb.deploy(frame, args) }],
  ["_system:backfill", { kind: "mutation", run: backfill }],
  ["_system:clean", { kind: "mutation", run: clean }],
  ["_system:forget", { kind: "mutation", run: forget }],
  ["_system:tables", { kind: "query", run: tables }],
  ["_system:tableData", { kind: "query", run: tableData }],
  ["_system:functions", { kind: "query", run: functions }],
  ["_system:indexes", { kind: "query", run: indexes }],
  ["_system:consumers", { kind: "query", run: consumers }],
  ["_system:openConsumer", { kind: "mutation", run: openConsumer }],
  ["_system:ackConsumer", { kind: "mutation", run: ackConsumer }],
  ["_system:removeConsumer", { kind: "mutation", run: removeConsumer }],
  ["_system:changeEnvironment", { kind: "mutation", run: changeEnvironment }],
  ["_system:environment", { kind: "query", run: environment }],
  ["_system:environmentNames", { kind: "query", run: environmentNames }],
  ["_system:environmentValue", { kind: "query", run: environmentValue }],
  ["_system:authConfig", { kind: "query", run: authConfig }],
  ["_system:status", { kind: "query", run: status }],
  ...bb.jobFunctions,
  ...bb.codeFunctions,
  ...bb.routeFunctions,
]);

bb.runSystemFunction = async (bundle, path, args, kind, call) => {
  const found = SYSTEM.get(path);
  if (found === undefined) {
    bb.fail("FunctionNotFound", `Could not find function ${path}: there are ${[...SYSTEM.keys()].join(", ")}.`);
  }
  if (found.kind !== kind) {
    bb.fail("WrongKind", `Function ${path} is of kind ${found.kind}, it was called as ${kind}.`);
  }
  const frame = new bb.Frame(kind, path, bundle, call, 0);
  const make = kind === "mutation" ? bb.makeWriter : bb.makeReader;
  return found.run(frame, make(frame, bb.PRIVILEGED), args);
};
