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

/** A job: a row of `_jobs`, which `ctx.scheduler` and crons make. Functions read it and cannot write it. */
export interface Job {
  path: string;
  kind: "mutation" | "action";
  args: Record<string, any>;
  /** When it shall begin, in milliseconds since 1970; `started` and `ended` say when it did. */
  due: number;
  state: "pending" | "running" | "done" | "failed" | "cancelled";
  attempt: bigint;
  maxAttempts: bigint;
  backoffMs: number;
  mode: "atMostOnce" | "atLeastOnce";
  identity: string | null;
  created: number;
  started: number | null;
  ended: number | null;
  error: string | null;
  /** Up to 64 KB; larger ones are not kept, and `note` says so. */
  result: any;
  note?: string;
  progress: any;
  /** Name of the cron that made it. */
  cron: string | null;
  runner: string | null;
  leaseUntil: number | null;
}
/** The data model of what every application has. */
export type JobModel = {
  _jobs: {
    document: WithSystemFields<Job, "_jobs">;
    indexes: {
      by_state_due: readonly ["state", "due"];
      by_cron: readonly ["cron"];
      by_ended: readonly ["ended"];
    } & BuiltInIndexes;
  };
};
/** What `ctx.scheduler` gives: an id of `_jobs`, and of `_scheduled_functions`, which are the same. */
export type JobId = Id<any>;

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
