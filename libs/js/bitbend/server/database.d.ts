/** `ctx.db`: reads by id or over a range of an index that the code names, and writes. */

import type { Id } from "../values/index.js";
import type { Doc, FieldPath, FieldValue, IndexNames, JobModel, TableNames } from "./data.js";

type TableOf<Model, I> = I extends Id<infer Table> ? Table & TableNames<Model> : TableNames<Model>;

export interface DatabaseReader<Model> {
  /** The document, or null. */
  get<Table extends TableNames<Model>>(id: Id<Table>): Promise<Doc<Model, Table> | null>;
  get<Table extends TableNames<Model>>(table: Table, id: Id<NoInfer<Table>>): Promise<Doc<Model, Table> | null>;
  get(id: Id<"_jobs">): Promise<Doc<JobModel, "_jobs"> | null>;
  get(table: "_jobs", id: Id<"_jobs">): Promise<Doc<JobModel, "_jobs"> | null>;
  /** The document that `put` stored under this key, or null. */
  getByKey<Table extends TableNames<Model>>(table: Table, key: string): Promise<Doc<Model, Table> | null>;
  /**
   * Documents of a table: of all in order of creation, or with `.withIndex` of a range of an index.
   *
   * ```ts
   * const last = await ctx.db.query("messages")
   *   .withIndex("by_channel", (q) => q.eq("channel", channel))
   *   .order("desc")
   *   .take(50);
   * ```
   */
  query<Table extends TableNames<Model>>(table: Table): QueryStart<Model, Table>;
  /** Jobs: what `ctx.scheduler` and crons have made, some days back. */
  query(table: "_jobs"): QueryStart<JobModel, "_jobs">;
  /** The id, when the text is an id of this table, else null. */
  normalizeId<Table extends TableNames<Model>>(table: Table, id: string): Id<Table> | null;
  normalizeId(table: "_jobs", id: string): Id<"_jobs"> | null;
  /** The system's own tables, for reading. */
  readonly system: {
    get(id: string): Promise<any>;
    query(table: string): OrderedQuery<any>;
  };
}

type NewDocument<Document> = Document extends object ? Omit<Document, "_id" | "_creationTime" | "_key"> : never;
type Changes<Document> = Document extends object
  ? { [K in Exclude<keyof Document, "_id" | "_creationTime" | "_key">]?: Document[K] | undefined }
  : never;

export interface DatabaseWriter<Model> extends DatabaseReader<Model> {
  /** Stores a new document and returns its id. */
  insert<Table extends TableNames<Model>>(table: Table, document: NewDocument<Doc<Model, Table>>): Promise<Id<Table>>;
  /** Sets these fields; one that is `undefined` is removed. */
  patch<Table extends TableNames<Model>>(id: Id<Table>, changes: Changes<Doc<Model, NoInfer<Table>>>): Promise<void>;
  patch<Table extends TableNames<Model>>(table: Table, id: Id<NoInfer<Table>>, changes: Changes<Doc<Model, NoInfer<Table>>>): Promise<void>;
  /** Replaces all fields. */
  replace<Table extends TableNames<Model>>(id: Id<Table>, document: NewDocument<Doc<Model, NoInfer<Table>>>): Promise<void>;
  replace<Table extends TableNames<Model>>(table: Table, id: Id<NoInfer<Table>>, document: NewDocument<Doc<Model, NoInfer<Table>>>): Promise<void>;
  delete<Table extends TableNames<Model>>(id: Id<Table>): Promise<void>;
  delete<Table extends TableNames<Model>>(table: Table, id: Id<NoInfer<Table>>): Promise<void>;
  /**
   * Stores a document under a key of your choice, or changes the one that is there. Fields that the new
   * document lacks are kept ("keep", the default) or removed ("retract").
   */
  put<Table extends TableNames<Model>>(
    table: Table,
    key: string,
    document: NewDocument<Doc<Model, Table>>,
    options?: { missingKeys?: "keep" | "retract" },
  ): Promise<Id<Table>>;
  put<Table extends TableNames<Model>>(
    table: Table,
    key: string,
    document: Changes<Doc<Model, Table>>,
    options?: { missingKeys?: "keep" },
  ): Promise<Id<Table>>;
  /** Deletes what is there of these; returns how many that were. */
  retract<Table extends TableNames<Model>>(what: Id<Table> | Id<Table>[] | { table: Table; keys: string[] }): Promise<number>;
}

export interface OrderedQuery<Document> extends AsyncIterable<Document> {
  /** Drops documents after the scan; every one of them is read. */
  filter(predicate: (q: FilterBuilder<Document>) => Expression<boolean> | boolean): this;
  /** All documents. */
  collect(): Promise<Document[]>;
  /** At most `n` documents. */
  take(n: number): Promise<Document[]>;
  first(): Promise<Document | null>;
  /** The only document, or null; more than one is an error. */
  unique(): Promise<Document | null>;
  paginate(options: PaginationOptions): Promise<PaginationResult<Document>>;
  /** How many there are; reads index keys only. */
  count(): Promise<number>;
}

