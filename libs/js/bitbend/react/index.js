/**
 * React hooks over the client. Every hook reads the client's state through `useSyncExternalStore`: all components
 * of a render see one moment. On the server every query is loading, and nothing is opened.
 */

import { createContext, createElement, useCallback, useContext, useMemo, useRef, useState, useSyncExternalStore } from "react";

import { keyOf } from "../client/optimistic.js";
import { getFunctionName } from "../server/references.js";
import { encodeValue } from "../values/encode.js";

const Context = createContext(null);

export function BitBendProvider({ client, children }) {
  return createElement(Context.Provider, { value: client }, children);
}

export function useBitBend() {
  const client = useContext(Context);
  if (client === null) throw new Error("There is no <BitBendProvider client={client}> around this component.");
  return client;
}

export function useQuery(query, ...[args = {}]) {
  const { result } = useQueries(args === "skip" ? {} : { result: { query, args } });
  if (result instanceof Error) throw result;
  return result;
}

export function useQueries(queries) {
  const client = useBitBend();
  const wanted = Object.entries(queries).filter(([, query]) => query !== "skip");
  const key = JSON.stringify(wanted.map(([name, { query, args }]) => [name, requestKey(query, args)]));
  // The same queries under the same names are the same subscription, whatever objects they come in.
  const store = useMemo(() => storeOf(client, wanted), [client, key]);
  return useSyncExternalStore(store.subscribe, store.read, store.readOnServer);
}

export function usePaginatedQuery(query, args, { initialNumItems }) {
  const isSkipped = args === "skip";
  const start = { key: isSkipped ? "skip" : requestKey(query, args), pages: [{ cursor: null, numItems: initialNumItems }] };
  const [kept, setKept] = useState(start);
  // Other arguments begin at the first page again.
  const { pages } = kept.key === start.key ? kept : start;
  const known = useRef({ key: start.key, pages: [] });
  if (known.current.key !== start.key) known.current = { key: start.key, pages: [] };

  const asked = isSkipped ? {} : Object.fromEntries(pages.map((page, at) => [at, { query, args: { ...args, paginationOpts: page } }]));
  const found = useQueries(asked);
  const loaded = pages.map((_, at) => {
    if (found[at] instanceof Error) throw found[at];
    // A page whose end was just fixed is asked for anew; what it showed stays until that is there.
    if (found[at] !== undefined) known.current.pages[at] = found[at];
    return known.current.pages[at];
  });

  const last = loaded.at(-1);
  const status = isSkipped || loaded[0] === undefined ? "LoadingFirstPage" : last === undefined ? "LoadingMore" : last.isDone ? "Exhausted" : "CanLoadMore";
  const results = useStable(loaded.flatMap((page) => page?.page ?? []));
  const loadMore = useCallback(
    (numItems) => {
      if (status !== "CanLoadMore") return;
      // Where a page ends and the next begins is fixed: rows that come and go leave no gap between them.
      const cursor = last.continueCursor;
      const fixed = pages.map((page, at) => (at === pages.length - 1 ? { ...page, endCursor: cursor } : page));
      setKept({ key: start.key, pages: [...fixed, { cursor, numItems }] });
    },
    [status, last?.continueCursor, pages, start.key],
  );
  return { results, status, isLoading: status === "LoadingFirstPage" || status === "LoadingMore", loadMore };
}

export function useMutation(mutation) {
  const client = useBitBend();
  return useMemo(() => mutationOf(client, mutation), [client, getFunctionName(mutation)]);
}

export function useAction(action) {
  const client = useBitBend();
  return useCallback((args) => client.action(action, args), [client, getFunctionName(action)]);
}

export function useConnectionState() {
  const client = useBitBend();
  const subscribe = useCallback((callback) => client.onConnectionState(callback), [client]);
  return useSyncExternalStore(subscribe, () => client.connectionState(), () => "idle");
}

/* ---- what the hooks share ---- */

function requestKey(query, args) {
  return keyOf(getFunctionName(query), encodeValue(args ?? {}, "args"));
}

/** The results of some queries as one snapshot, which is the same object as long as none changes. */
function storeOf(client, wanted) {
  const loading = Object.fromEntries(wanted.map(([name]) => [name, undefined]));
  let snapshot = loading;
  function read() {
    const values = wanted.map(([, { query, args }]) => {
      const result = client.currentResult(query, args);
      return result?.status === "failed" ? result.error : result?.value;
    });
    if (wanted.some(([name], at) => !Object.is(snapshot[name], values[at]))) {
      snapshot = Object.fromEntries(wanted.map(([name], at) => [name, values[at]]));
    }
    return snapshot;
  }
  function subscribe(callback) {
    const stops = wanted.map(([, { query, args }]) => client.onUpdate(query, args ?? {}, callback, callback));
    return () => stops.forEach((stop) => stop());
  }
  return { subscribe, read, readOnServer: () => loading };
}

function mutationOf(client, mutation, optimisticUpdate) {
  const mutate = (args) => client.mutation(mutation, args, { optimisticUpdate });
  mutate.withOptimisticUpdate = (update) => mutationOf(client, mutation, update);
  return mutate;
}

/** The list of before, when nothing in it changed. */
function useStable(list) {
  const kept = useRef(list);
  if (kept.current.length !== list.length || list.some((item, at) => !Object.is(item, kept.current[at]))) kept.current = list;
  return kept.current;
}
