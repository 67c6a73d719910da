/**
 * What functions find as "convex/server": this package's own, by the names that they know. The bundler of the command
 * line puts it there, so that an application written for the npm package convex is deployed as it is.
 */

export {
  action as actionGeneric,
  anyApi,
  cronJobs,
  defineSchema,
  defineTable,
  getFunctionName,
  httpAction as httpActionGeneric,
  httpRouter,
  internalAction as internalActionGeneric,
  internalMutation as internalMutationGeneric,
  internalQuery as internalQueryGeneric,
  makeFunctionReference,
  mutation as mutationGeneric,
  paginationOptsValidator,
  paginationResultValidator,
  query as queryGeneric,
} from "bitbend/server";
