// What the encoder (encode.cc) asks of a plain object: its fields, each read once, in the order of its
// keys. A list of keys that was seen a few times gets a reader, a generated function that hands all the
// fields to the encoder at once, `take(shape, o.a, o.b, ..)`; so the names are checked, sorted and
// written as bytes once for all objects that have them. For any other object the answer is its keys.
"use strict";

if (internals.isOwn) {
  return; // the one of the shared realm serves objects of all
}

const SEEN_MIN = 8;
const FIELDS_MAX = 64;
const LISTS_MAX = 512;
const BUCKET_MAX = 8; // lists that begin with the same key

const { makeReader } = internals;
const keysOf = Object.keys;

const buckets = new Map();
let count = 0;
let last = { keys: [], seen: 0, read: null };

const isSame = (a, b) => {
  const { length } = a;
  if (length !== b.length) {
    return false;
  }
  for (let i = 0; i < length; i++) {
    if (a[i] !== b[i]) {
      return false;
    }
  }
  return true;
};

// undefined: it is not known, and there is no room for it.
const find = (keys) => {
  const bucket = buckets.get(keys[0]) ?? [];
  for (let i = 0; i < bucket.length; i++) {
    if (isSame(bucket[i].keys, keys)) {
      return bucket[i];
    }
  }
  if (bucket.length >= BUCKET_MAX || count >= LISTS_MAX) {
    return undefined;
  }
  count++;
  const made = { keys, seen: 0, read: undefined };
  bucket[bucket.length] = made;
  buckets.set(keys[0], bucket);
  return made;
};

// true or false: the encoder has taken the fields, and whether they could be encoded.
internals.fieldsOf = (object) => {
  const keys = keysOf(object);
  if (keys.length === 0 || keys.length > FIELDS_MAX) {
    return keys;
  }
  let list = last;
  if (!isSame(list.keys, keys)) {
    list = find(keys);
    if (list === undefined) {
      return keys;
    }
    last = list;
  }
  if (list.read === undefined && ++list.seen >= SEEN_MIN) {
    list.read = makeReader(keys) ?? null;
  }
  return list.read === undefined || list.read === null ? keys : list.read(object);
};
