/** Functions: how they are declared, what their `ctx` offers, how they are referred to. */

import type { AnyValidator, Infer, ObjectType, PropertyValidators, Validator } from "../values/index.js";
import type { JobId } from "./data.js";
import type { DatabaseReader, DatabaseWriter } from "./database.js";

export type FunctionKind = "query" | "mutation" | "action";
export type Visibility = "public" | "internal";

/**
 * Names a function without loading it: `api.messages.list`. The types are those of the function.
 */
export interface FunctionReference<
  Kind extends FunctionKind,
  Visible extends Visibility = "public",
  Args extends Record<string, any> = any,
  Returns = any,
> {
  readonly __kind: Kind;
  readonly __visibility: Visible;
  readonly __args: Args;
  readonly __returns: Returns;
}
/** The arguments, and the result, of the function that a reference names. */
export type ArgsOf<R extends FunctionReference<any, any>> = R["__args"];
export type ReturnsOf<R extends FunctionReference<any, any>> = R["__returns"];
/** A call's arguments: they may be left out when none is required. */
export type CallArgs<R extends FunctionReference<any, any>> = {} extends ArgsOf<R> ? [args?: ArgsOf<R>] : [args: ArgsOf<R>];

/** What `query`, `mutation` and `action` make. */
export interface RegisteredFunction<Kind extends FunctionKind, Visible extends Visibility, Args extends Record<string, any>, Returns> {
  readonly isBitBendFunction: true;
  readonly kind: Kind;
  readonly visibility: Visible;
  readonly __args?: Args;
  readonly __returns?: Returns;
}
export interface RegisteredHttpAction {
  readonly isBitBendFunction: true;
  readonly kind: "httpAction";
}

type ArgsDeclaration = PropertyValidators | Validator<any, "required"> | undefined;
type ReturnsDeclaration = PropertyValidators | Validator<any, "required"> | undefined;
type Declared<D, Else> = [D] extends [AnyValidator] ? Infer<D> : [D] extends [PropertyValidators] ? ObjectType<D> : Else;
type DeclaredArgs<D> = [D] extends [undefined] ? Record<string, any> : NoMore<Declared<D, Record<string, any>>>;
/** `{}` alone would take any object. */
type NoMore<Args> = [keyof Args] extends [never] ? Record<string, never> : Args;
type Promised<T> = T | Promise<T>;
/** What the caller gets: there is no `undefined` on the wire. */
type Returned<T> = T extends void | undefined ? null : T;

/** How often a job of an action is tried: at least once with it, at most once without. `backoff`: milliseconds before the
 * second attempt (1000 when left out); it doubles. */
export interface Retry {
  attempts: number;
  backoff?: number;
}
type Builder<Kind extends FunctionKind, Ctx, Visible extends Visibility> = {
  <
    ArgsValidator extends ArgsDeclaration = undefined,
    ReturnsValidator extends ReturnsDeclaration = undefined,
    Args extends DeclaredArgs<ArgsValidator> = DeclaredArgs<ArgsValidator>,
    Result extends Promised<Declared<ReturnsValidator, any>> | void = any,
  >(
    definition:
      | {
          /** Validators of the arguments; a call that does not fit never reaches the handler. */
          args?: ArgsValidator;
          /** Validator of the result. */
          returns?: ReturnsValidator;
          retry?: Kind extends "action" ? Retry : never;
          handler: (ctx: Ctx, args: Args) => Result;
        }
      | ((ctx: Ctx, args: Args) => Result),
  ): RegisteredFunction<Kind, Visible, Args, Returned<Awaited<Result>>>;
};

export type QueryBuilder<Model, Visible extends Visibility> = Builder<"query", QueryCtx<Model>, Visible>;
export type MutationBuilder<Model, Visible extends Visibility> = Builder<"mutation", MutationCtx<Model>, Visible>;
export type ActionBuilder<Model, Visible extends Visibility> = Builder<"action", ActionCtx<Model>, Visible>;
export type HttpActionBuilder<Model> = (
  handler: (ctx: HttpActionCtx<Model>, request: Request) => Promised<Response>,
) => RegisteredHttpAction;

/**
 * Who may read the transaction feed: the default export of `feed.ts`. Runs as a live query in the name of the
 * user that asks; only `true` admits, to the whole records of the named tables.
 *
 * @example
 * ```ts
 * export default feedRule(async (ctx, { tables, identity }) =>
 *   identity.email === "audit@example.com" && tables.every((table) => table === "orders"));
 * ```
 */
