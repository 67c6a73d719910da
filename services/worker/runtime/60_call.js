// Functions: how one is found by its name, what ctx it gets, and how one calls another.
"use strict";

const { bb } = internals;
const { op } = bb;

const NAME = Symbol.for("functionName");
const DEPTH_MAX = 8;

// "dir/messages:list" -> ["dir/messages.js", "list"]
const splitPath = (path) => {
  const colon = path.lastIndexOf(":");
  const module = colon < 0 ? path : path.slice(0, colon);
  return [module.endsWith(".js") ? module : `${module}.js`, colon < 0 ? "default" : path.slice(colon + 1)];
};

const isFunction = (value) =>
  (typeof value === "object" || typeof value === "function") && value !== null && value.isBitBendFunction === true;

bb.isFunction = isFunction;

const findFunction = (bundle, path) => {
  const [module, name] = splitPath(path);
  const exported = bundle === null ? undefined : internals.instantiate(bundle, module);
  const found = exported !== undefined && exported !== null && Object.hasOwn(exported, name) ? exported[name] : undefined;
  return isFunction(found) ? found : undefined;
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

const subCall = async (parent, name, kind, reference, given) => {
  const path = referencedPath(name, reference);
  if (path.startsWith("_system:")) {
    bb.fail("NotAvailableHere", `ctx.${name}: ${path} cannot be called by functions.`);
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
  const frame = new bb.Frame(kind, path, parent.bundle, parent.info, parent.depth + 1);
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

const makeAuth = () =>
  Object.freeze({
    async getUserIdentity() {
      const text = host(op.IDENTITY);
      return text === null ? null : JSON.parse(text);
    },
  });

const makeMeta = (frame) =>
  Object.freeze({
    async getFunctionMetadata() {
      return { name: frame.path, kind: frame.kind };
    },
    async getSnapshotTs() {
      return BigInt(frame.info.snapshot) * 1000n;
    },
  });

const makeContext = (frame) => {
  const isMutation = frame.kind === "mutation";
  const context = {
    db: isMutation ? bb.makeWriter(frame, bb.USER) : bb.makeReader(frame, bb.USER),
    auth: makeAuth(),
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
    await bb.idle(frame);
    frame.isOver = true;
  }
};

// The function of a job: in the transaction of `frame`, whose caller undoes what it wrote when it throws.
bb.runJobFunction = async (frame, path, args) => {
  const found = findFunction(frame.bundle, path);
  if (found === undefined || found.kind !== "mutation") {
    bb.fail("FunctionNotFound", `Could not find the mutation ${path}: it was removed after the job was scheduled.`);
  }
  const inner = new bb.Frame("mutation", path, frame.bundle, frame.info, frame.depth + 1);
  return bb.copy(await bb.runFunction(inner, found, args), "result");
};

bb.runUserFunction = async (bundle, path, args, info) => {
  const found = findFunction(bundle, path);
  if (found === undefined) {
    bb.fail("FunctionNotFound", `Could not find function ${path}. Is it exported, and deployed?`);
  }
  if (found.kind !== info.kind) {
    bb.fail("WrongKind", `Function ${path} is of kind ${found.kind}, it was called as ${info.kind}.`);
  }
  return bb.runFunction(new bb.Frame(info.kind, path, bundle, info, 0), found, args);
};
