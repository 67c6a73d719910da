/**
 * The code of actions: the same files as the functions for V8, bundled for Node.js, and the packages that
 * cannot be bundled as they are. What comes out are archives for runners.
 */

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, posix, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";

import { pack } from "./archive.js";
import { convexNames } from "./convex.js";
import { collectPackages, createNativeFinder, packageNameOf } from "./native.js";
import { CliError } from "./output.js";

const PACKAGE_DIR = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const DESCRIBE = join(PACKAGE_DIR, "cli/describe.js");
const OUT_DIR = resolve(sep, "bitbend-node");
/** Before the path of a source in stacks, so that it is the same wherever the code lies. */
const SOURCES = "bitbend:///";
const DESCRIBE_MS = 30_000;
/** Packages for Node.js that use `require` find one, as in a CommonJS file. */
const BANNER =
  'import { createRequire as __bbRequire } from "node:module"; import { fileURLToPath as __bbPath } from "node:url"; ' +
  "const require = __bbRequire(import.meta.url), __filename = __bbPath(import.meta.url), __dirname = __bbPath(new URL(\".\", import.meta.url));";
/** What a runner takes from the application's own copy of this package: errors are instances of its classes. */
const VALUES = "bitbend:values";
const BUILT_IN = new Set(builtinModules);

/** A bundler that keeps what it parsed. `build(files, nodeOnly)` returns `{archives, functions, inputs}`. */
export function createNodeBundler({ appDir, functionsDir }) {
  const isNodePackage = createNativeFinder(appDir);
  const packages = new Set();
  let context = null;
  let entries = "";
  let packed = { key: "", archive: null };
  let described = { key: "", functions: [] };

  async function contextFor(files) {
    const key = files.join("\n");
    if (context !== null && key === entries) return context;
    await context?.dispose();
    context = await esbuild.context(buildOptions(appDir, functionsDir, files, [convexNames, valuesOf(functionsDir), keepPackages(isNodePackage, packages), wasmFiles]));
    entries = key;
    return context;
  }

  /** `nodeOnly`: files that V8 never sees; what they export is asked of Node.js itself. */
  async function build(files, nodeOnly) {
    packages.clear();
    const { outputFiles, metafile } = await (await contextFor(files)).rebuild();
    const bundled = outputFiles
      .map(({ path, text }) => {
        const name = relative(OUT_DIR, path).split(sep).join("/");
        return { path: name, bytes: Buffer.from(name.endsWith(".map") ? readableMap(appDir, name, text) : text) };
      })
      .sort((a, b) => (a.path < b.path ? -1 : 1));
    bundled.push({ path: "package.json", bytes: Buffer.from('{"type":"module"}\n') });
    const code = pack("functions", bundled);
    const archives = [code, ...packPackages()];
    if (described.key !== code.hash) described = { key: code.hash, functions: await describe(appDir, bundled, nodeOnly) };
    return { archives, functions: described.functions, inputs: Object.keys(metafile.inputs).map((input) => resolve(appDir, input)) };
  }

  function packPackages() {
    if (packages.size === 0) return [];
    const files = collectPackages([...packages].sort(), functionsDir);
    const key = files.map(({ path, file }) => `${path} ${statSync(file).mtimeMs}`).join("\n");
    if (packed.key !== key) {
      packed = { key, archive: pack("packages", files.map(({ path, file }) => ({ path, bytes: readFileSync(file), mode: statSync(file).mode & 0o777 }))) };
    }
    return [packed.archive];
  }

  return { build, isNodePackage, dispose: () => context?.dispose() };
}

function buildOptions(appDir, functionsDir, files, plugins) {
  return {
    absWorkingDir: appDir,
    entryPoints: [...files.map((file) => ({ in: join(functionsDir, file), out: file.replace(/\.[^.]+$/, "") })), { in: VALUES, out: "_bitbend/values" }],
    outbase: functionsDir,
    outdir: OUT_DIR,
    entryNames: "[dir]/[name]",
    chunkNames: "_deps/[hash]",
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    conditions: ["bitbend", "module"],
    banner: { js: BANNER },
    sourcemap: "linked",
    sourcesContent: false,
    jsx: "automatic",
    charset: "utf8",
    legalComments: "none",
    keepNames: true,
    metafile: true,
    write: false,
    logLevel: "silent",
    nodePaths: [dirname(PACKAGE_DIR)],
    plugins,
  };
}

const valuesOf = (functionsDir) => ({
  name: "values",
  setup(build) {
    build.onResolve({ filter: /^bitbend:values$/ }, () => ({ path: VALUES, namespace: "bitbend" }));
    build.onLoad({ filter: /.*/, namespace: "bitbend" }, () => ({ contents: 'export { BitBendError } from "bitbend/values";', resolveDir: functionsDir }));
  },
});

const keepPackages = (isNodePackage, found) => ({
  name: "packages-as-they-are",
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, ({ path, resolveDir }) => {
      if (path.startsWith("node:") || BUILT_IN.has(path)) return { path, external: true };
      const name = packageNameOf(path);
      if (resolveDir === "" || !isNodePackage(name, resolveDir)) return undefined;
      found.add(name);
      return { path, external: true };
    });
  },
});

/** `import add from "./add.wasm"` gives a `WebAssembly.Module`, as in V8. */
const wasmFiles = {
  name: "wasm-files",
  setup(build) {
    build.onLoad({ filter: /\.wasm$/ }, ({ path }) => ({
      contents: `export default new WebAssembly.Module(Buffer.from(${JSON.stringify(readFileSync(path).toString("base64"))}, "base64"));`,
      loader: "js",
    }));
  },
};

function readableMap(appDir, name, text) {
  const map = JSON.parse(text);
  map.sources = map.sources.map((source) => `${SOURCES}${relative(appDir, resolve(OUT_DIR, posix.dirname(name), source)).split(sep).join("/")}`);
  delete map.sourcesContent;
  return JSON.stringify(map);
}

/** What modules that only Node.js can load export: asked of a Node.js process that loads them. */
async function describe(appDir, files, nodeOnly) {
  if (nodeOnly.length === 0) return [];
  const modules = join(appDir, "node_modules");
  const dir = mkdtempSync(join(existsSync(modules) ? modules : tmpdir(), ".bitbend-"));
  try {
    for (const { path, bytes } of files) {
      mkdirSync(dirname(join(dir, path)), { recursive: true });
      writeFileSync(join(dir, path), bytes);
    }
    return await runDescribe(dir, nodeOnly.map((file) => file.replace(/\.[^.]+$/, ".js")));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function runDescribe(dir, modules) {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, ["--enable-source-maps", DESCRIBE, dir, ...modules], { stdio: ["ignore", "ignore", "pipe", "pipe"], timeout: DESCRIBE_MS });
    let out = "";
    let trouble = "";
    child.stdio[3].setEncoding("utf8").on("data", (text) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (trouble = (trouble + text).slice(-4000)));
    child.once("error", fail);
    child.once("close", (code, signal) => {
      if (code === 0) return done(JSON.parse(out));
      const why = signal === null ? trouble.trim() : `it did not end within ${DESCRIBE_MS / 1000} s`;
      fail(new CliError(`A file with "use node" could not be loaded in Node.js:\n${why.replaceAll(`${dir}/`, "")}`));
    });
  });
}
