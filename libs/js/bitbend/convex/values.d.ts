export { BitBendError as ConvexError, asValidator as asObjectValidator, compareValues, decodeValue as jsonToConvex, encodeValue as convexToJson, v } from "bitbend/values";
export type * from "bitbend/values";
export type { Id as GenericId } from "bitbend/values";
