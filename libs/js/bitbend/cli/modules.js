/** The files of the functions' folder that are modules of the application. */

import { readdirSync } from "node:fs";
import { join } from "node:path";

const SOURCE = /^[^.]+\.(ts|tsx|mts|js|jsx|mjs)$/;
const AUTH_CONFIG = /^auth\.config\.(ts|mts|js|mjs)$/;

/**
 * `{file, path}` of each, sorted: `file` relative to the folder ("sub/dir.ts"), `path` as deployed
 * ("sub/dir.js"). Names that start with "_" or "." and names with a second dot (tests) are left out,
 * but for `auth.config.ts`.
 */
export function findModules(functionsDir) {
  const modules = [];
  collect(functionsDir, "", modules);
  return modules.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Is there a WebAssembly file in the folder? */
export function hasWasm(functionsDir) {
  return readdirSync(functionsDir, { recursive: true }).some((file) => String(file).endsWith(".wasm"));
}

function collect(root, folder, modules) {
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    if (entry.name.startsWith("_") || entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const file = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) collect(root, file, modules);
    else if (SOURCE.test(entry.name) || (folder === "" && AUTH_CONFIG.test(entry.name))) modules.push({ file, path: file.replace(/\.[^.]+$/, ".js") });
  }
}
