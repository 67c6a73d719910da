// _system:deploy: what the modules say against what the system tables hold; one transaction changes over.
"use strict";

const { bb } = internals;
const { op } = bb;

const TABLE_FIRST = 10001;
const INDEX_FIRST = 0x80000000;
const COUNT_MAX = 200000;
const isModulePath = (text) =>
  /^(_wasm\/[A-Za-z0-9_-]+\.wasm|[A-Za-z0-9_][A-Za-z0-9_.-]*(\/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\.js)$/.test(text);
const KINDS = new Set(["query", "mutation", "action", "httpAction"]);

const refuse = (message) => bb.fail("BadRequest", `Deploy refused: ${message}`);
const byKey = (a, b) => (a._key < b._key ? -1 : a._key > b._key ? 1 : 0);

// ---- what the modules say ----

const checkModules = (modules) => {
  if (!Array.isArray(modules)) {
    refuse("modules must be a list of {path, source, sourceMap}.");
  }
  const seen = new Set();
  for (const module of modules) {
    const { path, source, sourceMap = null } = module ?? {};
    if (typeof path !== "string" || !isModulePath(path) || path.length > 512) {
      refuse(`"${String(path)}" is not a module path such as "messages.js" or "sub/dir.js".`);
    }
    if (typeof source !== "string" || (sourceMap !== null && typeof sourceMap !== "string")) {
      refuse(`module ${path}: source must be a string, and sourceMap a string or null.`);
    }
    if (seen.has(path)) {
      refuse(`module ${path} is there twice.`);
    }
    seen.add(path);
  }
};

const errorText = (error) =>
  error instanceof Error ? (error.stack ?? `${error.name}: ${error.message}`) : `Uncaught ${String(error)}`;

class LoadError {
  constructor(error) {
    this.text = errorText(error);
  }
}

const evaluate = (load, path) => {
  try {
    return load(path);
  } catch (error) {
    throw new LoadError(error);
  }
};

const describeFunction = (module, name, found) => {
  const key = `${module}:${name}`;
  if (!KINDS.has(found.kind) || (found.visibility !== "public" && found.visibility !== "internal")) {
    refuse(`function ${key} is of an unknown kind. Make it with query, mutation or action of bitbend/server.`);
  }
  return {
    _key: key, path: key, module: `${module}.js`, name, kind: found.kind, visibility: found.visibility,
    args: found.exportArgs() ?? null, returns: found.exportReturns() ?? null, retry: found.retry ?? null,
  };
};

// The text of what exports itself; null for anything else.
const exportText = (value) => (typeof value?.export === "function" ? String(value.export()) : null);

const describeExports = (path, exported) => {
  const described = { functions: [], crons: [], routes: [] };
  for (const name of Object.keys(exported ?? {})) {
    const value = exported[name];
    if (bb.isFunction(value)) {
      described.functions.push(describeFunction(path.slice(0, -3), name, value));
    } else if (name === "default" && value?.isCrons === true) {
      if (path !== "crons.js") {
        refuse(`module ${path}: crons are the default export of crons.ts.`);
      }
      described.crons.push(exportText(value));
    } else if (name === "default" && value?.isRouter === true) {
      if (path !== "http.js") {
        refuse(`module ${path}: routes are the default export of http.ts.`);
      }
      described.routes.push(...bb.readRoutes(value, refuse));
    }
  }
  return described;
};

// What a module declares, as plain values.
const describeModule = (load, path) => {
  const exported = evaluate(load, path);
  switch (path) {
    case "schema.js":
      return { schema: exportText(exported?.default) };
    case "auth.config.js":
      return { auth: bb.readAuth(exported?.default ?? null) };
    default:
      return path.startsWith("_wasm/") ? {} : describeExports(path, exported);
  }
};

const loadRefusal = (path, { text }) => refuse(`module ${path} could not be loaded.\n${text}`);

// In a context of its own.
bb.describeInOwn = async (bundle, { path }) => {
  try {
    return describeModule((name) => internals.instantiate(bundle, name), path);
  } catch (error) {
    throw error instanceof LoadError ? loadRefusal(path, error) : error;
  }
};

// The first line of an error's text and the place where it was thrown.
const reasonOf = ({ text }) => {
  const [first, ...frames] = text.split("\n");
  const place = /^ {4}at (?:.*\()?(.*?)\)?$/.exec(frames.find((line) => line.startsWith("    at ")) ?? "");
  return `it does not run where built-in objects are frozen: ${first}${place === null ? "" : ` (${place[1]})`}`;
};

// A module that cannot be loaded among frozen built-in objects may be one that changes them: does it load where it can?
const describeAnywhere = async (load, path, contexts) => {
  try {
    return describeModule(load, path);
  } catch (error) {
    if (!(error instanceof LoadError)) {
      throw error;
    }
    const described = await load.elsewhere("_own:describe", { path }, "query", 0);
    contexts.set(path, reasonOf(error));
    return described;
  }
};

const exporter = (text) => (text === null ? null : { export: () => text });

// Which modules one instance of serves all calls, and why the others have one for each call.
const sharingOf = (sources, load, contexts) => {
  const sharing = { shared: [], perCall: [], context: [] };
  for (const { path } of sources.filter((module) => !module.path.startsWith("_"))) {
    const why = contexts.has(path) ? null : load.whyNotShared(path);
    if (why === null) {
      sharing.context.push({ module: path, why: contexts.get(path) });
    } else if (why === "") {
      sharing.shared.push(path);
    } else {
      sharing.perCall.push({ module: path, why });
    }
  }
  return sharing;
};

const isDescribed = (path) =>
  !path.startsWith("_deps/") && !path.startsWith("_bitbend/") && !path.startsWith("_generated/");

// { modules, functions, tables } as rows-to-be, and notes.
const analyse = async (given) => {
  checkModules(given);
  const sources = [...given].sort((a, b) => (a.path < b.path ? -1 : 1));
  const load = internals.instantiateSources(
    sources.map(({ path, source, sourceMap = null }) => ({ path, source, sourceMap })),
  );
  const notes = [];
  const contexts = new Map(); // modules that need one of their own, and why
  const all = { functions: [], routes: [], crons: [], schema: undefined, auth: null };
  for (const { path } of sources.filter((module) => isDescribed(module.path))) {
    const { functions = [], routes = [], crons = [], schema, auth } = await describeAnywhere(load, path, contexts);
    all.functions.push(...functions);
    all.routes.push(...routes);
    all.crons.push(...crons.map(exporter));
    all.schema = schema === undefined ? all.schema : exporter(schema);
    all.auth = auth ?? all.auth;
  }
  const modules = sources.map(({ path, source, sourceMap = null }) => ({
    path,
    hash: internals.sha256hex(`${source.length}:${source}${sourceMap ?? ""}${contexts.has(path) ? "\ncontext" : ""}`),
    source,
    sourceMap,
    isContext: contexts.has(path),
  }));
  return {
    modules, routes: all.routes, functions: all.functions.sort(byKey), crons: all.crons,
    tables: bb.readSchema(all.schema, notes), auth: all.auth, notes, sharing: sharingOf(sources, load, contexts),
  };
};

// ---- what the system tables hold ----

const readRows = async (db, table) => {
  const rows = await db.query(table).collect();
  return new Map(rows.map((row) => [row._key, row]));
};

const readState = async (db) => {
  const [current, tables, allIndexes, functions, crons] = await Promise.all([
    db.getByKey("_deployment", "current"),
    readRows(db, "_tables"),
    readRows(db, "_indexes"),
    readRows(db, "_functions"),
    readRows(db, "_crons"),
  ]);
  const indexes = new Map([...allIndexes].filter(([, row]) => row.state !== "removing"));
  return { current, tables, indexes, functions, crons };
};

// ---- the difference ----

const countDocuments = (frame, table, max, isUntracked) =>
  bb.call(frame, op.COUNT, bb.PRIVILEGED, table, null, [], max, isUntracked);

const planTables = async (plan, wanted, state) => {
  const declared = new Set(wanted.map(({ name }) => name));
  for (const { name } of wanted) {
    const row = state.tables.get(name);
    if (row === undefined) {
      plan.put("_tables", name, { name, number: BigInt(plan.nextTable++), state: "declared" });
      plan.tables.added.push(name);
    } else if (row.state !== "declared") {
      plan.put("_tables", name, { name, number: row.number, state: "declared" });
      plan.tables.added.push(name);
    }
  }
  for (const [name, row] of state.tables) {
    if (declared.has(name) || row.state !== "declared") {
      continue;
    }
    plan.tables.removed.push(name);
    if ((await countDocuments(plan.frame, name, 1, false)) > 0) {
      plan.put("_tables", name, { name, number: row.number, state: "undeclared" });
      plan.notes.push(
        `Table ${name} is not in the schema any more. It has documents: they stay and can be read; ` +
          "delete them, or declare the table again.",
      );
    } else {
      plan.drop("_tables", name);
    }
  }
};

const isSameIndex = (row, fields) =>
  row.fields.length === fields.length && row.fields.every((field, i) => field === fields[i]);

// From here on nobody reads or writes this index; `_system:clean` deletes its entries and then this row. Its
// name is free at once: another index of that name has another id.
const retireIndex = (plan, key, { table, name, id, fields }, state) => {
  plan.put("_indexes", `${key}#${id}`, {
    table, name, id, fields, number: state.tables.get(table).number, state: "removing", done: 0n, total: 0n,
    cursor: null,
  });
};

const planIndex = async (plan, { table, name, fields }, state) => {
  const key = `${table}.${name}`;
  const row = state.indexes.get(key);
  const isSame = row !== undefined && isSameIndex(row, fields);
  if (isSame && row.state !== "failed") {
    return;
  }
  // A table that the catalog has may hold documents.
  const isFull = state.tables.has(table) && (await countDocuments(plan.frame, table, 1, false)) > 0;
  const total = isFull ? await countDocuments(plan.frame, table, COUNT_MAX, true) : 0;
  plan.put("_indexes", key, {
    table, name, id: BigInt(plan.nextIndex++), fields, state: isFull ? "backfilling" : "ready", done: 0n,
    total: BigInt(total), cursor: null,
  });
  plan.indexes.added.push({ table, name, state: isFull ? "backfilling" : "ready" });
  if (row === undefined) {
    return;
  }
  retireIndex(plan, key, row, state);
  if (isSame) {
    plan.notes.push(`Index ${key} could not be filled before: it is tried again.`);
  } else {
    plan.indexes.removed.push(key);
    plan.notes.push(`Index ${key} has other fields now and is built anew; its old entries are deleted in the background.`);
  }
};

const planIndexes = async (plan, tables, state) => {
  const wanted = tables.flatMap(({ indexes }) => indexes);
  for (const index of wanted) {
    await planIndex(plan, index, state);
  }
  const keys = new Set(wanted.map(({ table, name }) => `${table}.${name}`));
  for (const [key, row] of state.indexes) {
    if (!keys.has(key)) {
      plan.drop("_indexes", key);
      retireIndex(plan, key, row, state);
      plan.indexes.removed.push(key);
      plan.notes.push(`index ${key}: its entries are deleted in the background.`);
    }
  }
};

const isSameFunction = (row, wanted) =>
  ["path", "module", "name", "kind", "visibility", "args", "returns"].every((field) => row[field] === wanted[field]) &&
  bb.textOf(row.retry ?? null) === bb.textOf(wanted.retry);

const planFunctions = (plan, functions, changedModules, state) => {
  for (const { _key, ...wanted } of functions) {
    const row = state.functions.get(_key);
    if (row === undefined) {
      plan.functions.added.push(_key);
      plan.put("_functions", _key, wanted);
    } else {
      const isSame = isSameFunction(row, wanted);
      if (!isSame || changedModules.has(wanted.module)) {
        plan.functions.changed.push(_key);
      }
      if (!isSame) {
        plan.put("_functions", _key, wanted);
      }
    }
  }
  const keys = new Set(functions.map(({ _key }) => _key));
  for (const key of state.functions.keys()) {
    if (!keys.has(key)) {
      plan.functions.removed.push(key);
      plan.drop("_functions", key);
    }
  }
};

// Returns the paths whose text is not what it was.
const planModules = (plan, modules, known) => {
  const hashes = new Map(known.map(({ path, hash }) => [path, hash]));
  const changed = new Set();
  for (const { path, hash, source, sourceMap, isContext } of modules) {
    if (hashes.get(path) !== hash) {
      changed.add(path);
      plan.put("_modules", path, {
        path, hash, source: toBytes(source), map: sourceMap === null ? null : toBytes(sourceMap),
        ...(isContext ? { context: true } : {}),
      });
    }
    hashes.delete(path);
  }
  for (const path of hashes.keys()) {
    plan.drop("_modules", path);
  }
  return changed;
};

const encoder = new TextEncoder();
const toBytes = (text) => {
  const bytes = encoder.encode(text);
  return bytes.buffer.byteLength === bytes.length ? bytes.buffer : bytes.buffer.slice(0, bytes.length);
};

const makePlan = (frame, state) => {
  const writes = [];
  return {
    frame, writes, notes: [],
    nextTable: Number(state.current?.nextTable ?? TABLE_FIRST),
    nextIndex: Number(state.current?.nextIndex ?? INDEX_FIRST),
    tables: { added: [], removed: [] },
    indexes: { added: [], removed: [] },
    functions: { added: [], changed: [], removed: [] },
    crons: { added: [], changed: [], removed: [] },
    routes: { added: [], changed: [], removed: [] },
    put: (table, key, row) => writes.push({ table, key, row }),
    drop: (table, key) => writes.push({ table, key, row: null }),
  };
};

const carryOut = async (db, plan) => {
  for (const { table, key, row } of plan.writes) {
    if (row === null) {
      await db.retract({ table, keys: [key] });
    } else {
      await db.put(table, key, row, { missingKeys: "retract" });
    }
  }
};

// Functions of modules that V8 cannot load; a module is for one of both.
const addNodeFunctions = (wanted, node) => {
  const inV8 = new Set(wanted.modules.map(({ path }) => path));
  for (const found of node?.functions ?? []) {
    if (inV8.has(found.module)) {
      refuse(`module ${found.module} is there for V8 and for Node.js.`);
    }
    wanted.functions.push(found);
  }
  wanted.functions.sort(byKey);
};

const deploy = async (frame, args) => {
  const db = bb.makeWriter(frame, bb.PRIVILEGED);
  // Before the modules are loaded, which may take longer than storage keeps a moment.
  const state = await readState(db);
  const wanted = await analyse(args.modules);
  const node = await bb.readNode(db, args.node);
  addNodeFunctions(wanted, node);
  const plan = makePlan(frame, state);
  plan.notes.push(...wanted.notes);

  const changedModules = planModules(plan, wanted.modules, state.current?.modules ?? []);
  await planTables(plan, wanted.tables, state);
  await planIndexes(plan, wanted.tables, state);
  planFunctions(plan, wanted.functions, changedModules, state);
  bb.planRoutes(plan, wanted.routes, changedModules, state.current?.routes ?? []);
  bb.planCrons(plan, wanted.crons.flatMap((one) => bb.readCrons(one, wanted.functions)), state.crons);

  const modules = wanted.modules.map(({ path, hash }) => ({ path, hash }));
  const archives = node?.archives ?? [];
  const named = [...modules.map(({ path, hash: text }) => [path, text]), ...archives.map(({ name, hash: text }) => [name, text])];
  const hash = internals.sha256hex(named.map(([name, text]) => `${name} ${text}\n`).join(""));
  const before = Number(state.current?.version ?? 0);
  const isSame = state.current?.hash === hash && (state.current.auth ?? null) === wanted.auth;
  const hasChanges = !isSame || plan.writes.length > 0;
  const version = hasChanges ? before + 1 : before;
  if (hasChanges && args.dryRun !== true) {
    plan.put("_deployment", "current", {
      version: BigInt(version), hash, nextTable: BigInt(plan.nextTable), nextIndex: BigInt(plan.nextIndex),
      time: Date.now(), modules, routes: wanted.routes, auth: wanted.auth, node: node === null ? null : { archives },
      formerCode: (state.current?.node?.archives ?? []).map((archive) => archive.hash),
    });
    await carryOut(db, plan);
  }
  const { functions, tables, indexes, crons, routes, notes } = plan;
  const unusedCode = args.dryRun === true ? [] : bb.unusedCode(node, state.current);
  return { version, functions, tables, indexes, crons, routes, notes, sharing: wanted.sharing, unusedCode };
};

bb.deploy = deploy;
