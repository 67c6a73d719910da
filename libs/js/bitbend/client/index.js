/** The client, for browsers and Node.js >= 20.19. */

export { getFunctionName, makeFunctionReference, anyApi } from "../server/references.js";
export { Client } from "./client.js";
export { ClosedError, ConnectionError, FunctionError, RequestError } from "./errors.js";
