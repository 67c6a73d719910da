// Values: their order, copies of them, and a text that stands for one.
"use strict";

const { bb } = internals;
const COPY_DEPTH_MAX = 64;

const rank = (value) => {
  switch (typeof value) {
    case "undefined":
      return 0;
    case "bigint":
      return 2;
    case "number":
      return 3;
    case "boolean":
      return 4;
    case "string":
      return 5;
    default:
      return value === null ? 1 : value instanceof ArrayBuffer ? 6 : Array.isArray(value) ? 7 : 8;
  }
};

// Order of UTF-8 bytes: code points. UTF-16 units agree but for surrogates against U+E000..U+FFFF.
const compareStrings = (a, b) => {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) {
      const xIsHigh = x >= 0xd800 && x <= 0xdfff;
      const yIsHigh = y >= 0xd800 && y <= 0xdfff;
      return xIsHigh !== yIsHigh ? (xIsHigh ? 1 : -1) : x - y;
    }
  }
  return a.length - b.length;
};

// Total order: -Infinity .. -0 < +0 .. Infinity < NaN.
const compareNumbers = (a, b) => {
  if (a === b) {
    return a === 0 ? Number(Object.is(b, -0)) - Number(Object.is(a, -0)) : 0;
  }
  if (a !== a || b !== b) {
    return Number(a !== a) - Number(b !== b);
  }
  return a < b ? -1 : 1;
};

const compareBytes = (a, b) => {
  const x = new Uint8Array(a);
  const y = new Uint8Array(b);
  const length = Math.min(x.length, y.length);
  for (let i = 0; i < length; i++) {
    if (x[i] !== y[i]) {
      return x[i] - y[i];
    }
  }
  return x.length - y.length;
};

const compareArrays = (a, b) => {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const order = compare(a[i], b[i]);
    if (order !== 0) {
      return order;
    }
  }
  return a.length - b.length;
};

const fieldsOf = (object) =>
  Object.keys(object)
    .filter((key) => object[key] !== undefined)
    .sort(compareStrings);

const compareObjects = (a, b) => {
  const x = fieldsOf(a);
  const y = fieldsOf(b);
  const length = Math.min(x.length, y.length);
  for (let i = 0; i < length; i++) {
    const order = compareStrings(x[i], y[i]) || compare(a[x[i]], b[y[i]]);
    if (order !== 0) {
      return order;
    }
  }
  return x.length - y.length;
};

// The order of indexes: undefined, null, int64, float64, boolean, string, bytes, array, object.
const compare = (a, b) => {
  const x = rank(a);
  const y = rank(b);
  if (x !== y) {
    return x - y;
  }
  switch (x) {
    case 0:
    case 1:
      return 0;
    case 2:
      return a < b ? -1 : a > b ? 1 : 0;
    case 3:
      return compareNumbers(a, b);
    case 4:
      return Number(a) - Number(b);
    case 5:
      return compareStrings(a, b);
    case 6:
      return compareBytes(a, b);
    case 7:
      return compareArrays(a, b);
    default:
      return compareObjects(a, b);
  }
};

// A deep copy of what may cross from one function to another; fields that are undefined are left out.
const copy = (value, path, depth) => {
  switch (typeof value) {
    case "string":
    case "number":
    case "boolean":
    case "bigint":
      return value;
    case "object":
      break;
    default:
      bb.fail("NotEncodable", `${path}: a value of type ${typeof value} cannot be passed to a function.`);
  }
  if (value === null) {
    return null;
  }
  if (depth > COPY_DEPTH_MAX) {
    bb.fail("NotEncodable", `${path}: nested deeper than ${COPY_DEPTH_MAX} levels.`);
  }
  if (value instanceof ArrayBuffer) {
    return value.slice(0);
  }
  if (Array.isArray(value)) {
    return value.map((item, i) => copy(item, `${path}[${i}]`, depth + 1));
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    bb.fail(
      "NotEncodable",
      `${path}: only plain objects can be passed to a function, not ${prototype.constructor?.name ?? "this"}.`,
    );
  }
  const made = {};
  for (const key of Object.keys(value)) {
    if (value[key] !== undefined) {
      Object.defineProperty(made, key, {
        value: copy(value[key], `${path}.${key}`, depth + 1),
        writable: true, enumerable: true, configurable: true,
      });
    }
  }
  return made;
};

// Equal values, equal texts.
const textOf = (value) => {
  switch (rank(value)) {
    case 0:
      return "u";
    case 2:
      return `${value}n`;
    case 3:
      return Object.is(value, -0) ? "-0" : String(value);
    case 6:
      return `b${Array.from(new Uint8Array(value)).join(",")}`;
    case 7:
      return `[${value.map(textOf).join(",")}]`;
    case 8:
      return `{${fieldsOf(value).map((key) => `${JSON.stringify(key)}:${textOf(value[key])}`).join(",")}}`;
    default:
      return JSON.stringify(value);
  }
};

bb.compare = compare;
bb.copy = (value, name) => copy(value, name, 0);
bb.textOf = textOf;
