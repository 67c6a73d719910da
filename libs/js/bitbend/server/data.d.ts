/** The types of an application's data, derived from its schema. */

import type { Id } from "../values/index.js";
import type { SchemaDefinition, TableDefinition } from "./schema.js";

/** What one table holds: its documents, and its indexes with their fields in order. */
export interface TableInfo {
  document: any;
  indexes: Record<string, readonly string[]>;
}
export type DataModel = Record<string, TableInfo>;

/** For code that knows no schema: any table, any field. */
export type AnyDataModel = { [tableName: string]: { document: any; indexes: { [name: string]: any } } };

/** Fields that every document has. */
export interface SystemFields<TableName extends string> {
  _id: Id<TableName>;
  /** Milliseconds since 1970. */
  _creationTime: number;
  /** The key that `put` stored it under, if it was. */
  _key?: string;
}

type WithSystemFields<Document, TableName extends string> = Document extends object
  ? Expand<Document & SystemFields<TableName>>
  : never;
type Expand<T> = { [K in keyof T]: T[K] };

/** The data model of a schema; `_generated/dataModel.d.ts` applies it. */
export type DataModelFromSchema<Schema extends SchemaDefinition<any>> =
  Schema extends SchemaDefinition<infer Tables>
    ? {
        [TableName in keyof Tables & string]: Tables[TableName] extends TableDefinition<infer Document, infer Indexes>
          ? { document: WithSystemFields<Document, TableName>; indexes: Indexes & BuiltInIndexes }
          : never;
      }
    : never;

export interface BuiltInIndexes {
  by_id: readonly ["_id"];
  by_creation_time: readonly ["_creationTime"];
  by_key: readonly ["_key"];
}

export type TableNames<Model> = keyof Model & string;
export type Doc<Model, Table extends TableNames<Model>> = Model[Table] extends { document: infer Document } ? Document : never;
export type IndexNames<Model, Table extends TableNames<Model>> = Model[Table] extends { indexes: infer Indexes }
  ? keyof Indexes & string
  : never;

type IsAny<T> = 0 extends 1 & T ? true : false;

/** The names of the fields that an index may have: "author", "place.city". */
export type FieldPath<Document> =
  IsAny<Document> extends true
    ? string
    : Document extends readonly any[] | ArrayBuffer
      ? never
      : Document extends object
        ? { [Name in keyof Document & string]: Name | `${Name}.${FieldPath<NonNullable<Document[Name]>>}` }[keyof Document & string]
        : never;

/** The type of a field by its path; `undefined` where the field may be missing. */
export type FieldValue<Document, Path extends string> =
  IsAny<Document> extends true
    ? any
    : Document extends object
      ? Path extends `${infer Head}.${infer Rest}`
        ? Head extends keyof Document
          ? FieldValue<Document[Head], Rest>
          : undefined
        : Path extends keyof Document
          ? Document[Path]
          : undefined
      : undefined;
