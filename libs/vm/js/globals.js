// Puts the web's globals into place; and those that are missing say what to use instead.
"use strict";

const define = (name, value) =>
  Object.defineProperty(globalThis, name, {
    value, writable: true, enumerable: false, configurable: true,
  });

const structuredClone = (value, options = {}) => {
  if (options?.transfer !== undefined && [...options.transfer].length > 0) {
    throw new internals.DOMException("structuredClone: transfer is not available here", "DataCloneError");
  }
  try {
    return internals.clone(value);
  } catch (error) {
    throw typeof error === "string" ? new internals.DOMException(error, "DataCloneError") : error;
  }
};

const queueMicrotask = (callback) => {
  if (typeof callback !== "function") {
    throw new TypeError("queueMicrotask takes a function");
  }
  void Promise.resolve().then(() => callback());
};

for (const [name, value] of Object.entries(internals.web)) {
  define(name, value);
}
// In a context of one call what costs much to make is made when somebody asks for it.
const defineLater = (name, load) =>
  Object.defineProperty(globalThis, name, {
    get() {
      load();
      define(name, internals.web[name]);
      return internals.web[name];
    },
    set(value) {
      define(name, value);
    },
    enumerable: false, configurable: true,
  });
let hasUrls = false;
const loadUrls = () => {
  if (!hasUrls) {
    hasUrls = true;
    internals.loadUrls(internals);
  }
};
for (const name of internals.isOwn ? ["URL", "URLSearchParams"] : []) {
  defineLater(name, loadUrls);
}
define("structuredClone", structuredClone);
define("queueMicrotask", queueMicrotask);
define("performance", { now: () => 0, timeOrigin: 0, mark() {}, measure() {} });
define("process", { env: {} });
define("self", globalThis);

const fail = (name, advice) => {
  throw internals.error("NotAvailableHere", `${name} is not available in queries and mutations: ${advice}`);
};
const absent = (name, advice) =>
  define(name, {
    [name]() {
      fail(name, advice);
    },
  }[name]);
// Packages ask whether something is an instance of these: nothing is.
const absentClass = (name, advice) =>
  define(name, {
    [name]: class {
      constructor() {
        fail(name, advice);
      }
    },
  }[name]);
const TIMER = "they run at one moment; use ctx.scheduler.runAfter, or an action";
const NETWORK = "they see the database only; use an action";
for (const name of ["setTimeout", "setInterval", "setImmediate", "requestAnimationFrame"]) {
  absent(name, TIMER);
}
absent("fetch", NETWORK);
for (const name of ["XMLHttpRequest", "WebSocket", "EventSource", "Headers", "Request", "Response", "FormData"]) {
  absentClass(name, NETWORK);
}
const STREAM = "they see whole values only; keep bytes as an ArrayBuffer, or use an action";
for (const name of ["Blob", "File", "ReadableStream", "WritableStream", "TransformStream", "CompressionStream",
  "DecompressionStream", "TextEncoderStream", "TextDecoderStream"]) {
  absentClass(name, STREAM);
}
for (const name of ["clearTimeout", "clearInterval", "clearImmediate"]) {
  define(name, { [name]() {} }[name]);
}
