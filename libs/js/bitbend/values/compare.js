/**
 * The order of values, the same as in indexes: undefined < null < int64 < float64 < boolean < string <
 * bytes < array < object. Integers and floats do not interleave; strings go by code points.
 */

import { isBuffer } from "./encode.js";

/** Less than, equal to or greater than 0, as `a` comes before, with or after `b`. */
export function compareValues(a, b) {
  const kind = rank(a);
  const difference = kind - rank(b);
  if (difference !== 0) return difference;
  switch (kind) {
    case 1:
    case 2:
      return 0;
    case 3:
      return a < b ? -1 : a > b ? 1 : 0;
    case 4:
      return compareFloats(a, b);
    case 5:
      return Number(a) - Number(b);
    case 6:
      return compareStrings(a, b);
    case 7:
      return compareSequences(new Uint8Array(a), new Uint8Array(b), (x, y) => x - y);
    case 8:
      return compareSequences(a, b, compareValues);
    default:
      return compareSequences(fieldsOf(a), fieldsOf(b), compareFields);
  }
}

function rank(value) {
  switch (typeof value) {
    case "undefined":
      return 1;
    case "bigint":
      return 3;
    case "number":
      return 4;
    case "boolean":
      return 5;
    case "string":
      return 6;
    default:
      return value === null ? 2 : isBuffer(value) ? 7 : Array.isArray(value) ? 8 : 9;
  }
}

/** -0 before 0, NaN last. */
function compareFloats(a, b) {
  if (a < b) return -1;
  if (a > b) return 1;
  if (a === b) return a === 0 ? Number(Object.is(b, -0)) - Number(Object.is(a, -0)) : 0;
  return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
}

/** By UTF-8 bytes, which is by code points: surrogates stand above all other UTF-16 units. */
function compareStrings(a, b) {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return Number(isSurrogate(x)) - Number(isSurrogate(y)) || x - y;
  }
  return a.length - b.length;
}

function isSurrogate(unit) {
  return unit >= 0xd800 && unit <= 0xdfff;
}

function compareSequences(a, b, compare) {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = compare(a[i], b[i]);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function fieldsOf(object) {
  return Object.keys(object)
    .filter((name) => object[name] !== undefined)
    .sort(compareStrings)
    .map((name) => [name, object[name]]);
}

function compareFields([nameA, a], [nameB, b]) {
  return compareStrings(nameA, nameB) || compareValues(a, b);
}
