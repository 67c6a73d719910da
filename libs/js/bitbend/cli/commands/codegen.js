import { relative, join } from "node:path";

import { functionsDirOf } from "../app.js";
import { generate } from "../codegen.js";

export async function run({ output, appDir, positionals }) {
  const functionsDir = functionsDirOf(appDir, positionals[0]);
  const files = generate(functionsDir).map((name) => relative(appDir, join(functionsDir, "_generated", name)));
  if (output.isJson) output.json({ written: files });
  else output.line(files.length === 0 ? "_generated/ is up to date." : `Wrote ${files.join(", ")}.`);
}
