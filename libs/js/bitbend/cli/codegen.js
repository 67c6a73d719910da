/** `_generated/`: the builders, the references and the types of one application. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { findModules, hasWasm } from "./modules.js";

/** Modules that export no functions to call. */
const WITHOUT_FUNCTIONS = new Set(["schema.js", "auth.config.js"]);
const HEAD = "/* Written by `npx bitbend codegen`; changes are lost. */\n\n";

/** Writes what differs; returns the names of the files that it wrote. */
export function generate(functionsDir) {
  const modules = findModules(functionsDir);
  const hasSchema = modules.some(({ path }) => path === "schema.js");
  const files = {
    "server.js": SERVER_JS,
    "server.d.ts": SERVER_TYPES,
    "api.js": API_JS,
    "api.d.ts": apiTypes(modules.filter(({ path }) => !WITHOUT_FUNCTIONS.has(path))),
    "dataModel.d.ts": hasSchema ? MODEL_TYPES : ANY_MODEL_TYPES,
    ...(hasWasm(functionsDir) ? { "wasm.d.ts": WASM_TYPES } : {}),
  };
  const dir = join(functionsDir, "_generated");
  mkdirSync(dir, { recursive: true });
  const changed = Object.keys(files).filter((name) => !isSame(join(dir, name), HEAD + files[name]));
  for (const name of changed) writeFileSync(join(dir, name), HEAD + files[name]);
  return changed;
}

function isSame(file, text) {
  return existsSync(file) && readFileSync(file, "utf8") === text;
}

const SERVER_JS = `export { action, feedRule, httpAction, internalAction, internalMutation, internalQuery, mutation, query } from "bitbend/server";
`;

const SERVER_TYPES = `import type {
  ActionBuilder,
  ActionCtx as GenericActionCtx,
  DatabaseReader as GenericDatabaseReader,
  DatabaseWriter as GenericDatabaseWriter,
  FeedRuleBuilder,
  HttpActionBuilder,
  MutationBuilder,
  MutationCtx as GenericMutationCtx,
  QueryBuilder,
  QueryCtx as GenericQueryCtx,
} from "bitbend/server";
import type { DataModel } from "./dataModel.js";

export declare const query: QueryBuilder<DataModel, "public">;
export declare const mutation: MutationBuilder<DataModel, "public">;
export declare const action: ActionBuilder<DataModel, "public">;
export declare const internalQuery: QueryBuilder<DataModel, "internal">;
export declare const internalMutation: MutationBuilder<DataModel, "internal">;
export declare const internalAction: ActionBuilder<DataModel, "internal">;
export declare const httpAction: HttpActionBuilder<DataModel>;
export declare const feedRule: FeedRuleBuilder<DataModel>;

export type QueryCtx = GenericQueryCtx<DataModel>;
export type MutationCtx = GenericMutationCtx<DataModel>;
export type ActionCtx = GenericActionCtx<DataModel>;
export type DatabaseReader = GenericDatabaseReader<DataModel>;
export type DatabaseWriter = GenericDatabaseWriter<DataModel>;
`;

const WASM_TYPES = `declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}
`;

const API_JS = `import { anyApi } from "bitbend/server";

export const api = anyApi;
export const internal = anyApi;
`;

function apiTypes(modules) {
  const paths = modules.map(({ path }) => path.slice(0, -".js".length));
  const imports = paths.map((path, index) => `import type * as module${index} from "../${path}.js";\n`).join("");
  const members = paths.map((path, index) => `  ${JSON.stringify(path)}: typeof module${index};\n`).join("");
  return `import type { ApiFromModules } from "bitbend/server";
${imports}
type Modules = {
${members}};

/** The functions that clients may call: \`api.messages.list\`. */
export declare const api: ApiFromModules<Modules, "public">;
/** The functions that only functions may call. */
export declare const internal: ApiFromModules<Modules, "internal">;
`;
}

const MODEL_TAIL = `
export type TableNames = GenericTableNames<DataModel>;
/** A document of a table. */
export type Doc<Table extends TableNames> = GenericDoc<DataModel, Table>;
/** The id of a document of a table. */
export type Id<Table extends TableNames> = GenericId<Table>;
`;

const MODEL_TYPES = `import type { DataModelFromSchema, Doc as GenericDoc, TableNames as GenericTableNames } from "bitbend/server";
import type { Id as GenericId } from "bitbend/values";
import type schema from "../schema.js";

export type DataModel = DataModelFromSchema<typeof schema>;
${MODEL_TAIL}`;

const ANY_MODEL_TYPES = `import type { AnyDataModel, Doc as GenericDoc, TableNames as GenericTableNames } from "bitbend/server";
import type { Id as GenericId } from "bitbend/values";

/** There is no schema.ts: any table, any field. */
export type DataModel = AnyDataModel;
${MODEL_TAIL}`;
