/**
 * `v`: validators of arguments and results, and the types that go with them.
 *
 * A validator has `json` (how it travels, see facts in docs/reference) and `check(value, path, context)`,
 * which throws a `ValidationError` that names path, expected and found. `context.normalizeId(table, id)`
 * tells whether an id belongs to a table; where it is missing (clients) every string may be an id.
 */

import { describeValue, encodeValue, isBuffer, isPlainObject, joinPath } from "./encode.js";

const CODE = Symbol.for("bitbend.code");
const NO_CONTEXT = Object.freeze({});

/** A value is not what a validator expects. */
export class ValidationError extends Error {
  constructor(path, expected, found, code = "ArgumentValidation") {
    super(`${path}: expected ${expected}, found ${found}`);
    this.name = "ValidationError";
    this.path = path;
    this.expected = expected;
    this.found = found;
    this.setCode(code);
  }

  setCode(code) {
    this.code = code;
    this[CODE] = code;
  }
}

class Validator {
  constructor(kind, text, json, check, members = {}) {
    this.isBitBendValidator = true;
    this.kind = kind;
    this.isOptional = "required";
    this.text = text;
    this.json = json;
    this.check = check;
    Object.assign(this, members);
  }
}

export function isValidator(value) {
  return typeof value === "object" && value !== null && value.isBitBendValidator === true;
}

/** Checks `value`; returns it. `name` is where the path in the message starts. */
export function validate(validator, value, name = "value", context = NO_CONTEXT) {
  validator.check(value, name, context);
  return value;
}

/** A validator as it is, or `v.object` of an object of validators. */
export function asValidator(fields) {
  return isValidator(fields) ? fields : v.object(fields);
}

function fail(path, expected, value) {
  throw new ValidationError(path, expected, describeValue(value));
}

function primitive(kind, text, json, is) {
  return () =>
    new Validator(kind, text, json, (value, path) => {
      if (!is(value)) fail(path, text, value);
    });
}

function id(tableName) {
  if (typeof tableName !== "string") throw new TypeError("v.id(table) needs the name of a table");
  const text = `an id of table "${tableName}"`;
  const check = (value, path, context) => {
    if (typeof value !== "string") fail(path, text, value);
    if (context.normalizeId && context.normalizeId(tableName, value) === null) fail(path, text, value);
  };
  return new Validator("id", text, { type: "id", tableName }, check, { tableName });
}

function literal(wanted) {
  if (!["string", "number", "bigint", "boolean"].includes(typeof wanted)) {
    throw new TypeError("v.literal(value) needs a string, number, bigint or boolean");
  }
  const text = typeof wanted === "bigint" ? `${wanted}n` : JSON.stringify(wanted);
  const check = (value, path) => {
    if (!Object.is(value, wanted)) fail(path, text, value);
  };
  return new Validator("literal", text, { type: "literal", value: encodeValue(wanted) }, check, { value: wanted });
}

function array(element) {
  need(element, "v.array(element)");
  const check = (value, path, context) => {
    if (!Array.isArray(value)) fail(path, "an array", value);
    for (let i = 0; i < value.length; i++) element.check(value[i], joinPath(path, i), context);
  };
  return new Validator("array", `an array of ${element.text}`, { type: "array", value: element.json }, check, { element });
}

function object(fields) {
  if (!isPlainObject(fields)) throw new TypeError("v.object(fields) needs an object of validators");
  const names = Object.keys(fields);
  const json = {};
  for (const name of names) {
    need(fields[name], `v.object: field "${name}"`);
    json[name] = { fieldType: fields[name].json, optional: fields[name].isOptional === "optional" };
  }
  const check = (value, path, context) => {
    if (!isPlainObject(value)) fail(path, "an object", value);
    for (const name of names) checkField(fields[name], value, name, path, context);
    for (const name of Object.keys(value)) {
      if (value[name] !== undefined && !Object.hasOwn(fields, name)) {
        const known = names.length > 0 ? `only the fields ${names.join(", ")}` : "no fields";
        throw new ValidationError(path, known, `the field "${name}"`);
      }
    }
  };
  return new Validator("object", "an object", { type: "object", value: json }, check, { fields });
}

function checkField(field, value, name, path, context) {
  const item = Object.hasOwn(value, name) ? value[name] : undefined;
  if (item !== undefined) {
    field.check(item, joinPath(path, name), context);
  } else if (field.isOptional !== "optional") {
    throw new ValidationError(joinPath(path, name), field.text, "nothing (the field is missing)");
  }
}

function record(keys, values) {
  need(keys, "v.record(keys, values)");
  need(values, "v.record(keys, values)");
  const json = { type: "record", keys: keys.json, values: { fieldType: values.json, optional: false } };
  const check = (value, path, context) => {
    if (!isPlainObject(value)) fail(path, "an object", value);
    for (const name of Object.keys(value)) {
      if (value[name] === undefined) continue;
      keys.check(name, `${path} (its key ${JSON.stringify(name)})`, context);
      values.check(value[name], joinPath(path, name), context);
    }
  };
  return new Validator("record", "an object", json, check, { key: keys, value: values });
}

function union(...members) {
  for (const member of members) need(member, "v.union(...members)");
  const text = members.length === 0 ? "nothing" : members.map((member) => member.text).join(" or ");
  const check = (value, path, context) => {
    let nearest = null;
    for (const member of members) {
      try {
        return member.check(value, path, context);
      } catch (error) {
        if (!(error instanceof ValidationError)) throw error;
        // The member that came furthest into the value tells most.
        if (error.path.length > path.length && (nearest === null || error.path.length > nearest.path.length)) nearest = error;
      }
    }
    if (nearest !== null) throw nearest;
    fail(path, text, value);
  };
  return new Validator("union", text, { type: "union", value: members.map((member) => member.json) }, check, { members });
}

function optional(inner) {
  need(inner, "v.optional(validator)");
  const copy = new Validator(inner.kind, inner.text, inner.json, inner.check);
  return Object.assign(copy, inner, { isOptional: "optional" });
}

function any() {
  return new Validator("any", "any value", { type: "any" }, (value, path) => {
    if (value === undefined) fail(path, "any value", value);
  });
}

function need(value, where) {
  if (!isValidator(value)) throw new TypeError(`${where} needs a validator such as v.string(), found ${describeValue(value)}`);
}

const isNumber = (value) => typeof value === "number";
const isInt64 = (value) => typeof value === "bigint" && BigInt.asIntN(64, value) === value;

export const v = Object.freeze({
  id,
  null: primitive("null", "null", { type: "null" }, (value) => value === null),
  number: primitive("float64", "number", { type: "number" }, isNumber),
  float64: primitive("float64", "number", { type: "number" }, isNumber),
  int64: primitive("int64", "int64 (a bigint)", { type: "bigint" }, isInt64),
  bigint: primitive("int64", "int64 (a bigint)", { type: "bigint" }, isInt64),
  boolean: primitive("boolean", "boolean", { type: "boolean" }, (value) => typeof value === "boolean"),
  string: primitive("string", "string", { type: "string" }, (value) => typeof value === "string"),
  bytes: primitive("bytes", "bytes (an ArrayBuffer)", { type: "bytes" }, isBuffer),
  literal,
  array,
  object,
  record,
  union,
  optional,
  nullable: (inner) => union(inner, v.null()),
  any,
});
