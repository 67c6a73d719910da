/**
 * The builders of functions. What they return carries the declaration (kind, visibility, validators) and
 * `invoke(ctx, args)`, which checks arguments and result around the handler. The runtime makes `ctx`.
 */

import { asValidator, ValidationError } from "../values/validators.js";

function builder(kind, visibility) {
  return (definition) => makeFunction(kind, visibility, definition);
}

export const query = builder("query", "public");
export const mutation = builder("mutation", "public");
export const action = builder("action", "public");
export const internalQuery = builder("query", "internal");
export const internalMutation = builder("mutation", "internal");
export const internalAction = builder("action", "internal");

/** A handler `(ctx, request) => response` for `http.ts`. */
export function httpAction(handler) {
  if (typeof handler !== "function") throw new TypeError("httpAction needs a function (ctx, request) => response");
  return {
    isBitBendFunction: true,
    kind: "httpAction",
    visibility: "public",
    exportArgs: () => null,
    exportReturns: () => null,
    invoke: async (ctx, request) => handler(ctx, request),
  };
}

/** The default export of `feed.ts`: only `true` of `(ctx, { tables, identity })` admits a user to the feed. */
export function feedRule(rule) {
  if (typeof rule !== "function") throw new TypeError("feedRule needs a function (ctx, { tables, identity }) => boolean");
  async function handler(ctx, { tables }) {
    const identity = await ctx.auth.getUserIdentity();
    return { feedRule: identity !== null && (await rule(ctx, { tables, identity })) === true };
  }
  return { ...makeFunction("query", "internal", handler), isFeedRule: true };
}

function makeFunction(kind, visibility, definition) {
  const { args, returns, handler, retry } = typeof definition === "function" ? { handler: definition } : definition ?? {};
  const name = visibility === "internal" ? `internal${kind[0].toUpperCase()}${kind.slice(1)}` : kind;
  if (typeof handler !== "function") {
    throw new TypeError(`${name} needs a function (ctx, args) => result, or an object with such a "handler"`);
  }
  if (retry !== undefined) checkRetry(name, kind, retry);
  const argsValidator = args === undefined ? null : asValidator(args);
  const returnsValidator = returns === undefined ? null : asValidator(returns);

  return {
    isBitBendFunction: true,
    kind,
    visibility,
    ...(retry === undefined ? {} : { retry: { attempts: retry.attempts, backoff: retry.backoff ?? 1000 } }),
    exportArgs: () => exportValidator(argsValidator),
    exportReturns: () => exportValidator(returnsValidator),
    async invoke(ctx, argument) {
      const context = kind === "action" || (argsValidator ?? returnsValidator) === null ? {} : contextOf(ctx);
      if (argsValidator !== null) check(argsValidator, argument, "args", context, "ArgumentValidation");
      const result = await handler(ctx, argument);
      if (returnsValidator !== null) {
        check(returnsValidator, result === undefined ? null : result, "result", context, "ReturnValidation");
      }
      return result;
    },
  };
}

/** `retry: { attempts, backoff }`: a job of this action runs at least once, and again when it fails. */
function checkRetry(name, kind, retry) {
  if (kind !== "action") throw new TypeError(`${name}: only actions are tried again; a mutation runs exactly once.`);
  const { attempts, backoff = 1000 } = retry ?? {};
  if (!Number.isInteger(attempts) || attempts < 1 || attempts > 1000) {
    throw new TypeError(`${name}: retry.attempts is a whole number from 1 to 1000.`);
  }
  if (typeof backoff !== "number" || !(backoff >= 0 && backoff <= 3600000)) {
    throw new TypeError(`${name}: retry.backoff is the milliseconds before the second attempt, at most an hour; it doubles.`);
  }
}

function exportValidator(validator) {
  return validator === null ? null : JSON.stringify(validator.json);
}

/** What validators may ask: actions have no database and take every string for an id. */
function contextOf(ctx) {
  const db = ctx?.db;
  return db && typeof db.normalizeId === "function" ? { normalizeId: (table, id) => db.normalizeId(table, id) } : {};
}

function check(validator, value, name, context, code) {
  try {
    validator.check(value, name, context);
  } catch (error) {
    if (error instanceof ValidationError) error.setCode(code);
    throw error;
  }
}
