/** The client and the values. Functions import from "bitbend/server". */

export * from "./client/index.js";
export * from "./values/index.js";
