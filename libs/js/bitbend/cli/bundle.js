/**
 * From the functions' folder to modules that a slot can run: esbuild bundles with shared chunks (ES
 * modules), then each output becomes the body of `function (exports, require, module)`, with a source map
 * that leads back to the TypeScript sources.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, isAbsolute, join, posix, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";

import { convexNames } from "./convex.js";
import { findModules } from "./modules.js";
import { packageNameOf } from "./native.js";
import { createNodeBundler } from "./node-bundle.js";
import { CliError } from "./output.js";

const PACKAGE_DIR = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const OUT_DIR = resolve(sep, "bitbend-out");
const TARGET = "es2024";
/** What this package gives to functions: deployed once beside them, and shared by their calls in a slot. */
const SHARED = { "bitbend/server": "server/index.js", "bitbend/values": "values/index.js" };
const SHARED_DIR = "_bitbend";
/** WebAssembly files, named by their content: `import add from "./add.wasm"` gives a `WebAssembly.Module`. */
const WASM_DIR = "_wasm";

/** What the sources hold is wrong: `messages` say where. */
export class BundleError extends CliError {
  constructor(messages) {
    super(messages.map(formatMessage).join("\n"), { json: { status: "error", code: "BundleFailed", message: messages.map(formatMessage).join("\n") } });
    this.messages = messages;
    /** Those that it is about, in the form of esbuild: relative to the application's folder. */
    this.files = messages.flatMap(({ location, notes = [] }) => [location, ...notes.map((note) => note.location)]).flatMap((location) => (location ? [location.file] : []));
  }
}

/**
 * A bundler that keeps what it parsed, for fast rebuilds. `build()` returns `{modules, node, inputs, notes}`:
 * modules `{path, source, sourceMap}` for V8, sorted by path; the code of actions, `{archives, functions}`, or null
 * when there are none; and the absolute paths of all files read.
 */
export function createBundler({ appDir, functionsDir }) {
  let context = null;
  let entries = "";
  let converted = new Map(); // text of an output -> module
  let shared = null; // modules of this package
  const wasm = new Map(); // file -> module, of the last build
  const forNode = createNodeBundler({ appDir, functionsDir });
  const mode = { hasActions: false, isNodePackage: forNode.isNodePackage }; // of the last build

  async function contextFor(files) {
    const key = files.join("\n");
    if (context !== null && key === entries) return context;
    await context?.dispose();
    context = await esbuild.context(buildOptions(appDir, functionsDir, files, wasm, mode));
    entries = key;
    return context;
  }

  async function build() {
    const found = findModules(functionsDir);
    checkDuplicates(found);
    const { inV8, nodeOnly, hasActions } = sortModules(functionsDir, found);
    if (found.length === 0) {
      throw new CliError(`No functions in ${relative(appDir, functionsDir) || functionsDir}: add a file such as messages.ts that exports a query or a mutation.`);
    }
    mode.hasActions = hasActions;
    wasm.clear();
    const node = hasActions ? await buildNode(found, nodeOnly) : null;
    const result = inV8.length === 0 ? { outputFiles: [], warnings: [], metafile: { inputs: {} } } : await rebuild(await contextFor(inV8.map(({ file }) => file)));
    const next = new Map();
    const modules = await Promise.all(
      result.outputFiles.map(async ({ path, text }) => {
        const name = relative(OUT_DIR, path).split(sep).join("/");
        const key = `${name}\n${text}`;
        next.set(key, converted.get(key) ?? (await convert(appDir, functionsDir, name, text)));
        return next.get(key);
      }),
    );
    converted = next;
    shared ??= await buildShared(appDir, functionsDir);
    modules.push(...shared, ...new Map([...wasm.values()].map((module) => [module.path, module])).values());
    const inputs = [...Object.keys(result.metafile.inputs).map((input) => resolve(appDir, input)), ...wasm.keys(), ...(node?.inputs ?? [])];
    return { modules: modules.sort((a, b) => (a.path < b.path ? -1 : 1)), node, inputs, notes: result.warnings.map(formatMessage) };
  }

  async function buildNode(modules, nodeOnly) {
    try {
      return await forNode.build(modules.map(({ file }) => file), nodeOnly.map(({ file }) => file));
    } catch (error) {
      if (Array.isArray(error.errors)) throw new BundleError(error.errors);
      throw error;
    }
  }

  return { build, dispose: () => Promise.all([context?.dispose(), forNode.dispose()]) };
}

