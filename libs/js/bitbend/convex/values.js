/** What functions find as "convex/values". */

export { BitBendError as ConvexError, asValidator as asObjectValidator, compareValues, decodeValue as jsonToConvex, encodeValue as convexToJson, v } from "bitbend/values";
