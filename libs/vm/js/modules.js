// A bundle as the runtime sees it: { paths, has(path), require(path) }. The instances of the modules
// live from the first require of a call to the reset after it. Modules below _bitbend/ are the npm
// package's own (required as "bitbend/server"): they keep no state, so that one instance, frozen all
// through, serves all calls of the bundle; so does one of each module of which sharing.js proves the same.
// So do those below _wasm/: compiled WebAssembly, without memory.
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

const SHARED = "_bitbend/";
const WASM = "_wasm/";

// Freezing does not keep these from changing.
const CHANGING = new Set([Map, Set, WeakMap, WeakSet, Date, Promise, ArrayBuffer].map(({ prototype }) => prototype));

// False: something that it reaches goes on changing.
// `done`: what earlier walks froze, with all that it reaches. Nearly every walk comes by the built-in objects,
// of which that holds since the realm was made.
const freezeAll = (root, done) => {
  const seen = new Set();
  const queue = [root];
  let goesOn = false;
  const isKnown = (object) => seen.has(object) || (object !== root && (done.has(object) || internals.hardened.has(object)));
  while (queue.length > 0) {
    const object = queue.pop();
    if (((typeof object !== "object" || object === null) && typeof object !== "function") || isKnown(object) ||
      object === internals.environment) {
      continue;
    }
    seen.add(object);
    goesOn ||= CHANGING.has(Reflect.getPrototypeOf(object));
    queue.push(Reflect.getPrototypeOf(object));
    for (const key of Reflect.ownKeys(object)) {
      const { value, get, set } = Reflect.getOwnPropertyDescriptor(object, key);
      // What a module exports is behind getters of its exports object.
      queue.push(value, get, set, get !== undefined && object === root ? object[key] : undefined);
    }
    // Error: all of it but stackTraceLimit is frozen already.
    if (object !== globalThis && object !== RegExp.prototype && object !== Error && !ArrayBuffer.isView(object)) {
      Object.freeze(object);
    }
  }
  seen.forEach((object) => done.add(object)); // not before the walk came to its end
  return !goesOn;
};

// What a module finds as `globalThis` and `self`: the real one, which is frozen, with room for what
// packages keep there. It lives as long as the instances.
const makeScope = () => {
  const scope = Object.create(globalThis);
  for (const name of ["globalThis", "self"]) {
    Object.defineProperty(scope, name, { value: scope, writable: true, configurable: true });
  }
  return scope;
};

const notFound = (name, from) =>
  new Error(
    `Cannot find module "${name}"${from === undefined ? "" : ` that "${from}" requires`}: ` +
      (name.startsWith(".") || from === undefined
        ? "it is not part of what was deployed"
        : "queries and mutations run without Node's modules; use an action for it"),
  );

// Of the module whose top level runs; a call that is stopped leaves it as it was then.
let loading = "";

const textOf = Function.prototype.toString;
const PARAMETERS = ") {\n";