export interface OrderableQuery<Document> extends OrderedQuery<Document> {
  order(direction: "asc" | "desc"): OrderedQuery<Document>;
}

export interface QueryStart<Model, Table extends TableNames<Model>> extends OrderableQuery<Doc<Model, Table>> {
  /** A range of an index: `eq` on its first fields, then at most one lower and one upper bound. */
  withIndex<Name extends IndexNames<Model, Table>>(
    name: Name,
    range?: (q: IndexRangeBuilder<Doc<Model, Table>, FieldsOf<Model, Table, Name>>) => IndexRange,
  ): OrderableQuery<Doc<Model, Table>>;
}

type FieldsOf<Model, Table extends TableNames<Model>, Name extends string> = Model[Table] extends { indexes: infer Indexes }
  ? 0 extends 1 & Indexes[Name & keyof Indexes]
    ? any
    : Indexes[Name & keyof Indexes] extends readonly string[]
      ? Name extends "by_id" | "by_creation_time"
        ? Indexes[Name & keyof Indexes]
        : readonly [...Indexes[Name & keyof Indexes], "_creationTime"]
      : never
  : never;

/** A finished range. */
export interface IndexRange {
  readonly __isIndexRange: true;
}
export interface UpperBound<Document, Field extends string> extends IndexRange {
  lt(field: Field, value: FieldValue<Document, Field>): IndexRange;
  lte(field: Field, value: FieldValue<Document, Field>): IndexRange;
}
export interface LowerBound<Document, Field extends string> extends IndexRange {
  gt(field: Field, value: FieldValue<Document, Field>): IndexRange;
  gte(field: Field, value: FieldValue<Document, Field>): IndexRange;
}
interface UntypedRangeBuilder extends IndexRange {
  eq(field: string, value: any): UntypedRangeBuilder;
  gt(field: string, value: any): UntypedRangeBuilder;
  gte(field: string, value: any): UntypedRangeBuilder;
  lt(field: string, value: any): UntypedRangeBuilder;
  lte(field: string, value: any): UntypedRangeBuilder;
}
/** The next field of the index may be compared, and no other. */
export type IndexRangeBuilder<Document, Fields> = 0 extends 1 & Fields
  ? UntypedRangeBuilder
  : Fields extends readonly [infer Field extends string, ...infer Rest extends string[]]
    ? IndexRange & {
        eq(field: Field, value: FieldValue<Document, Field>): IndexRangeBuilder<Document, readonly [...Rest]>;
        gt(field: Field, value: FieldValue<Document, Field>): UpperBound<Document, Field>;
        gte(field: Field, value: FieldValue<Document, Field>): UpperBound<Document, Field>;
        lt(field: Field, value: FieldValue<Document, Field>): LowerBound<Document, Field>;
        lte(field: Field, value: FieldValue<Document, Field>): LowerBound<Document, Field>;
      }
    : IndexRange;

/** A value computed for each document. */
export interface Expression<T> {
  readonly __value: T;
}
type Operand<T> = Expression<T> | T;
export interface FilterBuilder<Document> {
  field<Path extends FieldPath<Document>>(path: Path): Expression<FieldValue<Document, Path>>;
  eq<T>(left: Operand<T>, right: Operand<NoInfer<T>>): Expression<boolean>;
  neq<T>(left: Operand<T>, right: Operand<NoInfer<T>>): Expression<boolean>;
  lt<T>(left: Operand<T>, right: Operand<NoInfer<T>>): Expression<boolean>;
  lte<T>(left: Operand<T>, right: Operand<NoInfer<T>>): Expression<boolean>;
  gt<T>(left: Operand<T>, right: Operand<NoInfer<T>>): Expression<boolean>;
  gte<T>(left: Operand<T>, right: Operand<NoInfer<T>>): Expression<boolean>;
  add<T extends number | bigint>(left: Operand<T>, right: Operand<T>): Expression<T>;
  sub<T extends number | bigint>(left: Operand<T>, right: Operand<T>): Expression<T>;
  mul<T extends number | bigint>(left: Operand<T>, right: Operand<T>): Expression<T>;
  div<T extends number | bigint>(left: Operand<T>, right: Operand<T>): Expression<T>;
  mod<T extends number | bigint>(left: Operand<T>, right: Operand<T>): Expression<T>;
  neg<T extends number | bigint>(operand: Operand<T>): Expression<T>;
  and(...operands: Operand<boolean>[]): Expression<boolean>;
  or(...operands: Operand<boolean>[]): Expression<boolean>;
  not(operand: Operand<boolean>): Expression<boolean>;
}

export interface PaginationOptions {
  /** null for the first page, then `continueCursor` of the page before. */
  cursor: string | null;
  numItems: number;
  endCursor?: string | null;
}
export interface PaginationResult<Document> {
  page: Document[];
  isDone: boolean;
  continueCursor: string;
}
