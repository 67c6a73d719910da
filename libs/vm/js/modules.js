// A bundle as the runtime sees it: { paths, has(path), require(path) }. The instances of the modules
// live from the first require of a call to the reset after it.
"use strict";

const dirname = (path) => path.slice(0, path.lastIndexOf("/") + 1);

// "sub/dir.js" + "../_deps/A.js" -> "_deps/A.js"; undefined when it leads out of the bundle.
const join = (from, name) => {
  const parts = [];
  for (const part of (dirname(from) + name).split("/")) {
    if (part === "..") {
      if (parts.length === 0) {
        return undefined;
      }
      parts.pop();
    } else if (part !== "." && part !== "") {
      parts.push(part);
    }
  }
  return parts.join("/");
};

const notFound = (name, from) =>
  new Error(
    `Cannot find module "${name}"${from === undefined ? "" : ` that "${from}" requires`}: ` +
      (name.startsWith(".") || from === undefined
        ? "it is not part of what was deployed"
        : "queries and mutations run without Node's modules; use an action for it"),
  );

const makeBundle = (factoryOf, paths) => {
  const known = new Set(paths);
  let instances = new Map();

  const resolve = (name, from) => {
    const path = from === undefined ? name : name.startsWith(".") ? join(from, name) : undefined;
    if (path !== undefined && known.has(path)) {
      return path;
    }
    if (path !== undefined && known.has(path + ".js")) {
      return path + ".js";
    }
    throw notFound(name, from);
  };

  const load = (name, from) => {
    const path = resolve(String(name), from);
    const present = instances.get(path);
    if (present !== undefined) {
      return present.exports;
    }
    const module = { exports: {} };
    const mine = instances;
    mine.set(path, module);
    try {
      const factory = factoryOf(path);
      Reflect.apply(factory, module.exports, [module.exports, (n) => load(n, path), module]);
    } catch (error) {
      mine.delete(path);
      throw error;
    }
    return module.exports;
  };

  return {
    view: Object.freeze({
      paths: Object.freeze([...paths]),
      has: (path) => known.has(path),
      require: (path) => load(path, undefined),
    }),
    reset() {
      instances = new Map();
    },
  };
};

const instantiate = (bundle, path) => (bundle.has(path) ? bundle.require(path) : undefined);

internals.makeBundle = makeBundle;
internals.instantiate = (bundle, path) => instantiate(bundle, path);
internals.instantiateSources = (modules) => {
  const bundle = internals.compile(modules);
  return (path) => instantiate(bundle, path);
};
