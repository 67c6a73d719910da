/** The client, for browsers and Node.js >= 20.19. */

import type { ArgsOf, CallArgs, FunctionReference, ReturnsOf } from "../server/functions.js";
import type { AnyDataModel } from "../server/data.js";
import type { FunctionErrorCode, RequestErrorCode } from "./codes.js";
import type { ConsumerRecord, TxRecord, TxsOptions } from "./txs.js";

export { anyApi, getFunctionName, makeFunctionReference } from "../server/references.js";
export type { ArgsOf, FunctionReference, ReturnsOf } from "../server/functions.js";
export type { FunctionErrorCode, RequestErrorCode } from "./codes.js";
export type { ConsumerRecord, TxChange, TxRecord, TxsOptions } from "./txs.js";

/** A code of a newer server is a text too. */
type OrNewer<Code extends string> = Code | (string & {});

type MutationArgs<R extends Mutation> =
  CallArgs<R> extends [args?: infer Args] ? [args?: Args, options?: MutationOptions<R>] : [args: ArgsOf<R>, options?: MutationOptions<R>];

/** The results of live queries, as an optimistic update sees and changes them. */
export interface OptimisticStore {
  /** What the query shows; `undefined`: nobody listens to it, or it is loading. */
  getQuery<R extends FunctionReference<"query">>(query: R, args: ArgsOf<R>): ReturnsOf<R> | undefined;
  /** Every live query of this function. */
  getAllQueries<R extends FunctionReference<"query">>(query: R): { args: ArgsOf<R>; value: ReturnsOf<R> | undefined }[];
  /** Shows `value` until the server's result is there. Make a new value; do not change the old one. */
  setQuery<R extends FunctionReference<"query">>(query: R, args: ArgsOf<R>, value: ReturnsOf<R>): void;
}

export type OptimisticUpdate<R extends FunctionReference<"mutation">> = (store: OptimisticStore, args: ArgsOf<R>) => void;

export interface MutationOptions<R extends FunctionReference<"mutation">> {
  /** What the mutation will probably do to live queries: shown at once, replaced by what the server says. It runs often. */
  optimisticUpdate?: OptimisticUpdate<R>;
}

/** What a live query shows. */
export type QueryResult<Value> =
  | { status: "loading"; value: undefined; error: undefined }
  | { status: "value"; value: Value; error: undefined }
  | { status: "failed"; value: undefined; error: Error & { code: string } };

type Query = FunctionReference<"query">;
type Mutation = FunctionReference<"mutation">;
type Action = FunctionReference<"action">;

/**
 * What a page may show its user. idle: nothing is live; reconnecting: the connection was lost, and what is
 * shown may be old.
 */
export type ConnectionState = "idle" | "connecting" | "connected" | "reconnecting" | "closed";

export interface ClientOptions {
  /** A JWT, or a function that gives one. */
  token?: string | (() => string | null | Promise<string | null>) | null;
  /** Calls internal functions too. Never in a browser. */
  adminKey?: string;
  fetch?: typeof globalThis.fetch;
  /**
   * All tabs of a browser use one stream for their live queries, where the browser can (locks and channels between
   * tabs; pages with TLS or on this machine). `false`: a stream of its own.
   */
  shareStream?: boolean;
  /** Where warnings and unhandled failures of live queries go; the default is `console`. */
  logger?: Pick<Console, "warn" | "error">;
}

/** Ends a live query. */
export interface Unsubscribe<Value> {
  (): void;
  /** What was heard last; `undefined` while loading. */
  getCurrentValue(): Value | undefined;
}

/**
 * A connection to a BitBend server. It opens nothing until it is used.
 *
 * ```ts
 * const client = new Client("http://127.0.0.1:3210");
 * const stop = client.onUpdate(api.messages.list, { channel }, (messages) => render(messages));
 * await client.mutation(api.messages.send, { channel, author: "Ada", body: "Hello" });
 * ```
 */
export declare class Client {
  constructor(url: string, options?: ClientOptions);
  readonly url: string;