export type FeedRuleBuilder<Model> = (
  rule: (ctx: QueryCtx<Model>, asked: { readonly tables: readonly string[]; readonly identity: UserIdentity }) => Promised<boolean>,
) => RegisteredFeedRule;
export interface RegisteredFeedRule {
  readonly isFeedRule: true;
}

type RunQuery = <R extends FunctionReference<"query", any>>(query: R, ...args: CallArgs<R>) => Promise<ReturnsOf<R>>;
type RunMutation = <R extends FunctionReference<"mutation", any>>(mutation: R, ...args: CallArgs<R>) => Promise<ReturnsOf<R>>;
type RunAction = <R extends FunctionReference<"action", any>>(action: R, ...args: CallArgs<R>) => Promise<ReturnsOf<R>>;

/** What a query may do: read. It runs at one moment and always gives the same result there. */
export interface QueryCtx<Model> {
  readonly db: DatabaseReader<Model>;
  readonly auth: Auth;
  /** Runs a query within this transaction. */
  readonly runQuery: RunQuery;
  readonly meta: Meta;
}

/** What a mutation may do: read and write, all or nothing. */
export interface MutationCtx<Model> {
  readonly db: DatabaseWriter<Model>;
  readonly auth: Auth;
  readonly runQuery: RunQuery;
  /** Runs a mutation within this transaction; when it throws, only its own writes are undone. */
  readonly runMutation: RunMutation;
  readonly scheduler: Scheduler;
  readonly meta: Meta;
}

/** What an action may do: everything Node.js can; data only through queries and mutations. */
export interface ActionCtx<Model> {
  readonly auth: Auth;
  readonly runQuery: RunQuery;
  readonly runMutation: RunMutation;
  readonly runAction: RunAction;
  readonly scheduler: Scheduler;
  readonly meta: Pick<Meta, "getFunctionMetadata">;
  /** It was cancelled, ran for too long, or its runner ends: it is ended 5 s later. */
  readonly signal: AbortSignal;
  /** What the job's row shows of it from now on; nothing when it does not run as a job. */
  progress(value: unknown): void;
  /** Only for types. */
  readonly __model?: Model;
}

/** What the handler of a route may do: all that an action may. */
export interface HttpActionCtx<Model> extends ActionCtx<Model> {
  /** The parts of the path that the route names: `/users/{id}` gives `id`, decoded. */
  readonly params: Readonly<Record<string, string>>;
}

export interface Auth {
  /** Who calls, or null. */
  getUserIdentity(): Promise<UserIdentity | null>;
}
export interface UserIdentity {
  readonly tokenIdentifier: string;
  readonly subject: string;
  readonly issuer: string;
  readonly name?: string;
  readonly email?: string;
  readonly [claim: string]: unknown;
}

type Schedulable = FunctionReference<"mutation" | "action", any>;
export interface Scheduler {
  /** Runs a mutation or an action after this many milliseconds; written with the transaction. Gives the job's id. */
  runAfter<R extends Schedulable>(delayMs: number, job: R, ...args: CallArgs<R>): Promise<JobId>;
  /** The same at a time: a Date, or milliseconds since 1970. */
  runAt<R extends Schedulable>(time: number | Date, job: R, ...args: CallArgs<R>): Promise<JobId>;
  /** A job that has not begun never runs; an action that runs is told to stop. */
  cancel(id: string): Promise<void>;
}

export interface Meta {
  /** The moment that this transaction reads at, in nanoseconds. */
  getSnapshotTs(): Promise<bigint>;
  /** The function that runs. */
  getFunctionMetadata(): Promise<{ name: string; kind: FunctionKind }>;
}

/* ---- from modules to `api` ---- */

type UnionToIntersection<U> = (U extends unknown ? (member: U) => void : never) extends (all: infer All) => void ? All : never;
type Nested<Path extends string, T> = Path extends `${infer Folder}/${infer Rest}`
  ? { [K in Folder]: Nested<Rest, T> }
  : { [K in Path]: T };
type ReferencesOf<Module, Visible extends Visibility> = {
  [Name in keyof Module as Module[Name] extends RegisteredFunction<any, Visible, any, any> ? Name : never]: Module[Name] extends RegisteredFunction<
    infer Kind,
    Visible,
    infer Args,
    infer Returns
  >
    ? FunctionReference<Kind, Visible, Args, Returns>
    : never;
};

/** The references of all functions of a visibility: what `_generated/api.d.ts` declares. */
export type ApiFromModules<Modules extends Record<string, object>, Visible extends Visibility> = UnionToIntersection<
  { [Path in keyof Modules & string]: Nested<Path, ReferencesOf<Modules[Path], Visible>> }[keyof Modules & string]
>;
