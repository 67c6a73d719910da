/**
 * Packages that cannot become a part of a bundle: those with machine code, and those that the application
 * names (`"bitbend": {"nodePackages": ["name"]}` in its package.json). They travel as they are, with what
 * they depend on, and only actions can use them.
 */

import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";

import { CliError } from "./output.js";

const HINTS = ["node-gyp-build", "bindings", "node-addon-api", "prebuild-install", "@mapbox/node-pre-gyp", "nan"];
const PLATFORM = /(^|[-/])(linux|darwin|win32|android|freebsd)([-/]|$)/;
const DEPTH_MAX = 4;
/** Of no use at run time. */
const LEFT_OUT = /(\.(o|a|d|md|markdown|map|c|cc|cpp|cxx|h|hh|hpp|gyp|gypi|mk|ts|mts|cts|flow)|(^|\/)(Makefile|LICENSE[^/]*))$/i;
const FOLDERS_LEFT_OUT = new Set(["node_modules", ".git", "obj.target", ".deps", "test", "tests", "docs"]);

/** "@scope/name/file.js" -> "@scope/name" */
export function packageNameOf(specifier) {
  const parts = specifier.split("/");
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0];
}

/** The folder of the installed package `name`, as Node.js finds it from `fromDir`; null when it is not there. */
export function findPackage(name, fromDir) {
  for (let dir = fromDir; ; dir = dirname(dir)) {
    const found = join(dir, "node_modules", name);
    if (existsSync(join(found, "package.json"))) return realpathSync(found);
    if (dirname(dir) === dir) return null;
  }
}

/** `isNodePackage(name, fromDir)`: must this one travel as it is? Answers are kept. */
export function createNativeFinder(appDir) {
  const declared = new Set(readManifest(appDir)?.bitbend?.nodePackages ?? []);
  const known = new Map(); // folder -> boolean
  return (name, fromDir) => {
    const dir = findPackage(name, fromDir);
    if (dir === null) return false;
    if (declared.has(name)) return true;
    if (!known.has(dir)) known.set(dir, hasMachineCode(dir));
    return known.get(dir);
  };
}

/**
 * The files of these packages and of all they depend on: `[{path, file}]`, `path` as "node_modules/..". The first
 * of a name lies at the top, another version of it below who needs it.
 */
export function collectPackages(names, fromDir) {
  const files = [];
  const placed = new Map(); // "node_modules/x" -> folder
  const place = (name, from, parent, isOptional) => {
    const dir = findPackage(name, from);
    if (dir === null) {
      if (isOptional) return;
      throw new CliError(`The package ${name} is not installed (needed from ${from}): run npm install.`);
    }
    const top = `node_modules/${name}`;
    const path = placed.get(top) === dir || !placed.has(top) ? top : `${parent}/node_modules/${name}`;
    if (placed.get(path) === dir) return;
    placed.set(path, dir);
    addFiles(dir, dir, path, files);
    const { dependencies = {}, optionalDependencies = {} } = readManifest(dir) ?? {};
    for (const dependency of Object.keys({ ...dependencies, ...optionalDependencies })) {
      place(dependency, dir, path, dependency in optionalDependencies);
    }
  };
  for (const name of names) place(name, fromDir, "", false);
  return files;
}

function addFiles(root, dir, path, files) {
  for (const entry of readdirSync(dir, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const file = join(dir, entry.name);
    const inside = relative(root, file).split(sep).join("/");
    if (entry.isDirectory() || (entry.isSymbolicLink() && existsSync(file) && statSync(file).isDirectory())) {
      if (!FOLDERS_LEFT_OUT.has(entry.name)) addFiles(root, file, path, files);
    } else if (!LEFT_OUT.test(inside) && existsSync(file)) {
      files.push({ path: `${path}/${inside}`, file });
    }
  }
}

function hasMachineCode(dir) {
  const manifest = readManifest(dir) ?? {};
  const { dependencies = {}, optionalDependencies = {}, gypfile, binary } = manifest;
  if (gypfile === true || binary !== undefined || existsSync(join(dir, "binding.gyp"))) return true;
  if (HINTS.some((name) => name in dependencies)) return true;
  if (Object.keys(optionalDependencies).some((name) => PLATFORM.test(name))) return true;
  return hasAddon(dir, 0);
}

function hasAddon(dir, depth) {
  return readdirSync(dir, { withFileTypes: true }).some((entry) =>
    entry.isDirectory()
      ? depth < DEPTH_MAX && !FOLDERS_LEFT_OUT.has(entry.name) && hasAddon(join(dir, entry.name), depth + 1)
      : entry.name.endsWith(".node"),
  );
}

function readManifest(dir) {
  try {
    return JSON.parse(readFileSync(join(dir, "package.json"), "utf8"));
  } catch {
    return null;
  }
}
