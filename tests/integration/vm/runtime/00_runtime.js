// The smallest runtime: "module:name" is called with a context that reaches the test's host.
"use strict";

const ECHO = 1;
const LATER = 2;
const FAIL = 3;
const NEVER = 4;
const KERNEL = 5;

const db = Object.freeze({
  echo: (value) => host(ECHO, value),
  later: (value) => host(LATER, value),
  fail: (code, message) => host(FAIL, code, message),
  never: () => host(NEVER),
  kernel: () => host(KERNEL),
});

// "_sources": evaluates modules that came as arguments, as a deployment does.
const evaluate = ({ modules, wanted }) => {
  const load = internals.instantiateSources(modules);
  const exports = load(wanted);
  return exports === undefined ? null : [Object.keys(exports), load(wanted) === exports, exports.f?.()];
};

const invoke = async (bundle, path, args) => {
  if (path === "_sources") {
    return evaluate(args);
  }
  const colon = path.lastIndexOf(":");
  const exports = internals.instantiate(bundle, `${path.slice(0, colon)}.js`);
  if (exports === undefined) {
    throw internals.error("TableNotFound", `no module ${path}`);
  }
  const value = await exports[path.slice(colon + 1)]({ db }, args);
  return value === undefined ? null : value;
};

return { invoke };