  /** Runs a query once, at the newest moment; own writes are always seen. */
  query<R extends Query>(query: R, ...args: CallArgs<R>): Promise<ReturnsOf<R>>;

  /**
   * Runs a mutation. Mutations run one after the other, in the order of the calls. A connection that is lost
   * does not fail it: it is sent again when the server is back, and takes effect exactly once.
   */
  mutation<R extends Mutation>(mutation: R, ...args: MutationArgs<R>): Promise<ReturnsOf<R>>;

  /** Runs an action. It is sent once: when the connection is lost, the promise is rejected. */
  action<R extends Action>(action: R, ...args: CallArgs<R>): Promise<ReturnsOf<R>>;

  /**
   * Calls back with the result of a query, now and whenever it changes. All live queries come on one stream and
   * move through time together. The same query twice is one subscription; what did not change in a result keeps
   * its object identity.
   */
  onUpdate<R extends Query>(
    query: R,
    args: ArgsOf<R>,
    onValue: (value: ReturnsOf<R>) => void,
    onError?: (error: Error & { code: string }) => void,
  ): Unsubscribe<ReturnsOf<R>>;

  /**
   * Every transaction, in order, each once. It goes on by itself when the connection is lost, and reads as
   * fast as the loop does. It needs the admin key. The types of changes come from the data model, if named.
   *
   * ```ts
   * for await (const record of client.txs<DataModel>({ from: "now", tables: ["messages"] })) {
   *   for (const change of record.changes) console.log(record.tx, change.op, change.after?.body);
   * }
   * ```
   */
  txs<Model = AnyDataModel>(options?: TxsOptions<Model>): AsyncIterableIterator<TxRecord<Model>>;

  /**
   * The same from a position that the database keeps under a name: after a restart it begins behind the last
   * record that was acknowledged, so each record comes at least once. A new name begins at `from`.
   *
   * ```ts
   * for await (const record of client.consumer("mailer", { tables: ["users"] })) {
   *   await sendMails(record.changes);
   *   await record.ack();
   * }
   * ```
   */
  consumer<Model = AnyDataModel>(name: string, options?: TxsOptions<Model>): AsyncIterableIterator<ConsumerRecord<Model>>;

  /** What a live query shows now; `undefined` when nobody listens to it. */
  currentResult<R extends Query>(query: R, ...args: CallArgs<R>): QueryResult<ReturnsOf<R>> | undefined;

  connectionState(): ConnectionState;
  /** Calls back when the state changes. Returns what ends that. */
  onConnectionState(callback: (state: ConnectionState) => void): () => void;

  /** The JWT of later requests; open live queries go on as that user. */
  setToken(token: ClientOptions["token"]): void;

  /**
   * The user whose tokens this function gives: it is asked when one is needed, again before it expires, and with
   * `forceRefreshToken` when the server did not take the last one. `null`: nobody. `onChange` hears whether there
   * is a user that the server takes.
   *
   * ```ts
   * client.setAuth(async ({ forceRefreshToken }) => session.token({ skipCache: forceRefreshToken }));
   * ```
   */
  setAuth(
    fetchToken: (options: { forceRefreshToken: boolean }) => Promise<string | null | undefined> | string | null | undefined,
    onChange?: (isAuthenticated: boolean) => void,
  ): void;

  /** Nobody calls, from now on. */
  clearAuth(): void;

  /** Ends live queries; what is still waiting is rejected with a `ClosedError`. */
  close(): void;
}

/** A function failed: `code` says how ("ServerError", "ArgumentValidation", "FunctionTimeout", ...). */
export declare class FunctionError extends Error {
  readonly code: OrNewer<FunctionErrorCode>;
  readonly logLines: string[];
}
/** The server refused the request before any function ran. */
export declare class RequestError extends Error {
  readonly code: OrNewer<RequestErrorCode>;
  readonly status: number;
}
/** Nobody answered. */
export declare class ConnectionError extends Error {
  readonly code: "ConnectionFailed";
}
/** The client was closed before the answer came. */
export declare class ClosedError extends Error {
  readonly code: "ClientClosed";
}
