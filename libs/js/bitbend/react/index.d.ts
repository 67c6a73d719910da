/** React hooks over the client. React 18 or newer comes with the application. */

import type { ReactNode } from "react";

import type { Client, ConnectionState, OptimisticUpdate } from "../client/index.js";
import type { PaginationOptions, PaginationResult } from "../server/database.js";
import type { ArgsOf, CallArgs, FunctionReference, ReturnsOf } from "../server/functions.js";

type Query = FunctionReference<"query">;
type Mutation = FunctionReference<"mutation">;
type Action = FunctionReference<"action">;

/** The arguments of a query, or "skip": the query is not asked for, and its result is `undefined`. */
type QueryArgs<R extends Query> = {} extends ArgsOf<R> ? [args?: ArgsOf<R> | "skip"] : [args: ArgsOf<R> | "skip"];

/**
 * Makes a client known to the hooks of all components below it.
 *
 * ```tsx
 * const client = new Client("http://127.0.0.1:3210");
 * createRoot(root).render(<BitBendProvider client={client}><App /></BitBendProvider>);
 * ```
 */
export declare function BitBendProvider(props: { client: Client; children?: ReactNode }): ReactNode;

/** The client of the provider. */
export declare function useBitBend(): Client;

/**
 * The result of a query, live: the component renders again when it changes. `undefined` while it loads. A failure
 * is thrown, for an error boundary.
 *
 * ```tsx
 * const messages = useQuery(api.messages.list, channel ? { channel } : "skip");
 * if (messages === undefined) return <p>Loading</p>;
 * ```
 */
export declare function useQuery<R extends Query>(query: R, ...args: QueryArgs<R>): ReturnsOf<R> | undefined;

/**
 * Any number of queries, by names of your choice: values, `undefined` while loading, or an `Error`. All hold at
 * one moment.
 *
 * ```tsx
 * const counts = useQueries(Object.fromEntries(channels.map((id) => [id, { query: api.messages.count, args: { channel: id } }])));
 * ```
 */
export declare function useQueries<Requests extends Record<string, { query: Query; args: Record<string, unknown> } | "skip">>(
  queries: Requests,
): {
  [Name in keyof Requests]: Requests[Name] extends { query: infer R extends Query } ? ReturnsOf<R> | undefined | Error : undefined;
};

/** A query that takes `paginationOpts` and returns what `.paginate(paginationOpts)` gives. */
export type PaginatedQuery = FunctionReference<"query", "public", any, PaginationResult<any>>;
export type PaginatedArgs<R extends PaginatedQuery> = Omit<ArgsOf<R>, "paginationOpts">;
export type PaginatedItem<R extends PaginatedQuery> = ReturnsOf<R> extends PaginationResult<infer Item> ? Item : never;

export interface PaginatedResult<Item> {
  /** The items of all pages that are there. Live, and without gaps while rows come and go. */
  results: Item[];
  status: "LoadingFirstPage" | "LoadingMore" | "CanLoadMore" | "Exhausted";
  isLoading: boolean;
  /** Asks for the next page; nothing happens unless `status` is "CanLoadMore". */
  loadMore(numItems: number): void;
}

/**
 * A live list that grows page by page.
 *
 * ```tsx
 * const { results, status, loadMore } = usePaginatedQuery(api.messages.page, { channel }, { initialNumItems: 20 });
 * ```
 */
export declare function usePaginatedQuery<R extends PaginatedQuery>(
  query: R,
  args: PaginatedArgs<R> | "skip",
  options: { initialNumItems: number },
): PaginatedResult<PaginatedItem<R>>;

export interface ReactMutation<R extends Mutation> {
  (...args: CallArgs<R>): Promise<ReturnsOf<R>>;
  /** The same mutation that shows what it will probably do before the server says. */
  withOptimisticUpdate(update: OptimisticUpdate<R>): ReactMutation<R>;
}

/**
 * A function that runs a mutation; it is the same one in every render.
 *
 * ```tsx
 * const send = useMutation(api.messages.send).withOptimisticUpdate((store, message) => {
 *   const list = store.getQuery(api.messages.list, { channel: message.channel });
 *   if (list) store.setQuery(api.messages.list, { channel: message.channel }, [...list, message]);
 * });
 * ```
 */
export declare function useMutation<R extends Mutation>(mutation: R): ReactMutation<R>;

/** A function that runs an action; it is the same one in every render. */
export declare function useAction<R extends Action>(action: R): (...args: CallArgs<R>) => Promise<ReturnsOf<R>>;

/** Whether what is shown is live. */
export declare function useConnectionState(): ConnectionState;

export type { ConnectionState, OptimisticUpdate } from "../client/index.js";
export type { PaginationOptions, PaginationResult } from "../server/database.js";
