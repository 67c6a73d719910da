/** Optimistic updates: what a mutation will probably do to the results of queries, shown before the server says. */

import { getFunctionName } from "../server/references.js";
import { decodeValue, encodeValue } from "../values/encode.js";

/** Names a query: the same function with the same arguments is the same query. */
export function keyOf(path, encodedArgs) {
  return `${path}\n${JSON.stringify(encodedArgs)}`;
}

/**
 * The updates of `state.optimistic`, one over the other, over the results. Gives the changed results by key, and
 * the updates that did not throw; with `throws`, an error is the caller's.
 */
export function overlay(state, throws) {
  const views = new Map();
  const optimistic = state.optimistic.filter(({ update, args }) => {
    const changed = new Map();
    try {
      update(storeOf(state, views, changed), args);
    } catch (error) {
      if (throws) throw error;
      return false;
    }
    for (const [key, view] of changed) views.set(key, view);
    return true;
  });
  return { views, optimistic };
}

/** What an update sees: results with the updates before it, and its own. Only live queries can be changed. */
function storeOf(state, views, changed) {
  const valueOf = (key) => {
    const result = changed.get(key) ?? views.get(key) ?? state.queries.get(key)?.result;
    return result?.status === "value" ? result.value : undefined;
  };
  const keyFor = (reference, args) => keyOf(getFunctionName(reference), encodeValue(args ?? {}, "args"));
  return {
    getQuery: (reference, args) => valueOf(keyFor(reference, args)),
    getAllQueries(reference) {
      const path = getFunctionName(reference);
      const live = [...state.queries].filter(([, query]) => query.path === path);
      return live.map(([key, query]) => ({ args: decodeValue(query.args, "args"), value: valueOf(key) }));
    },
    setQuery(reference, args, value) {
      const key = keyFor(reference, args);
      if (!state.queries.has(key) || value === undefined) return;
      changed.set(key, { status: "value", value, error: undefined });
    },
  };
}
