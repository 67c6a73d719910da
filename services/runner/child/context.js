/** The `ctx` of an action: no database, but functions, the scheduler, who called, and whether to stop. */

import { getFunctionName } from "../../../libs/js/bitbend/server/references.js";

export class NotAvailableError extends Error {
  constructor(message) {
    super(message);
    this.code = "NotAvailableHere";
  }
}

const STORAGE = new Proxy(Object.freeze({}), {
  get(_, property) {
    if (typeof property === "symbol" || property === "then" || property === "toJSON") return undefined;
    throw new NotAvailableError(`ctx.storage.${property} is not available: files are not supported by this version.`);
  },
});

/**
 * `task`: {path, identity}; `api`: child/api.js; `runAction(path, args)` runs another action of this code here.
 */
export function createContext({ task, api, signal, progress, runAction }) {
  const ctx = {
    runQuery: async (reference, args) => api.query(nameOf("runQuery", reference), args),
    runMutation: async (reference, args) => api.mutation(nameOf("runMutation", reference), args),
    runAction: async (reference, args) => runAction(nameOf("runAction", reference), args),
    auth: Object.freeze({
      async getUserIdentity() {
        return task.identity === null ? null : JSON.parse(task.identity);
      },
    }),
    scheduler: Object.freeze({
      runAfter: async (delayMs, reference, args) => api.schedule(nameOf("scheduler.runAfter", reference), args, Date.now() + delayOf(delayMs)),
      runAt: async (time, reference, args) => api.schedule(nameOf("scheduler.runAt", reference), args, timeOf(time)),
      cancel: async (id) => api.cancelJob(id),
    }),
    storage: STORAGE,
    meta: Object.freeze({
      async getFunctionMetadata() {
        return { name: task.path, kind: "action" };
      },
    }),
    signal,
    progress,
  };
  Object.defineProperty(ctx, "db", {
    get() {
      throw new NotAvailableError("An action has no ctx.db: it reads with ctx.runQuery and writes with ctx.runMutation, each a transaction of its own.");
    },
  });
  return ctx;
}

function nameOf(what, reference) {
  try {
    const name = getFunctionName(reference);
    return name.includes(":") ? name : `${name}:default`;
  } catch (error) {
    throw new NotAvailableError(`ctx.${what}: ${error.message}`);
  }
}

function delayOf(delayMs) {
  if (typeof delayMs !== "number" || !Number.isFinite(delayMs) || delayMs < 0) throw new TypeError("ctx.scheduler.runAfter takes a number of milliseconds that is not negative.");
  return delayMs;
}

function timeOf(time) {
  const number = time instanceof Date ? time.getTime() : time;
  if (typeof number !== "number" || !Number.isFinite(number)) throw new TypeError("ctx.scheduler.runAt takes a Date or milliseconds since 1970.");
  return number;
}
