import type { FunctionReference, FunctionKind } from "./functions.js";

/** Any path as a reference, without types: `anyApi.sub.dir.name` names "sub/dir:name". */
export declare const anyApi: any;

/**
 * The reference of a name such as "messages:list".
 *
 * ```ts
 * const list = makeFunctionReference<"query", { channel: string }, string[]>("messages:list");
 * ```
 */
export declare function makeFunctionReference<
  Kind extends FunctionKind = any,
  Args extends Record<string, any> = any,
  Returns = any,
>(name: string): FunctionReference<Kind, "public", Args, Returns>;

/** The name of a reference, such as "messages:list". */
export declare function getFunctionName(reference: FunctionReference<any, any> | string): string;
