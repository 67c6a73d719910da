// The Node.js code of a deployment, for runners: archives named by their hash, in parts that are documents
// of `_code`. Parts come first, each in a transaction of its own; the deploy
// then names the archives, and what no deploy names any more is dropped.
"use strict";

if (internals.isOwn) {
  return; // of the shared realm only
}

const { bb } = internals;

const PART_MAX = 1 << 19;
const PARTS_MAX = 512;
const ARCHIVES_MAX = 64;
const DROP_STEP = 8;
const isHash = (text) => /^[0-9a-f]{64}$/.test(text);
const NODE_KINDS = new Set(["action", "httpAction"]);

const partKey = (hash, part) => `${hash}/${part}`;
const isCount = (value, max) => Number.isInteger(value) && value >= 0 && value <= max;

const checkHash = (path, hash) => {
  if (typeof hash !== "string" || !isHash(hash)) {
    bb.fail("BadRequest", `${path}: "${String(hash)}" is no SHA-256 in hex.`);
  }
};

// Which of these archives are not here as a whole.
const missingCode = async (frame, db, { hashes }) => {
  const rows = await Promise.all(hashes.map((hash) => db.getByKey("_code", hash)));
  return hashes.filter((_, i) => rows[i] === null);
};

// One part; the last one, which comes last, makes the archive whole.
const putCode = async (frame, db, { hash, part, parts, bytes }) => {
  checkHash("_system:putCode", hash);
  if (!isCount(part, PARTS_MAX - 1) || !isCount(parts, PARTS_MAX) || part >= parts || !(bytes instanceof ArrayBuffer) ||
      bytes.byteLength > PART_MAX) {
    bb.fail("BadRequest", `_system:putCode: a part has at most ${PART_MAX} bytes, an archive at most ${PARTS_MAX} parts.`);
  }
  await db.put("_code", partKey(hash, part), { bytes });
  if (part === parts - 1) {
    await db.put("_code", hash, { parts: BigInt(parts) });
  }
  return null;
};

// What no deployment names, step by step; the row that makes the archive whole goes first.
const dropCode = async (frame, db, { hash }) => {
  checkHash("_system:dropCode", hash);
  const current = await db.getByKey("_deployment", "current");
  if (archivesOf(current).some((archive) => archive.hash === hash)) {
    bb.fail("BadRequest", `_system:dropCode: ${hash} is deployed.`);
  }
  await db.retract({ table: "_code", keys: [hash] });
  let dropped = 0;
  for (let part = 0; part < PARTS_MAX && dropped < DROP_STEP; part++) {
    dropped += await db.retract({ table: "_code", keys: [partKey(hash, part)] });
  }
  return { isDone: dropped < DROP_STEP };
};

const archivesOf = (deployment) => deployment?.node?.archives ?? [];

// What runners run now.
const code = async (frame, db) => {
  const current = await db.getByKey("_deployment", "current");
  return { version: Number(current?.version ?? 0), node: current?.node ?? null };
};

const codePart = async (frame, db, { hash, part }) => {
  const row = await db.getByKey("_code", partKey(hash, part));
  if (row === null) {
    bb.fail("BadRequest", `_system:codePart: there is no part ${part} of ${hash}.`);
  }
  return row.bytes;
};

// The action that a path names, and which version of the code has it. Runs before each action.
const action = async (frame, db, { path, mayCallInternal }) => {
  const [current, row] = await Promise.all([
    db.getByKey("_deployment", "current"),
    db.getByKey("_functions", path),
  ]);
  if (row === null || (row.visibility === "internal" && mayCallInternal !== true)) {
    bb.fail("FunctionNotFound", `Could not find function ${path}. Is it exported, and deployed?`);
  }
  if (row.kind !== "action") {
    const how = row.kind === "httpAction" ? "Call it by its route." : `Call it with client.${row.kind}(..) or POST /api/${row.kind}.`;
    bb.fail("WrongKind", `"${path}" is a ${row.kind}, not an action. ${how}`);
  }
  if (current.node === undefined || current.node === null) {
    bb.fail("FunctionNotFound", `Could not find function ${path} in Node.js code: it was deployed without. Deploy it again.`);
  }
  return { version: Number(current.version), environment: await environmentStamp(db) };
};

// Says whether environment variables are what a runner knows already.
const environmentStamp = async (db) => {
  const rows = await db.query("_environment").withIndex("by_key").collect();
  return internals.sha256hex(JSON.stringify(rows.map(({ name, value }) => [name, value]))).slice(0, 32);
};

// ---- for the deploy ----

const refuse = (message) => bb.fail("BadRequest", `Deploy refused: ${message}`);

// { archives, functions }: of a deploy; null when it has no code for Node.js.
bb.readNode = async (db, given) => {
  if (given === undefined || given === null) {
    return null;
  }
  const { archives, functions = [] } = given;
  if (!Array.isArray(archives) || archives.length === 0 || archives.length > ARCHIVES_MAX || !Array.isArray(functions)) {
    refuse(`node must be {archives: [{name, hash, size, parts}], functions}, with at most ${ARCHIVES_MAX} archives.`);
  }
  for (const { name, hash, size, parts } of archives) {
    checkHash("node.archives", hash);
    if (typeof name !== "string" || !isCount(size, PARTS_MAX * PART_MAX) || !isCount(parts, PARTS_MAX)) {
      refuse("an archive is {name, hash, size, parts}.");
    }
  }
  const missing = await missingCode(null, db, { hashes: archives.map(({ hash }) => hash) });
  if (missing.length > 0) {
    refuse(`the archive ${missing[0]} was not sent before.`);
  }
  return { archives: archives.map(({ name, hash, size, parts }) => ({ name, hash, size, parts })), functions: functions.map(readFunction) };
};

// A function of a module that only Node.js can load ("use node"), as who deploys found it there.
const readFunction = ({ module, name, kind, visibility, args = null, returns = null, retry }) => {
  const key = `${module}:${name}`;
  if (!NODE_KINDS.has(kind) || (visibility !== "public" && visibility !== "internal")) {
    refuse(`${key} is of kind ${kind}: a file with "use node" holds actions only.`);
  }
  return { _key: key, path: key, module: `${module}.js`, name, kind, visibility, args, returns, ...(retry === undefined ? {} : { retry }) };
};

// Archives that the deployment before the last one had, and none has since.
bb.unusedCode = (node, before) => {
  const used = new Set([...(node?.archives ?? []), ...archivesOf(before)].map(({ hash }) => hash));
  return (before?.formerCode ?? []).filter((hash) => !used.has(hash));
};

bb.codeFunctions = [
  ["_system:missingCode", { kind: "query", run: missingCode }],
  ["_system:putCode", { kind: "mutation", run: putCode }],
  ["_system:dropCode", { kind: "mutation", run: dropCode }],
  ["_system:code", { kind: "query", run: code }],
  ["_system:codePart", { kind: "query", run: codePart }],
  ["_system:action", { kind: "query", run: action }],
];