/** The modules that functions find as "bitbend/server" and "bitbend/values". */
async function buildShared(appDir, functionsDir) {
  const entryPoints = Object.entries(SHARED).map(([name, file]) => ({ in: join(PACKAGE_DIR, file), out: name.replace("bitbend/", `${SHARED_DIR}/`) }));
  const { outputFiles } = await esbuild.build({ ...buildOptions(appDir, functionsDir, []), entryPoints, outbase: PACKAGE_DIR, chunkNames: `${SHARED_DIR}/[hash]`, external: [] });
  return await Promise.all(
    outputFiles.map(({ path, text }) => convert(appDir, functionsDir, relative(OUT_DIR, path).split(sep).join("/"), text)),
  );
}

/** `bitbend/messages.ts:3:7: error text` and the line itself. */
export function formatMessage({ text, location }) {
  if (!location) return text;
  const { file, line, column, lineText } = location;
  return `${file}:${line}:${column + 1}: ${text}\n    ${lineText.trim().slice(0, 160)}`;
}

async function rebuild(context) {
  try {
    return await context.rebuild();
  } catch (error) {
    if (Array.isArray(error.errors)) throw new BundleError(error.errors);
    throw error;
  }
}

function buildOptions(appDir, functionsDir, files, wasm = new Map(), mode = { hasActions: false, isNodePackage: () => false }) {
  return {
    absWorkingDir: appDir,
    // Relative, and named one by one: in a path to the application `*` would be a pattern and `?` the end of the name.
    entryPoints: files.map((file) => ({ in: `./${relative(appDir, join(functionsDir, file))}`, out: file.replace(/\.[^.]+$/, "") })),
    outbase: functionsDir,
    outdir: OUT_DIR,
    entryNames: "[dir]/[name]",
    chunkNames: "_deps/[hash]",
    external: Object.keys(SHARED),
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "browser",
    // Of a package without ES modules the build for browsers, which needs no Node.js, before the one for Node.js.
    mainFields: ["module", "browser", "main"],
    conditions: ["bitbend", "module"],
    target: TARGET,
    sourcemap: "inline",
    sourcesContent: false,
    jsx: "automatic",
    charset: "utf8",
    legalComments: "none",
    metafile: true,
    write: false,
    logLevel: "silent",
    // An application without a node_modules of its own finds the package that this command belongs to.
    nodePaths: [dirname(PACKAGE_DIR)],
    define: { "process.env.NODE_ENV": '"production"' },
    plugins: [convexNames, nodeModules(mode), wasmModules(wasm)],
  };
}

/**
 * What only Node.js has: an error, or, beside actions, something that throws when a query or a mutation uses it.
 */
const nodeModules = (mode) => ({
  name: "node-modules",
  setup(build) {
    const names = builtinModules.filter((name) => !name.startsWith("_") && !name.includes("/"));
    const filter = new RegExp(`^(node:.*|(${names.join("|")})(/.*)?)$`);
    build.onResolve({ filter }, async ({ path, importer, resolveDir, kind, pluginData }) => {
      if (pluginData === "seen") return undefined;
      if (!path.startsWith("node:")) {
        // A package may have the name of a Node.js module ("events", "buffer").
        const found = await build.resolve(path, { importer, resolveDir, kind, pluginData: "seen" });
        if (found.errors.length === 0 && isAbsolute(found.path)) return found;
        // Or leave it out in browsers (`"browser": {"crypto": false}`): esbuild makes it an empty module.
        if (found.errors.length === 0) return undefined;
      }
      if (mode.hasActions) return { path, namespace: "node-only" };
      return { errors: [{ text: `"${path}" is a part of Node.js, and queries and mutations run in V8 without it` }] };
    });
    build.onResolve({ filter: /^[^./]/ }, ({ path, resolveDir, namespace }) => {
      if (namespace === "node-only" || resolveDir === "" || !mode.isNodePackage(packageNameOf(path), resolveDir)) return undefined;
      if (mode.hasActions) return { path, namespace: "node-only" };
      return { errors: [{ text: `the package "${packageNameOf(path)}" needs Node.js, and queries and mutations run in V8 without it` }] };
    });
    build.onLoad({ filter: /.*/, namespace: "node-only" }, ({ path }) => ({ contents: nodeOnlyModule(path), loader: "js" }));
  },
});

