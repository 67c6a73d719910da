// Freezes all that calls share. Which habits take V8's fast paths from user code was measured, not
// guessed: accessors in place of Array.prototype.constructor, Promise.prototype.constructor or then, and
// a frozen RegExp.prototype do; so those stay, and RegExp.prototype is compared after each call.
"use strict";

// ---- an own property may still be assigned over an inherited frozen one ----
const behind = []; // what was in the places where accessors are now
const repair = (prototype, name) => {
  const was = Object.getOwnPropertyDescriptor(prototype, name);
  if (was === undefined || !("value" in was) || !was.configurable) {
    return;
  }
  const { value } = was;
  behind.push(value);
  Object.defineProperty(prototype, name, {
    get() {
      return value;
    },
    set(next) {
      if (this === prototype || (typeof this !== "object" && typeof this !== "function") || this === null) {
        throw new TypeError(`Cannot assign to read only property '${String(name)}' of a built-in`);
      }
      Object.defineProperty(this, name, { value: next, writable: true, enumerable: true, configurable: true });
    },
    enumerable: was.enumerable,
    configurable: true,
  });
};

for (const name of ["toString", "valueOf", "constructor", "hasOwnProperty", "toLocaleString"]) {
  repair(Object.prototype, name);
}
for (const name of ["toString", "call", "apply", "bind", "constructor"]) {
  repair(Function.prototype, name);
}
const ERRORS = [Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError, AggregateError];
for (const { prototype } of ERRORS) {
  for (const name of ["message", "name", "toString", "constructor"]) {
    repair(prototype, name);
  }
}
for (const name of Object.getOwnPropertyNames(Array.prototype)) {
  if (name !== "constructor" && name !== "length") {
    repair(Array.prototype, name);
  }
}
for (const name of ["catch", "finally"]) {
  repair(Promise.prototype, name);
}

// ---- freeze ----
const seen = new Set();
const queue = [];
const reach = (value) => {
  if (((typeof value === "object" && value !== null) || typeof value === "function") && !seen.has(value)) {
    seen.add(value);
    queue.push(value);
  }
};
reach(globalThis);
behind.forEach(reach);
// And what an error has for a stack that was taken for it.
const captured = {};
Error.captureStackTrace(captured);
const { get: getStack, set: setStack } = Object.getOwnPropertyDescriptor(captured, "stack");
reach(getStack);
reach(setStack);
for (const value of [
  async function () {}, function* () {}, async function* () {}, [][Symbol.iterator](), new Map().entries(),
  new Set().values(), ""[Symbol.iterator](), "".matchAll(/a/g), (function* () {})(), (async function* () {})(),
  (function () { return arguments; })(), Object.getPrototypeOf(Int8Array), Iterator.from({ next() {} }),
  [].values().map((x) => x), internals,
]) {
  reach(Object.getPrototypeOf(value));
}
const { ownKeys, getPrototypeOf, getOwnPropertyDescriptor, isExtensible } = Reflect;
while (queue.length > 0) {
  const object = queue.pop();
  const isFunction = typeof object === "function";
  reach(getPrototypeOf(object));
  for (const key of ownKeys(object)) {
    // Most that is here are functions, and most of what they have is this: a number and a string.
    if (isFunction && (key === "length" || key === "name")) {
      continue;
    }
    const property = getOwnPropertyDescriptor(object, key);
    reach(property.value);
    reach(property.get);
    reach(property.set);
  }
}
seen.delete(RegExp.prototype);
seen.delete(globalThis);
seen.delete(Error);
for (const object of seen) {
  if (!ArrayBuffer.isView(object)) {
    Object.freeze(object);
  }
}
Object.freeze(globalThis);
// Packages set Error.stackTraceLimit for a moment (they restore it, or mean to): a call may, and its end takes it back.
const frames = Error.stackTraceLimit;
for (const key of Reflect.ownKeys(Error)) {
  Object.defineProperty(Error, key, { configurable: false, ...(key === "stackTraceLimit" ? {} : { writable: false }) });
}
Object.preventExtensions(Error);

// What later walks need not come by again: those three, too, as each end of a call looks after them.
for (const object of [RegExp.prototype, globalThis, Error]) {
  seen.add(object);
}
internals.hardened = seen;

// ---- RegExp.prototype stays as it is for speed: is it as it was? ----
const regexp = RegExp.prototype;
const keys = Reflect.ownKeys(regexp);
const parent = Object.getPrototypeOf(regexp);
const kept = keys.map((key) => Object.getOwnPropertyDescriptor(regexp, key));
const count = keys.length;

const isLimitAsItWas = () => {
  if (Error.stackTraceLimit !== frames) {
    try {
      Error.stackTraceLimit = frames;
    } catch {
      return false;
    }
  }
  return getOwnPropertyDescriptor(Error, "stackTraceLimit").writable;
};

const isAsItWas = () => {
  if (getPrototypeOf(regexp) !== parent || !isExtensible(regexp) || ownKeys(regexp).length !== count) {
    return false;
  }
  for (let i = 0; i < count; i++) {
    const now = getOwnPropertyDescriptor(regexp, keys[i]);
    const was = kept[i];
    if (now === undefined || now.value !== was.value || now.get !== was.get || now.set !== was.set ||
      now.writable !== was.writable || now.configurable !== was.configurable || now.enumerable !== was.enumerable) {
      return false;
    }
  }
  return true;
};

// What the hidden class (sound.cc) does not say: the values of what is no accessor, and what has a number for a name,
// which is enumerable or belongs to another class. Named one by one, each value is a load.
const { keys: enumerableKeys } = Object;
const { constructor, exec, compile, test, toString } = regexp;
const { [Symbol.match]: match, [Symbol.matchAll]: matchAll, [Symbol.replace]: replace, [Symbol.search]: search,
  [Symbol.split]: split } = regexp;
const MATCH = Symbol.match, MATCH_ALL = Symbol.matchAll, REPLACE = Symbol.replace, SEARCH = Symbol.search, SPLIT = Symbol.split;
const NAMED = new Set(["constructor", "exec", "compile", "test", "toString", MATCH, MATCH_ALL, REPLACE, SEARCH, SPLIT]);
const isAllNamed = keys.every((key, i) => NAMED.has(key) || kept[i].get !== undefined);

const areValuesAsTheyWere = () =>
  regexp.constructor === constructor && regexp.exec === exec && regexp.compile === compile && regexp.test === test &&
  regexp.toString === toString && regexp[MATCH] === match && regexp[MATCH_ALL] === matchAll && regexp[REPLACE] === replace &&
  regexp[SEARCH] === search && regexp[SPLIT] === split && enumerableKeys(regexp).length === 0;

internals.isRegExpAsItWas = isAsItWas;
internals.isSound = (isClassKnown) =>
  isLimitAsItWas() && (isClassKnown && isAllNamed ? areValuesAsTheyWere() : isAsItWas());
