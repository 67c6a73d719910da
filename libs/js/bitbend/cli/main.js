/** The command line: finds the command, runs it, turns errors into one sentence and an exit code. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { parseCommandLine } from "./options.js";
import { CliError, createOutput } from "./output.js";

export async function main(argv) {
  let output = createOutput({ json: argv.includes("--json") });
  // A reader that has seen enough (`bitbend logs | head`) is no error.
  process.stdout.on("error", (error) => process.exit(error.code === "EPIPE" ? 0 : 1));
  try {
    const parsed = parseCommandLine(argv, versionOf());
    if (parsed.help !== undefined) {
      process.stdout.write(`${parsed.help}\n`);
      return;
    }
    output = createOutput({ json: parsed.options.json });
    const { run } = await import(`./commands/${parsed.command}.js`);
    process.exitCode = (await run({ ...parsed, output, appDir: process.cwd() })) ?? 0;
  } catch (caught) {
    const error = explain(caught);
    process.exitCode = error instanceof CliError ? error.exitCode : 1;
    if (output.isJson) output.json(error.json ?? { status: "error", message: error.message });
    else output.error(error instanceof CliError ? error.message : (error?.stack ?? String(error)));
  }
}

function explain(error) {
  if (typeof error?.syscall === "string" && typeof error.path === "string") {
    return new CliError(`${error.message}: the folder must be there, writable, and on a disk with room.`);
  }
  // npm links a package that comes from a folder, and leaves its dependencies to that folder.
  if (error?.code !== "ERR_MODULE_NOT_FOUND" || !error.message.includes("'esbuild'")) return error;
  const packageDir = fileURLToPath(new URL("..", import.meta.url));
  return new CliError(`esbuild is missing, which bundles your functions: run "npm install" in ${packageDir} once.`);
}

function versionOf() {
  return JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")).version;
}