/** A module whose members can be named and extended, and throw when they are called. */
function nodeOnlyModule(name) {
  return `
const advice = " is available in actions only: queries and mutations run in V8, without Node.js. A file that uses it while it is loaded begins with \\"use node\\" and holds actions only.";
const make = (what) => {
  const fail = () => {
    throw new Error(what + advice);
  };
  const get = (target, key) => {
    if (typeof key === "symbol" || key === "then" || key === "__esModule" || key === "toJSON") return undefined;
    if (key === "prototype") return target.prototype;
    return key === "default" ? proxy : make(what + "." + key);
  };
  const parent = new Proxy({}, { get });
  const proxy = new Proxy(function () {}, { apply: fail, construct: fail, get, getPrototypeOf: () => parent });
  return proxy;
};
module.exports = make(${JSON.stringify(name)});
`;
}

/** Imports of .wasm files lead to modules beside the bundle, collected in `found`. */
const wasmModules = (found) => ({
  name: "wasm-modules",
  setup(build) {
    build.onResolve({ filter: /\.wasm$/ }, async ({ path, importer, resolveDir, kind, pluginData }) => {
      if (pluginData === "seen") return undefined;
      const { path: file, errors } = await build.resolve(path, { importer, resolveDir, kind, pluginData: "seen" });
      if (errors.length > 0) return { errors };
      const bytes = readFileSync(file);
      const name = `${WASM_DIR}/${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}.wasm`;
      found.set(file, { path: name, source: bytes.toString("base64"), sourceMap: null });
      return { path: name, external: true };
    });
  },
});

async function convert(appDir, functionsDir, name, text) {
  const { code, map } = await esbuild.transform(text, {
    loader: "js",
    format: "cjs",
    target: TARGET,
    // The body of a function is sloppy by itself, an ES module is strict. A slot has no loader but `require`.
    banner: '"use strict";',
    supported: { "dynamic-import": false },
    // What the loader hands to a module is not the application's: to it there is no CommonJS, as in any ES module.
    define: { require: "undefined", module: "undefined", exports: "undefined" },
    charset: "utf8",
    legalComments: "none",
    sourcefile: name,
    sourcemap: "external",
    sourcesContent: false,
    logLevel: "silent",
  });
  return { path: name, source: code, sourceMap: withReadableSources(appDir, name, map) };
}

/** Sources, which a map has as URLs, as a person names them: relative to the application ("bitbend/messages.ts"). */
function withReadableSources(appDir, name, text) {
  const map = JSON.parse(text);
  map.sources = map.sources.map((source) => {
    const file = resolve(OUT_DIR, posix.dirname(name), decodeURIComponent(source));
    return relative(appDir, file).split(sep).join("/");
  });
  map.file = name;
  delete map.sourcesContent;
  return JSON.stringify(map);
}

function checkDuplicates(modules) {
  for (let i = 1; i < modules.length; i++) {
    if (modules[i].path === modules[i - 1].path) {
      throw new CliError(`${modules[i - 1].file} and ${modules[i].file} would both be the module ${modules[i].path}: rename one of them.`);
    }
  }
}

/** Files that ask for Node.js ("use node") hold actions only, and V8 never sees them. */
function sortModules(functionsDir, modules) {
  const texts = new Map(modules.map((module) => [module, readFileSync(join(functionsDir, module.file), "utf8")]));
  const isNode = (module) => /^\s*(\/\/[^\n]*\n\s*|\/\*[\s\S]*?\*\/\s*)*["']use node["']/.test(texts.get(module));
  const nodeOnly = modules.filter(isNode);
  if (nodeOnly.some(({ file }) => /^(http|crons|schema)\.[^.]+$/.test(file))) {
    throw new CliError(`${nodeOnly.find(({ file }) => /^(http|crons|schema)\./.test(file)).file} cannot begin with "use node": keep it plain, and import what needs Node.js from other files.`);
  }
  return {
    inV8: modules.filter((module) => !nodeOnly.includes(module)),
    nodeOnly,
    hasActions: nodeOnly.length > 0 || [...texts.values()].some((text) => /\b(action|internalAction|httpAction)\b/.test(text)),
  };
}