const makeBundle = (factoryOf, paths, needsContext, elsewhere) => {
  const known = new Set(paths);
  const shared = new Map();
  const frozen = new Set(); // what freezeAll is done with
  let instances = new Map();
  let scope;

  const resolve = (name, from) => {
    const path =
      from === undefined ? name
      : name.startsWith(".") ? join(from, name)
      : name.startsWith("bitbend/") ? SHARED + name.slice("bitbend/".length)
      : name.startsWith(WASM) ? name
      : undefined;
    if (path !== undefined && known.has(path)) {
      return path;
    }
    if (path !== undefined && known.has(path + ".js")) {
      return path + ".js";
    }
    throw notFound(name, from);
  };

  // Why each call gets an instance of its own, or "": one that serves all calls.
  const verdicts = new Map();
  const judge = (path) => {
    const known = verdicts.get(path);
    if (known !== undefined) {
      return known;
    }
    // Who judges does so by regular expressions: not while the call that loads a module has others in their place.
    if (!internals.isRegExpAsItWas()) {
      return { why: "RegExp.prototype is changed while it is loaded", kept: [], isOwn: false };
    }
    verdicts.set(path, { why: "it is part of a circle", kept: [], isOwn: false });
    const source = Reflect.apply(textOf, factoryOf(path), []);
    const body = source.slice(source.indexOf(PARAMETERS) + PARAMETERS.length, source.lastIndexOf("}"));
    const verdict = internals.sharingOf(body, (name) => {
      const found = resolve(name, path);
      if (found.startsWith(WASM)) {
        return "import";
      }
      const other = found.startsWith(SHARED) ? undefined : judge(found);
      return other === undefined || other.isOwn ? "own import" : other.why === "" ? "import" : "";
    });
    verdicts.set(path, verdict);
    return verdict;
  };
  const keeper = ({ kept }) => `\n;module.kept=[${kept.join(",")}];`;

  const present = (path) => (instances.get(path) ?? shared.get(path))?.exports;

  const load = (name, from) => {
    const path = resolve(String(name), from);
    return path.startsWith(WASM) ? loadWasm(path) : loadScript(path, from);
  };

  const loadWasm = (path) => {
    if (!shared.has(path)) {
      const module = internals.loadWasm(factoryOf(path), path);
      shared.set(path, Object.freeze({ __esModule: true, default: module }));
    }
    return shared.get(path);
  };

  const loadScript = (path, from) => {
    const loaded = instances.get(path) ?? shared.get(path);
    if (loaded !== undefined) {
      return loaded.exports;
    }
    // In a context of one call nothing is shared, and nothing is frozen.
    const isOurs = path.startsWith(SHARED) && !internals.isOwn;
    const verdict = isOurs || internals.isOwn ? undefined : judge(path);
    const isShared = isOurs || verdict?.why === "";
    const mine = isShared ? shared : instances;
    const exports = {};
    const module = { exports };
    let meetsInstance = false; // of one call
    const require = (n) => {
      const name = String(n);
      const found = load(name, path);
      meetsInstance ||= instances.has(resolve(name, path));
      return found;
    };
    mine.set(path, module);
    const before = loading;
    loading = path;
    try {
      const factory = isShared && !isOurs ? factoryOf(path, keeper(verdict)) : factoryOf(path);
      const global = isShared || internals.isOwn ? globalThis : (scope ??= makeScope());
      Reflect.apply(factory, exports, [exports, require, module, global, global]);
    } catch (error) {
      loading = before;
      mine.delete(path);
      throw error;
    }
    loading = before;
    if (isShared) {
      [exports, module, require].forEach(Object.freeze); // `this` of the module is the first
    }
    if (isShared && (!isOurs || from === undefined || !from.startsWith(SHARED))) {
      const isStill = !meetsInstance && freezeAll(module.exports, frozen) && freezeAll(module.kept, frozen);
      if (!isStill && !isOurs) {
        verdicts.set(path, { why: "it keeps something that changes, such as a Map, or uses who does", kept: [], isOwn: false });
        mine.delete(path);
        return loadScript(path, from);
      }
    }
    return module.exports;
  };

  return {
    view: Object.freeze({
      paths: Object.freeze([...paths]),
      has: (path) => known.has(path),
      require: (path) => present(path) ?? load(path, undefined),
      whyNotShared: (path) => judge(path).why,
      isAllShared: () => instances.size === 0,
      needsContext,
      elsewhere,
    }),
    reset() {
      instances = new Map();
      scope = undefined;
    },
  };
};

internals.makeBundle = makeBundle;
internals.loadingPath = () => loading;
const instantiate = (bundle, path) => (bundle.has(path) ? bundle.require(path) : undefined);
internals.instantiate = instantiate;
internals.instantiateSources = (modules) => {
  const bundle = internals.compile(modules);
  const load = (path) => instantiate(bundle, path);
  load.whyNotShared = bundle.whyNotShared;
  load.elsewhere = bundle.elsewhere;
  return load;
};
