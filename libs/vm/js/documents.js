// Documents that are read again and again (documents.cc has their bytes): one object for each, which no user code
// ever sees. A page of a scan is made of copies of these objects, by generated code; and when a result holds such a
// copy whose fields are still what they were, the bytes are taken as they are.
"use strict";

if (internals.isOwn) {
  return; // pages there are decoded
}

const GIVEN_MAX = 2048;
const SHAPES_MAX = 256;
const FIELDS_MAX = 64;
const LOOK_AHEAD = 8;
const STRANGERS_MAX = 16;

const { makeCloner, sames, element, changed, wanted, givenAt } = internals;
const keysOf = Object.keys;
const { getPrototypeOf } = Object;
const plain = Object.prototype;

// By place: the object, and what is known of all objects with its keys.
const objects = [];
const shapes = [];
const known = [];

// The copies that this call has got, in that order; givenAt has their places.
const given = new Array(GIVEN_MAX).fill(undefined);
let count = 0;
let last = -1; // the one that was found last
let step = 1;

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

const note = (copy, at) => {
  if (count < GIVEN_MAX) {
    given[count] = copy;
    givenAt[count++] = at;
  }
};

const shapeOf = (keys) => {
  for (let i = known.length - 1; i >= 0; i--) {
    if (isSame(known[i].keys, keys)) {
      return known[i];
    }
  }
  if (known.length === SHAPES_MAX) {
    return undefined;
  }
  const shape = { keys, clone: null, same: null, fields: 0 };
  if (!makeCloner(shape, keys, [objects, shapes, wanted, note])) {
    shape.clone = null; // its keys need the walk
  }
  known[known.length] = shape;
  return shape;
};

// Whether there is an object in this place now.
const keep = (at, object) => {
  const keys = keysOf(object);
  const shape = keys.length > FIELDS_MAX ? undefined : shapeOf(keys);
  if (shape === undefined || shape.clone === null) {
    return false;
  }
  objects[at] = object;
  shapes[at] = shape;
  return true;
};

// Of `wanted[0..size]`: copies of what is kept there, and where that is negative the next of `decoded`.
const page = (size, decoded) => {
  const made = [];
  let next = 0;
  for (let i = 0; i < size; ) {
    const at = wanted[i];
    if (at < 0) {
      made.push(decoded[next++]);
      i++;
    } else {
      i = shapes[at].clone(i, size, made);
    }
  }
  return made;
};

const endCall = () => {
  given.fill(undefined, 0, count);
  count = 0;
  last = -1;
  step = 1;
};

const foundAt = (at) => {
  last = at;
  return at;
};

// Which copy is it? Results mostly hold them in the order in which they were given, or in the opposite one.
const find = (item) => {
  const next = last + step;
  if (next >= 0 && next < count && given[next] === item) {
    return foundAt(next);
  }
  const back = last === -1 ? count - 1 : last - step;
  if (back >= 0 && back < count && given[back] === item) {
    step = -step;
    return foundAt(back);
  }
  for (let i = 1; i <= LOOK_AHEAD; i++) {
    const at = next + i * step;
    if (at < 0 || at >= count) {
      break;
    }
    if (given[at] === item) {
      return foundAt(at);
    }
  }
  return -1;
};

// Encodes the elements of an array, the first of which was read already. The answer is how many were; or false
// when one could not be.
const elements = (array, size, first, parent) => {
  let begin = 0; // of the run of unchanged copies that is not written yet: the first, how many, and their order
  let run = 0;
  let order = 1;
  let strangers = 0;
  for (let i = 0; i < size; i++) {
    const item = i === 0 ? first : array[i];
    const at = item === parent ? -1 : find(item);
    if (at === -1 || getPrototypeOf(item) !== plain || !isSame(keysOf(item), shapes[givenAt[at]].keys)) {
      if (!sames(i - run, begin, run, order) || !element(i, item)) {
        return false;
      }
      run = 0;
      strangers++;
      if (strangers === STRANGERS_MAX) {
        return i + 1;
      }
      continue;
    }
    strangers = 0;
    const place = givenAt[at];
    const shape = shapes[place];
    const values = shape.same(item, objects[place]);
    if (values !== undefined) {
      if (!sames(i - run, begin, run, order) || !changed(i, item, shape.fields, values)) {
        return false;
      }
      run = 0;
      continue;
    }
    if (run === 1) {
      order = at - begin;
    }
    if (run > 0 && at !== begin + run * order) {
      if (!sames(i - run, begin, run, order)) {
        return false;
      }
      run = 0;
    }
    if (run === 0) {
      begin = at;
    }
    run++;
  }
  return sames(size - run, begin, run, order) && size;
};

internals.documents = { keep, page, endCall, elements };
