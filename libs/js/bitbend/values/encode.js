/**
 * Values as JSON and back: the form that arguments and results have on the wire
 * (`convex_encoded_json`: int64, bytes and the numbers that JSON lacks are one-key objects).
 */

import { fromBase64, toBase64 } from "./base64.js";

const FIELD_LENGTH_MAX = 1024;
const DEPTH_MAX = 64;
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** The value cannot be stored or sent. `path` says where in the value. */
export class ValueError extends Error {
  constructor(path, text) {
    super(`${path}: ${text}`);
    this.name = "ValueError";
    this.code = "NotEncodable";
    this.path = path;
  }
}

/**
 * The JSON form of a value. Fields that are `undefined` are left out; `undefined` anywhere else is an
 * error, as is everything that is not a value (functions, symbols, Map, Set, class instances, ...).
 */
export function encodeValue(value, name = "value") {
  return encode(value, name, 0);
}

/** The value of a JSON form. Throws `ValueError` for a form that means nothing. */
export function decodeValue(json, name = "value") {
  return decode(json, name, 0);
}

export function isPlainObject(value) {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  // A plain object of another realm has a prototype that is not ours and whose own prototype is null.
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
}

/** `a.b["c d"][0]` */
export function joinPath(path, key) {
  if (typeof key === "number") return `${path}[${key}]`;
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`;
}

function encode(value, path, depth) {
  if (depth > DEPTH_MAX) throw new ValueError(path, `nested deeper than ${DEPTH_MAX} levels`);
  switch (typeof value) {
    case "string":
      if (!isWellFormed(value)) throw new ValueError(path, "a string with half a surrogate pair cannot be stored");
      return value;
    case "boolean":
      return value;
    case "number":
      return isOrdinary(value) ? value : { $float: toBase64(float64Bytes(value)) };
    case "bigint":
      if (value < INT64_MIN || value > INT64_MAX) throw new ValueError(path, `${value}n does not fit into an int64`);
      return { $integer: toBase64(int64Bytes(value)) };
    case "object":
      break;
    default:
      throw new ValueError(path, `${describeValue(value)} is not a value`);
  }
  if (value === null) return null;
  if (isBuffer(value)) return { $bytes: toBase64(new Uint8Array(value)) };
  if (Array.isArray(value)) return value.map((item, index) => encode(item, joinPath(path, index), depth + 1));
  if (!isPlainObject(value)) throw new ValueError(path, `${describeValue(value)} is not a value`);
  const json = {};
  for (const key of Object.keys(value).sort()) {
    if (value[key] === undefined) continue;
    checkFieldName(path, key);
    define(json, key, encode(value[key], joinPath(path, key), depth + 1));
  }
  return json;
}

function decode(json, path, depth) {
  if (depth > DEPTH_MAX) throw new ValueError(path, `nested deeper than ${DEPTH_MAX} levels`);
  if (json === null || typeof json === "string" || typeof json === "number" || typeof json === "boolean") return json;
  if (Array.isArray(json)) return json.map((item, index) => decode(item, joinPath(path, index), depth + 1));
  if (typeof json !== "object") throw new ValueError(path, `${describeValue(json)} is not JSON`);
  const keys = Object.keys(json);
  if (keys.length === 1 && keys[0].startsWith("$")) return decodeSpecial(keys[0], json[keys[0]], path);
  const value = {};
  for (const key of keys) {
    checkFieldName(path, key);
    define(value, key, decode(json[key], joinPath(path, key), depth + 1));
  }
  return value;
}

function decodeSpecial(kind, text, path) {
  if (kind !== "$integer" && kind !== "$float" && kind !== "$bytes") {
    throw new ValueError(path, `field name ${JSON.stringify(kind)} starts with "$"`);
  }
  const bytes = typeof text === "string" ? fromBase64(text) : null;
  if (bytes === null) throw new ValueError(path, `${kind} needs base64, found ${describeValue(text)}`);
  if (kind === "$bytes") return bytes.buffer;
  if (bytes.length !== 8) throw new ValueError(path, `${kind} needs 8 bytes, found ${bytes.length}`);
  const view = new DataView(bytes.buffer);
  if (kind === "$integer") return view.getBigInt64(0, true);
  const number = view.getFloat64(0, true);
  if (isOrdinary(number)) throw new ValueError(path, `$float around the ordinary number ${number}`);
  return number;
}

/** What JSON can say itself: everything but NaN, the infinities and -0. */
function isOrdinary(number) {
  return Number.isFinite(number) && !Object.is(number, -0);
}

function float64Bytes(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, number, true);
  return bytes;
}

function int64Bytes(integer) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, integer, true);
  return bytes;
}

function checkFieldName(path, key) {
  const trouble =
    key.length > FIELD_LENGTH_MAX ? `is longer than ${FIELD_LENGTH_MAX} characters`
    : key.startsWith("$") ? 'starts with "$"'
    : key === "" ? "is empty"
    : !/^[ -~]*$/.test(key) ? "has characters that are not printable ASCII"
    : null;
  if (trouble !== null) throw new ValueError(path, `field name ${JSON.stringify(key.slice(0, 80))} ${trouble}`);
}

/** Plain assignment would call the setter of `__proto__`. */
function define(object, key, value) {
  if (key === "__proto__") {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  } else {
    object[key] = value;
  }
}

export function isBuffer(value) {
  return Object.prototype.toString.call(value) === "[object ArrayBuffer]";
}

function isWellFormed(text) {
  return typeof text.isWellFormed === "function" ? text.isWellFormed() : !/\p{Surrogate}/u.test(text);
}

/** A value for a person who looks for a mistake: its type and, when short, itself. */
export function describeValue(value) {
  switch (typeof value) {
    case "undefined":
      return "nothing (undefined)";
    case "string":
      return `string ${JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value)}`;
    case "bigint":
      return `int64 ${value}n`;
    case "function":
      return value.name ? `function ${value.name}` : "a function";
    case "object":
      if (value === null) return "null";
      if (Array.isArray(value)) return `array of ${value.length}`;
      if (isBuffer(value)) return `bytes (${value.byteLength})`;
      if (!isPlainObject(value)) return `an instance of ${value.constructor?.name ?? "a class"}`;
      return `object with ${Object.keys(value).slice(0, 8).join(", ") || "no fields"}`;
    default:
      return `${typeof value} ${String(value)}`;
  }
}
