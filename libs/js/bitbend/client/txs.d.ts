/** The transaction feed: every transaction of a deployment, in order. */

import type { AnyDataModel, Doc, TableNames } from "../server/data.js";
import type { Id } from "../values/index.js";

/** What happened to one document. Which of the optional fields are there, `include` says. */
export type TxChange<Model = AnyDataModel> = {
  [Table in TableNames<Model>]: {
    table: Table;
    id: Id<Table>;
    op: "insert" | "update" | "delete";
    /** The document before; `null`: there was none. With `include: "both"`. */
    before?: Doc<Model, Table> | null;
    /** The document after; `null`: it was deleted. */
    after?: Doc<Model, Table> | null;
    /** With `include: "diff"`: the fields of an updated document that are new or different. */
    fields?: Partial<Doc<Model, Table>>;
    /** With `include: "diff"`: the names of fields that an updated document has no more. */
    removed?: string[];
  };
}[TableNames<Model>];

export interface TxRecord<Model = AnyDataModel> {
  /** The transaction, and the database after it. */
  tx: number;
  /** The database before it. */
  prev: number;
  /** When, in milliseconds since 1970. */
  time: number;
  /** The function that made it. */
  fn: string;
  identity: unknown;
  requestId: string;
  changes: TxChange<Model>[];
}

export interface ConsumerRecord<Model = AnyDataModel> extends TxRecord<Model> {
  /** Everything up to this record is done: it does not come again. */
  ack(): Promise<void>;
}

export interface TxsOptions<Model = AnyDataModel> {
  /** What comes after this tx or moment; "earliest": all that is kept; "now": only what is new (the default). */
  from?: number | Date | "earliest" | "now";
  /** Only transactions that change one of these tables. */
  tables?: TableNames<Model>[];
  /** How much of a changed document comes: the default is "after". */
  include?: "keys" | "after" | "diff" | "both";
  /** Ends the iterator. */
  signal?: AbortSignal;
}
