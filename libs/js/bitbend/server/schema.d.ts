import type { AnyValidator, Infer, ObjectType, PropertyValidators, Validator } from "../values/index.js";
import type { FieldPath } from "./data.js";

export interface TableDefinition<Document = any, Indexes extends Record<string, readonly string[]> = {}> {
  /**
   * Declares an index: documents in the order of these fields, then of `_creationTime` and `_id`.
   *
   * ```ts
   * defineTable({ channel: v.id("channels"), body: v.string() }).index("by_channel", ["channel"])
   * ```
   */
  index<const Name extends string, const Fields extends readonly [FieldPath<Document>, ...FieldPath<Document>[]]>(
    name: Name,
    fields: Fields | { fields: Fields },
  ): TableDefinition<Document, Indexes & { [N in Name]: Fields }>;
  readonly validator: AnyValidator;
}

/** A table whose documents have these fields. Several shapes: pass `v.union(v.object(..), ..)`. */
export declare function defineTable<Fields extends PropertyValidators>(fields: Fields): TableDefinition<ObjectType<Fields>>;
export declare function defineTable<Document extends Validator<Record<string, any>, "required">>(
  document: Document,
): TableDefinition<Infer<Document>>;

export interface SchemaDefinition<Tables extends Record<string, TableDefinition<any, any>>> {
  readonly tables: Tables;
  /** JSON: what a deploy reads. */
  export(): string;
}

/**
 * The default export of `schema.ts`: which tables and indexes there are. It gives the types, and never
 * refuses a document.
 *
 * ```ts
 * export default defineSchema({
 *   channels: defineTable({ name: v.string() }).index("by_name", ["name"]),
 * });
 * ```
 */
export declare function defineSchema<const Tables extends Record<string, TableDefinition<any, any>>>(
  tables: Tables,
  options?: { schemaValidation?: boolean },
): SchemaDefinition<Tables>;
