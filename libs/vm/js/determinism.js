// The same arguments, seed and snapshot give the same bytes: clock, chance, locale and the garbage
// collector are taken out of the language.
"use strict";

// What is kept from here on is reached by nothing that a function may put into the place of a built-in: in
// a context of its own it may replace all of them.
const { apply, construct } = Reflect;

// For the runtime itself: what time a clock in a time zone shows.
internals.DateTimeFormat = internals.isOwn ? undefined : Intl.DateTimeFormat;
for (const name of ["Intl", "SharedArrayBuffer", "Atomics"]) {
  delete globalThis[name];
}
for (const name of ["input", "$_", "lastMatch", "$&", "lastParen", "$+", "leftContext", "$`",
  "rightContext", "$'", "$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9"]) {
  delete RegExp[name];
}

// ---- chance and clock ----
Math.random = internals.random;

const RealDate = Date;
const now = internals.now;
function DateOfCall(...args) {
  if (new.target === undefined) {
    return new RealDate(now()).toString();
  }
  return construct(RealDate, args.length === 0 ? [now()] : args, new.target);
}
Object.defineProperty(DateOfCall, "name", { value: "Date", configurable: true });
Object.defineProperty(DateOfCall, "length", { value: 7, configurable: true });
Object.defineProperty(DateOfCall, "prototype", { value: RealDate.prototype, writable: false });
const hidden = (object, name, value) =>
  Object.defineProperty(object, name, { value, writable: true, enumerable: false, configurable: true });
hidden(DateOfCall, "now", { now: () => now() }.now);
hidden(DateOfCall, "parse", RealDate.parse);
hidden(DateOfCall, "UTC", RealDate.UTC);
hidden(RealDate.prototype, "constructor", DateOfCall);
hidden(globalThis, "Date", DateOfCall);

// ---- locale: none ----
const plain = (prototype, name, replacement) => hidden(prototype, name, replacement[name]);
plain(Number.prototype, "toLocaleString", { toLocaleString() { return apply(Number.prototype.toString, this, []); } });
plain(BigInt.prototype, "toLocaleString", { toLocaleString() { return apply(BigInt.prototype.toString, this, []); } });
plain(RealDate.prototype, "toLocaleString", { toLocaleString() { return apply(RealDate.prototype.toString, this, []); } });
plain(RealDate.prototype, "toLocaleDateString", { toLocaleDateString() { return apply(RealDate.prototype.toDateString, this, []); } });
plain(RealDate.prototype, "toLocaleTimeString", { toLocaleTimeString() { return apply(RealDate.prototype.toTimeString, this, []); } });
plain(String.prototype, "toLocaleUpperCase", { toLocaleUpperCase() { return String(this).toUpperCase(); } });
plain(String.prototype, "toLocaleLowerCase", { toLocaleLowerCase() { return String(this).toLowerCase(); } });
plain(String.prototype, "localeCompare", {
  localeCompare(that) {
    const [a, b] = [String(this).normalize(), String(that).normalize()];
    return a < b ? -1 : a > b ? 1 : 0;
  },
});

// ---- the garbage collector is not seen ----
class WeakRef {
  #target;
  constructor(target) {
    if ((typeof target !== "object" || target === null) && typeof target !== "function" && typeof target !== "symbol") {
      throw new TypeError("WeakRef: the target must be an object");
    }
    this.#target = target;
  }
  deref() {
    return this.#target;
  }
  get [Symbol.toStringTag]() {
    return "WeakRef";
  }
}
class FinalizationRegistry {
  constructor(cleanup) {
    if (typeof cleanup !== "function") {
      throw new TypeError("FinalizationRegistry: the cleanup must be a function");
    }
  }
  register() {}
  unregister() {
    return false;
  }
  get [Symbol.toStringTag]() {
    return "FinalizationRegistry";
  }
}
hidden(globalThis, "WeakRef", WeakRef);
hidden(globalThis, "FinalizationRegistry", FinalizationRegistry);

// ---- what cannot be interrupted is bounded ----
const JSON_CHARACTERS_MAX = 8 * 1024 * 1024;
const parse = JSON.parse;
hidden(JSON, "parse", {
  parse(text, reviver) {
    const source = typeof text === "string" ? text : String(text);
    if (source.length > JSON_CHARACTERS_MAX) {
      throw new RangeError(`JSON.parse: ${source.length} characters are more than ${JSON_CHARACTERS_MAX}`);
    }
    return reviver === undefined ? parse(source) : parse(source, reviver);
  },
}.parse);

// Enough frames for those of the application after ours are left out.
Error.stackTraceLimit = 40;
