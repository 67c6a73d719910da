/**
 * The application of this suite: the functions of bitbend/ as they are, and one query for each export of pure/,
 * in a temporary folder that finds the npm packages of the tests.
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import * as esbuild from "../../libs/js/bitbend/node_modules/esbuild/lib/main.js";

const HERE = dirname(fileURLToPath(import.meta.url));

/** {dir, pure: {module: {name: function}}}: the same functions, as plain Node.js runs them. `hasPure`: with those of pure/. */
export async function makeApp({ hasPure = false } = {}) {
  const dir = mkdtempSync(join(tmpdir(), "bitbend-functions-"));
  symlinkSync(join(HERE, "../node_modules"), join(dir, "node_modules"));
  for (const name of ["bitbend", "pure"]) cpSync(join(HERE, name), join(dir, name), { recursive: true });
  const pure = {};
  if (hasPure) mkdirSync(join(dir, "bitbend/pure"));
  for (const file of hasPure ? readdirSync(join(HERE, "pure")) : []) {
    const module = file.replace(/\.ts$/, "");
    pure[module] = await inNode(dir, file);
    writeFileSync(join(dir, "bitbend/pure", file), wrappers(module, Object.keys(pure[module])));
  }
  return { dir, pure, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

async function inNode(dir, file) {
  const outfile = join(dir, "node", file.replace(/\.ts$/, ".mjs"));
  await esbuild.build({ entryPoints: [join(dir, "pure", file)], outfile, bundle: true, platform: "browser", mainFields: ["module", "main"], conditions: ["module"], format: "esm", target: "es2024", logLevel: "error" });
  return { ...(await import(pathToFileURL(outfile))) };
}

const wrappers = (module, names) =>
  [
    'import { query } from "../_generated/server";',
    `import * as pure from "../../pure/${module}";`,
    ...names.map((name) => `export const ${name} = query({ args: {}, handler: () => pure.${name}() });`),
    "",
  ].join("\n");
