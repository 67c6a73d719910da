// Functions: how one is found by its name, what ctx it gets, and how one calls another.
"use strict";

const { bb, now } = internals;
const { op } = bb;

const NAME = Symbol.for("functionName");
const DEPTH_MAX = 8;

// "dir/messages:list" -> ["dir/messages.js", "list"]
const splitPath = (path) => {
  const colon = path.lastIndexOf(":");
  const module = colon < 0 ? path : path.slice(0, colon);
  return [module.endsWith(".js") ? module : `${module}.js`, colon < 0 ? "default" : path.slice(colon + 1)];
};

// The parts of paths that led to a function, from call to call: they say nothing of any call.
const PLACES_MAX = 1024;
const places = new Map();

const keepPlace = (path, place) => {
  if (places.size >= PLACES_MAX) {
    places.clear();
  }
  places.set(path, place);
};

const isFunction = (value) =>
  (typeof value === "object" || typeof value === "function") && value !== null && value.isBitBendFunction === true;

bb.isFunction = isFunction;

const findFunction = (bundle, path) => {
  const known = places.get(path);
  const place = known ?? splitPath(path);
  const [module, name] = place;
  const exported = bundle === null ? undefined : internals.instantiate(bundle, module);
  const found = exported !== undefined && exported !== null && Object.hasOwn(exported, name) ? exported[name] : undefined;
  if (!isFunction(found)) {
    return undefined;
  }
  if (known === undefined) {
    keepPlace(path, place);
  }
  return found;
};

const unavailable = (name, advice) =>
  Object.freeze(
    new Proxy(Object.freeze({}), {
      get: (_, property) => {
        if (typeof property === "symbol" || property === "then" || property === "toJSON") {
          return undefined;
        }
        return bb.fail("NotAvailableHere", `ctx.${name}.${property} is not available here: ${advice}`);
      },
    }),
  );
const STORAGE = unavailable("storage", "files are not supported by this version; keep small content as bytes in a document.");

const referencedPath = (name, reference) => {
  if (typeof reference === "string") {
    return reference;
  }
  if ((typeof reference === "object" || typeof reference === "function") && reference !== null) {
    const path = reference[NAME];
    if (typeof path === "string") {
      return path;
    }
    if (isFunction(reference)) {
      bb.fail(
        "NotAvailableHere",
        `ctx.${name} takes a reference such as api.messages.list (from _generated/api), not the function itself. ` +
          "To share code inside a transaction, call a plain helper function.",
      );
    }
  }
  return bb.fail("NotAvailableHere", `ctx.${name} takes a function reference such as api.messages.list, or "messages:list".`);
};

bb.referencedPath = referencedPath;

// Modules that change built-in objects run in the call's own context (libs/vm/README.md): values cross as copies.
const isElsewhere = (bundle, path) =>
  !internals.isOwn && bundle !== null && bundle.needsContext(splitPath(path)[0]);

// An error of another context has the frames of that one only: here it gets those that wait for it.
const withCallers = (error) => {
  const here = {};
  Error.captureStackTrace(here);
  const callers = String(here.stack).split("\n").slice(1);
  if (error instanceof Error && typeof error.stack === "string" && callers.length > 0) {
    error.stack = [error.stack, ...callers].join("\n");
  }
  return error;
};

const elsewhere = async (bundle, ...what) => {
  try {
    return await bundle.elsewhere(...what);
  } catch (error) {
    throw withCallers(error);
  }
};

const subCall = async (parent, name, kind, reference, given) => {
  const path = referencedPath(name, reference);
  if (path.startsWith("_system:")) {
    bb.fail("NotAvailableHere", `ctx.${name}: ${path} cannot be called by functions.`);
  }
  if (isElsewhere(parent.bundle, path)) {
    const caller = { kind: parent.kind, path: parent.path, depth: parent.depth };
    const args = given === undefined ? undefined : bb.copy(given, "args");
    return await elsewhere(parent.bundle, "_own:call", { caller, name, kind, path, args }, parent.kind, parent.call.snapshot);
  }
  const found = findFunction(parent.bundle, path);
  if (found === undefined) {
    bb.fail("NotAvailableHere", `ctx.${name}: Could not find function ${path}. Is it exported, and deployed?`);
  }
  if (found.kind !== kind) {
    const code = parent.kind === "query" && found.kind === "mutation" ? "ReadOnly" : "NotAvailableHere";
    bb.fail(code, `ctx.${name} runs a ${kind}; ${path} is of kind ${found.kind}.`);
  }
  if (parent.depth + 1 > DEPTH_MAX) {
    bb.fail("NotAvailableHere", `ctx.${name}: functions call each other more than ${DEPTH_MAX} levels deep at ${path}.`);
  }
  if (given !== undefined && (typeof given !== "object" || given === null || Array.isArray(given))) {
    bb.fail("ArgumentValidation", `ctx.${name}: the arguments of ${path} must be an object.`);
  }
  const frame = new bb.Frame(kind, path, parent.bundle, parent.call, parent.depth + 1);
  const args = bb.copy(given ?? {}, "args");
  return bb.copy(await bb.runFunction(frame, found, args), "result");
};

