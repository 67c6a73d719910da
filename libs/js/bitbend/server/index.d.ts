/** What functions, schemas, routes and crons are written with. */

import type { AnyDataModel } from "./data.js";
import type { ActionBuilder, FeedRuleBuilder, HttpActionBuilder, MutationBuilder, QueryBuilder } from "./functions.js";

export type * from "./data.js";
export type * from "./database.js";
export type * from "./functions.js";
export { anyApi, getFunctionName, makeFunctionReference } from "./references.js";
export { cronJobs, type CronOptions, type Crons, type ExpressionOptions } from "./crons.js";
export { paginationOptsValidator, paginationResultValidator } from "./pagination.js";
export { httpRouter, type CorsOptions, type HttpRouter } from "./router.js";
export { defineSchema, defineTable, type SchemaDefinition, type TableDefinition } from "./schema.js";

export type * from "./environment.js";
export type * from "./auth.js";

/**
 * The builders for any data model. Applications import them, typed by their own schema, from
 * "./_generated/server".
 */
export declare const query: QueryBuilder<AnyDataModel, "public">;
export declare const mutation: MutationBuilder<AnyDataModel, "public">;
export declare const action: ActionBuilder<AnyDataModel, "public">;
export declare const internalQuery: QueryBuilder<AnyDataModel, "internal">;
export declare const internalMutation: MutationBuilder<AnyDataModel, "internal">;
export declare const internalAction: ActionBuilder<AnyDataModel, "internal">;
export declare const httpAction: HttpActionBuilder<AnyDataModel>;
export declare const feedRule: FeedRuleBuilder<AnyDataModel>;
