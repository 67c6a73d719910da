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
export type * from "bitbend/server";
