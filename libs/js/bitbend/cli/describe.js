/** `describe.js DIR MODULE..`: loads modules of a Node.js bundle and writes what they export, as JSON, to descriptor 3. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [, , dir, ...modules] = process.argv;
const functions = [];
for (const path of modules) {
  const exported = await import(pathToFileURL(join(dir, path)).href);
  for (const [name, found] of Object.entries(exported)) {
    if (found?.isBitBendFunction !== true) continue;
    const { kind, visibility, retry } = found;
    functions.push({ module: path.slice(0, -3), name, kind, visibility, args: found.exportArgs(), returns: found.exportReturns(), ...(retry == null ? {} : { retry }) });
  }
}
writeFileSync(3, JSON.stringify(functions));
process.exit(0);
