// WebAssembly for transactions: a module is made deterministic before V8 sees it (wasm.c), compiled at once, and
// has no shared memory. Memory lies outside of V8's heap, so a call has a few of them at most.
"use strict";

const real = globalThis.WebAssembly;
if (real === undefined) {
  // --jitless
  internals.loadWasm = (source, path) => {
    throw internals.error("NotAvailableHere", `${path}: this deployment runs without a compiler, and so without WebAssembly`);
  };
  return;
}

const KEPT = ["Module", "Instance", "Memory", "Table", "Global", "CompileError", "LinkError", "RuntimeError", "compile",
  "instantiate", "validate"];
for (const name of Reflect.ownKeys(real)) {
  if (typeof name === "string" && !KEPT.includes(name)) {
    delete real[name];
  }
}

// As in determinism.js: nothing here goes by way of a built-in that a function may have replaced.
const { apply, construct } = Reflect;
const { get: getOf, set: setOf } = WeakMap.prototype;
const { Module: RealModule, Instance: RealInstance, Memory: RealMemory, CompileError } = real;
const memories = new WeakMap(); // module -> how many an instance makes

const isBytes = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value);

// [code, memory count]; what the module must not have is a CompileError.
const harden = (what, bytes) => {
  try {
    return internals.wasmHarden(bytes);
  } catch (error) {
    throw typeof error === "string" ? new CompileError(`${what}: ${error}`) : error;
  }
};

const compile = (what, bytes, target) => {
  if (typeof bytes !== "string" && !isBytes(bytes)) {
    throw new TypeError(`${what}: the first argument must be an ArrayBuffer or a view of one`);
  }
  const hardened = harden(what, bytes);
  const module = construct(RealModule, [hardened[0]], target);
  apply(setOf, memories, [module, hardened[1]]);
  return module;
};

// A class with the prototype of V8's own, which then leads nowhere else.
const replace = (Real, make, statics = []) => {
  const { name, length, prototype } = Real;
  Object.defineProperty(make, "name", { value: name, configurable: true });
  Object.defineProperty(make, "length", { value: length, configurable: true });
  Object.defineProperty(make, "prototype", { value: prototype, writable: false });
  Object.defineProperty(prototype, "constructor", { value: make, writable: true, configurable: true });
  for (const key of statics) {
    Object.defineProperty(make, key, Object.getOwnPropertyDescriptor(Real, key));
  }
  Object.defineProperty(real, name, { value: make, writable: true, configurable: true });
};
const needNew = (target, name) => {
  if (target === undefined) {
    throw new TypeError(`WebAssembly.${name} must be invoked with 'new'`);
  }
};

replace(RealModule, function (bytes) {
  needNew(new.target, "Module");
  return compile("WebAssembly.Module()", bytes, new.target);
}, ["exports", "imports", "customSections"]);

replace(RealInstance, function (module, imports) {
  needNew(new.target, "Instance");
  internals.wasmTake(apply(getOf, memories, [module]) ?? 0);
  return construct(RealInstance, [module, imports], new.target);
});

replace(RealMemory, function (descriptor) {
  needNew(new.target, "Memory");
  const { initial, maximum, shared } = Object(descriptor);
  if (shared) {
    throw internals.error(
      "NotAvailableHere",
      "WebAssembly.Memory: shared memory is not available in queries and mutations; use an action",
    );
  }
  internals.wasmTake(1);
  const plain = { __proto__: null, initial };
  if (maximum !== undefined) {
    plain.maximum = maximum;
  }
  return construct(RealMemory, [plain], new.target);
});

const { Module, Instance } = real;
const put = (name, value) => Object.defineProperty(real, name, { value, writable: true, configurable: true });
put("compile", { async compile(bytes) { return new Module(bytes); } }.compile);
put("instantiate", {
  async instantiate(source, imports) {
    if (source instanceof Module) {
      return new Instance(source, imports);
    }
    const module = new Module(source);
    return { module, instance: new Instance(module, imports) };
  },
}.instantiate);
put("validate", {
  validate(bytes) {
    try {
      compile("WebAssembly.validate()", bytes, RealModule);
      return true;
    } catch (error) {
      if (error instanceof CompileError) {
        return false;
      }
      throw error;
    }
  },
}.validate);

// A file of a bundle, as base64: compiled once, and without state, so that all calls may have it.
internals.loadWasm = (source, path) => Object.freeze(compile(path, source, RealModule));