// In a mutation one at a time, and undone when it throws. A query has nothing to undo or to wait for.
const subTransaction = (parent, name, kind, reference, given) =>
  parent.kind === "query"
    ? subCall(parent, name, kind, reference, given)
    : bb.exclusive(parent, async () => {
        const mark = host(op.SAVEPOINT);
        try {
          return await subCall(parent, name, kind, reference, given);
        } catch (error) {
          host(op.ROLLBACK, mark);
          throw error;
        }
      });

// One for all calls: the host knows which one runs.
const AUTH = bb.freeze({
  async getUserIdentity() {
    const text = host(op.IDENTITY);
    return text === null ? null : JSON.parse(text);
  },
});

const makeMeta = (frame) => ({
  async getFunctionMetadata() {
    return { name: frame.path, kind: frame.kind };
  },
  // Another moment than the clock's gives another result, as the clock does: the call has looked at it.
  async getSnapshotTs() {
    now();
    return BigInt(frame.call.snapshot) * 1000n;
  },
});

const makeContext = (frame) => {
  const isMutation = frame.kind === "mutation";
  const context = {
    db: isMutation ? bb.makeWriter(frame, bb.USER) : bb.makeReader(frame, bb.USER),
    auth: AUTH,
    meta: makeMeta(frame),
    storage: STORAGE,
    async runQuery(reference, args) {
      return subTransaction(frame, "runQuery", "query", reference, args);
    },
  };
  if (isMutation) {
    context.scheduler = bb.makeScheduler(frame);
    context.runMutation = async (reference, args) => subTransaction(frame, "runMutation", "mutation", reference, args);
  }
  return context;
};

bb.runFunction = async (frame, found, args) => {
  try {
    const result = await found.invoke(makeContext(frame), args);
    return result === undefined ? null : result;
  } finally {
    if (frame.pending > 0 || frame.queued > 0) {
      await bb.idle(frame);
    }
    frame.isOver = true;
  }
};

// The function of a job: in the transaction of `frame`, whose caller undoes what it wrote when it throws.
bb.runJobFunction = async (frame, path, args) => {
  if (isElsewhere(frame.bundle, path)) {
    return frame.bundle.elsewhere("_own:job", { path, args, depth: frame.depth }, "mutation", frame.call.snapshot);
  }
  const found = findFunction(frame.bundle, path);
  if (found === undefined || found.kind !== "mutation") {
    bb.fail("FunctionNotFound", `Could not find the mutation ${path}: it was removed after the job was scheduled.`);
  }
  const inner = new bb.Frame("mutation", path, frame.bundle, frame.call, frame.depth + 1);
  return bb.copy(await bb.runFunction(inner, found, args), "result");
};

// What the shared realm asks of a context: its functions in the middle of a call.
bb.ownCalls = [
  ["_own:call", (bundle, { caller, name, kind, path, args }, call) =>
    subCall(new bb.Frame(caller.kind, caller.path, bundle, call, caller.depth), name, kind, path, args)],
  ["_own:job", (bundle, { path, args, depth }, call) =>
    bb.runJobFunction(new bb.Frame("mutation", path, bundle, call, depth), path, args)],
];

bb.runUserFunction = (bundle, path, args, kind, call) => {
  const found = findFunction(bundle, path);
  if (found === undefined) {
    bb.fail("FunctionNotFound", `Could not find function ${path}. Is it exported, and deployed?`);
  }
  if (found.kind !== kind) {
    bb.fail("WrongKind", `Function ${path} is of kind ${found.kind}, it was called as ${kind}.`);
  }
  return bb.runFunction(new bb.Frame(kind, path, bundle, call, 0), found, args);
};
