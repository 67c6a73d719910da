/**
 * Values, validators and errors: shared by functions and clients.
 *
 * A value is null, a boolean, a number (float64), a bigint (int64), a string, an `ArrayBuffer` (bytes), an
 * array of values, or a plain object whose fields are values.
 */

/** All that can be stored and sent. */
export type Value = null | boolean | number | bigint | string | ArrayBuffer | Value[] | { [field: string]: Value | undefined };

/** The id of a document of one table; a string that only the server looks into. */
export type Id<TableName extends string> = string & { readonly __tableName: TableName };

/** What a validator accepts. `Optional` says whether a field of this type may be missing. */
export interface Validator<Type, Optional extends "required" | "optional" = "required"> {
  readonly isBitBendValidator: true;
  readonly kind: string;
  readonly isOptional: Optional;
  /** How the validator travels: `{type: "string"}`, `{type: "id", tableName}`, ... */
  readonly json: ValidatorJSON;
  /** Only for types: what `Infer` reads. */
  readonly __type?: Type;
}

export type ValidatorJSON =
  | { type: "null" | "number" | "bigint" | "commitTs" | "boolean" | "string" | "bytes" | "any" }
  | { type: "literal"; value: unknown }
  | { type: "id"; tableName: string }
  | { type: "array"; value: ValidatorJSON }
  | { type: "object"; value: Record<string, { fieldType: ValidatorJSON; optional: boolean }> }
  | { type: "record"; keys: ValidatorJSON; values: { fieldType: ValidatorJSON; optional: boolean } }
  | { type: "union"; value: ValidatorJSON[] };

export type AnyValidator = Validator<any, "required" | "optional">;

/** An object of validators, as `v.object`, `args` and `defineTable` take it. */
export type PropertyValidators = { [field: string]: AnyValidator };

/**
 * The type that a validator accepts.
 *
 * ```ts
 * const user = v.object({ name: v.string(), age: v.optional(v.number()) });
 * type User = Infer<typeof user>; // { name: string; age?: number }
 * ```
 */
export type Infer<V extends AnyValidator> = V extends Validator<infer Type, any> ? Type : never;

/** The object type of an object of validators. */
export type ObjectType<Fields extends PropertyValidators> = Expand<
  { [Name in RequiredNames<Fields>]: Infer<Fields[Name]> } & { [Name in OptionalNames<Fields>]?: Infer<Fields[Name]> }
>;

type OptionalNames<Fields extends PropertyValidators> = {
  [Name in keyof Fields]: Fields[Name]["isOptional"] extends "required" ? never : Name;
}[keyof Fields];
type RequiredNames<Fields extends PropertyValidators> = Exclude<keyof Fields, OptionalNames<Fields>>;
type Expand<T> = { [K in keyof T]: T[K] };

export interface ObjectValidator<Fields extends PropertyValidators> extends Validator<ObjectType<Fields>> {
  readonly kind: "object";
  readonly fields: Fields;
}

/**
 * Validators. They run in the wrapper of the function that declares them, and they give the types.
 *
 * ```ts
 * export const send = mutation({
 *   args: { channel: v.id("channels"), body: v.string() },
 *   handler: (ctx, { channel, body }) => ctx.db.insert("messages", { channel, body }),
 * });
 * ```
 */
export declare const v: {
  /** An id of a document of this table. */
  id<const TableName extends string>(tableName: TableName): Validator<Id<TableName>>;
  null(): Validator<null>;
  /** A float64. */
  number(): Validator<number>;
  float64(): Validator<number>;
  /** A 64-bit integer, a bigint in JavaScript. */
  int64(): Validator<bigint>;
  bigint(): Validator<bigint>;
  boolean(): Validator<boolean>;
  string(): Validator<string>;
  bytes(): Validator<ArrayBuffer>;
  literal<const Literal extends string | number | bigint | boolean>(value: Literal): Validator<Literal>;
  array<Element extends Validator<any, "required">>(element: Element): Validator<Infer<Element>[]>;
  object<Fields extends PropertyValidators>(fields: Fields): ObjectValidator<Fields>;
  /** An object with any number of fields whose names fit `keys`. */
  record<Keys extends Validator<any, "required">, Values extends Validator<any, "required">>(
    keys: Keys,
    values: Values,
  ): Validator<Record<Infer<Keys> & string, Infer<Values>>>;
  union<Members extends Validator<any, "required">[]>(...members: Members): Validator<Infer<Members[number]>>;
  /** A field that may be missing. */
  optional<Inner extends Validator<any, "required">>(inner: Inner): Validator<Infer<Inner>, "optional">;
  nullable<Inner extends Validator<any, "required">>(inner: Inner): Validator<Infer<Inner> | null>;
  any(): Validator<any>;
};

export declare function isValidator(value: unknown): value is AnyValidator;
/** A validator as it is, or `v.object` of an object of validators. */
export declare function asValidator(fields: PropertyValidators | AnyValidator): AnyValidator;

/**
 * Checks a value and returns it with the validator's type. Throws a `ValidationError`.
 *
 * ```ts
 * const { name } = validate(v.object({ name: v.string() }), JSON.parse(text));
 * ```
 */
export declare function validate<V extends AnyValidator>(validator: V, value: unknown, name?: string): Infer<V>;

/** A value is not what a validator expects: `path`, `expected` and `found` say where and what. */
export declare class ValidationError extends Error {
  readonly code: string;
  readonly path: string;
  readonly expected: string;
  readonly found: string;
}

/** Something is not a value: a function, a class instance, a string with half a surrogate pair, ... */
export declare class ValueError extends Error {
  readonly code: "NotEncodable";
  readonly path: string;
}

/**
 * An error that a function throws on purpose; it reaches the client with its `data`.
 *
 * ```ts
 * throw new BitBendError({ code: "full", seats: 12 });
 * ```
 */
export declare class BitBendError<Data extends Value = Value> extends Error {
  constructor(data: Data);
  readonly name: "BitBendError";
  readonly code: "UserError";
  readonly data: Data;
}
/** Also true for a `BitBendError` of another copy of this package. */
export declare function isBitBendError(error: unknown): error is BitBendError<any>;

/** The JSON form of a value (`convex_encoded_json`). Throws a `ValueError`. */
export declare function encodeValue(value: unknown, name?: string): JSONValue;
/** The value of a JSON form. */
export declare function decodeValue(json: JSONValue, name?: string): Value;
export type JSONValue = null | boolean | number | string | JSONValue[] | { [field: string]: JSONValue };

/** The order of values in indexes: less than, equal to or greater than 0. */
export declare function compareValues(a: Value | undefined, b: Value | undefined): number;
