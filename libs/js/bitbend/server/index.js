/** What functions, schemas, routes and crons are written with. Runs in V8 without Node.js. */

export { cronJobs } from "./crons.js";
export { action, feedRule, httpAction, internalAction, internalMutation, internalQuery, mutation, query } from "./functions.js";
export { anyApi, getFunctionName, makeFunctionReference } from "./references.js";
export { paginationOptsValidator, paginationResultValidator } from "./pagination.js";
export { httpRouter } from "./router.js";
export { defineSchema, defineTable } from "./schema.js";
