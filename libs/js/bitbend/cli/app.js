/** Where things are: the functions' folder, the data folder, the deployment to talk to. */

import { existsSync, readFileSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";

import { createAdmin } from "./admin.js";
import { CliError } from "./output.js";

/** The absolute path of the functions' folder: `bitbend/`, or the `convex/` of an application that was written for that package; or the one that was named. */
export function functionsDirOf(appDir, given = defaultDir(appDir)) {
  const dir = resolve(appDir, given);
  if (!existsSync(dir) || !statSync(dir).isDirectory()) {
    const shown = relative(appDir, dir) || ".";
    throw new CliError(`There is no folder ${shown} in ${appDir}: functions live there, such as ${join(shown, "messages.ts")}. Create it, or run the command in the folder of your application.`);
  }
  return dir;
}

function defaultDir(appDir) {
  return !existsSync(resolve(appDir, "bitbend")) && existsSync(resolve(appDir, "convex")) ? "convex" : "bitbend";
}

export function dataDirOf(appDir, options) {
  return resolve(appDir, options.data ?? ".bitbend");
}

/** What the running embedded suite wrote about itself: `{url, adminKey, pid}`, or null. */
export function readDevFile(dataDir) {
  try {
    const { url, adminKey, pid } = JSON.parse(readFileSync(join(dataDir, "dev.json"), "utf8"));
    return typeof url === "string" && typeof adminKey === "string" ? { url, adminKey, pid } : null;
  } catch {
    return null;
  }
}

/** `{url, adminKey}` from options or environment, or null when neither names a deployment. */
export function namedDeployment(options, env = process.env) {
  const url = options.url ?? env.BITBEND_URL;
  const adminKey = options["admin-key"] ?? env.BITBEND_ADMIN_KEY;
  if (!url) return null;
  if (!/^https?:\/\//.test(url)) throw new CliError(`The URL "${url}" does not start with http:// or https://.`, { exitCode: 2 });
  return { url: url.replace(/\/+$/, ""), adminKey };
}

/** The deployment that a command talks to; an error with advice when there is none. */
export function connect(appDir, options) {
  const named = namedDeployment(options);
  if (named !== null) {
    if (!named.adminKey) throw new CliError(`The admin key of ${named.url} is missing: pass --admin-key, or set BITBEND_ADMIN_KEY.`);
    return createAdmin(named);
  }
  const dev = readDevFile(dataDirOf(appDir, options));
  if (dev === null) {
    throw new CliError(`No suite is running for ${appDir}: start one with "npx bitbend dev", or name a deployment with --url and --admin-key (or BITBEND_URL and BITBEND_ADMIN_KEY).`);
  }
  return createAdmin({ url: dev.url, adminKey: options["admin-key"] ?? dev.adminKey });
}
