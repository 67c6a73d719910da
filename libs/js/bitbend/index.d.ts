export * from "./client/index.js";
export * from "./values/index.js";
