/**
 * The application's web page for `dev`: `web/` is copied to where the suite serves it from, and its scripts
 * are bundled on the way, so that a page can import "bitbend/client" and the generated `api`.
 */

import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";

import { BundleError } from "./bundle.js";
import { CliError } from "./output.js";

const SCRIPT = /\.(js|mjs|jsx|ts|tsx)$/;
const PACKAGE_DIR = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** The folder to serve: the option's, else `web/` when there is one, else null. */
export function findSite(appDir, given) {
  const dir = resolve(appDir, given ?? "web");
  if (existsSync(dir) && statSync(dir).isDirectory()) return dir;
  if (given !== undefined) throw new CliError(`--static ${given}: there is no such folder.`, { exitCode: 2 });
  return null;
}

/** Builds `siteDir` into `outDir`. Scripts directly in the folder are entry points; returns the files read. */
export async function buildSite({ appDir, siteDir, outDir }) {
  const entries = readdirSync(siteDir, { withFileTypes: true });
  const scripts = entries.filter((entry) => entry.isFile() && SCRIPT.test(entry.name) && !entry.name.endsWith(".d.ts"));
  mkdirSync(outDir, { recursive: true });
  try {
    const result = await esbuild.build({
      absWorkingDir: appDir,
      entryPoints: scripts.map(({ name }) => join(siteDir, name)),
      outbase: siteDir,
      outdir: outDir,
      bundle: true,
      format: "esm",
      platform: "browser",
      target: "es2022",
      sourcemap: true,
      jsx: "automatic",
      metafile: true,
      logLevel: "silent",
      nodePaths: [dirname(PACKAGE_DIR)],
    });
    copyRest(siteDir, outDir, scripts.map(({ name }) => name), Object.keys(result.metafile.outputs).map((file) => resolve(appDir, file)));
    return Object.keys(result.metafile.inputs).map((file) => resolve(appDir, file));
  } catch (error) {
    throw Array.isArray(error.errors) ? new BundleError(error.errors) : error;
  }
}

/** Copies what is no entry point, and removes what is no longer there. */
function copyRest(from, to, skipped, written) {
  mkdirSync(to, { recursive: true });
  const names = readdirSync(from, { withFileTypes: true }).filter(({ name }) => !skipped.includes(name) && !name.startsWith("."));
  for (const entry of names) {
    if (entry.isDirectory()) copyRest(join(from, entry.name), join(to, entry.name), [], written);
    else copyFileSync(join(from, entry.name), join(to, entry.name));
  }
  for (const name of readdirSync(to)) {
    const file = join(to, name);
    if (!names.some((entry) => entry.name === name) && !written.includes(file)) rmSync(file, { recursive: true });
  }
}
